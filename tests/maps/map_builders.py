"""Small districts of squares, and a page opened in real Chromium."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import geopandas as gpd
import pandas as pd
import shapely
from playwright.sync_api import Browser, Page

from gis_grid.geo.density import heat_surface
from maps.assets import VENDOR
from maps.blind_spots import blind_spots_map
from maps.district import district_map
from maps.grid import grid_map
from maps.heat import heat_map

AS_OF = datetime(2026, 11, 23, 8, 0, tzinfo=timezone(timedelta(hours=8)))
WEST, SOUTH, SIDE = 121.40, 31.10, 0.01
PHONE, DESKTOP = (390, 844), (1280, 800)


def squares(columns=4, rows=2, *, community="金平居委会"):
    """Grid frame of squares of 0.01°, west to east, then northwards; the western half is the first town."""
    cells = [(column, row) for row in range(rows) for column in range(columns)]
    towns = [0 if column < columns / 2 else 1 for column, _ in cells]
    return gpd.GeoDataFrame(
        {
            "grid_code": [f"31011200{town + 1}001{i + 1:03d}" for i, town in enumerate(towns)],
            "community_code": [f"31011200{town + 1}001" for town in towns],
            "community": [f"{community}{town + 1}" for town in towns],
            "town_code": [f"31011200{town + 1}" for town in towns],
            "town": [("江川路街道", "古美街道")[town] for town in towns],
            "area_m2": 1e6,
        },
        geometry=[square(column, row) for column, row in cells],
        crs="EPSG:4326",
    )


def square(column, row, size=1.0):
    west, south = WEST + column * SIDE, SOUTH + row * SIDE
    return shapely.box(west, south, west + size * SIDE, south + size * SIDE)


def areas_of(grids):
    towns = grids.dissolve("town_code").reset_index()
    communities = grids.dissolve("community_code").reset_index()
    return gpd.GeoDataFrame(
        {
            "level": ["town"] * len(towns) + ["community"] * len(communities),
            "code": [*towns["town_code"], *communities["community_code"]],
            "name": [*towns["town"], *communities["community"]],
            "parent_code": ["310112"] * len(towns) + list(communities["town_code"]),
        },
        geometry=[*towns.geometry, *communities.geometry],
        crs="EPSG:4326",
    )


def reports_at(*points, text="井盖松动", method="inside"):
    return gpd.GeoDataFrame(
        {
            "id": [f"r{i}" for i in range(len(points))],
            "event_type": "0101",
            "kind": "巡查",
            "received_at": pd.Timestamp("2026-11-22T20:30:00Z"),
            "method": method,
            "text": text,
        },
        geometry=gpd.points_from_xy(*zip(*points, strict=True)),
        crs="EPSG:4326",
    )


def spots_of(*rows, text="未见"):
    """Blind spots of (kind, what, place, area_m2), each telling `text`."""
    kinds, whats, places, areas_m2 = zip(*rows, strict=True)
    told = {"why": text, "why_zh": text, "who": text, "case": None, "since": "2026-11-01", "code": "310112001001001"}
    columns = {"kind": kinds, "what": whats, "area_m2": areas_m2} | told
    return gpd.GeoDataFrame(columns, geometry=list(places), crs="EPSG:4326")


def one_of_each(*, text="井盖松动", **options):
    """Every kind of map, by name, with everything on it that it can hold; `text` wherever a stranger may write."""
    grids = squares(community=text)
    areas = areas_of(grids)
    common = {"title": f"图 {text}", "as_of": AS_OF, "synthetic_note": "合成数据 Synthetic data", **options}
    line = shapely.LineString([(WEST, SOUTH), (WEST + SIDE, SOUTH + SIDE)])
    tracks = gpd.GeoDataFrame({"label": [text]}, geometry=[line], crs="EPSG:4326")
    reference = gpd.GeoDataFrame(
        {"kind": ["road", "river", "landmark"], "name": [text, text, None]},
        geometry=[line, square(3, 0, 0.2), shapely.Point(WEST, SOUTH)],
        crs="EPSG:4326",
    )
    shares = pd.DataFrame({"seen_share": [0.0, 0.1, 0.5, 1.0, None, 0.3, 0.7, 0.9]}, index=grids.index)
    spots = spots_of(
        ("unseen", "unseen", square(0, 0, 0.5), 2e5),
        ("unseen", "unseen_by_night", square(1, 0, 0.1), 8000.0),
        ("geometric", "joint_seam", square(1.98, 0, 0.04), 9000.0),
        ("silent", "silent", square(2, 1), 1e6),
        ("unmanned", "shift_gap", square(3, 0), 1e6),
        text=text,
    )
    excluded = gpd.GeoDataFrame({"reason": [text], "until": [None]}, geometry=[square(3, 1)], crs="EPSG:4326")
    managers = pd.DataFrame(
        {
            "grid_code": grids["grid_code"],
            "post": text,
            "unit": "城管局",
            "duty_phone": "021-1",
            "own_phone": "13900000000",
        }
    )
    surface = heat_surface([WEST + SIDE], [SOUTH + SIDE], bounds=tuple(grids.total_bounds))
    piles = pd.DataFrame({"lon": [WEST + SIDE], "lat": [SOUTH], "count": [4775], "share": [0.082]})
    counts = pd.Series([0, 1, 2, 30], index=grids["grid_code"][:4])
    reports = reports_at((WEST + 0.004, SOUTH + 0.004), (WEST + 0.004, SOUTH + 0.004), text=text)
    url = {"grid_url": "/grids/{grid_code}"}
    return {
        "district": district_map(grids, areas, counts=counts, managers=managers, reference=reference, **url, **common),
        "heat": heat_map(surface, areas=areas, grids=grids, piles=piles, window=text, **url, **common),
        "blind spots": blind_spots_map(
            grids, shares, spots, areas=areas, window=text, excluded=excluded, tracks=tracks, **url, **common
        ),
        "grid": grid_map(grids[:1], grids[1:], reports=reports, tracks=tracks, **url, **common),
    }


@dataclass
class Visit:
    page: Page
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def texts(self, selector):
        return self.page.locator(selector).all_text_contents()


@contextmanager
def opened(browser: Browser, html: str, size=DESKTOP) -> Iterator[Visit]:
    """A page served by the test itself; what it asks for elsewhere is refused and noted."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=size == PHONE)
    visit = Visit(context.new_page())

    def answer(route):
        path = route.request.url.removeprefix("http://grid.test")
        if path == "/":
            route.fulfill(body=html, content_type="text/html; charset=utf-8")
        elif path.startswith("/static/vendor/"):
            route.fulfill(path=VENDOR / path.removeprefix("/static/vendor/"))
        else:
            visit.outside.append(route.request.url)
            route.abort()

    visit.page.route("**/*", answer)
    visit.page.on("console", lambda message: visit.complaints.append(message.text))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.goto("http://grid.test/")
    visit.page.wait_for_selector(".gm-title")
    yield visit
    context.close()
