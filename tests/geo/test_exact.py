from fractions import Fraction

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gis_grid.geo.exact import LARGEST, ORIENTATION_BOUND, SMALLEST, exact_orientation, two_product, two_sum

magnitudes = st.floats(SMALLEST, LARGEST / 1024)
numbers = st.one_of(
    st.just(0.0), magnitudes, magnitudes.map(lambda x: -x), st.floats(-180, 180).filter(lambda x: abs(x) >= SMALLEST)
)
degrees = st.floats(1, 180)


def side_of(*coordinates):
    """The determinant in fractions."""
    ax, ay, bx, by, px, py = map(Fraction, coordinates)
    turn = (bx - ax) * (py - ay) - (px - ax) * (by - ay)
    return (turn > 0) - (turn < 0)


@settings(deadline=None)  # the first call compiles
@given(numbers, numbers)
def test_a_sum_and_its_error_are_the_exact_sum(a, b):
    total, error = two_sum(a, b)

    assert Fraction(total) + Fraction(error) == Fraction(a) + Fraction(b)


@settings(deadline=None)  # the first call compiles
@given(numbers, numbers)
def test_a_product_and_its_error_are_the_exact_product(a, b):
    product, error = two_product(a, b)

    assert Fraction(product) + Fraction(error) == Fraction(a) * Fraction(b)


@settings(deadline=None)  # the first call compiles
@given(st.tuples(*[numbers] * 6))
@example((0.0, 0.0, 0.1, 0.3, SMALLEST, SMALLEST))
@example((LARGEST, 0.0, -LARGEST, SMALLEST, 0.0, 0.0))
def test_the_side_of_any_point_is_that_of_fractions(coordinates):
    assert exact_orientation(*coordinates) == side_of(*coordinates)


@settings(deadline=None)  # the first call compiles
@given(st.tuples(*[degrees] * 4), st.floats(0, 1), st.integers(-2, 2), st.integers(-2, 2))
def test_the_side_of_points_a_few_ulps_off_an_edge_is_that_of_fractions(edge, share, dx, dy):
    ax, ay, bx, by = edge
    px, py = ax + share * (bx - ax), ay + share * (by - ay)
    px, py = px + dx * np.spacing(px), py + dy * np.spacing(py)

    assert exact_orientation(ax, ay, bx, by, px, py) == side_of(ax, ay, bx, by, px, py)
    left, right = (bx - ax) * (py - ay), (px - ax) * (by - ay)
    if abs(left - right) > ORIENTATION_BOUND * (abs(left) + abs(right)):
        assert np.sign(left - right) == side_of(ax, ay, bx, by, px, py)
