import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gis_grid.geo.density import (
    HeatSurface,
    UnusableSurface,
    cell_areas_km2,
    colour_ramp,
    heat_surface,
    implausible_piles,
    legend_breaks,
    on_piles,
    to_png,
)

MINHANG = (121.24, 30.96, 121.58, 31.26)
MIDDLE = (121.41, 31.11)
laws = settings(deadline=None, max_examples=40)


def held(surface):
    return float((surface.values.astype(np.float64) * cell_areas_km2(surface)[:, None]).sum())


@laws
@given(
    st.lists(st.tuples(st.floats(121.0, 121.8), st.floats(30.8, 31.4)), max_size=30),
    st.floats(40, 500),
    st.floats(0, 2000),
)
def test_the_surface_holds_exactly_the_points_inside(points, cell_m, bandwidth_m):
    lon, lat = np.array(points).reshape(-1, 2).T
    west, south, east, north = MINHANG
    inside = ((west <= lon) & (lon <= east) & (south <= lat) & (lat <= north)).sum()

    surface = heat_surface(lon, lat, bounds=MINHANG, cell_m=cell_m, bandwidth_m=bandwidth_m)

    assert held(surface) == pytest.approx(inside, rel=1e-4)


def test_weights_count_and_places_that_are_not_finite_do_not():
    lon, lat = [MIDDLE[0], MIDDLE[0], math.nan, math.inf], [MIDDLE[1], MIDDLE[1], 31.1, 31.1]

    surface = heat_surface(lon, lat, bounds=MINHANG, weights=[2.0, 0.5, 7.0, 7.0])

    assert held(surface) == pytest.approx(2.5, rel=1e-5)


@pytest.mark.parametrize("lat", [0.0, 31.11, 60.0])
def test_a_bandwidth_is_true_metres_on_the_ground_at_every_latitude(lat):
    surface = heat_surface([10.0], [lat], bounds=(9.9, lat - 0.1, 10.1, lat + 0.1), cell_m=20, bandwidth_m=400)
    peak = surface.values.max()
    # A Gaussian's peak is n / (2 pi sigma^2): one report spread with 0.4 km.
    assert peak == pytest.approx(1 / (2 * math.pi * 0.4**2), rel=0.01)

    row, col = np.unravel_index(surface.values.argmax(), surface.values.shape)
    # One bandwidth away it has fallen to exp(-1/2), eastwards as northwards: 400 m are 20 cells.
    for value in (surface.values[row, col + 20], surface.values[row - 20, col]):
        assert value == pytest.approx(peak * math.exp(-0.5), rel=0.03)


def test_cells_have_the_side_asked_for():
    surface = heat_surface([], [], bounds=MINHANG, cell_m=50)

    # 0.3 degrees of latitude are 33.26 km at 31 degrees north, 0.34 of longitude 32.48 km.
    assert surface.values.shape == (665, 649)
    assert cell_areas_km2(surface) == pytest.approx(0.05**2, rel=0.01)
    assert surface.bounds == MINHANG


def test_row_0_is_in_the_north_and_rows_are_equally_spaced_in_mercator():
    bounds = (10.0, 58.0, 10.5, 61.0)
    lat = 59.5
    y = [math.asinh(math.tan(math.radians(v))) for v in (bounds[3], lat, bounds[1])]

    surface = heat_surface([10.25], [lat], bounds=bounds, cell_m=500, bandwidth_m=0)

    row = int(surface.values.argmax() // surface.values.shape[1])
    assert row == int((y[0] - y[1]) / (y[0] - y[2]) * surface.values.shape[0])
    assert row > surface.values.shape[0] / 2 + 1  # on a raster of equal degrees it would be the middle row


def test_points_on_the_outer_edges_are_inside():
    west, south, east, north = MINHANG

    surface = heat_surface([west, east, west, east], [south, north, north, south], bounds=MINHANG, bandwidth_m=0)

    assert [surface.values[r, c] > 0 for r in (0, -1) for c in (0, -1)] == [True] * 4


@pytest.mark.parametrize(
    "change",
    [
        {"bounds": (121.5, 31.0, 121.2, 31.2)},
        {"bounds": (121.2, 31.0, 121.2, 31.2)},
        {"bounds": (math.nan, 31.0, 121.2, 31.2)},
        {"bounds": (110.0, 20.0, 120.0, 30.0)},
        {"cell_m": 0},
        {"cell_m": math.nan},
        {"cell_m": 1},
        {"bandwidth_m": -1},
    ],
)
def test_what_makes_no_surface_is_refused(change):
    with pytest.raises(UnusableSurface):
        heat_surface([121.4], [31.1], **{"bounds": MINHANG, **change})


def spread(n):
    """Synthetic: n reports, each on a coordinate of its own."""
    return np.column_stack([121.3 + np.arange(n) / 1e5, np.full(n, 31.1)])


def pile(n, lon=121.4, lat=31.2):
    return np.tile([lon, lat], (n, 1))


def found(*parts):
    return implausible_piles(*np.vstack(parts).T)


def test_a_fallback_point_is_named_with_its_count_and_share():
    piles = found(spread(900), pile(100, -71.0587, 42.3594))

    assert piles.to_dict("records") == [{"lon": -71.0587, "lat": 42.3594, "count": 100, "share": 0.1}]


def test_a_busy_corner_that_merely_leads_is_no_pile():
    # More than ten times the next: 100 beside 9, not beside 10.
    assert found(spread(900), pile(100), pile(9, lat=31.21))["count"].tolist() == [100]
    assert found(spread(900), pile(100), pile(10, lat=31.21)).empty


def test_two_fallback_points_are_found_together():
    piles = found(spread(800), pile(120), pile(80, lat=31.21))

    assert piles["count"].tolist() == [120, 80]


def test_few_reports_or_a_small_share_make_no_pile():
    assert found(spread(10), pile(49)).empty
    assert len(found(spread(10), pile(50))) == 1
    assert found(spread(9900), pile(100)).empty
    assert len(found(spread(9900), pile(101))) == 1


def test_no_reports_hold_no_pile():
    assert implausible_piles([], []).empty
    assert implausible_piles([math.nan] * 60, [31.0] * 60).empty


def test_coordinates_are_one_within_7_decimals():
    noise = np.random.default_rng(1).uniform(-4e-9, 4e-9, (100, 2))

    assert found(spread(100), pile(100) + noise)["count"].tolist() == [100]


def test_points_on_a_pile_are_told_from_the_rest():
    points = np.vstack([spread(100), pile(100), spread(3)])

    lies_on = on_piles(*points.T, implausible_piles(*points.T))

    assert lies_on.tolist() == [False] * 100 + [True] * 100 + [False] * 3


def test_the_ramp_is_clear_at_nothing_and_only_grows_darker_and_denser():
    colours = colour_ramp(np.linspace(0, 1, 256) ** 2).astype(float)

    lightness = colours[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert colours[0, 3] == 0
    assert (np.diff(colours[:, 3]) >= 0).all()
    assert colours[-1, 3] == 215
    assert (np.diff(lightness) < 0.5).all()
    assert lightness[0] - lightness[-1] > 200


def test_nan_is_clear_and_shapes_are_kept():
    colours = colour_ramp([[math.nan, 0.0, 1.0]])

    assert colours.shape == (1, 3, 4)
    assert colours[0, :, 3].tolist() == [0, 0, 215]


def test_nothing_anywhere_is_clear_and_has_no_legend():
    surface = heat_surface([], [], bounds=MINHANG)

    assert not colour_ramp(surface.values)[..., 3].any()
    assert legend_breaks(surface) == []


def test_the_png_shows_the_ramp_cell_by_cell():
    rng = np.random.default_rng(5)
    surface = heat_surface(*rng.normal(MIDDLE, 0.03, (500, 2)).T, bounds=MINHANG, cell_m=200)

    image = Image.open(io.BytesIO(to_png(surface))).convert("RGBA")

    assert np.array_equal(np.asarray(image), colour_ramp(surface.values))


def test_the_png_of_a_million_reports_stays_small():
    """Synthetic: reports around 300 centres."""
    rng = np.random.default_rng(5)
    centres = rng.uniform(MINHANG[:2], MINHANG[2:], (300, 2))
    reports = centres[rng.integers(0, 300, 1_000_000)] + rng.normal(0, 0.008, (1_000_000, 2))

    assert len(to_png(heat_surface(*reports.T, bounds=MINHANG))) < 600_000


def test_the_legend_names_values_in_the_colours_of_the_map():
    values = np.array([[0.0, 4.0], [25.0, 100.0]], dtype=np.float32)
    surface = HeatSurface(values, MINHANG, 50.0)

    breaks = legend_breaks(surface)

    assert [value for value, _ in breaks] == pytest.approx([4, 16, 36, 64, 100])
    assert breaks[-1][1] == "#280b54"
    assert breaks[0][1] == "#{:02x}{:02x}{:02x}".format(*colour_ramp(values)[0, 1, :3])
