import geopandas as gpd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from gis_grid.geo.dissolve import derive_areas
from gis_grid.geo.faults import Kind
from gis_grid.geo.metres import area_and_width_m
from gis_grid.geo.placing import metres_per_degree
from gis_grid.geo.repair import repair_tiling
from gis_grid.geo.tiling import check_tiling

LON, LAT = 121.4, 31.1
EAST, NORTH = metres_per_degree(LAT)


def box(west_m, south_m, east_m, north_m):
    return shapely.box(LON + west_m / EAST, LAT + south_m / NORTH, LON + east_m / EAST, LAT + north_m / NORTH)


def squares():
    """3 x 3 squares of 100 m, row by row from the south-west: g1 to g9."""
    return [box(100 * x, 100 * y, 100 * x + 100, 100 * y + 100) for y in range(3) for x in range(3)]


def layer(shapes, **columns):
    codes = [f"g{i + 1}" for i in range(len(shapes))]
    return gpd.GeoDataFrame({"grid_code": codes, **columns}, geometry=shapes, crs="EPSG:4326")


def changed(number, shape):
    shapes = squares()
    shapes[number - 1] = shape
    return layer(shapes)


def faults_of(grids):
    return check_tiling(grids, code_pattern=None, metric_crs="EPSG:4549").found


def moves_of(report):
    return {(move.from_code, move.to_code): move.area_m2 for move in report.moves.itertuples()}


def test_a_narrow_gap_goes_to_one_neighbour_and_the_report_says_so():
    repaired, report = repair_tiling(changed(5, box(102, 100, 200, 200)), width_m=3)

    assert faults_of(repaired) == ()
    ((source, target),) = moves_of(report)
    assert source is None
    assert target in {"g4", "g5"}
    assert report.moved_m2 == pytest.approx(200, rel=1e-4)
    assert report.changes["gained_m2"].tolist() == pytest.approx([200], rel=1e-4)


def test_a_narrow_overlap_goes_to_one_of_the_two_and_the_report_says_from_whom():
    repaired, report = repair_tiling(changed(4, box(0, 100, 102, 200)), width_m=3)

    assert faults_of(repaired) == ()
    ((source, target),) = moves_of(report)
    assert {source, target} == {"g4", "g5"}
    assert report.moved_m2 == pytest.approx(200, rel=1e-4)
    assert set(report.changes["grid_code"]) == {"g4", "g5"}


@pytest.mark.parametrize(
    ("number", "shape", "kind"),
    [(5, box(105, 100, 200, 200), Kind.GAP), (4, box(0, 100, 105, 200), Kind.OVERLAP)],
)
def test_what_is_wider_than_asked_stays_and_is_reported_again(number, shape, kind):
    grids = changed(number, shape)

    repaired, report = repair_tiling(grids, width_m=3)

    (before,), (after,) = faults_of(grids), faults_of(repaired)
    assert (after.kind, after.codes) == (kind, ("g4", "g5")) == (before.kind, before.codes)
    assert after.size == pytest.approx(before.size, rel=1e-6)
    assert report.moves.empty


def test_a_narrow_and_a_wide_overlap_are_told_apart():
    shapes = squares()
    shapes[0], shapes[8] = box(0, 0, 101, 100), box(180, 200, 300, 300)

    repaired, report = repair_tiling(layer(shapes), width_m=3)

    assert [(fault.kind, fault.codes) for fault in faults_of(repaired)] == [(Kind.OVERLAP, ("g8", "g9"))]
    assert report.moved_m2 == pytest.approx(100, rel=1e-4)


def test_a_missing_vertex_is_put_in_and_moves_no_ground():
    south_east, north_east, *others = shapely.get_coordinates(squares()[4])[:4]
    middle = (south_east[0], LAT + 150 / NORTH)
    grids = changed(5, shapely.Polygon([south_east, middle, north_east, *others]))

    repaired, report = repair_tiling(grids, width_m=1)

    assert [fault.kind for fault in faults_of(grids)] == [Kind.UNMATCHED_EDGE]
    assert faults_of(repaired) == ()
    assert report.moves.empty


def test_an_exact_layer_comes_back_bit_for_bit():
    grids = layer(squares(), area_m2=[1.0] * 9)

    repaired, report = repair_tiling(grids, width_m=5)

    assert shapely.equals_identical(shapely.normalize(repaired.geometry), shapely.normalize(grids.geometry)).all()
    assert report.moves.empty
    assert report.changes.empty
    assert repaired["area_m2"].to_numpy() == pytest.approx(10_000, rel=1e-3)


def test_what_is_no_valid_polygon_is_left_and_named():
    bow_tie = shapely.Polygon([(LON, LAT), (LON + 1e-3, LAT + 1e-3), (LON + 1e-3, LAT), (LON, LAT + 1e-3)])

    repaired, report = repair_tiling(layer([bow_tie, None, *squares()[3:]]), width_m=1)

    assert report.untouched == ("g1", "g2")
    assert repaired.geometry.iloc[0].equals_exact(bow_tie)


@pytest.mark.parametrize("width_m", [0, -1, float("nan")])
def test_a_width_that_is_none_is_refused(width_m):
    with pytest.raises(InvalidInput, match="above 0"):
        repair_tiling(layer(squares()), width_m=width_m)


@settings(max_examples=30, deadline=None)
@given(west_m=st.floats(-2, 2), east_m=st.floats(-2, 2), south_m=st.floats(-2, 2), north_m=st.floats(-2, 2))
def test_a_repair_loses_no_ground_and_leaves_an_exact_tiling(west_m, east_m, south_m, north_m):
    grids = changed(5, box(100 + west_m, 100 + south_m, 200 + east_m, 200 + north_m))

    repaired, report = repair_tiling(grids, width_m=5)

    assert faults_of(repaired) == ()
    assert area_and_width_m(repaired.geometry.to_numpy())[0].sum() == pytest.approx(90_000, rel=1e-3)
    gained, lost = report.changes["gained_m2"].sum(), report.changes["lost_m2"].sum()
    from_nobody = report.moves.loc[report.moves["from_code"].isna(), "area_m2"].sum()
    assert gained == pytest.approx(lost + from_nobody, abs=1e-6)


def test_areas_are_dissolved_along_the_grids_edges():
    towns = ["t1"] * 6 + ["t2"] * 3
    communities = ["t1a"] * 3 + ["t1b"] * 3 + ["t2a"] * 3
    grids = layer(squares(), town_code=towns, town=towns, community_code=communities, community=communities)

    areas = derive_areas(grids, city_name="City", adcode="c")

    assert areas["level"].tolist() == ["district", "town", "town", "community", "community", "community"]
    assert areas["code"].tolist() == ["c", "t1", "t2", "t1a", "t1b", "t2a"]
    assert areas["parent_code"].tolist() == [None, "c", "c", "t1", "t1", "t2"]
    assert areas.geometry[1].equals(box(0, 0, 300, 200))
    assert shapely.equals_identical(*shapely.normalize([areas.geometry[0], shapely.coverage_union_all(squares())]))


def test_a_layer_without_towns_and_communities_is_one_area_a_level():
    areas = derive_areas(layer(squares()), city_name="City", adcode="c")

    assert areas[["level", "code", "name"]].to_numpy().tolist() == [
        ["district", "c", "City"],
        ["town", "c", "City"],
        ["community", "c", "City"],
    ]
    assert areas["parent_code"].tolist() == [None, "c", "c"]


def test_a_layer_with_towns_only_has_one_community_below_each():
    grids = layer(squares(), town_code=["t1"] * 6 + ["t2"] * 3, town=["One"] * 6 + ["Two"] * 3)

    areas = derive_areas(grids, city_name="City", adcode="c")

    assert areas["level"].tolist() == ["district", "town", "town", "community", "community"]
    assert areas[["code", "name", "parent_code"]].to_numpy().tolist()[3:] == [["t1", "One", "t1"], ["t2", "Two", "t2"]]
