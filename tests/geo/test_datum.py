import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from gis_grid.geo.datum import (
    CHINA,
    Datum,
    DatumMismatch,
    InvalidLonLat,
    LonLat,
    SwappedLonLat,
    bd09_to_gcj02,
    bd09_to_wgs84,
    gcj02_to_bd09,
    gcj02_to_wgs84,
    guess_datum,
    refusal_reasons,
    to_wgs84,
    wgs84_to_bd09,
    wgs84_to_gcj02,
)

MINHANG_BOUNDS = (121.25, 30.98, 121.58, 31.26)

in_china = st.tuples(st.floats(CHINA[0], CHINA[2]), st.floats(CHINA[1], CHINA[3]))
ON_BORDER = [
    (lon, lat)
    for lon in (*(CHINA[0], CHINA[2]), CHINA[0] + 1e-4, CHINA[2] - 1e-4, 105.0)
    for lat in (*(CHINA[1], CHINA[3]), CHINA[1] + 1e-4, CHINA[3] - 1e-4, 35.0)
]


def assert_close_deg(pair, expected, within_deg):
    assert np.allclose(np.array(pair), np.array(expected), rtol=0, atol=within_deg)


def test_the_published_offset_in_minhang_is_met():
    lon, lat = wgs84_to_gcj02(121.38, 31.11)

    assert_close_deg((lon - 121.38, lat - 31.11), (0.0046289, -0.0019071), 5e-8)


@given(in_china)
def test_wgs84_comes_back_from_gcj02(place):
    assert_close_deg(gcj02_to_wgs84(*wgs84_to_gcj02(*place)), place, 1e-9)


@given(in_china)
def test_wgs84_comes_back_from_bd09(place):
    assert_close_deg(bd09_to_wgs84(*wgs84_to_bd09(*place)), place, 1e-9)


@given(in_china)
def test_gcj02_comes_back_from_bd09(place):
    gcj = wgs84_to_gcj02(*place)

    assert_close_deg(bd09_to_gcj02(*gcj02_to_bd09(*gcj)), gcj, 1e-9)


@pytest.mark.parametrize("place", ON_BORDER)
def test_places_on_the_border_of_the_china_box_come_back(place):
    assert_close_deg(gcj02_to_wgs84(*wgs84_to_gcj02(*place)), place, 1e-9)
    assert_close_deg(bd09_to_wgs84(*wgs84_to_bd09(*place)), place, 1e-9)


@given(in_china)
def test_wgs84_straight_to_bd09_equals_the_way_over_gcj02(place):
    assert_close_deg(gcj02_to_bd09(*wgs84_to_gcj02(*place)), wgs84_to_bd09(*place), 1e-12)


@pytest.mark.parametrize("shift", [wgs84_to_gcj02, gcj02_to_wgs84, wgs84_to_bd09, bd09_to_wgs84, gcj02_to_bd09])
@pytest.mark.parametrize("place", [(-71.0587, 42.3594), (0.0, 0.0), (71.8, 30.0), (math.nan, 31.0), (math.inf, 31.0)])
def test_outside_china_nothing_moves(shift, place):
    assert np.array_equal(np.array(shift(*place)), np.array(place), equal_nan=True)


def test_bd09_lies_more_than_a_kilometre_off_in_minhang():
    lon, lat = wgs84_to_bd09(121.38, 31.11)

    assert 1110 < math.hypot((lon - 121.38) * 95_400, (lat - 31.11) * 110_870) < 1150


def test_cgcs2000_is_wgs84_within_a_metre():
    assert_close_deg(to_wgs84([121.38], [31.11], Datum.CGCS2000), ([121.38], [31.11]), 1e-5)


@pytest.mark.parametrize("datum", Datum)
def test_conversion_keeps_shape_input_and_what_is_no_place(datum):
    lon, lat = np.array([[121.38, math.nan], [math.inf, 500.0]]), np.array([[31.11, 31.11], [31.11, -31.0]])
    before = lon.copy()

    out_lon, out_lat = to_wgs84(lon, lat, datum)

    assert out_lon.shape == out_lat.shape == (2, 2)
    assert np.array_equal(out_lon.ravel()[1:], before.ravel()[1:], equal_nan=True)
    assert np.array_equal(lon, before, equal_nan=True)
    assert out_lon is not lon


def test_a_checked_place_keeps_longitude_first():
    assert LonLat.checked(121.38, 31.11, bounds=MINHANG_BOUNDS) == LonLat(lon=121.38, lat=31.11)


@pytest.mark.parametrize(
    ("lon", "lat"), [(math.nan, 31), (121, math.nan), (math.inf, 0), (0, -math.inf), (181, 91), (200, 31), (10**400, 0)]
)
def test_what_names_no_place_is_refused(lon, lat):
    with pytest.raises(InvalidLonLat, match="expected"):
        LonLat.checked(lon, lat)


def test_a_pair_that_only_fits_turned_round_is_named_as_swapped():
    with pytest.raises(SwappedLonLat, match="turned round"):
        LonLat.checked(31.11, 121.38)


def test_a_pair_that_lies_in_the_district_only_turned_round_is_named_as_swapped():
    boston = (-71.2, 42.2, -70.9, 42.4)

    assert LonLat.checked(42.3, -71.1) == LonLat(42.3, -71.1)
    with pytest.raises(SwappedLonLat, match="turned round"):
        LonLat.checked(42.3, -71.1, bounds=boston)


@pytest.mark.parametrize("place", [(-180, -90), (180, 90), (0, 0)])
def test_the_ends_of_the_range_are_places(place):
    assert LonLat.checked(*place) == place


def test_reasons_stand_on_the_rows_they_belong_to():
    reasons = refusal_reasons(np.array([121.4, np.nan, 31.1, 999.0]), np.array([31.1, 31.1, 121.4, 0.0]))

    assert reasons[0] is None
    assert ["finite" in reasons[1], "swapped" in reasons[2], "-180 to 180" in reasons[3]] == [True, True, True]


DISTRICT = shapely.box(121.30, 31.00, 121.50, 31.20)


def points_in_district(count, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(121.30, 121.50, count), rng.uniform(31.00, 31.20, count)


@pytest.mark.parametrize("true", [Datum.GCJ02, Datum.BD09])
def test_a_batch_on_another_datum_is_named(true):
    to_true = {Datum.GCJ02: wgs84_to_gcj02, Datum.BD09: wgs84_to_bd09}[true]
    guess = guess_datum(*to_true(*points_in_district(1000)), DISTRICT, Datum.WGS84)

    assert guess.likely is true
    assert guess.inside_shares[true] == 1.0
    with pytest.raises(DatumMismatch, match=f"look like {true}"):
        guess.require_declared()


def test_wgs84_declared_as_gcj02_is_named_wgs84():
    assert guess_datum(*points_in_district(1000), DISTRICT, Datum.GCJ02).likely is Datum.WGS84


def test_a_batch_on_its_declared_datum_passes():
    guess = guess_datum(*points_in_district(1000), DISTRICT, Datum.WGS84)

    guess.require_declared()
    assert guess.likely is None
    assert guess.inside_shares[Datum.WGS84] == 1.0


@pytest.mark.parametrize(("distinct", "likely"), [(99, None), (100, Datum.GCJ02)])
def test_repeated_points_count_once_and_fewer_than_100_tell_nothing(distinct, likely):
    by_east_edge = wgs84_to_gcj02(np.linspace(121.497, 121.499, distinct), np.full(distinct, 31.1))
    guess = guess_datum(np.tile(by_east_edge[0], 5), np.tile(by_east_edge[1], 5), DISTRICT, Datum.WGS84)

    assert guess.inside_shares[Datum.WGS84] == 0.0
    assert (guess.distinct_count, guess.likely) == (distinct, likely)


@pytest.mark.parametrize(("moved", "likely"), [(1, None), (2, Datum.WGS84)])
def test_a_lead_of_two_percentage_points_decides(moved, likely):
    lon, lat = points_in_district(98 + 2 - moved)
    lon, lat = 121.40 + (lon - 121.40) / 2, 31.10 + (lat - 31.10) / 2  # well inside on every datum
    on_west_edge = 121.3001 + np.arange(moved) * 1e-6  # inside as WGS84, outside once a GCJ-02 shift is taken off
    guess = guess_datum(np.append(lon, on_west_edge), np.append(lat, [31.1] * moved), DISTRICT, Datum.GCJ02)

    assert (guess.distinct_count, guess.likely) == (100, likely)


def test_no_valid_points_tell_nothing():
    guess = guess_datum([math.nan], [31.1], DISTRICT, Datum.WGS84)

    assert (guess.distinct_count, guess.likely, guess.inside_shares) == (0, None, {})
    guess.require_declared()


def test_outside_china_no_datum_is_better_than_another():
    rng = np.random.default_rng(1)
    boston = shapely.box(-71.2, 42.2, -70.9, 42.4)
    guess = guess_datum(rng.uniform(-71.2, -70.9, 500), rng.uniform(42.2, 42.4, 500), boston, Datum.BD09)

    assert guess.likely is None
    assert str(guess).startswith("cannot tell")
