"""Maps never ask the network for their scripts and styles."""

import html
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import folium
import pytest
from branca.colormap import LinearColormap
from folium.plugins import MarkerCluster

import maps.assets
from gis_grid.errors import Unavailable
from maps.assets import Inline, Served, UnknownAsset, embed, install_assets, render, vendor_files
from tests.maps.map_builders import one_of_each

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
CSS_OUTSIDE = re.compile(r"(url\(\s*['\"]?|@import\s+['\"]?)\s*(https?:)?//", re.IGNORECASE)


class Addresses(HTMLParser):
    """Every address that a page names in its markup and its styles."""

    def __init__(self, page):
        super().__init__()
        self.found, self.tag = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        self.found += [value for name, value in attrs if name in {"src", "href", "srcset", "data"}]

    def handle_data(self, data):
        if self.tag == "style":
            self.found += [match[0].split("(")[-1] for match in CSS_OUTSIDE.finditer(data)]


@pytest.fixture
def bare_map():
    return folium.Map([31.1, 121.4], tiles=None)


@pytest.mark.parametrize("assets", [Inline(), Served()])
def test_no_map_names_an_outside_address(assets):
    for name, map_ in one_of_each().items():
        outside = [address for address in Addresses(render(map_, assets=assets)).found if OUTSIDE.match(address)]

        assert outside == [], name


def test_the_address_finder_finds_what_it_looks_for():
    page = (
        "<link href='https://a'><style>p{background:url(//b)} @import 'http://c'</style><script src=http://d></script>"
    )

    assert len([address for address in Addresses(page).found if address]) == 4


def test_a_served_page_links_below_its_base(bare_map):
    page = render(bare_map, assets=Served("/elsewhere"))

    assert Addresses(page).found == ["/elsewhere/leaflet/dist/leaflet.js", "/elsewhere/leaflet/dist/leaflet.css"]


def test_an_inlined_page_needs_no_other_file(bare_map):
    page = render(bare_map, assets=Inline())

    assert Addresses(page).found == []
    assert "sourceMappingURL" not in page
    assert set(re.findall(r"url\(([^)#][^)]{0,14})", page)) == {"data:image/png;"}


def test_one_map_may_be_served_and_then_inlined(bare_map):
    served, inlined = render(bare_map, assets=Served()), render(bare_map, assets=Inline())

    assert 'src="/static/vendor/' in served
    assert "/static/vendor/" not in inlined


def test_threads_do_not_disturb_each_other():
    def outcome(i):
        page = render(folium.Map([31.1, 121.4], tiles=None), assets=Served() if i % 2 else Inline())
        return "/static/vendor/" in page

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(outcome, range(40)))

    assert outcomes == [i % 2 == 1 for i in range(40)]


def test_folium_itself_is_left_alone(bare_map):
    before = list(folium.Map.default_js)
    render(bare_map, assets=Served())

    assert folium.Map.default_js == before
    assert any("cdn" in address for _, address in before)


@pytest.mark.parametrize("element", [MarkerCluster(), LinearColormap(["red", "blue"])])
def test_an_asset_outside_the_table_is_refused(bare_map, element):
    element.add_to(bare_map)

    with pytest.raises(UnknownAsset, match="not among the local browser assets"):
        render(bare_map, assets=Inline())


def test_an_outside_link_in_plain_html_is_refused(bare_map):
    bare_map.get_root().html.add_child(folium.Element("<script src='https://cdn.example/x.js'></script>"))

    with pytest.raises(UnknownAsset, match=r"cdn\.example"):
        render(bare_map, assets=Inline())


def test_a_popup_that_needs_jquery_is_refused(bare_map):
    folium.CircleMarker([31.1, 121.4], popup=folium.Popup("x")).add_to(bare_map)

    with pytest.raises(UnknownAsset, match=r"folium\.Popup"):
        render(bare_map, assets=Inline())


def test_missing_assets_name_the_command_that_installs_them(bare_map, tmp_path, monkeypatch):
    monkeypatch.setattr(maps.assets, "VENDOR", tmp_path)

    with pytest.raises(Unavailable, match="run script/bootstrap"):
        vendor_files()
    with pytest.raises(Unavailable, match=r"leaflet\.js.*run script/bootstrap"):
        render(bare_map, assets=Inline())


def test_installing_twice_writes_once(tmp_path):
    first = install_assets(maps.assets.VENDOR, tmp_path)
    times = [path.stat().st_mtime_ns for path in first]
    again = install_assets(maps.assets.VENDOR, tmp_path)

    assert [path.stat().st_mtime_ns for path in again] == times
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in vendor_files()]


def test_installing_mends_a_spoilt_file(tmp_path):
    spoilt = install_assets(maps.assets.VENDOR, tmp_path)[0]
    spoilt.write_text("spoilt")
    install_assets(maps.assets.VENDOR, tmp_path)

    assert "spoilt" not in spoilt.read_text()


def test_installing_from_nowhere_names_npm(tmp_path):
    with pytest.raises(Unavailable, match="run npm ci"):
        install_assets(tmp_path / "node_modules", tmp_path / "vendor")


def test_the_lock_file_holds_no_address():
    assert "http" not in (ROOT / "package-lock.json").read_text()
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()


def test_an_embedded_map_is_the_whole_page_in_a_frame(bare_map):
    fragment = embed(bare_map, height_px=300)

    source = re.search(r'srcdoc="([^"]*)"', fragment)[1]
    assert html.unescape(source).startswith("<!DOCTYPE html>")
    assert "height:300px" in fragment
