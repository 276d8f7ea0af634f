"""Filling the tables of a lattice from the edges of polygons.

Which cells an edge passes is decided a little too widely (`_MARGIN`), so rounding never misses one. Everything else
about a cell is then combinatorics: an edge not listed for a cell keeps clear of it, so along a level line it lies
either to the left of the whole cell or to its right. Of those to the right only the parity matters. Along a chain of
them the parities of "crosses the level of the point" add up to those of the chain's two ends; the ends are ends of
listed edges, so listed edges and their ends to the right of the cell tell everything, exactly.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from gis_grid.geo.compiled import kernel
from gis_grid.geo.lattice_tables import FURTHER, NONE, SHIFT_BITS, TILE_STEP, Entries, Floats, Frame, Ints, Words

Bools: TypeAlias = npt.NDArray[np.bool_]

_MARGIN = 1e-7
"""In coarse cells; positions are computed to 1e-11 of one."""
_LEVEL = 1e-9  # flatter than this, an edge is taken to pass all columns between its ends
_FEW = 20  # up to so many crossings are sorted in place
_WORDS_AN_EDGE = 14  # at most: its own 4, 4 for each end, 1 for its polygon, 1 for its record


class EdgeTable(NamedTuple):
    """Edges of all polygons, in the order of the polygons, interior on the left.

    Attributes
    ----------
    ends
        Shape (n, 4): x, y, x, y, degrees.
    owners
        Position of the polygon, ascending.
    has_twin
        Whether another valid polygon has the same edge the other way round.
    """

    ends: Floats
    owners: Ints
    has_twin: Bools


class Lists(NamedTuple):
    """For each key (a cell or a row) the edges `edges[starts[key]:starts[key + 1]]`, ascending."""

    starts: Words
    edges: Ints


class Spot(NamedTuple):
    """A cell of a lattice `side` times as fine as the coarse one."""

    column: float
    row: float
    side: float


@kernel
def _hash_of(a: int, b: int, c: int, d: int) -> Any:
    mixed = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed += np.uint64(c) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(d) * np.uint64(0xC2B2AE3D27D4EB4F)
    return mixed ^ (mixed >> np.uint64(29))


@kernel
def find_twins(bits: Words, owners: Ints, is_valid: Bools, has_twin: Bools) -> None:
    """Fill `has_twin` of `EdgeTable`; `bits` are the ends as integers, without a negative zero."""
    size = 1
    while size < 2 * len(owners):
        size *= 2
    heads, following = np.full(size, -1, np.int32), np.empty(len(owners), np.int32)
    mask = np.uint64(size - 1)
    for e in range(len(owners)):
        # the two ends add up, so both directions have one hash
        slot = _hash_of(bits[e, 0], bits[e, 1], bits[e, 2], bits[e, 3]) & mask
        following[e], heads[slot] = heads[slot], e
    for e in range(len(owners)):
        if not is_valid[owners[e]]:
            continue
        other = heads[_hash_of(bits[e, 0], bits[e, 1], bits[e, 2], bits[e, 3]) & mask]
        while other >= 0 and not has_twin[e]:
            is_turned = bits[e, 0] == bits[other, 2] and bits[e, 1] == bits[other, 3]
            is_turned = is_turned and bits[e, 2] == bits[other, 0] and bits[e, 3] == bits[other, 1]
            has_twin[e] = is_turned and owners[e] != owners[other] and is_valid[owners[other]]
            other = following[other]


@kernel
def _columns_in_row(x1: float, y1: float, x2: float, y2: float, row: int, margin: float) -> tuple[int, int]:
    """First and last column that an edge may pass in a row; y1 <= y2, all in cells."""
    low, high = min(x1, x2), max(x1, x2)
    if y2 - y1 >= _LEVEL:
        slope = (x2 - x1) / (y2 - y1)
        a = x1 + (max(y1, row - margin) - y1) * slope
        b = x1 + (min(y2, row + 1 + margin) - y1) * slope
        low, high = max(low, min(a, b)), min(high, max(a, b))
        low, high = min(low, high), max(low, high)
    return int(np.floor(low - margin)), int(np.floor(high + margin))


@kernel
def _in_cells(ends: Floats, e: int, frame: Frame) -> tuple[float, float, float, float]:
    """Ends of an edge in coarse cells, the lower one first."""
    x1, y1 = (ends[e, 0] - frame.x0) * frame.per_x, (ends[e, 1] - frame.y0) * frame.per_y
    x2, y2 = (ends[e, 2] - frame.x0) * frame.per_x, (ends[e, 3] - frame.y0) * frame.per_y
    if y1 > y2:
        return x2, y2, x1, y1
    return x1, y1, x2, y2


@kernel
def count_passed(ends: Floats, frame: Frame, counts: Words, lengths: npt.NDArray[np.float32]) -> None:
    """Add to each cell the number of edges that may pass it, and their length there, in cells."""
    for e in range(len(ends)):
        x1, y1, x2, y2 = _in_cells(ends, e, frame)
        first, last = int(np.floor(y1 - _MARGIN)), int(np.floor(y2 + _MARGIN))
        passed = 0
        for row in range(first, last + 1):
            a, b = _columns_in_row(x1, y1, x2, y2, row, _MARGIN)
            passed += b - a + 1
        share = np.float32(np.hypot(x2 - x1, y2 - y1) / passed)
        for row in range(first, last + 1):
            a, b = _columns_in_row(x1, y1, x2, y2, row, _MARGIN)
            for cell in range(row * frame.columns + a, row * frame.columns + b + 1):
                counts[cell] += 1
                lengths[cell] += share


@kernel
def list_passed(ends: Floats, frame: Frame, lists: Lists) -> None:
    """Fill the lists of cells; `starts[cell]` must be where the cell's list ends, and becomes where it starts."""
    for e in range(len(ends) - 1, -1, -1):
        x1, y1, x2, y2 = _in_cells(ends, e, frame)
        for row in range(int(np.floor(y1 - _MARGIN)), int(np.floor(y2 + _MARGIN)) + 1):
            a, b = _columns_in_row(x1, y1, x2, y2, row, _MARGIN)
            for cell in range(row * frame.columns + a, row * frame.columns + b + 1):
                lists.starts[cell] -= 1
                lists.edges[lists.starts[cell]] = e


@kernel
def _level_of(row: float, frame: Frame) -> float:
    """Latitude of a row given in coarse cells."""
    return frame.y0 + row / frame.per_y


@kernel
def _crosses(ends: Floats, e: int, level: float) -> Any:
    return (ends[e, 1] > level) != (ends[e, 3] > level)


@kernel
def count_crossing(ends: Floats, frame: Frame, counts: Words) -> None:
    """Add to each row the number of edges that cross its middle."""
    for e in range(len(ends)):
        _, y1, _, y2 = _in_cells(ends, e, frame)
        for row in range(int(np.floor(y1)), int(np.floor(y2)) + 1):
            counts[row] += _crosses(ends, e, _level_of(row + 0.5, frame))


@kernel
def list_crossing(ends: Floats, frame: Frame, lists: Lists) -> None:
    """As `list_passed`, for the edges that cross the middles of rows."""
    for e in range(len(ends) - 1, -1, -1):
        _, y1, _, y2 = _in_cells(ends, e, frame)
        for row in range(int(np.floor(y1)), int(np.floor(y2)) + 1):
            if _crosses(ends, e, _level_of(row + 0.5, frame)):
                lists.starts[row] -= 1
                lists.edges[lists.starts[row]] = e


@kernel
def _crossing_x(ends: Floats, e: int, level: float, frame: Frame) -> float:
    """Where an edge crosses a latitude, in coarse cells."""
    x1, y1, x2, y2 = _in_cells(ends, e, frame)
    x = x1 + ((level - frame.y0) * frame.per_y - y1) / (y2 - y1) * (x2 - x1) if y2 > y1 else x1
    return max(min(x, max(x1, x2)), min(x1, x2))


@kernel
def _ends_to_the_right(ends: Floats, e: int, spot: Spot, frame: Frame) -> int:
    """Which ends of an edge lie in a cell's row and to the right of the cell: bit 0 the first, bit 1 the second."""
    which = 0
    for k in range(2):
        x = (ends[e, 2 * k] - frame.x0) * frame.per_x * spot.side
        y = (ends[e, 2 * k + 1] - frame.y0) * frame.per_y * spot.side
        if np.floor(y) == spot.row and x >= spot.column + 1:
            which |= 1 << k
    return which


@kernel
def _parity_above(ends: Floats, e: int, which: int, level: float) -> int:
    """Parity of the chosen ends that lie above a latitude."""
    return int(which & 1 and ends[e, 1] > level) ^ int(which & 2 and ends[e, 3] > level)


class Scratch(NamedTuple):
    """Memory that is used again for each cell; what counts edges has room for the longest list of a coarse cell."""

    group_starts: Ints
    """Where each polygon's edges start in the cell's list, and where the last one's end."""
    group_of: Ints
    parities: npt.NDArray[np.uint8]
    """By group: whether edges not listed cross to the right of the coarse cell, less what the listed ends tell."""
    statuses: npt.NDArray[np.uint8]
    """By group: whether all edges, listed or not, cross a level an odd number of times to the right of a place."""
    held: Ints
    """The groups whose status is 1, in no order; `place_of` has where in it a group stands."""
    place_of: Ints
    listed_in: Ints
    """By group: the last fine cell with an edge of it."""
    right_ends: npt.NDArray[np.uint8]
    crossings: Floats
    crossing_of: Ints
    passed: Words
    above: Floats
    above_x: Floats


@kernel
def _toggle(scratch: Scratch, count: int, x: float, y: float) -> int:
    """Add an end to the list, or take off one of the same latitude: together they change nothing."""
    above, above_x = scratch.above, scratch.above_x
    for i in range(count):
        if above[i] == y:
            above[i], above_x[i] = above[count - 1], above_x[count - 1]
            return count - 1
    above[count], above_x[count] = y, x
    return count + 1


class Records(NamedTuple):
    """The words of the records, in three views.

    Attributes
    ----------
    used
        How many words are written, one element.
    latest
        By edge and parity, where the latest record lies that begins with it: cells along an edge can share one.
    """

    integers: Ints
    reals: Floats
    words: Words
    used: Words
    latest: Words


@kernel
def _write_polygon(
    edges: EdgeTable, listed: Ints, passing: Ints, spot: Spot, frame: Frame, scratch: Scratch, records: Records
) -> None:
    """Append the part of a record that tells of one polygon; `passing` are places in the list, of its edges here."""
    ends, level = edges.ends, _level_of((spot.row + 0.5) / spot.side, frame)
    parity = scratch.statuses[scratch.group_of[passing[0]]]
    head = records.used[0]
    at, count = head + 1, 0
    for k in passing:
        e = listed[k]
        for i in range(4):
            records.reals[at + i] = ends[e, i]
        at += 4
        if _crosses(ends, e, level) and _crossing_x(ends, e, level, frame) * spot.side >= spot.column:
            parity ^= 1
        which = _ends_to_the_right(ends, e, spot, frame)
        parity ^= _parity_above(ends, e, which, level)
        for i in range(2):
            if which >> i & 1:
                count = _toggle(scratch, count, ends[e, 2 * i], ends[e, 2 * i + 1])
    for i in range(count):
        # a chain that goes on from an end to the right crosses a level as a line straight down from there does
        records.reals[at], records.reals[at + 1] = scratch.above_x[i], scratch.above[i]
        records.reals[at + 2], records.reals[at + 3] = scratch.above_x[i], frame.y0
        at += 4
    records.integers[2 * head] = edges.owners[listed[passing[0]]]
    records.integers[2 * head + 1] = 2 * (len(passing) + count) + parity
    records.used[0] = at


@kernel
def _entry_of(
    edges: EdgeTable,
    listed: Ints,
    passing: Ints,
    cover: int,
    spot: Spot,
    frame: Frame,
    scratch: Scratch,
    records: Records,
) -> Any:
    """Entry of a fine cell that edges pass, its record written; `cover` is the lowest polygon all over the cell."""
    owners = edges.owners
    last = owners[listed[passing[-1]]]
    # where each edge has a twin, polygons hold the whole cell: what is in no other is in the last
    is_full = cover == NONE
    for k in passing:
        is_full = is_full and edges.has_twin[listed[k]]
    head, count, first = records.used[0], 0, 0
    records.used[0] = head + 1
    while first < len(passing):
        owner, after = owners[listed[passing[first]]], first
        while after < len(passing) and owners[listed[passing[after]]] == owner:
            after += 1
        if owner > cover or (is_full and owner == last):
            break
        _write_polygon(edges, listed, passing[first:after], spot, frame, scratch, records)
        count, first = count + 1, after
    otherwise = last if is_full else cover
    if count == 0:
        records.used[0] = head
        return otherwise
    records.integers[2 * head], records.integers[2 * head + 1] = count, otherwise
    return _kept(records, head, 2 * listed[passing[0]] + (records.integers[2 * head + 3] & 1)) | np.int64(FURTHER)


@kernel
def _kept(records: Records, head: int, key: int) -> Any:
    """Where the record at `head` is kept: there, or where its like is already."""
    words, length, before = records.words, records.used[0] - head, records.latest[key]
    is_like = 0 <= before <= head - length
    i = 0
    while is_like and i < length:
        is_like = words[before + i] == words[head + i]
        i += 1
    if is_like:
        records.used[0] = head
        return before
    records.latest[key] = head
    return head


@kernel
def _pass_tile(
    ends: Floats, listed: Ints, column: int, row: int, shift: int, frame: Frame, scratch: Scratch, passing: Ints
) -> int:
    """List the edges of each fine cell of a tile in `passing`; of length 0: count them. Returns how many there are."""
    size = 1 << shift
    side, margin = float(size), _MARGIN * size
    passed, total = scratch.passed, 0
    if not len(passing):
        passed[: size * size + 1] = 0
    for k in range(len(listed) - 1, -1, -1):
        x1, y1, x2, y2 = _in_cells(ends, listed[k], frame)
        x1, y1, x2, y2 = (x1 - column) * side, (y1 - row) * side, (x2 - column) * side, (y2 - row) * side
        for r in range(max(0, int(np.floor(y1 - margin))), min(size - 1, int(np.floor(y2 + margin))) + 1):
            a, b = _columns_in_row(x1, y1, x2, y2, r, margin)
            for cell in range(r * size + max(a, 0), r * size + min(b, size - 1) + 1):
                if len(passing):
                    passed[cell] -= 1
                    passing[passed[cell]] = k
                else:
                    passed[cell] += 1
                    total += 1
    if not len(passing):
        for cell in range(size * size):
            passed[cell + 1] += passed[cell]
    return total


@kernel
def _sort_crossings(ends: Floats, listed: Ints, n_groups: int, level: float, frame: Frame, scratch: Scratch) -> int:
    """Set `statuses` to those at the left of the coarse cell, and list the crossings of a level from there on."""
    crossings, crossing_of = scratch.crossings, scratch.crossing_of
    count = 0
    for g in range(n_groups):
        status = scratch.parities[g]
        for k in range(scratch.group_starts[g], scratch.group_starts[g + 1]):
            e = listed[k]
            status ^= _parity_above(ends, e, scratch.right_ends[k], level)
            if not _crosses(ends, e, level):
                continue
            crossings[count], crossing_of[count] = _crossing_x(ends, e, level, frame), g
            status ^= 1
            count += 1
        scratch.statuses[g] = status
    if count > _FEW:
        order = np.argsort(crossings[:count])
        crossings[:count], crossing_of[:count] = crossings[:count][order], crossing_of[:count][order]
        return count
    for last in range(1, count):
        x, g, i = crossings[last], crossing_of[last], last
        while i > 0 and crossings[i - 1] > x:
            crossings[i], crossing_of[i] = crossings[i - 1], crossing_of[i - 1]
            i -= 1
        crossings[i], crossing_of[i] = x, g
    return count


@kernel
def _fill_tile(
    edges: EdgeTable,
    listed: Ints,
    n_groups: int,
    cover: int,
    column: int,
    row: int,
    fine: Entries,
    frame: Frame,
    scratch: Scratch,
    records: Records,
    passing: Ints,
) -> int:
    """Fill the fine cells of a tile, return how many of them lie in more than one polygon."""
    size = int(np.sqrt(len(fine)))
    owners, passed, group_of = edges.owners, scratch.passed, scratch.group_of
    scratch.listed_in[:n_groups] = -1
    overlaps = 0
    for r in range(size):
        level = _level_of((row * size + r + 0.5) / float(size), frame)
        n_crossings = _sort_crossings(edges.ends, listed, n_groups, level, frame, scratch)
        n_held, done = _hold_at_left(n_groups, scratch), 0
        for c in range(size):
            spot = Spot(float(column * size + c), float(row * size + r), float(size))
            while done < n_crossings and scratch.crossings[done] * spot.side < spot.column:
                n_held = _turn(scratch.crossing_of[done], n_held, scratch)
                done += 1
            cell = r * size + c
            here = passing[passed[cell] : passed[cell + 1]]
            for k in here:
                scratch.listed_in[group_of[k]] = cell
            lowest, n_covers = cover, int(cover != NONE)
            for i in range(n_held):
                g = scratch.held[i]
                if scratch.listed_in[g] != cell:
                    lowest = min(lowest, owners[listed[scratch.group_starts[g]]])
                    n_covers += 1
            overlaps += n_covers > 1
            if len(here):
                fine[cell] = _entry_of(edges, listed, here, lowest, spot, frame, scratch, records)
            else:
                fine[cell] = lowest
    return overlaps


@kernel
def _hold_at_left(n_groups: int, scratch: Scratch) -> int:
    """List the groups whose status is 1; return how many there are."""
    n_held = 0
    for g in range(n_groups):
        if scratch.statuses[g]:
            scratch.held[n_held], scratch.place_of[g] = g, n_held
            n_held += 1
    return n_held


@kernel
def _turn(g: int, n_held: int, scratch: Scratch) -> int:
    """Turn a group's status round, keeping the list of those whose status is 1; return how many there are now."""
    scratch.statuses[g] ^= 1
    if scratch.statuses[g]:
        scratch.held[n_held], scratch.place_of[g] = g, n_held
        return n_held + 1
    moved, place = scratch.held[n_held - 1], scratch.place_of[g]
    scratch.held[place], scratch.place_of[moved] = moved, place
    return n_held - 1


class Sweep(NamedTuple):
    """The polygons that hold a place on the middle of a row, as the place moves east."""

    positions: Ints
    """The first `held[0]` of them are the polygons."""
    place_of: Ints
    """Of each polygon in `positions`, or -1."""
    held: Words
    listed_in: Ints
    """The last coarse cell with an edge of each polygon."""


@kernel
def _cross(sweep: Sweep, position: int) -> None:
    """Enter a polygon, or leave it."""
    place, last = sweep.place_of[position], sweep.held[0] - 1
    if place < 0:
        sweep.positions[last + 1], sweep.place_of[position] = position, last + 1
        sweep.held[0] += 1
        return
    moved = sweep.positions[last]
    sweep.positions[place], sweep.place_of[moved] = moved, place
    sweep.place_of[position] = -1
    sweep.held[0] = last


@kernel
def _group(edges: EdgeTable, listed: Ints, column: int, row: int, frame: Frame, scratch: Scratch, sweep: Sweep) -> int:
    """Group a coarse cell's list by polygons and set their parities; return how many groups there are."""
    ends, level = edges.ends, _level_of(row + 0.5, frame)
    spot = Spot(float(column), float(row), 1.0)
    n_groups = 0
    for k in range(len(listed)):
        e = listed[k]
        if k == 0 or edges.owners[listed[k - 1]] != edges.owners[e]:
            scratch.group_starts[n_groups] = k
            # rings are closed: what crosses on the left and what crosses on the right have one parity
            scratch.parities[n_groups] = sweep.place_of[edges.owners[e]] >= 0
            n_groups += 1
        scratch.group_of[k] = n_groups - 1
        which = _ends_to_the_right(ends, e, spot, frame)
        scratch.right_ends[k] = which
        parity = _parity_above(ends, e, which, level)
        parity ^= _crosses(ends, e, level) and _crossing_x(ends, e, level, frame) >= column
        scratch.parities[n_groups - 1] ^= parity
    scratch.group_starts[n_groups] = len(listed)
    return n_groups


@kernel
def _lowest_cover(edges: EdgeTable, listed: Ints, cell: int, sweep: Sweep) -> Any:
    """Lowest of the polygons all over a coarse cell, and how many they are."""
    for e in listed:
        sweep.listed_in[edges.owners[e]] = cell
    lowest, count = np.int64(NONE), 0
    for i in range(sweep.held[0]):
        position = sweep.positions[i]
        if sweep.listed_in[position] != cell:
            lowest, count = min(lowest, np.int64(position)), count + 1
    return lowest, count


@kernel
def fill_row(
    edges: EdgeTable,
    passed: Lists,
    crossing: Lists,
    row: int,
    shifts: npt.NDArray[np.uint8],
    frame: Frame,
    coarse: Entries,
    fine: Entries,
    records: Records,
    scratch: Scratch,
    sweep: Sweep,
    used: int,
) -> tuple[int, int]:
    """Fill a row of coarse cells and their tiles.

    Parameters
    ----------
    passed, crossing
        Edges by coarse cell, and by row.
    shifts
        Of each coarse cell that an edge passes, the shift of its tile.
    used
        How much of `fine` is filled.

    Returns
    -------
    used, overlaps
        How much of `fine` is filled now; how many cells lie in more than one polygon. (-1, 0) when `fine` or `records`
        is too short: then nothing has changed but what lies past their used part.
    """
    level = _level_of(row + 0.5, frame)
    listed = crossing.edges[crossing.starts[row] : crossing.starts[row + 1]]
    xs = np.empty(len(listed))
    for i in range(len(listed)):
        xs[i] = _crossing_x(edges.ends, listed[i], level, frame)
    order = np.argsort(xs)
    before, overlaps, done = records.used[0], 0, 0
    nothing = np.empty(0, np.int32)
    for column in range(frame.columns):
        while done < len(order) and xs[order[done]] < column:
            _cross(sweep, edges.owners[listed[order[done]]])
            done += 1
        cell = row * frame.columns + column
        here = passed.edges[passed.starts[cell] : passed.starts[cell + 1]]
        n_groups = _group(edges, here, column, row, frame, scratch, sweep) if len(here) else 0
        lowest, n_covers = _lowest_cover(edges, here, cell, sweep)
        coarse[cell] = lowest
        if not len(here):
            overlaps += n_covers > 1
            continue
        shift = int(shifts[cell])
        after = used + (1 << 2 * shift)
        total = _pass_tile(edges.ends, here, column, row, shift, frame, scratch, nothing)
        if after > len(fine) or records.used[0] + _WORDS_AN_EDGE * total > len(records.reals):
            records.used[0] = before
            while done < len(order):  # leave every polygon again
                _cross(sweep, edges.owners[listed[order[done]]])
                done += 1
            return -1, 0
        passing = np.empty(total, np.int32)
        if total:
            _pass_tile(edges.ends, here, column, row, shift, frame, scratch, passing)
        overlaps += _fill_tile(
            edges, here, n_groups, lowest, column, row, fine[used:after], frame, scratch, records, passing
        )
        coarse[cell] = np.int64(FURTHER) | (shift << SHIFT_BITS) | (used // TILE_STEP)
        used = after
    while done < len(order):
        _cross(sweep, edges.owners[listed[order[done]]])
        done += 1
    return used, overlaps
