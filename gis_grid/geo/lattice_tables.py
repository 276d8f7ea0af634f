"""How the tables of a lattice are laid out, and how a point is looked up in them.

A square lattice of coarse cells lies over all polygons. A cell that no edge passes holds its answer; any other is cut
into a tile of 2 × 2 to 128 × 128 fine cells, and a fine cell that edges pass has a record: the polygons that may hold a
point there, in ascending order, with their edges in that cell and nothing else.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gis_grid.geo.compiled import inlined_kernel, kernel, prefetch
from gis_grid.geo.exact import ORIENTATION_BOUND, SMALLEST, exact_orientation

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int32]
Words: TypeAlias = npt.NDArray[np.int64]
Entries: TypeAlias = npt.NDArray[np.uint32]

NOWHERE = -1
NONE = np.uint32(0x7FFFFFFF)
"""Entry of a cell in no polygon."""
FURTHER = np.uint32(0x80000000)
"""Set in a coarse entry that names a tile, and in a fine entry that names a record."""
MAX_SHIFT = 7
"""A tile has at most 2⁷ × 2⁷ fine cells."""
SHIFT_BITS = 28
"""In a coarse entry the tile's shift starts here; below stands its offset in units of `TILE_STEP` fine cells."""
TILE_STEP = 4
ON_EDGE = 1 << 30
"""Added to a position to tell that the point lies on that polygon's edge."""

_UNDECIDED, _UNDECIDED_ENTRY = np.int32(-2), np.uint32(0xFFFFFFFE)
_OFFSET = np.uint32((1 << SHIFT_BITS) - 1)
_BELOW = np.int32((1 << MAX_SHIFT) - 1)
_ONE, _TWO, _THREE, _FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)  # no negative index to allow for
_BLOCK = 4096  # points worked on together: their buffers stay in the nearest cache


class Frame(NamedTuple):
    """Where the lattice lies: cell `row * columns + column`, row 0 in the south; the outermost ring of cells is empty.

    Attributes
    ----------
    x0, y0
        South-west corner, degrees.
    per_x, per_y
        Coarse cells a degree.
    columns, rows
        How many coarse cells.
    """

    x0: float
    y0: float
    per_x: float
    per_y: float
    columns: int
    rows: int


class Tables(NamedTuple):
    """What a point is looked up in.

    Attributes
    ----------
    coarse
        One entry a coarse cell: a position, `NONE`, or `FURTHER` with the tile's shift and offset.
    fine
        All tiles, row by row: a position, `NONE`, or `FURTHER` with the offset of a record.
    integers, reals
        The records, one memory in two views. A word is 8 bytes: [count of polygons, position if none of them holds the
        point], then for each polygon [position, 2 · count of edges + parity] and four reals an edge (x, y, x, y). A
        point is in it when `parity` and the number of edges to the right of the point are together odd.
    """

    coarse: Entries
    fine: Entries
    integers: Ints
    reals: Floats


@inlined_kernel
def _in_record(px: float, py: float, at: Any, integers: Ints, reals: Floats) -> Any:
    """Position of the lowest polygon of a record that holds the point, `_UNDECIDED` where rounding could tell wrong."""
    if min(abs(px), abs(py)) < SMALLEST:
        return _UNDECIDED
    count, otherwise = integers[_TWO * at], integers[_TWO * at + _ONE]
    at += _ONE
    for _ in range(count):
        position, packed = integers[_TWO * at], integers[_TWO * at + _ONE]
        is_in = packed & 1
        at += _ONE
        for _ in range(packed >> 1):
            x1, y1, x2, y2 = reals[at], reals[at + _ONE], reals[at + _TWO], reals[at + _THREE]
            at += _FOUR
            left, right = (x2 - x1) * (py - y1), (px - x1) * (y2 - y1)
            turn = left - right
            if abs(turn) <= ORIENTATION_BOUND * (abs(left) + abs(right)):
                return _UNDECIDED
            is_in ^= np.int32(((y1 > py) != (y2 > py)) & ((turn > 0) == (y2 > y1)))
        if is_in:
            return position
    return otherwise


@kernel
def _in_record_exactly(px: float, py: float, at: Any, integers: Ints, reals: Floats, on_edge: Any) -> Any:
    """As `_in_record`, always decided; plus `on_edge` when the point lies on that polygon's edge."""
    px = px if abs(px) >= SMALLEST else 0.0
    py = py if abs(py) >= SMALLEST else 0.0
    count, otherwise = integers[_TWO * at], integers[_TWO * at + _ONE]
    at += _ONE
    for _ in range(count):
        position, packed = integers[_TWO * at], integers[_TWO * at + _ONE]
        is_in = packed & 1
        at += _ONE
        for _ in range(packed >> 1):
            x1, y1, x2, y2 = reals[at], reals[at + _ONE], reals[at + _TWO], reals[at + _THREE]
            at += _FOUR
            if (px == x1 and py == y1) or (y1 == py and y2 == py and min(x1, x2) <= px <= max(x1, x2)):
                return position | on_edge
            if (y1 > py) != (y2 > py):
                side = exact_orientation(x1, y1, x2, y2, px, py)
                if side == 0:
                    return position | on_edge
                is_in ^= np.int32((side > 0) == (y2 > y1))
        if is_in:
            return position
    return otherwise


@kernel
def look_up(x: Floats, y: Floats, out: Ints, frame: Frame, tables: Tables, on_edge: int) -> None:
    """Write the position of each point's polygon to `out`, -1 for none.

    Parameters
    ----------
    x, y
        Any doubles, shape (n,); nan and infinities are in no polygon.
    on_edge
        `ON_EDGE` or 0, added to the position of a polygon on whose edge the point lies.

    Notes
    -----
    Each block of points goes through one step after the other rather than each point through all: the loops have no
    branch that the processor could guess wrong, and what the next step reads is asked for in advance.
    """
    coarse, fine, integers, reals = tables
    x0, y0 = frame.x0, frame.y0
    per_x, per_y = frame.per_x, frame.per_y
    top_x, top_y = float(frame.columns - 1), float(frame.rows - 1)
    fine_per_x, fine_per_y = per_x * (1 << MAX_SHIFT), per_y * (1 << MAX_SHIFT)
    fine_top_x, fine_top_y = float((frame.columns << MAX_SHIFT) - 1), float((frame.rows << MAX_SHIFT) - 1)
    columns, flag = np.int32(frame.columns), np.int32(on_edge)
    cells = np.empty(_BLOCK, np.uint32)
    entries = np.empty(_BLOCK, np.uint32)
    todo, places = np.empty(_BLOCK + 1, np.uint32), np.empty(_BLOCK + 1, np.uint32)
    for start in range(0, len(x), _BLOCK):
        size = min(_BLOCK, len(x) - start)
        xs, ys, found = x[start : start + size], y[start : start + size], out[start : start + size]
        for i in range(size):
            u, v = (xs[i] - x0) * per_x, (ys[i] - y0) * per_y
            u, v = (u if u > 0 else 0.0), (v if v > 0 else 0.0)  # in this form nan becomes 0
            column, row = np.int32(u if u < top_x else top_x), np.int32(v if v < top_y else top_y)
            cells[i] = np.uint32(row * columns + column)
        for i in range(size):
            entries[i] = coarse[cells[i]]
        count = np.uint32(0)
        for i in range(size):
            todo[count] = np.uint32(i)
            count = np.uint32(count + np.uint32(entries[i] >> np.uint32(31)))
        for k in range(count):
            entry, i = entries[todo[k]], todo[k]
            shift = np.uint32((entry >> np.uint32(SHIFT_BITS)) & np.uint32(7))
            drop = np.uint32(np.uint32(MAX_SHIFT) - shift)
            u, v = (xs[i] - x0) * fine_per_x, (ys[i] - y0) * fine_per_y
            u, v = (u if u > 0 else 0.0), (v if v > 0 else 0.0)
            column_in = np.uint32(np.int32(u if u < fine_top_x else fine_top_x) & _BELOW) >> drop
            row_in = np.uint32(np.int32(v if v < fine_top_y else fine_top_y) & _BELOW) >> drop
            place = np.uint32(
                np.uint32((entry & _OFFSET) * np.uint32(TILE_STEP)) + np.uint32(np.uint32(row_in << shift) + column_in)
            )
            places[k] = place
            prefetch(fine, np.uint64(place))
        left = np.uint32(0)
        for k in range(count):
            i, entry = todo[k], fine[places[k]]
            entries[i] = entry
            todo[left] = i
            left = np.uint32(left + np.uint32(entry >> np.uint32(31)))
        for k in range(left):
            word = np.uint64(entries[todo[k]] & NONE)
            prefetch(reals, word)
            prefetch(reals, word + np.uint64(8))
        for k in range(left):
            i = todo[k]
            word = np.uint64(entries[i] & NONE)
            entry = np.uint32(_in_record(xs[i], ys[i], word, integers, reals))
            if entry == _UNDECIDED_ENTRY:
                entry = np.uint32(_in_record_exactly(xs[i], ys[i], word, integers, reals, flag))
            entries[i] = entry
        for i in range(size):
            entry = entries[i]
            found[i] = np.int32(entry) if entry != NONE else np.int32(NOWHERE)


@kernel
def look_up_one(x: float, y: float, frame: Frame, tables: Tables, on_edge: int) -> int:
    """As `look_up`, for one point."""
    coarse, fine, integers, reals = tables
    u, v = (x - frame.x0) * frame.per_x, (y - frame.y0) * frame.per_y
    if not (u >= 0 and v >= 0 and u < frame.columns and v < frame.rows):
        return NOWHERE
    column, row = int(u), int(v)
    entry = coarse[row * frame.columns + column]
    if entry >= FURTHER:
        shift = (entry >> SHIFT_BITS) & 7
        side = float(1 << shift)
        row_in, column_in = int(v * side) - (row << shift), int(u * side) - (column << shift)
        entry = fine[(entry & _OFFSET) * TILE_STEP + (row_in << shift) + column_in]
    if entry >= FURTHER:
        word = np.uint64(entry & NONE)
        entry = np.uint32(_in_record_exactly(x, y, word, integers, reals, np.int32(on_edge)))
    return int(entry) if entry != NONE else NOWHERE
