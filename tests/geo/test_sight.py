import math
from datetime import date, time

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from gis_grid.errors import InvalidInput
from gis_grid.geo.blindspots import UnusableExclusions, exclusions_in_force, seen_shares, unseen_ground
from gis_grid.geo.patches import polygonise
from gis_grid.geo.sight import Shifts, UnusableFixes, UnusableShifts, burn_fixes
from gis_grid.geo.tiles import (
    Ground,
    GroundMask,
    NotMetric,
    SeenTiles,
    UnusablePolygon,
    ground_of,
    masks_of,
    merge,
    union,
)

METRIC = "EPSG:4549"
EAST, NORTH = 640.0 * 810, 640.0 * 5380  # the south-west corner of a tile in Minhang
CORNER = np.array([EAST, NORTH])
CITY = {"metric_crs": METRIC, "time_zone": "Asia/Shanghai"}
NOON = pd.Timestamp("2025-03-01T12:00:00+08:00")
TO_DEGREES = Transformer.from_crs(METRIC, "EPSG:4326", always_xy=True)


def walk(*places, every_s=30, start=NOON, track="a"):
    """Fixes at places in metres from (EAST, NORTH)."""
    xy = np.array(places, dtype=float).reshape(-1, 2) + CORNER
    lon, lat = TO_DEGREES.transform(xy[:, 0], xy[:, 1])
    at = start.tz_convert("UTC") + pd.to_timedelta(np.arange(len(xy)) * every_s, unit="s")
    return pd.DataFrame({"track": track, "lon": lon, "lat": lat, "at": at})


def box(x0, y0, x1, y1):
    return shapely.box(EAST + x0, NORTH + y0, EAST + x1, NORTH + y1)


def areas(*shapes, **columns):
    codes = [f"31011200100100{k}" for k in range(len(shapes))]
    return gpd.GeoDataFrame({"grid_code": codes, **columns}, geometry=list(shapes), crs=METRIC)


def same(one, other):
    return all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("tile_row", "tile_col", "bits")) and (
        isinstance(one, Ground) or (np.array_equal(one.day, other.day) and np.array_equal(one.shift, other.shift))
    )


def seen_cells(ground, low, high):
    """Boolean cells between two lattice cells, rows northwards."""
    window = np.zeros((high[0] - low[0], high[1] - low[1]), bool)
    for row, col, bits in zip(ground.tile_row, ground.tile_col, ground.bits, strict=True):
        r, c = np.nonzero(np.unpackbits(bits).reshape(128, 128))
        r, c = row * 128 + r - low[0], col * 128 + c - low[1]
        within = (r >= 0) & (r < window.shape[0]) & (c >= 0) & (c < window.shape[1])
        window[r[within], c[within]] = True
    return window


steps = st.floats(-140, 140)
# Around the corner of four tiles, no step longer than 200 m.
paths = st.lists(st.tuples(st.floats(570, 710), st.floats(570, 710)), min_size=2, max_size=8)
laws = settings(deadline=None, max_examples=40)


@pytest.mark.parametrize("turn_deg", [0, 17, 45, 90, 133])
def test_a_straight_walk_of_100_m_sees_its_capsule(turn_deg):
    ahead = np.array([math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))])

    seen = union(burn_fixes(walk((301, 303), (301, 303) + 100 * ahead), **CITY))

    assert seen.area_m2 == pytest.approx(math.pi * 50**2 + 100 * 100, rel=0.01)


@laws
@given(st.floats(-640, 640), st.floats(-640, 640), steps, steps, st.floats(1, 120))
def test_a_cell_is_seen_exactly_when_its_centre_is_within_sight(x, y, dx, dy, sight_m):
    path = shapely.LineString([(EAST + x, NORTH + y), (EAST + x + dx, NORTH + y + dy)])
    west, south, east, north = (int(v // 5) for v in path.buffer(sight_m + 10).bounds)
    low, high = (south, west), (north, east)
    rows, cols = np.meshgrid(np.arange(south, north), np.arange(west, east), indexing="ij")
    distance = shapely.distance(shapely.points((cols + 0.5) * 5, (rows + 0.5) * 5), path)

    ground = union(burn_fixes(walk((x, y), (x + dx, y + dy)), sight_m=sight_m, **CITY))

    seen = seen_cells(ground, low, high)
    assert seen.sum() * 25 == ground.area_m2
    no_tie = np.abs(distance - sight_m) > 1e-6
    assert np.array_equal(seen[no_tie], distance[no_tie] <= sight_m)


@laws
@given(paths, st.floats(5, 100), st.floats(0, 100))
def test_seeing_farther_never_sees_less(path, sight_m, more_m):
    fixes = walk(*path)

    near = union(burn_fixes(fixes, sight_m=sight_m, **CITY))
    far = union(burn_fixes(fixes, sight_m=sight_m + more_m, **CITY))

    mask = GroundMask(np.zeros(len(near.bits), int), near.tile_row, near.tile_col, near.bits, 1)
    assert np.array_equal(mask.found(far), near.bits)


@laws
@given(paths, st.randoms(use_true_random=False))
def test_neither_row_order_nor_repeated_rows_change_a_bit(path, random):
    fixes = pd.concat([walk(*path), walk(*path[::-1], track="b")], ignore_index=True)
    rows = [*range(len(fixes)), 0, len(fixes) - 1]
    random.shuffle(rows)

    assert same(burn_fixes(fixes.iloc[rows], **CITY), burn_fixes(fixes, **CITY))


@laws
@given(paths, st.data())
def test_overlapping_chunks_merge_into_what_the_whole_track_saw(path, data):
    fixes = walk(*path, start=pd.Timestamp("2025-03-01T21:58:40+08:00"))
    cut = data.draw(st.integers(1, len(fixes) - 1))
    back = data.draw(st.integers(1, cut))
    chunks = [burn_fixes(fixes[:cut], **CITY), burn_fixes(fixes[cut - back :], **CITY)]

    assert same(merge(chunks), burn_fixes(fixes, **CITY))
    assert same(merge([*chunks[::-1], chunks[0]]), burn_fixes(fixes, **CITY))


def test_against_exact_buffers_the_mean_error_is_within_0_06_percentage_points_and_the_bias_within_0_02():
    rng = np.random.default_rng(7)
    paths = rng.uniform(0, 5000, (60, 1, 2)) + rng.normal(0, 15, (60, 80, 2)).cumsum(axis=1)
    fixes = pd.concat([walk(*path, track=k) for k, path in enumerate(paths)], ignore_index=True)
    grids = areas(*(box(x, y, x + 500, y + 500) for x in range(0, 5000, 500) for y in range(0, 5000, 500)))
    walked = [shapely.LineString(path + CORNER) for path in paths]
    exact = shapely.union_all(shapely.buffer(walked, 50, quad_segs=64))

    share = seen_shares(grids, burn_fixes(fixes, **CITY), metric_crs=METRIC)["seen_share"]

    true = shapely.area(shapely.intersection(grids.geometry.to_numpy(), exact)) / 500**2
    assert 0.1 < true.mean() < 0.9
    assert np.abs(share - true).mean() <= 0.0006
    assert abs((share - true).mean()) <= 0.0002


def test_a_gap_in_time_is_not_ground_walked():
    assert len(burn_fixes(walk((0, 0), (100, 0), every_s=61), **CITY)) == 0
    assert len(burn_fixes(walk((0, 0), (100, 0), every_s=60), **CITY)) > 0


def test_a_jump_of_more_than_200_m_is_not_ground_walked():
    assert len(burn_fixes(walk((0, 0), (200.01, 0)), **CITY)) == 0
    assert len(burn_fixes(walk((0, 0), (199.99, 0)), **CITY)) > 0


def test_no_time_between_two_fixes_is_not_ground_walked():
    assert len(burn_fixes(walk((0, 0), (100, 0), every_s=0), **CITY)) == 0


def test_a_lone_fix_sees_nothing():
    assert len(burn_fixes(walk((0, 0)), **CITY)) == 0
    assert len(burn_fixes(walk((0, 0), (1000, 0), (0, 0)), **CITY)) == 0


def test_standing_still_sees_a_disc():
    seen = union(burn_fixes(walk((301, 303), (301, 303)), **CITY))

    assert seen.area_m2 == pytest.approx(math.pi * 50**2, rel=0.01)


def test_two_tracks_are_not_joined():
    fixes = pd.concat([walk((0, 0)), walk((100, 0), track="b", start=NOON + pd.Timedelta("30s"))])

    assert len(burn_fixes(fixes, **CITY)) == 0


def test_tiles_lie_on_absolute_coordinates():
    seen = burn_fixes(walk((300, 300), (310, 300)), **CITY)

    assert (list(seen.tile_col), list(seen.tile_row)) == ([810], [5380])
    assert list(seen.day) == [date(2025, 3, 1).toordinal()]
    assert list(seen.shift) == [0]


def test_bits_run_from_the_south_west_eastwards_as_in_bit_varying():
    mask = masks_of(areas(box(15, 10, 20, 15)), METRIC)  # one cell: third row, fourth column

    bit_varying = f"{int.from_bytes(mask.bits[0].tobytes()):016384b}"
    assert bit_varying.index("1") == 2 * 128 + 3
    assert bit_varying.count("1") == 1


def test_a_walk_over_the_end_of_the_day_shift_is_split_there():
    fixes = walk((300, 300), (400, 300), every_s=60, start=pd.Timestamp("2025-03-01T21:59:30+08:00"))

    seen = burn_fixes(fixes, **CITY)

    by_hand = [union(burn_fixes(walk(*ends), **CITY)) for ends in [((300, 300), (350, 300)), ((350, 300), (400, 300))]]
    assert list(seen.shift) == [0, 1]
    assert np.array_equal(seen.bits, np.vstack([part.bits for part in by_hand]))
    assert same(union(seen), union(burn_fixes(walk((300, 300), (400, 300)), **CITY)))


def test_a_night_is_kept_by_the_date_the_citys_clock_shows():
    fixes = walk((300, 300), (400, 300), every_s=60, start=pd.Timestamp("2025-03-01T23:59:30+08:00"))

    seen = burn_fixes(fixes, **CITY)

    assert [date.fromordinal(day) for day in seen.day] == [date(2025, 3, 1), date(2025, 3, 2)]
    assert list(seen.shift) == [1, 1]
    assert len(seen.between(date(2025, 3, 2), date(2025, 3, 31))) == 1
    assert len(seen.between(date(2025, 3, 1), date(2025, 3, 31), shift=0)) == 0


def test_being_there_at_the_stroke_of_the_hour_sees_nothing_in_the_new_shift():
    fixes = walk((300, 300), (400, 300), every_s=30, start=pd.Timestamp("2025-03-01T21:59:30+08:00"))

    assert list(burn_fixes(fixes, **CITY).shift) == [0]


def test_shift_hours_are_an_argument():
    hours = Shifts(day_from=time(13), day_until=time(14))

    assert list(burn_fixes(walk((300, 300), (310, 300)), shifts=hours, **CITY).shift) == [1]


@pytest.mark.parametrize("hours", [(time(8), time(8)), (time(22), time(6)), (time(6, 0, 1), time(22))])
def test_shift_hours_that_cut_no_day_are_refused(hours):
    with pytest.raises(UnusableShifts):
        Shifts(*hours)


def test_no_fixes_see_nothing():
    seen = burn_fixes(walk((0, 0))[:0], **CITY)

    assert len(seen) == 0
    assert union(seen).area_m2 == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="at"), "without at"),
        (lambda f: f.assign(at=f["at"].dt.tz_localize(None)), "aware"),
        (lambda f: f.assign(lon=math.nan), "finite"),
        (lambda f: f.assign(lat=math.inf), "finite"),
    ],
)
def test_unusable_fixes_are_refused(change, says):
    with pytest.raises(UnusableFixes, match=says):
        burn_fixes(change(walk((0, 0), (10, 0))), **CITY)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2249", "nonsense"])
def test_a_crs_not_in_metres_is_refused(crs):
    with pytest.raises(NotMetric):
        burn_fixes(walk((0, 0), (10, 0)), metric_crs=crs, time_zone="Asia/Shanghai")


def test_an_unknown_time_zone_and_a_senseless_sight_are_refused():
    with pytest.raises(InvalidInput, match="Asia/Shanghai"):
        burn_fixes(walk((0, 0), (10, 0)), metric_crs=METRIC, time_zone="Mars/Olympus")
    for sight_m in (0, -1, math.nan, 1e9):
        with pytest.raises(InvalidInput, match="sight_m"):
            burn_fixes(walk((0, 0), (10, 0)), sight_m=sight_m, **CITY)


@laws
@given(st.lists(st.tuples(st.floats(1, 1499), st.floats(1, 1499)), min_size=2, max_size=25, unique=True))
def test_a_tiling_gives_every_cell_to_exactly_one_polygon(points):
    frame = box(0, 0, 1500, 1500)
    sites = shapely.MultiPoint(np.array(points) + CORNER)
    cells = shapely.get_parts(
        shapely.polygonize(
            shapely.get_parts(
                shapely.node(
                    shapely.union_all(
                        [
                            frame.exterior,
                            *shapely.get_parts(shapely.voronoi_polygons(sites, extend_to=frame, only_edges=True)),
                        ]
                    )
                )
            )
        )
    )

    mask = masks_of(gpd.GeoSeries(cells, crs=METRIC), METRIC)

    # As many cells in all as there are in their union, which misses and repeats none.
    assert mask.cells().sum() == ground_of(mask).area_m2 / 25
    within = masks_of(areas(shapely.union_all(cells)), METRIC).cells().sum()
    assert mask.cells().sum() == within


def test_a_cell_on_a_shared_edge_belongs_to_one_side_only():
    # Edges run through the cells' centres.
    halves = areas(box(0, 0, 52.5, 52.5), box(52.5, 0, 100, 52.5), box(0, 52.5, 100, 100))

    assert list(masks_of(halves, METRIC).cells()) == [100, 100, 200]


def test_the_centre_decides_also_in_holes_and_parts():
    ring = (
        shapely.Point(EAST + 600, NORTH + 600).buffer(333).difference(shapely.Point(EAST + 650, NORTH + 610).buffer(77))
    )
    shape = shapely.union_all([ring, box(1100, 3, 1203, 171)])
    low = (int(NORTH // 5), int(EAST // 5))
    rows, cols = np.meshgrid(low[0] + np.arange(256), low[1] + np.arange(256), indexing="ij")

    cells = seen_cells(ground_of(masks_of(areas(shape), METRIC)), low, (low[0] + 256, low[1] + 256))

    assert np.array_equal(cells, shapely.contains_xy(shape, (cols + 0.5) * 5, (rows + 0.5) * 5))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]), "Self-intersection"),
        (shapely.Polygon(), "nothing"),
        (None, "nothing"),
        (shapely.Point(0, 0), "Point"),
        (shapely.box(-1e7, -1e7, 1e7, 1e7), "too large"),
    ],
)
def test_an_unusable_polygon_is_named(shape, says):
    with pytest.raises(UnusablePolygon, match=rf"row 1: .*{says}"):
        masks_of(areas(box(0, 0, 9, 9), shape), METRIC)


def test_polygons_without_a_crs_are_refused():
    with pytest.raises(NotMetric, match="no CRS"):
        masks_of(gpd.GeoSeries([box(0, 0, 9, 9)]), METRIC)


def test_a_half_seen_grid_is_a_half_and_the_callers_index_comes_back():
    grids = areas(box(0, 0, 100, 100), box(0, -100, 100, -50), box(0, 50, 100, 100), box(0, 0, 1, 1))
    grids.index = ["half", "none", "north", "smaller than a cell"]
    seen = burn_fixes(walk((-60, 0), (60, 0), (160, 0)), **CITY)

    shares = seen_shares(grids, seen, metric_crs=METRIC)

    assert list(shares.index) == list(grids.index)
    assert list(shares["seen_share"][:3]) == [0.5, 0.0, 0.0]
    assert math.isnan(shares["seen_share"].iloc[3])
    assert list(shares["seen_m2"]) == [5000, 0, 0, 0]
    assert list(shares["ground_m2"]) == [10000, 5000, 5000, 0]


def test_grids_may_come_in_degrees():
    grids = areas(box(0, 0, 100, 100)).to_crs("EPSG:4326")
    seen = burn_fixes(walk((-60, 0), (60, 0), (160, 0)), **CITY)

    assert seen_shares(grids, seen, metric_crs=METRIC)["seen_share"].iloc[0] == pytest.approx(0.5, abs=0.03)


def test_excluded_ground_is_in_neither_numerator_nor_denominator():
    grids = areas(box(0, 0, 100, 100))
    seen = burn_fixes(walk((-60, 0), (60, 0), (160, 0)), **CITY)
    pond = areas(box(0, 0, 100, 25), reason=["pond"])  # half of what was seen

    shares = seen_shares(grids, seen, metric_crs=METRIC, excluded=pond)

    assert shares["seen_share"].iloc[0] == pytest.approx(1 / 3)
    assert shares[["seen_m2", "ground_m2", "excluded_m2"]].to_numpy().tolist() == [[2500, 7500, 2500]]


def test_an_exclusion_holds_up_to_its_last_day():
    yards = areas(*[box(0, 0, 9, 9)] * 3, reason=["yard"] * 3, until=["2025-03-31", None, date(2025, 4, 1)])

    def in_force(day):
        return list(exclusions_in_force(yards, as_of=day).index)

    assert in_force(date(2025, 3, 31)) == [0, 1, 2]
    assert in_force(date(2025, 4, 1)) == [1, 2]
    assert in_force(date(2025, 4, 2)) == [1]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({}, "reason"),
        ({"reason": [None]}, "reason"),
        ({"reason": ["x"], "until": ["soon"]}, "soon"),
        ({"reason": ["x"], "until": ["2025-03-31"]}, "day to judge"),
    ],
)
def test_exclusions_that_cannot_be_judged_are_refused(columns, says):
    with pytest.raises(UnusableExclusions, match=says):
        exclusions_in_force(areas(box(0, 0, 9, 9), **columns), as_of=None)


def test_unseen_ground_is_named_by_grid_largest_first():
    grids = areas(box(0, 0, 100, 100), box(0, -200, 100, 0), box(0, -400, 100, -200))
    seen = burn_fixes(walk((-60, 0), (60, 0), (160, 0)), **CITY)

    patches = unseen_ground(grids, seen, metric_crs=METRIC)

    assert patches["grid_code"].str[-1].tolist() == ["2", "1", "0"]
    assert patches["area_m2"].tolist() == [20000, 15000, 5000]
    assert patches.crs == "EPSG:4326"
    assert shapely.get_num_coordinates(patches.geometry.to_numpy()).tolist() == [5, 5, 5]
    there = patches.to_crs(METRIC).geometry.iloc[2]
    assert there.hausdorff_distance(box(0, 50, 100, 100)) < 0.2


def test_unseen_ground_leaves_out_excluded_ground_and_small_patches():
    grids = areas(box(0, 0, 100, 100))
    pond = areas(box(0, 60, 100, 100), reason=["pond"])
    seen = burn_fixes(walk((-60, 0), (60, 0), (160, 0)), **CITY)

    def patches(min_area_m2):
        return unseen_ground(grids, seen, metric_crs=METRIC, excluded=pond, min_area_m2=min_area_m2)

    assert patches(1000)["area_m2"].tolist() == [1000]
    assert patches(1001).empty
    assert patches(1001).crs == "EPSG:4326"


def test_all_seen_leaves_no_patch():
    seen = burn_fixes(walk((0, 0), (10, 10)), **CITY)

    assert unseen_ground(areas(box(0, 0, 20, 20)), seen, metric_crs=METRIC).empty


def test_where_grids_overlap_unseen_ground_goes_to_the_lowest_code():
    grids = areas(box(0, 0, 100, 100), box(50, 0, 150, 100))[::-1]
    nothing = burn_fixes(walk((0, 0)), **CITY)

    patches = unseen_ground(grids, nothing, metric_crs=METRIC)

    assert patches["grid_code"].str[-1].tolist() == ["0", "1"]
    assert patches["area_m2"].tolist() == [10000, 5000]


@laws
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(112, 120))
def test_polygonised_cells_are_the_same_cells_again(first, second, corner):
    """Two random 16 × 16 patterns across the corner of four tiles, laid back on the lattice."""
    patterns = [np.unpackbits(np.frombuffer(half, np.uint8)).reshape(16, 16) for half in (first, second)]
    patterns[1] &= ~patterns[0] & 1
    window = np.zeros((2, 256, 256), np.uint8)
    window[:, corner : corner + 16, corner : corner + 16] = patterns
    tiles = window.reshape(2, 2, 128, 2, 128).transpose(0, 1, 3, 2, 4).reshape(8, 128 * 128)
    place = np.indices((2, 2, 2)).reshape(3, 8)
    mask = GroundMask(place[0], 5380 + place[1], 810 + place[2], np.packbits(tiles, axis=1), 2)

    shapes, owner = polygonise(mask, rank=np.arange(2))

    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == (patterns[0].sum() + patterns[1].sum()) * 25
    for k in (0, 1):
        again = ground_of(masks_of(gpd.GeoSeries(shapes[owner == k], crs=METRIC), METRIC))
        of_k = mask.polygon == k
        was = GroundMask(*(v[of_k] for v in (mask.polygon, mask.tile_row, mask.tile_col, mask.bits)), 2)
        assert same(again, ground_of(was))
        assert len(shapely.get_parts(shapely.union_all(shapes[owner == k]))) == (owner == k).sum()


def test_a_patch_that_meets_itself_in_a_corner_has_a_hole_there():
    cells = np.zeros((128, 128), np.uint8)
    cells[10:13, 10:13] = [[1, 1, 1], [1, 0, 1], [1, 1, 0]]
    mask = GroundMask(np.array([0]), np.array([5380]), np.array([810]), np.packbits(cells.reshape(1, -1), axis=1), 1)

    shapes, _ = polygonise(mask, rank=np.arange(1))

    assert [len(shape.interiors) for shape in shapes] == [1]
    assert shapely.is_valid(shapes).all()
    assert shapes[0].area == 7 * 25


def test_smoothed_patches_keep_their_area_and_do_not_overlap():
    grids = areas(*(box(x, y, x + 500, y + 500) for x in (0, 500) for y in (0, 500)))
    seen = burn_fixes(walk((100, 120), (250, 170), (380, 310), (520, 400), (700, 480)), **CITY)
    exact = unseen_ground(grids, seen, metric_crs=METRIC)

    smooth = unseen_ground(grids, seen, metric_crs=METRIC, simplify_m=10)

    planar = smooth.to_crs(METRIC).geometry
    assert smooth["area_m2"].tolist() == exact["area_m2"].tolist()
    assert planar.area.sum() == pytest.approx(exact["area_m2"].sum(), rel=0.01)
    assert shapely.get_num_coordinates(planar.to_numpy()).sum() < 0.5 * exact.geometry.count_coordinates().sum()
    assert planar.area.sum() - planar.union_all().area < 1.0
    assert planar.is_valid.all()


def test_merging_nothing_new_changes_nothing():
    seen = burn_fixes(walk((0, 0), (100, 0)), **CITY)

    assert isinstance(seen, SeenTiles)
    assert same(merge([seen, seen]), seen)
