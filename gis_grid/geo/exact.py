"""On which side of an edge a point lies, decided without any rounding error.

After J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates" (1997): a
double product or difference is kept together with what rounding took from it, and the terms are added as an expansion,
a sum of doubles that do not overlap. The sign of its largest term is the sign of the exact determinant.
"""

import numpy as np

from gis_grid.geo.compiled import kernel

ORIENTATION_BOUND = 3.3306690738754716e-16
"""(3 + 16 u) u with u = 2⁻⁵³: where |l - r| exceeds it times |l| + |r|, the rounded l - r has the right sign.

Shewchuk's bound A for `l = (bx - ax)(py - ay)`, `r = (px - ax)(by - ay)`.
"""

SMALLEST = 2.0**-400
LARGEST = 2.0**400
"""Between them, or 0, a coordinate must lie: then no product or its rounding error leaves the range of doubles.

Doubles of at least 2⁻⁴⁰⁰ are multiples of 2⁻⁴⁵², so all terms are multiples of 2⁻⁹⁰⁴; none exceeds 2⁸⁰³.
"""

_SPLITTER = 134217729.0  # 2**27 + 1
_TERMS = 16


@kernel
def two_sum(a: float, b: float) -> tuple[float, float]:
    """Rounded a + b, and exactly what rounding took from it."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


@kernel
def two_product(a: float, b: float) -> tuple[float, float]:
    """Rounded a · b, and exactly what rounding took from it."""
    product = a * b
    wide = _SPLITTER * a
    a_high = wide - (wide - a)
    a_low = a - a_high
    wide = _SPLITTER * b
    b_high = wide - (wide - b)
    b_low = b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


@kernel
def exact_orientation(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> int:
    """1 where p lies left of the line from a to b, -1 right of it, 0 on it.

    Parameters
    ----------
    ax, ay, bx, by, px, py
        Each 0 or between `SMALLEST` and `LARGEST` in magnitude.

    Notes
    -----
    (bx - ax)(py - ay) - (px - ax)(by - ay) with each difference as two doubles: 8 products of two doubles each. Adding
    16 doubles one by one to an expansion keeps it exact and non-overlapping (theorem 10 of the paper).
    """
    edge_x, edge_x_tail = two_sum(bx, -ax)
    edge_y, edge_y_tail = two_sum(by, -ay)
    way_x, way_x_tail = two_sum(px, -ax)
    way_y, way_y_tail = two_sum(py, -ay)
    terms = np.empty(_TERMS)
    count = 0
    for left, right in (
        (edge_x, way_y),
        (edge_x, way_y_tail),
        (edge_x_tail, way_y),
        (edge_x_tail, way_y_tail),
        (-way_x, edge_y),
        (-way_x, edge_y_tail),
        (-way_x_tail, edge_y),
        (-way_x_tail, edge_y_tail),
    ):
        product, error = two_product(left, right)
        terms[count], terms[count + 1] = error, product
        count += 2
    return _sign_of_sum(terms)


@kernel
def _sign_of_sum(terms: np.ndarray) -> int:
    """Sign of the exact sum; `terms` becomes the expansion."""
    for count in range(1, len(terms)):
        carried = terms[count]
        for i in range(count):
            carried, terms[i] = two_sum(carried, terms[i])
        terms[count] = carried
    for i in range(len(terms) - 1, -1, -1):
        if terms[i] != 0.0:
            return 1 if terms[i] > 0.0 else -1
    return 0
