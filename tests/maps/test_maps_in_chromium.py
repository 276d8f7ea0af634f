"""Real Chromium draws each map, at phone and desktop size, from what the page holds."""

import io
import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import shapely
from PIL import Image

from gis_grid.errors import InvalidInput
from gis_grid.geo.density import heat_surface
from maps.assets import Inline, Served, render
from maps.blind_spots import blind_spots_map
from maps.district import district_map
from maps.grid import grid_map
from maps.heat import heat_map
from maps.styles import Basemap
from tests.maps.map_builders import (
    AS_OF,
    DESKTOP,
    PHONE,
    SIDE,
    SOUTH,
    WEST,
    areas_of,
    one_of_each,
    opened,
    reports_at,
    spots_of,
    squares,
)

KINDS = ["district", "heat", "blind spots", "grid"]
HOSTILE = (
    """<script>window.pwned=1</script> </script><img src=x onerror=window.pwned=1> {{ 7*7 }} {% x %} {# `${1}` " ' \\"""
)


def map_name(page):
    return page.evaluate("Object.keys(window).find((name) => name.startsWith('map_'))")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("assets", [Inline(), Served()], ids=["inline", "served"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_map_opens_without_outside_request_or_complaint(browser, kind, assets, size):
    with opened(browser, render(one_of_each()[kind], assets=assets), size) as visit:
        assert visit.page.locator("path.leaflet-interactive").count() > 0
        assert visit.texts(".gm-title p")[0] == "数据截至 Data as of 2026-11-23 08:00 +08:00"
        assert "合成数据 Synthetic data" in visit.texts(".gm-note")
        assert visit.page.locator(".gm-legend li").count() >= 2
        assert visit.outside == []
        assert visit.complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_text_from_strangers_is_shown_and_never_run(browser, kind):
    with opened(browser, render(one_of_each(text=HOSTILE)[kind], assets=Inline())) as visit:
        visit.page.evaluate(f"{map_name(visit.page)}.eachLayer((layer) => layer.rows && layer.openPopup())")

        assert visit.texts(".gm-title h1") == [f"图 {HOSTILE}"]
        assert visit.page.evaluate("window.pwned") is None
        assert visit.outside == []
        assert visit.complaints == []


def test_a_popup_tells_the_manager_but_not_his_own_phone(browser):
    page = render(one_of_each()["district"], assets=Inline())

    with opened(browser, page) as visit:
        visit.page.mouse.click(*pixel_of(visit.page, WEST + SIDE / 2, SOUTH + SIDE / 2))
        told = visit.page.locator(".gm-popup").inner_text()

        for words in ("310112001001001", "江川路街道", "城管局", "021-1"):
            assert words in told
        assert visit.page.locator(".gm-popup a").get_attribute("href") == "/grids/310112001001001"
    assert "13900000000" not in page


def test_reports_at_one_point_share_a_mark_that_counts_them(browser):
    with opened(browser, render(one_of_each()["grid"], assets=Inline())) as visit:
        assert visit.texts(".gm-count") == ["2"]
        visit.page.mouse.click(*pixel_of(visit.page, WEST + 0.004, SOUTH + 0.004))

        told = visit.page.locator(".gm-popup").inner_text()
        assert "r0" in told
        assert "r1" in told
        assert "2026-11-23 04:30" in told  # 20:30 UTC in the zone of the map


def test_town_names_are_always_there_and_community_names_come_closer_in(browser):
    grids = squares(16, 8)
    page = render(district_map(grids, areas_of(grids), title="区", as_of=AS_OF), assets=Inline())

    with opened(browser, page, PHONE) as visit:
        map_ = map_name(visit.page)
        visit.page.evaluate(f"{map_}.setZoom(11, {{animate: false}})")
        assert sorted(visit.texts(".gm-town")) == ["古美街道", "江川路街道"]
        assert visit.texts(".gm-community") == []
        visit.page.evaluate(f"{map_}.setView([{SOUTH + 4 * SIDE}, {WEST + 4 * SIDE}], 14, {{animate: false}})")
        assert visit.texts(".gm-town") == ["江川路街道"]
        visit.page.evaluate(f"{map_}.setView([{SOUTH + 4.2 * SIDE}, {WEST + 4 * SIDE}], 16, {{animate: false}})")
        assert len(visit.texts(".gm-grid")) > 0


def test_names_do_not_cover_one_another(browser):
    grids = squares(12, 12)
    page = render(grid_map(grids[:1], grids[1:], title="格", as_of=AS_OF), assets=Inline())

    with opened(browser, page) as visit:
        visit.page.evaluate(f"{map_name(visit.page)}.setZoom(13, {{animate: false}})")
        boxes = [locator.bounding_box() for locator in visit.page.locator(".gm-label span").all()]

    assert len(boxes) > 3
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            apart_x = a["x"] + a["width"] <= b["x"] + 1 or b["x"] + b["width"] <= a["x"] + 1
            apart_y = a["y"] + a["height"] <= b["y"] + 1 or b["y"] + b["height"] <= a["y"] + 1
            assert apart_x or apart_y


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_whole_district_shows_beside_title_and_legend(browser, size):
    grids = squares()
    with opened(browser, render(one_of_each()["district"], assets=Inline()), size) as visit:
        west, south, east, north = grids.total_bounds
        corners = [pixel_of(visit.page, lon, lat) for lon, lat in ((west, south), (east, north))]
        cards = [visit.page.locator(name).bounding_box() for name in (".gm-title", ".gm-legend")]

    (left, bottom), (right, top) = corners
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    for card in cards:
        is_beside = card["x"] + card["width"] <= left
        is_above_or_below = card["y"] + card["height"] <= top or card["y"] >= bottom
        assert is_beside or is_above_or_below


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_lies_on_the_title_the_legend_or_the_scale(browser, size, kind):
    names = [".gm-title", ".gm-legend", ".leaflet-control-scale", ".leaflet-control-layers"]
    sheet = one_of_each(text="闵行区江川路街道金平居委会网格 Grids, communities and towns")[kind]
    with opened(browser, render(sheet, assets=Inline()), size) as visit:
        cards = [visit.page.locator(name).bounding_box() for name in names]

    boxes = [shapely.box(c["x"], c["y"], c["x"] + c["width"], c["y"] + c["height"]) for c in cards]
    assert [
        (a, b) for (a, one), (b, other) in combinations(zip(names, boxes, strict=True), 2) if one.intersects(other)
    ] == []
    assert all(box.within(shapely.box(0, 0, *size)) for box in boxes)


@pytest.mark.parametrize("zoom", [12, 14])
def test_a_hot_cell_lies_over_its_coordinate(browser, zoom):
    lon, lat = WEST + 1.3 * SIDE, SOUTH + 0.02
    bounds = (WEST, SOUTH - 0.5, WEST + 4 * SIDE, SOUTH + 0.5)  # so tall that rows even in latitude would be 1.5 off
    surface = heat_surface([lon], [lat], bounds=bounds, cell_m=100, bandwidth_m=0)
    grids = squares()
    page = render(
        heat_map(surface, areas=areas_of(grids)[:0], grids=grids, title="热", as_of=AS_OF, window="-"), assets=Inline()
    )

    with opened(browser, page) as visit:
        visit.page.evaluate(f"{map_name(visit.page)}.setView([{lat}, {lon}], {zoom}, {{animate: false}})")
        visit.page.add_style_tag(content=".leaflet-grids-pane, .leaflet-labels-pane { display: none }")
        visit.page.wait_for_timeout(300)
        found = darkest_of(visit.page)
        expected = mercator_pixel_of(visit.page, lon, lat, zoom)

    cell_px = 100 / (40_075_017 * math.cos(math.radians(lat)) / 256 / 2**zoom)
    assert np.abs(np.array(found) - expected).max() <= cell_px + 1


def darkest_of(page):
    """Centre of the pixels in the ramp's last colours, away from the controls, as (x, y)."""
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    middle = picture[200:600, 400:900]
    is_dark = middle.sum(axis=2) < middle.sum(axis=2).min() + 40
    y, x = np.nonzero(is_dark)
    assert 0 < len(x) < 5000
    return x.mean() + 400.5, y.mean() + 200.5


def mercator_pixel_of(page, lon, lat, zoom):
    """Where a coordinate must be on the screen, from the view's centre by OSM's tile formula, without Leaflet."""

    def world(lon, lat):
        y = math.asinh(math.tan(math.radians(lat)))
        return np.array([(lon + 180) / 360, (1 - y / math.pi) / 2]) * 256 * 2**zoom

    centre = page.evaluate(f"(({{lng, lat}}) => [lng, lat])({map_name(page)}.getCenter())")
    return world(lon, lat) - world(*centre) + np.array(DESKTOP) / 2


def pixel_of(page, lon, lat):
    return page.evaluate(f"((p) => [p.x, p.y])({map_name(page)}.latLngToContainerPoint([{lat}, {lon}]))")


def test_a_heat_map_of_a_million_reports_stays_under_two_megabytes():
    rng = np.random.default_rng(7)
    grids = squares(32, 31)  # about as many grids as Minhang has
    west, south, east, north = grids.total_bounds
    surface = heat_surface(
        rng.uniform(west, east, 1_000_000), rng.uniform(south, north, 1_000_000), bounds=(west, south, east, north)
    )
    page = render(
        heat_map(surface, areas=areas_of(grids), grids=grids, title="热", as_of=AS_OF, window="-"), assets=Inline()
    )

    assert len(page.encode()) < 2_000_000


def test_everything_moves_with_a_gcj02_basemap(browser):
    basemap = Basemap("http://tiles.test/{z}/{x}/{y}.png", "© Tiles <b>", "gcj02")
    page = render(one_of_each(basemap=basemap)["heat"], assets=Inline())

    with opened(browser, page) as visit:
        image = visit.page.locator("img.leaflet-image-layer").bounding_box()
        left, bottom = pixel_of(visit.page, WEST + 0.0046, SOUTH - 0.0019)
        attribution = visit.texts(".leaflet-control-attribution")
        asked = visit.outside

    assert (image["x"], image["y"] + image["height"]) == pytest.approx((left, bottom), abs=3)
    assert attribution == ["© Tiles <b>"]
    assert asked
    assert all(address.startswith("http://tiles.test/") for address in asked)


def test_each_kind_of_blind_spot_is_a_layer_that_tells_all_of_it(browser):
    with opened(browser, render(one_of_each(text="无人去过")["blind spots"], assets=Inline())) as visit:
        layers = visit.texts(".leaflet-control-layers-overlays label")
        visit.page.evaluate(f"{map_name(visit.page)}.setView([{SOUTH}, {WEST}], 15, {{animate: false}})")
        visit.page.mouse.click(*pixel_of(visit.page, WEST + 0.002, SOUTH + 0.001))
        told = visit.page.locator(".gm-popup").inner_text()

    kinds = ["无人 Unmanned (1)", "沉默 Silent (1)", "几何 Geometric (1)", "未见 Unseen (2)"]
    assert [text.strip() for text in layers if "(" in text] == [*kinds]
    for part in ("未见 Unseen 1/2", "0.20 km²", "310112001001001", "2026-11-01", "rank 1 of 2", "无人去过"):
        assert part in told


def test_kinds_of_blind_spots_differ_in_pattern(browser):
    with opened(browser, render(one_of_each()["blind spots"], assets=Inline())) as visit:
        visit.page.evaluate(f"{map_name(visit.page)}.setZoom(14, {{animate: false}})")
        fills = visit.page.evaluate(
            "[...document.querySelectorAll('.leaflet-marks-pane path')].map((path) => getComputedStyle(path).fill)"
        )

    patterns = [fill for fill in fills if fill.startswith("url(")]
    assert len(patterns) == len(set(patterns)) == 6


def drawn_spots(spots):
    grids = squares(1, 1)
    shares = pd.DataFrame({"seen_share": [0.5]})
    sheet = blind_spots_map(grids, shares, spots, areas=areas_of(grids), title="盲", as_of=AS_OF, window="-")
    return render(sheet, assets=Inline())


def test_what_is_not_drawn_is_said():
    spots = spots_of(*[("unseen", "unseen", squares(1, 1).geometry[0], 500.0)] * 1700)

    page = drawn_spots(spots)

    assert "另有 200 处较轻" in page
    assert "全天未见 never (1,700)" in page


def test_a_window_without_a_blind_spot_says_so():
    none = spots_of(("unseen", "unseen", squares(1, 1).geometry[0], 500.0))[:0]

    page = drawn_spots(none)

    assert "此时段没有盲区 No blind spot in this window" in page
    assert all(f"{name} (0)" in page for name in ("无人 Unmanned", "沉默 Silent", "几何 Geometric", "未见 Unseen"))


def test_a_kind_that_is_none_of_the_four_is_refused():
    strange = spots_of(("moon", "unseen", squares(1, 1).geometry[0], 500.0))

    with pytest.raises(InvalidInput, match="kind 'moon'"):
        drawn_spots(strange)


def test_snapped_reports_have_a_dashed_edge():
    grids = squares()
    page = render(
        grid_map(grids[:1], grids[1:], title="格", as_of=AS_OF, reports=reports_at((WEST, SOUTH), method="snapped")),
        assets=Inline(),
    )

    assert "就近归入 Snapped" in page


def test_an_empty_district_is_refused():
    grids = squares()[:0]

    with pytest.raises(InvalidInput, match="nothing to draw"):
        district_map(grids, areas_of(squares())[:0], title="空", as_of=AS_OF)


def test_a_district_without_towns_and_reports_still_draws(browser):
    grids = squares()
    page = render(
        district_map(grids, areas_of(grids)[:0], title="区", as_of=AS_OF, counts=pd.Series(dtype=int)), assets=Inline()
    )

    with opened(browser, page) as visit:
        assert visit.page.locator("path.leaflet-interactive").count() == 8
        assert visit.complaints == []
