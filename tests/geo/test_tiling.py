import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import wgs84_to_bd09, wgs84_to_gcj02
from gis_grid.geo.faults import Fault, Kind, TilingReport
from gis_grid.geo.layer_files import read_grids, read_ground, read_towns
from gis_grid.geo.metres import strip_width
from gis_grid.geo.placing import metres_per_degree
from gis_grid.geo.tiling import check_tiling

LON, LAT = 121.4, 31.1
METRIC = "EPSG:4549"
PATTERN = r"(?P<district>310112)(?P<town>\d{3})(?P<community>\d{3})(?P<sequence>\d{3})"
ROOT = Path(__file__).parents[2]
MINHANG = ROOT / "gis_grid" / "cities" / "minhang"
EAST, NORTH = metres_per_degree(LAT)


def at(x_m, y_m):
    """Lon and lat of a place in metres from the south-west corner of the layer."""
    return LON + x_m / EAST, LAT + y_m / NORTH


def polygon(*corners_m):
    return shapely.Polygon([at(*corner) for corner in corners_m])


def box(west_m, south_m, east_m, north_m):
    return polygon((west_m, south_m), (east_m, south_m), (east_m, north_m), (west_m, north_m))


def with_second_lon(lon):
    """A square whose second vertex has this longitude."""
    corners = shapely.get_coordinates(box(0, 0, 9, 9))
    corners[1, 0] = lon
    return shapely.set_coordinates(box(0, 0, 9, 9), corners)


def squares(side_m=100):
    """3 x 3 squares, row by row from the south-west."""
    return [
        box(column * side_m, row * side_m, (column + 1) * side_m, (row + 1) * side_m)
        for row in range(3)
        for column in range(3)
    ]


def code(number):
    return f"310112101001{number:03d}"


def layer(shapes, codes=None, **columns):
    codes = codes or [code(i + 1) for i in range(len(shapes))]
    return gpd.GeoDataFrame({"grid_code": codes, **columns}, geometry=shapes, crs="EPSG:4326")


def changed(number, shape):
    """The 3 x 3 layer with one grid's shape replaced."""
    shapes = squares()
    shapes[number - 1] = shape
    return layer(shapes)


def check(grids, **references):
    return check_tiling(grids, code_pattern=PATTERN, metric_crs=METRIC, **references)


def the_fault(report: TilingReport) -> Fault:
    """The one fault of a report with no other."""
    assert len(report.found) == 1, report.summary()
    return report.found[0]


def is_at(fault, x_m, y_m):
    """Whether the fault's place lies within 1 m of a place in metres."""
    lon, lat = at(x_m, y_m)
    return np.hypot((fault.at[0] - lon) * EAST, (fault.at[1] - lat) * NORTH) < 1


def test_nine_squares_are_an_exact_tiling():
    report = check(layer(squares()), count=9, district=box(0, 0, 300, 300))

    assert report.ok
    assert report.unchecked == ("grids outside their town: no towns given",)
    assert list(report.faults.columns[:3]) == ["kind", "codes", "size"]


def test_the_shipped_grids_are_an_exact_tiling_of_district_and_towns():
    grids = read_grids(ROOT / "grids.geojson")

    report = check(
        grids,
        count=1002,
        district=read_ground(MINHANG / "outline.geojson"),
        towns=read_towns(MINHANG / "towns.geojson"),
    )

    assert report.summary() == "1002 grids, no fault found"
    assert report.unchecked == ()


def test_a_gap_of_one_millimetre_is_named_once():
    fault = the_fault(check(changed(5, box(100.001, 100, 200, 200))))

    assert (fault.kind, fault.codes, fault.unit) == (Kind.GAP, (code(4), code(5)), "m2")
    assert fault.size == pytest.approx(0.1, rel=1e-3)
    assert fault.width_m == pytest.approx(0.001, rel=1e-3)
    assert is_at(fault, 100, 150)


def test_an_overlap_of_one_millimetre_is_named_once():
    fault = the_fault(check(changed(4, box(0, 100, 100.001, 200)), district=box(0, 0, 300, 300)))

    assert (fault.kind, fault.codes, fault.unit) == (Kind.OVERLAP, (code(4), code(5)), "m2")
    assert fault.size == pytest.approx(0.1, rel=1e-3)
    assert fault.width_m == pytest.approx(0.001, rel=1e-3)
    assert is_at(fault, 100, 150)


@pytest.mark.parametrize("district", [None, box(0, 0, 300, 300)])
def test_a_gap_of_one_millimetre_that_is_open_to_the_outside_is_found(district):
    fault = the_fault(check(changed(6, box(200.001, 100, 300, 200)), district=district))

    assert (fault.kind, fault.codes) == (Kind.GAP, (code(5), code(6)))
    assert fault.size == pytest.approx(0.1, rel=1e-3)
    assert is_at(fault, 200, 150)


def test_a_gap_through_the_whole_layer_names_all_grids_along_it():
    shapes = squares()
    for row in range(3):
        shapes[3 * row + 2] = box(200.001, 100 * row, 300, 100 * row + 100)

    fault = the_fault(check(layer(shapes)))

    assert (fault.kind, fault.codes) == (Kind.GAP, tuple(code(i) for i in (2, 3, 5, 6, 8, 9)))
    assert fault.size == pytest.approx(0.3, rel=1e-3)


def test_a_concave_outline_is_no_gap():
    notched = polygon((0, 100), (100, 100), (100, 200), (0, 200), (50, 150))

    assert check(changed(4, notched)).ok


def test_a_missing_grid_is_a_hole():
    shapes = squares()
    del shapes[4]

    fault = the_fault(check(layer(shapes)))

    assert (fault.kind, fault.codes) == (Kind.HOLE, tuple(code(i) for i in (2, 4, 5, 7)))
    assert fault.size == pytest.approx(10_000, rel=1e-4)
    assert is_at(fault, 150, 150)


def test_a_hole_punched_into_one_grid_is_a_hole_however_narrow():
    fault = the_fault(check(changed(5, box(100, 100, 200, 200).difference(box(110, 150, 190, 151)))))

    assert (fault.kind, fault.codes) == (Kind.HOLE, (code(5),))
    assert fault.size == pytest.approx(80, rel=1e-4)
    assert fault.width_m == pytest.approx(1, rel=1e-4)


def test_a_thin_grid_is_a_sliver():
    thin, rest = box(100, 100, 100.5, 200), box(100.5, 100, 200, 200)
    shapes = squares()
    below, above = shapes[1], shapes[7]
    shapes[1] = polygon((100, 0), (200, 0), (200, 100), (100.5, 100), (100, 100))
    shapes[7] = polygon((100, 200), (100.5, 200), (200, 200), (200, 300), (100, 300))
    shapes[4] = rest

    fault = the_fault(check(layer([*shapes, thin])))

    assert shapes[1].equals(below)
    assert shapes[7].equals(above)
    assert (fault.kind, fault.codes) == (Kind.SLIVER, (code(10),))
    assert fault.size == pytest.approx(50, rel=1e-3)
    assert fault.width_m == pytest.approx(0.5, rel=1e-3)
    assert is_at(fault, 100.25, 150)


def test_a_code_given_twice_is_a_duplicate():
    codes = [code(i) for i in (1, 2, 3, 4, 5, 6, 7, 8, 8)]

    fault = the_fault(check(layer(squares(), codes)))

    assert (fault.kind, fault.codes, fault.size, fault.unit) == (Kind.DUPLICATE_CODE, (code(8),), 2, "count")
    assert is_at(fault, 150, 250) or is_at(fault, 250, 250)


def test_a_feature_given_twice_is_a_duplicate_and_no_overlap():
    fault = the_fault(check(layer([*squares(), squares()[4]], [*map(code, range(1, 10)), code(5)])))

    assert (fault.kind, fault.codes, fault.size) == (Kind.DUPLICATE_CODE, (code(5),), 2)


@pytest.mark.parametrize(
    "malformed", ["31011210100100", "310113101001005", "{area}", " 310112101001005", "３10112101001005"]
)
def test_a_malformed_code_is_named_with_its_place(malformed):
    codes = [*map(code, range(1, 5)), malformed, *map(code, range(6, 10))]

    fault = the_fault(check(layer(squares(), codes)))

    assert (fault.kind, fault.codes) == (Kind.MALFORMED_CODE, (malformed,))
    assert is_at(fault, 150, 150)


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan")])
def test_a_missing_code_is_named_by_the_place_of_the_feature(missing):
    codes = [*map(code, range(1, 5)), missing, *map(code, range(6, 10))]

    fault = the_fault(check(layer(squares(), codes)))

    assert (fault.kind, fault.codes) == (Kind.MISSING_CODE, ("#5",))


def test_a_bow_tie_is_named_where_it_crosses_and_its_ground_is_not_judged():
    report = check(changed(5, polygon((100, 100), (200, 200), (200, 100), (100, 200))))

    fault = the_fault(report)
    assert (fault.kind, fault.codes) == (Kind.INVALID_GEOMETRY, (code(5),))
    assert fault.size == pytest.approx(5_000, rel=1e-4)
    assert is_at(fault, 150, 150)
    assert "2 pieces of ground in no grid, beside invalid grids that may hold them" in report.unchecked


def test_a_vertex_that_the_neighbour_lacks_is_an_unmatched_edge_of_width_zero():
    grids = changed(5, polygon((100, 100), (200, 100), (200, 150), (200, 200), (100, 200)))

    fault = the_fault(check(grids))

    assert (fault.kind, fault.codes, fault.unit) == (Kind.UNMATCHED_EDGE, (code(5), code(6)), "m")
    assert fault.size == pytest.approx(100, rel=1e-4)
    assert fault.width_m == 0
    assert is_at(fault, 200, 150)


def test_a_vertex_that_a_neighbour_of_several_parts_lacks_is_an_unmatched_edge():
    shapes = squares()
    shapes[4] = polygon((100, 100), (200, 100), (200, 150), (200, 200), (100, 200))
    shapes[5] = shapely.MultiPolygon([shapes[5], shapes[0]])
    del shapes[0]

    fault = the_fault(check(layer(shapes)))

    assert (fault.kind, fault.codes) == (Kind.UNMATCHED_EDGE, (code(4), code(5)))
    assert is_at(fault, 200, 150)


def test_two_grids_meeting_on_the_edge_of_a_third_are_one_unmatched_edge():
    shapes = squares()
    half = (LON, at(0, 150)[1])
    corners = [at(0, 100), at(100, 100), (at(100, 0)[0], half[1]), half]
    shapes[3] = shapely.Polygon(corners)
    upper = shapely.Polygon([half, (at(100, 0)[0], half[1]), at(100, 200), at(0, 200)])

    fault = the_fault(check(layer([*shapes, upper])))

    assert (fault.kind, fault.codes) == (Kind.UNMATCHED_EDGE, (code(4), code(5), code(10)))
    assert is_at(fault, 100, 150)


def test_a_vertex_one_ulp_off_a_slanting_edge_is_still_an_unmatched_edge():
    middle = ((at(0, 0)[0] + at(70, 100)[0]) / 2, (at(0, 0)[1] + at(70, 100)[1]) / 2)
    for off in (-1, 0, 1):
        vertex = (middle[0] + off * np.spacing(middle[0]), middle[1])
        left = shapely.Polygon([at(-100, 0), at(0, 0), vertex, at(70, 100), at(-100, 100)])
        right = polygon((0, 0), (100, 0), (100, 100), (70, 100))

        fault = the_fault(check(layer([left, right])))

        assert (fault.kind, fault.codes) == (Kind.UNMATCHED_EDGE, (code(1), code(2)))


def test_a_grid_outside_its_town_is_named_with_both():
    towns = gpd.GeoDataFrame(
        {"code": ["310112101", "310112102"]},
        geometry=[box(0, 0, 200, 300), box(200, 0, 300, 300)],
        crs="EPSG:4326",
    )
    grids = layer(squares(), town_code=["310112101", "310112101", "310112102"] * 3)
    assert check(grids, towns=towns).ok
    grids.loc[4, "town_code"] = "310112102"

    fault = the_fault(check(grids, towns=towns))

    assert (fault.kind, fault.codes) == (Kind.OUTSIDE_TOWN, (code(5), "310112102"))
    assert fault.size == pytest.approx(10_000, rel=1e-4)
    assert is_at(fault, 150, 150)


def test_without_a_town_column_the_code_says_the_town():
    towns = gpd.GeoDataFrame({"code": ["310112101"]}, geometry=[box(0, 0, 300, 200)], crs="EPSG:4326")

    report = check(layer(squares()), towns=towns)

    assert [(fault.kind, fault.codes[0]) for fault in report.found] == [(Kind.OUTSIDE_TOWN, code(i)) for i in (7, 8, 9)]


def test_a_town_that_the_town_file_lacks_is_named_once():
    towns = gpd.GeoDataFrame({"code": ["310112102"]}, geometry=[box(0, 0, 300, 300)], crs="EPSG:4326")

    fault = the_fault(check(layer(squares()), towns=towns))

    assert (fault.kind, fault.size) == (Kind.UNKNOWN_TOWN, 9)


@pytest.mark.parametrize(("expected", "off"), [(8, 1), (12, 3), (0, 9)])
def test_a_wrong_count_says_by_how_many(expected, off):
    fault = the_fault(check(layer(squares()), count=expected))

    assert (fault.kind, fault.size, fault.unit) == (Kind.WRONG_COUNT, off, "count")


def turned(shapes):
    return [shapely.transform(shape, lambda xy: xy[:, ::-1]) for shape in shapes]


def test_swapped_axes_are_named_and_the_rest_is_checked_turned_round():
    shapes = squares()
    del shapes[4]

    report = check(layer(turned(shapes)), district=box(0, 0, 300, 300))

    assert [fault.kind for fault in report.found] == [Kind.SWAPPED_AXES, Kind.HOLE]
    assert report.found[0].size == 8
    assert is_at(report.found[1], 150, 150)


def test_axes_swapped_within_the_ranges_are_told_by_the_district():
    moved = [shapely.affinity.translate(shape, -60, 0) for shape in squares()]

    fault = the_fault(check(layer(turned(moved)), district=shapely.union_all(moved)))

    assert fault.kind == Kind.SWAPPED_AXES


def test_feet_declared_as_degrees_are_named_and_nothing_else_is_judged():
    feet = [shapely.transform(shape, lambda xy: (xy - [121, 31]) * 1e6) for shape in squares()]

    report = check(layer(feet))

    fault = the_fault(report)
    assert (fault.kind, fault.size) == (Kind.NOT_DEGREES, 9)
    assert "--crs" in fault.message
    assert any("9 grids" in text for text in report.unchecked)


@pytest.mark.parametrize(
    ("convert", "name", "shift_m"), [(wgs84_to_gcj02, "GCJ-02", 487), (wgs84_to_bd09, "BD-09", 1130)]
)
@pytest.mark.parametrize("whose", ["grids", "district outline"])
def test_an_outline_on_another_datum_is_one_fault(convert, name, shift_m, whose):
    shapes = squares(side_m=3000)
    outline = box(0, 0, 9000, 9000)
    if whose == "grids":
        shapes = [shapely.transform(shape, convert, interleaved=False) for shape in shapes]
    else:
        outline = shapely.transform(outline, convert, interleaved=False)

    report = check(layer(shapes), district=outline)

    fault = the_fault(report)
    assert (fault.kind, fault.unit) == (Kind.WRONG_DATUM, "m")
    assert fault.size == pytest.approx(shift_m, rel=0.05)
    assert f"the {whose} {'are' if whose == 'grids' else 'is'} in {name}" in fault.message
    assert any("datums differ" in text for text in report.unchecked)


def test_ground_outside_the_district_and_district_ground_in_no_grid_are_named():
    report = check(layer(squares()), district=box(0, -20, 290, 300))

    uncovered, outside = report.found
    assert (uncovered.kind, uncovered.codes) == (Kind.UNCOVERED, (code(1), code(2), code(3)))
    assert uncovered.size == pytest.approx(290 * 20, rel=1e-4)
    assert (outside.kind, outside.codes) == (Kind.OUTSIDE_DISTRICT, (code(3), code(6), code(9)))
    assert outside.size == pytest.approx(10 * 300, rel=1e-4)
    assert outside.width_m == pytest.approx(10, rel=1e-3)


def test_a_hole_of_the_district_itself_is_no_fault():
    shapes = squares()
    del shapes[4]

    report = check(layer(shapes), district=box(0, 0, 300, 300).difference(box(100, 100, 200, 200)))

    assert report.ok


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (None, Kind.NO_GEOMETRY),
        (shapely.Polygon(), Kind.NO_GEOMETRY),
        (shapely.Point(LON, LAT), Kind.NOT_POLYGON),
        (shapely.LineString([(LON, LAT), (LON, LAT + 1)]), Kind.NOT_POLYGON),
        (shapely.GeometryCollection([shapely.Point(LON, LAT), box(0, 0, 9, 9)]), Kind.NOT_POLYGON),
        (with_second_lon(np.nan), Kind.INVALID_GEOMETRY),
        (with_second_lon(np.inf), Kind.INVALID_GEOMETRY),
    ],
)
def test_a_feature_that_is_no_polygon_is_a_fault_and_no_crash(shape, kind):
    report = check(layer([*squares(), shape]))

    fault = the_fault(report)
    assert (fault.kind, fault.codes) == (kind, (code(10),))
    assert any("1 grids" in text for text in report.unchecked)


def test_grids_that_touch_in_a_corner_only_or_have_parts_and_holes_tile_exactly():
    shapes = squares()
    around = shapely.Polygon(shapely.box(*box(0, 0, 300, 300).bounds).exterior, [shapes[4].exterior])
    corners = shapely.multipolygons([shapes[0], shapes[4]])
    l_shape = shapely.union_all([shapes[i] for i in (1, 2, 3, 5, 6, 7, 8)])

    assert check(layer([around, shapes[4]])).ok
    assert check(layer([corners, l_shape])).ok


def test_a_grid_drawn_over_a_whole_layer_overlaps_each_grid_once():
    report = check(layer([*squares(), box(10, 10, 290, 290)]))

    assert [fault.kind for fault in report.found] == [Kind.OVERLAP] * 9
    assert {fault.codes for fault in report.found} == {(code(i), code(10)) for i in range(1, 10)}


def test_an_edge_moved_by_metres_is_two_faults_without_echoes():
    report = check(changed(5, box(130, 100, 230, 200)))

    assert [(fault.kind, fault.codes) for fault in report.found] == [
        (Kind.OVERLAP, (code(5), code(6))),
        (Kind.HOLE, (code(2), code(4), code(5), code(8))),
    ]


def test_an_empty_layer_has_no_fault_but_its_count():
    assert the_fault(check(layer([]), count=9)).kind == Kind.WRONG_COUNT


def test_a_frame_in_another_crs_or_without_codes_is_refused():
    with pytest.raises(InvalidInput, match="EPSG:4326"):
        check(layer(squares()).to_crs(METRIC))
    with pytest.raises(InvalidInput, match="grid_code"):
        check(layer(squares()).rename(columns={"grid_code": "code"}))


def test_the_check_leaves_its_input_alone():
    grids = changed(5, box(100.001, 100, 200, 200))
    before = grids.copy(deep=True)

    check(grids, district=box(0, 0, 300, 300))

    assert grids.equals(before)


@settings(deadline=None)
@given(order=st.permutations(range(9)))
def test_faults_do_not_depend_on_the_order_of_the_rows(order):
    grids = changed(5, box(100.001, 100, 230, 200))

    shuffled = check(grids.iloc[list(order)])

    assert [fault[:2] for fault in shuffled.found] == [fault[:2] for fault in check(grids).found]


@settings(deadline=None)
@given(east_m=st.floats(0.0005, 40), number=st.integers(1, 2))
def test_an_overlap_of_any_width_is_found_and_measured(east_m, number):
    grids = changed(number, box(100 * (number - 1), 0, 100 * number + east_m, 100))

    fault = the_fault(check(grids, district=box(0, 0, 300, 300)))

    assert (fault.kind, fault.codes) == (Kind.OVERLAP, (code(number), code(number + 1)))
    assert fault.size == pytest.approx(100 * east_m, rel=1e-3)


@given(width=st.floats(1e-4, 1), length=st.floats(2, 1e4))
def test_a_strips_width_is_that_of_its_rectangle(width, length):
    assert strip_width(width * length, 2 * (width + length)) == pytest.approx(width, rel=1e-9)


def test_the_faults_frame_says_kind_codes_size_and_place():
    row = check(changed(5, box(100.001, 100, 200, 200))).faults.iloc[0]

    assert (row["kind"], row["codes"], row["unit"]) == ("gap", (code(4), code(5)), "m2")
    assert re.fullmatch(r"121\.4010\d{3}, 31\.1013\d{3}", row["place"])
    assert row.geometry.area > 0
