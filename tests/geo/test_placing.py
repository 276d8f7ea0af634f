import functools
import math

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import InvalidLonLat, LonLat, SwappedLonLat
from gis_grid.geo.placing import GridIndex, Method, UnusableGrids, metres_per_degree

SIDE = 1 / 1024  # degrees, a power of two: every corner and edge midpoint below is exact
LON, LAT = 121.375, 31.125
MX, MY = metres_per_degree(LAT)


def square(column, row, *, side=1.0):
    west, south = LON + column * SIDE, LAT + row * SIDE
    return shapely.box(west, south, west + side * SIDE, south + side * SIDE)


def grids_frame(polygons):
    frame = {"grid_code": list(polygons), "geometry": list(polygons.values())}
    return geopandas.GeoDataFrame(frame, crs="EPSG:4326")


def index_of(**polygons):
    return GridIndex(grids_frame(polygons))


@functools.cache
def four_squares():
    """D C over B A seen from the south-west: codes run against the order of the rows."""
    return index_of(D=square(0, 0), C=square(1, 0), B=square(0, 1), A=square(1, 1))


def spot(column, row):
    return LonLat(LON + column * SIDE, LAT + row * SIDE)


@pytest.mark.parametrize(
    ("column", "row", "code", "method"),
    [
        (0.5, 0.5, "D", "inside"),
        (1.5, 1.5, "A", "inside"),
        (1, 1, "A", "edge"),
        (1, 0.5, "C", "edge"),
        (0.5, 1, "B", "edge"),
        (0, 0.5, "D", "edge"),
        (0, 0, "D", "edge"),
        (2, 1, "A", "edge"),
        (2, 2, "A", "edge"),
    ],
)
def test_a_point_goes_to_the_lowest_code_it_lies_in_or_on(column, row, code, method):
    placement = four_squares().place(spot(column, row))

    assert (placement.grid_code, placement.method, placement.distance_m) == (code, method, 0.0)
    assert (placement.shares, placement.is_uncertain) == (None, False)


def test_one_step_off_a_shared_edge_the_neighbour_has_the_point():
    edge = spot(1, 0.5)

    west = four_squares().place(LonLat(math.nextafter(edge.lon, 0), edge.lat))
    east = four_squares().place(LonLat(math.nextafter(edge.lon, 180), edge.lat))
    assert (west.grid_code, west.method) == ("D", "inside")
    assert (east.grid_code, east.method) == ("C", "inside")


def test_where_grids_overlap_the_lowest_code_has_the_point_even_on_its_edge():
    index = index_of(B=square(0, 0, side=2), A=square(1, 1))

    assert index.place(spot(1.5, 1.5)).grid_code == "A"
    on_a_inside_b = index.place(spot(1, 1.5))
    assert (on_a_inside_b.grid_code, on_a_inside_b.method) == ("A", "edge")


def test_inside_the_chosen_grid_counts_even_on_the_edge_of_a_higher_code():
    index = index_of(A=square(0, 0, side=2), B=square(1, 1))

    on_b_inside_a = index.place(spot(1, 1.5))
    assert (on_b_inside_a.grid_code, on_b_inside_a.method) == ("A", "inside")


def test_a_point_in_a_hole_is_in_no_grid_and_on_its_ring_on_the_edge():
    ring = square(0, 0, side=3).difference(square(1, 1))
    index = index_of(A=ring)

    assert index.place(spot(1.5, 1.5), snap_m=10).method is Method.OUTSIDE
    assert index.place(spot(1, 1.5)).method is Method.EDGE
    snapped = index.place(spot(1.5, 1.25), snap_m=50)
    assert snapped.distance_m == pytest.approx(0.25 * SIDE * MY, rel=1e-6)


def test_a_grid_that_fills_a_hole_has_the_points_in_it():
    index = index_of(A=square(0, 0, side=3).difference(square(1, 1)), B=square(1, 1))

    assert index.place(spot(1.5, 1.5)).grid_code == "B"


def test_each_part_of_a_multipolygon_is_the_same_grid():
    index = index_of(A=shapely.MultiPolygon([square(0, 0), square(5, 5)]), B=square(2, 2))

    assert [index.place(spot(*at)).grid_code for at in ((0.5, 0.5), (5.5, 5.5), (2.5, 2.5))] == ["A", "A", "B"]


def metres_west(metres, row=0.5):
    lat = LAT + row * SIDE
    return LonLat(LON - metres / metres_per_degree(lat)[0], lat)


@pytest.mark.parametrize(("metres", "method"), [(49.999, "snapped"), (50.001, "outside")])
def test_up_to_50_metres_outside_a_point_is_snapped(metres, method):
    placement = four_squares().place(metres_west(metres))

    assert placement.method == method
    assert placement.grid_code == ("D" if method == "snapped" else None)
    assert placement.distance_m == (pytest.approx(metres, abs=1e-6) if method == "snapped" else None)


def test_snapping_reaches_exactly_as_far_as_it_says():
    distance_m = four_squares().place(metres_west(30)).distance_m

    assert four_squares().place(metres_west(30), snap_m=distance_m).method is Method.SNAPPED
    assert four_squares().place(metres_west(30), snap_m=math.nextafter(distance_m, 0)).method is Method.OUTSIDE
    assert four_squares().place(metres_west(1), snap_m=0).method is Method.OUTSIDE


def test_distance_to_a_corner_is_the_hypotenuse():
    north_east = spot(2, 2)
    mx, my = metres_per_degree(north_east.lat)
    placement = four_squares().place(LonLat(north_east.lon + 30 / mx, north_east.lat + 40 / my), snap_m=60)

    assert placement.grid_code == "A"
    assert placement.distance_m == pytest.approx(50, abs=0.001)


@pytest.mark.parametrize(("nearer_m", "code"), [(0.0, "A"), (0.0009, "A"), (0.0011, "B")])
def test_grids_within_a_millimetre_of_the_nearest_tie_and_the_lowest_code_has_it(nearer_m, code):
    index = index_of(B=square(0, 0), A=square(1.04, 0))
    lat = LAT + 0.5 * SIDE
    mx = metres_per_degree(lat)[0]
    middle = LON + 1.02 * SIDE
    placement = index.place(LonLat(middle - nearer_m / 2 / mx, lat))

    assert placement.grid_code == code
    half_gap_m = 0.02 * SIDE * mx
    assert placement.distance_m == pytest.approx(half_gap_m + (1 if code == "A" else -1) * nearer_m / 2, abs=1e-6)


def test_the_nearest_grid_in_metres_wins_where_degrees_say_otherwise():
    """At 60 degrees a degree of longitude is half as long as one of latitude."""
    west, north = shapely.box(9.9, 59.9, 9.9992, 60.1), shapely.box(9.9995, 60.0005, 10.1, 60.1)
    index = index_of(NORTH=north, WEST=west)

    placement = index.place(LonLat(10.0, 60.0))
    assert placement.grid_code == "WEST"
    assert placement.distance_m == pytest.approx(0.0008 * metres_per_degree(60.0)[0], rel=1e-9)


def test_a_degree_is_as_long_as_geodesy_says():
    """Snyder, Map Projections: A Working Manual, table 4 (rounded to metres)."""
    mx, my = metres_per_degree(np.array([0.0, 30.0, 60.0]))

    assert np.allclose(mx, [111_320, 96_486, 55_800], rtol=0, atol=1)
    assert np.allclose(my, [110_574, 110_852, 111_412], rtol=0, atol=1)


@pytest.mark.parametrize("pair", [(math.nan, 31), (121, math.inf), (181, 0), (181, -91), (200.0, 100.0)])
def test_what_is_no_place_is_refused_with_the_reason_and_the_rest_is_placed(pair):
    placements = four_squares().place_points([pair[0], spot(0.5, 0.5).lon], [pair[1], spot(0.5, 0.5).lat])

    assert placements["method"].tolist() == ["refused", "inside"]
    assert placements["grid_code"].tolist() == [None, "D"]
    assert "expected" in placements["reason"][0]
    assert math.isnan(placements["distance_m"][0])
    assert placements["reason"][1] is None
    with pytest.raises(InvalidLonLat):
        four_squares().place(LonLat(*pair))


def test_swapped_axes_are_named():
    assert "swapped" in four_squares().place_points([31.1], [121.4])["reason"][0]
    with pytest.raises(SwappedLonLat):
        four_squares().place(LonLat(31.1, 121.4))


def test_placements_keep_the_callers_index_order_and_input():
    lon = pd.Series([spot(1.5, 1.5).lon, 0.0, spot(0.5, 0.5).lon], index=["x", "y", "z"])
    lat = pd.Series([spot(1.5, 1.5).lat, 0.0, spot(0.5, 0.5).lat], index=["x", "y", "z"])
    before = lon.copy()
    placements = four_squares().place_points(lon, lat)

    assert placements.columns.tolist() == ["grid_code", "method", "distance_m", "reason"]
    assert placements.index.tolist() == ["x", "y", "z"]
    assert placements["grid_code"].tolist() == ["A", None, "D"]
    assert placements["method"].tolist() == ["inside", "outside", "inside"]
    pd.testing.assert_series_equal(lon, before)


def test_no_points_have_no_placements():
    placements = four_squares().place_points([], [])

    assert len(placements) == 0
    assert placements.columns.tolist() == ["grid_code", "method", "distance_m", "reason"]


@functools.cache
def crooked():
    """Triangles, a hole, an island, an overlap and a gap, with edges at angles no double can follow."""
    rng = np.random.default_rng(7)
    seeds = shapely.MultiPoint(np.column_stack([LON + rng.random(40) * 0.01, LAT + rng.random(40) * 0.01]))
    cells = shapely.get_parts(shapely.delaunay_triangles(seeds))
    polygons = {f"{1000 - i}": cell for i, cell in enumerate(cells) if i % 9}
    polygons["0500"] = shapely.box(LON + 0.004, LAT + 0.004, LON + 0.006, LAT + 0.0061)
    polygons["2000"] = shapely.Polygon(
        shapely.box(LON + 0.011, LAT, LON + 0.014, LAT + 0.003).exterior,
        [shapely.box(LON + 0.012, LAT + 0.001, LON + 0.013, LAT + 0.002).exterior],
    )
    return GridIndex(grids_frame(polygons)), polygons


def by_definition(lon, lat, polygons):
    """The rule, said with plain shapely and no index."""
    point = shapely.Point(lon, lat)
    held = sorted(code for code, polygon in polygons.items() if polygon.intersects(point))
    if held:
        return held[0], "inside" if polygons[held[0]].contains(point) else "edge"
    mx, my = metres_per_degree(lat)
    apart_m = {
        code: shapely.distance(shapely.Point(0, 0), shapely.transform(polygon, lambda xy: (xy - (lon, lat)) * (mx, my)))
        for code, polygon in polygons.items()
    }
    least_m = min(apart_m.values())
    near = sorted(code for code, d in apart_m.items() if d <= 50 and d <= least_m + 0.001)
    return (near[0], "snapped") if near else (None, "outside")


def assert_all_agree(lon, lat):
    index, polygons = crooked()
    bulk = index.place_points(lon, lat)
    for row, (x, y) in enumerate(zip(lon, lat, strict=True)):
        single = index.place(LonLat(x, y))
        assert (bulk["grid_code"][row], bulk["method"][row]) == (single.grid_code, single.method), (x, y)
        assert bulk["distance_m"][row] == single.distance_m or (
            single.distance_m is None and math.isnan(bulk["distance_m"][row])
        )
        assert (single.grid_code, single.method) == by_definition(x, y, polygons), (x, y)


near_crooked = st.tuples(st.floats(LON - 0.002, LON + 0.016), st.floats(LAT - 0.002, LAT + 0.012))


@settings(max_examples=40, deadline=None)
@given(st.lists(near_crooked, min_size=1, max_size=20))
def test_single_bulk_and_the_definition_agree_on_any_point(pairs):
    assert_all_agree([lon for lon, _ in pairs], [lat for _, lat in pairs])


def test_single_bulk_and_the_definition_agree_on_vertices_midpoints_and_their_neighbours():
    _, polygons = crooked()
    vertices = np.unique(shapely.get_coordinates(list(polygons.values())), axis=0)
    ring = shapely.get_coordinates(list(polygons.values()))
    spots = np.vstack([vertices, (ring[:-1] + ring[1:]) / 2])
    steps = [(dx, dy) for dx in (-np.inf, 0, np.inf) for dy in (-np.inf, 0, np.inf)]
    lon = np.concatenate([spots[:, 0] if dx == 0 else np.nextafter(spots[:, 0], dx) for dx, _ in steps])
    lat = np.concatenate([spots[:, 1] if dy == 0 else np.nextafter(spots[:, 1], dy) for _, dy in steps])

    assert_all_agree(lon, lat)


def test_many_points_around_the_grids_are_snapped_as_single_ones_are():
    """Thousands at once go through a filter that a few don't."""
    rng = np.random.default_rng(5)
    lon, lat = LON + rng.uniform(-0.002, 0.016, 20_000), LAT + rng.uniform(-0.002, 0.012, 20_000)
    index, _ = crooked()
    at_once = index.place_points(lon, lat)
    parts = [index.place_points(lon[i : i + 1000], lat[i : i + 1000]) for i in range(0, 20_000, 1000)]

    pd.testing.assert_frame_equal(at_once, pd.concat(parts, ignore_index=True))
    assert (at_once["method"] == "snapped").sum() > 1000
    assert (at_once["method"] == "outside").sum() > 4096


def test_results_do_not_depend_on_the_order_of_grids_or_points():
    index, polygons = crooked()
    rng = np.random.default_rng(3)
    lon, lat = LON + rng.random(500) * 0.016, LAT + rng.random(500) * 0.012
    turned = GridIndex(grids_frame(dict(reversed(polygons.items()))))

    expected = index.place_points(lon, lat)
    again = turned.place_points(lon[::-1], lat[::-1]).iloc[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, expected)


def test_a_circle_half_in_two_grids_is_uncertain():
    placement = four_squares().place(spot(1, 0.5), accuracy_m=10)

    assert placement.shares == {"C": pytest.approx(0.5, abs=1e-6), "D": pytest.approx(0.5, abs=1e-6)}
    assert placement.is_uncertain
    assert (placement.grid_code, placement.method) == ("C", "edge")


def test_a_circle_inside_one_grid_is_certain():
    placement = four_squares().place(spot(0.5, 0.5), accuracy_m=10)

    assert placement.shares == {"D": pytest.approx(1.0)}
    assert not placement.is_uncertain


def test_on_the_outer_border_half_the_circle_lies_in_no_grid():
    placement = four_squares().place(spot(0, 0.5), accuracy_m=10)

    assert placement.shares == {"D": pytest.approx(0.5, abs=1e-6)}
    assert placement.is_uncertain


def test_far_outside_the_circle_is_certain_to_lie_in_no_grid():
    placement = four_squares().place(metres_west(500), accuracy_m=10)

    assert (placement.method, placement.shares, placement.is_uncertain) == ("outside", {}, False)


def test_shares_survive_a_bow_tie():
    bow_tie = shapely.Polygon([spot(0, 0), spot(1, 1), spot(1, 0), spot(0, 1)])
    placement = index_of(A=bow_tie).place(spot(0.5, 0.5), accuracy_m=10)

    assert placement.shares == {"A": pytest.approx(2 * math.atan2(MY, MX) / math.pi, abs=1e-3)}


@pytest.mark.parametrize("snap_m", [-1, math.nan, math.inf, 1001])
def test_a_snap_distance_that_means_nothing_is_refused(snap_m):
    with pytest.raises(InvalidInput, match="snap_m"):
        four_squares().place(spot(0, 0), snap_m=snap_m)
    with pytest.raises(InvalidInput, match="snap_m"):
        four_squares().place_points([0.0], [0.0], snap_m=snap_m)


@pytest.mark.parametrize("accuracy_m", [0, -1, math.nan, math.inf, 10_001])
def test_an_accuracy_that_means_nothing_is_refused(accuracy_m):
    with pytest.raises(InvalidInput, match="accuracy_m"):
        four_squares().place(spot(0, 0), accuracy_m=accuracy_m)


def test_bounds_and_district_are_those_of_all_grids():
    assert four_squares().bounds == (LON, LAT, LON + 2 * SIDE, LAT + 2 * SIDE)
    assert four_squares().district.equals(square(0, 0, side=2))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (grids_frame({"A": square(0, 0)}).drop(columns="grid_code"), "grid_code"),
        (grids_frame({"A": square(0, 0)}).iloc[:0], "no grid"),
        (grids_frame({"A": square(0, 0)}).set_crs("EPSG:2249", allow_override=True), "EPSG:4326"),
        (grids_frame({"A": square(0, 0)}).set_crs(None, allow_override=True), "EPSG:4326"),
        (grids_frame({1: square(0, 0)}), "row 0"),
        (grids_frame({"A": square(0, 0), "B": shapely.Point(0, 0)}), "row 1"),
        (grids_frame({"A": None, "B": square(0, 0)}), "row 0"),
        (grids_frame({"A": shapely.Polygon(), "B": square(0, 0)}), "row 0"),
    ],
)
def test_grids_that_nothing_can_be_placed_in_are_refused(frame, message):
    with pytest.raises(UnusableGrids, match=message):
        GridIndex(frame)
