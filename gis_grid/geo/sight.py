"""Seen ground: what lay within sight of a patrol, cell by cell.

A cell is seen when its centre lies within `sight_m` of the line between two consecutive fixes of a track. Between two
fixes more than 60 s or 200 m apart, without time between them, or farther apart than anybody drives in that time
(50 m/s), nobody is known to have walked: nothing is seen. A lone fix between two such gaps sees nothing either: no
neighbour vouches for it, and a receiver's stray jump is just such a fix. Who stands still is seen to stand: two fixes
at one place are a disc.

`gis_grid.geo.tiles` tells what a tile is, `gis_grid.geo.blindspots` what was not seen.
"""

import math
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd

from gis_grid.errors import InvalidInput
from gis_grid.geo.blindspots import seen_shares, unseen_ground
from gis_grid.geo.tiles import (
    TILE_BYTES,
    TILE_M,
    Bits,
    Bools,
    Floats,
    Ground,
    GroundMask,
    Ints,
    SeenTiles,
    first_centre,
    kernel,
    masks_of,
    merge,
    set_run,
    to_metric,
    union,
)

__all__ = [
    "DAY_AND_NIGHT",
    "Ground",
    "GroundMask",
    "SeenTiles",
    "Shifts",
    "burn_fixes",
    "masks_of",
    "merge",
    "seen_shares",
    "union",
    "unseen_ground",
]

MAX_GAP_S = 60
MAX_STEP_M = 200.0
MAX_SPEED_MPS = 50.0
MAX_SIGHT_M = 1000.0
_NS = 1_000_000_000
_DAY_NS = 86_400 * _NS
_EPOCH = 719_163  # date(1970, 1, 1).toordinal()


class UnusableFixes(InvalidInput):
    """Fixes without a column, a place or an aware time."""


class UnusableShifts(InvalidInput):
    """Shift hours that cut no day in two."""


@dataclass(frozen=True)
class Shifts:
    """The hours of the day shift on the city's clock; the rest of the calendar day is night.

    A night is kept by calendar day: 03:00 belongs to the date the clock shows, not to the evening before, so that a
    window of whole days is a window of whole days.
    """

    day_from: time = time(6)
    day_until: time = time(22)

    def __post_init__(self) -> None:
        # Whole minutes keep two boundaries a gap apart, so no segment crosses both.
        for hour in (self.day_from, self.day_until):
            if hour.second or hour.microsecond or hour.tzinfo:
                raise UnusableShifts(f"shift hour {hour}: expected a whole minute on the city's clock")
        if self.day_from >= self.day_until:
            raise UnusableShifts(f"day shift {self.day_from} to {self.day_until}: expected it to end after it starts")

    def boundaries_ns(self) -> Ints:
        """Return nanoseconds after midnight at which a shift ends, midnight last."""
        hours = (self.day_from, self.day_until)
        return np.array([*((h.hour * 60 + h.minute) * 60 * _NS for h in hours), _DAY_NS])


DAY_AND_NIGHT = Shifts()


def burn_fixes(
    fixes: pd.DataFrame,
    *,
    metric_crs: str,
    time_zone: str,
    sight_m: float = 50.0,
    shifts: Shifts = DAY_AND_NIGHT,
) -> SeenTiles:
    """Ground seen along tracks, by tile, local day and shift.

    Rows may come in any order and more than once; parts of a track burnt apart and merged give the same bits as the
    whole, when each part begins with its predecessor's last fix. A segment that crosses a shift's end is split there.

    Parameters
    ----------
    fixes
        Columns `track`, `lon`, `lat` (WGS84 degrees), `at` (aware).
    metric_crs
        The city's metric CRS.
    time_zone
        The city's, by its IANA name.
    sight_m
        How far a patroller sees, metres, over 0 and up to 1000.
    shifts
        Hours of the day shift.

    Raises
    ------
    UnusableFixes
        A column is missing, a place is not finite, a time is naive or missing.
    """
    if not 0 < sight_m <= MAX_SIGHT_M:
        raise InvalidInput(f"sight_m {sight_m}: expected more than 0 and at most {MAX_SIGHT_M:g} metres")
    steps = walked_steps(*_columns(fixes), metric_crs=metric_crs)
    return burn_steps(steps, time_zone=time_zone, sight_m=sight_m, shifts=shifts)


@dataclass(frozen=True)
class Steps:
    """Ground walked: steps from a fix of a track to its next.

    Attributes
    ----------
    track
        Shape (n,), as the track was numbered.
    at_ns
        Shape (n, 2), UTC nanoseconds of the two ends.
    lonlat
        Shape (n, 4), WGS84 degrees of the two ends.
    xy
        Shape (n, 4), metres of the two ends in the city's metric CRS.
    """

    track: npt.NDArray[np.intp]
    at_ns: Ints
    lonlat: Floats
    xy: Floats

    def __len__(self) -> int:
        return len(self.track)

    def where(self, keep: Bools) -> "Steps":
        """The steps where a mask of shape (n,) is set."""
        return Steps(self.track[keep], self.at_ns[keep], self.lonlat[keep], self.xy[keep])


def walked_steps(track: npt.NDArray[np.intp], at_ns: Ints, lon: Floats, lat: Floats, *, metric_crs: str) -> Steps:
    """The ground walked between fixes in any order and perhaps repeated, by track and time; shapes (n,)."""
    columns: list[Any] = [track, at_ns, lon, lat]
    if not _is_sorted(track, at_ns):
        order = np.lexsort(columns[::-1])
        columns = [column[order] for column in columns]
        repeats = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
        columns = [column[np.r_[True, ~repeats][: len(column)]] for column in columns]
    track, at_ns, lon, lat = columns
    x, y = to_metric("EPSG:4326", metric_crs).transform(lon, lat)
    lonlat, xy = np.column_stack([lon, lat]), np.column_stack([x, y])
    here = np.flatnonzero(_is_walked(track, at_ns, xy))
    after = here + 1
    return Steps(
        track[here],
        np.column_stack([at_ns[here], at_ns[after]]),
        np.hstack([lonlat[here], lonlat[after]]),
        np.hstack([xy[here], xy[after]]),
    )


def burn_steps(steps: Steps, *, time_zone: str, sight_m: float = 50.0, shifts: Shifts = DAY_AND_NIGHT) -> SeenTiles:
    """Ground seen along steps; see `burn_fixes`."""
    local = _local_ns(steps.at_ns.ravel(), time_zone).reshape(-1, 2)
    ends, day, shift = _split_at_shifts(steps.xy, local[:, 0], local[:, 1], shifts)
    return _burn(ends, day, shift, sight_m)


def _columns(fixes: pd.DataFrame) -> tuple[npt.NDArray[np.intp], Ints, Floats, Floats]:
    """Return track number, time, lon and lat of checked fixes."""
    missing = [name for name in ("track", "lon", "lat", "at") if name not in fixes.columns]
    if missing:
        raise UnusableFixes(f"fixes without {', '.join(missing)}: expected columns track, lon, lat, at")
    if not isinstance(fixes["at"].dtype, pd.DatetimeTZDtype) or fixes["at"].isna().any():
        raise UnusableFixes("column at: expected aware times in every row")
    lon, lat = (fixes[name].to_numpy(dtype=np.float64) for name in ("lon", "lat"))
    if not (np.isfinite(lon) & np.isfinite(lat)).all():
        raise UnusableFixes("columns lon, lat: expected finite degrees in every row")
    at_ns = fixes["at"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ns]").view(np.int64)
    track, _ = pd.factorize(fixes["track"], use_na_sentinel=False)
    return track, at_ns, lon, lat


def _is_sorted(track: npt.NDArray[np.intp], at_ns: Ints) -> bool:
    """Whether rows already stand by track and strictly by time: most files do, and sorting is the dearest step."""
    onward = (track[1:] > track[:-1]) | ((track[1:] == track[:-1]) & (at_ns[1:] > at_ns[:-1]))
    return bool(onward.all())


def _is_walked(track: npt.NDArray[np.intp], at_ns: Ints, xy: Floats) -> Bools:
    """Tell of each step from a fix to the next whether it is ground walked, shape (n - 1,)."""
    waited = np.diff(at_ns)
    step_m = np.hypot(*np.diff(xy, axis=0).T)
    walked: Bools = (track[1:] == track[:-1]) & (waited > 0) & (waited <= MAX_GAP_S * _NS)
    walked &= (step_m <= MAX_STEP_M) & (step_m <= MAX_SPEED_MPS / _NS * waited)
    return walked


def _local_ns(at_ns: Ints, time_zone: str) -> Ints:
    """Return nanoseconds the city's clock shows, counted as if there were no zones."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(f"time zone {time_zone!r}: expected an IANA name such as Asia/Shanghai") from error
    if len(at_ns):
        # One outing seldom sees the clocks put on or back, and a constant is a hundred times quicker than a calendar.
        ends = [datetime.fromtimestamp(int(at) // _NS, zone).utcoffset() for at in (at_ns.min(), at_ns.max())]
        if ends[0] == ends[1] and ends[0] is not None and at_ns.max() - at_ns.min() < _DAY_NS:
            return at_ns + int(ends[0].total_seconds()) * _NS
    aware = pd.DatetimeIndex(at_ns.view("datetime64[ns]"), tz="UTC").tz_convert(zone)
    return aware.tz_localize(None).to_numpy("datetime64[ns]").view(np.int64)


def _split_at_shifts(ends: Floats, left: Ints, came: Ints, shifts: Shifts) -> tuple[Floats, Ints, Ints]:
    """Return segments cut where a shift ends, with the day ordinal and the shift of each.

    `left` and `came` are the local times of a segment's two ends. A part of no length in time is left out: who is
    there at the stroke of the hour only has seen nothing in the new shift.
    """
    boundaries = shifts.boundaries_ns()
    period = [2 * (t // _DAY_NS) + _is_night(t % _DAY_NS, boundaries) for t in (left, came)]
    cut = np.flatnonzero(period[0] != period[1])
    clock = left[cut] % _DAY_NS
    until = boundaries[np.searchsorted(boundaries, clock, side="right")] - clock
    share = np.clip(until / np.maximum(came[cut] - left[cut], 1), 0.0, 1.0)[:, None]
    middle = ends[cut, :2] + share * (ends[cut, 2:] - ends[cut, :2])
    before, after = np.hstack([ends[cut, :2], middle]), np.hstack([middle, ends[cut, 2:]])
    some = share[:, 0] < 1.0
    ends = ends.copy()
    ends[cut] = before
    ends = np.vstack([ends, after[some]])
    period_of = np.concatenate([period[0], period[1][cut][some]])
    return ends, period_of // 2 + _EPOCH, period_of % 2


def _is_night(clock_ns: Ints, boundaries: Ints) -> Bools:
    night: Bools = (clock_ns < boundaries[0]) | (clock_ns >= boundaries[1])
    return night


def _burn(ends: Floats, day: Ints, shift: Ints, sight_m: float) -> SeenTiles:
    """Burn capsules of segments (n, 4) into tiles."""
    low = np.minimum(ends[:, :2], ends[:, 2:]) - sight_m
    high = np.maximum(ends[:, :2], ends[:, 2:]) + sight_m
    (col0, row0), (col1, row1) = (np.floor(v / TILE_M).astype(np.int64).T for v in (low, high))
    segment, row, col = _touched(row0, row1, col0, col1)
    keys = [row, col, day[segment], shift[segment]]
    slot, keys = _slots(keys)
    bits = np.zeros((len(keys[0]), TILE_BYTES), np.uint8)
    _burn_capsules(ends, np.column_stack([segment, row, col, slot]), sight_m, bits)
    some = bits.any(axis=1)  # a capsule's box may reach into a tile that the capsule does not
    tile_row, tile_col, days, shift_of = (key[some] for key in keys)
    return SeenTiles(tile_row, tile_col, days, shift_of, bits[some])


def _touched(row0: Ints, row1: Ints, col0: Ints, col1: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (segment, tile_row, tile_col) of each tile in each segment's box."""
    wide = col1 - col0 + 1
    many = (row1 - row0 + 1) * wide
    segment = np.repeat(np.arange(len(many)), many)
    nth = np.arange(len(segment)) - np.repeat(np.cumsum(many) - many, many)
    return segment, row0[segment] + nth // wide[segment], col0[segment] + nth % wide[segment]


def _slots(keys: list[Ints]) -> tuple[Ints, list[Ints]]:
    """Return the position of each row's key among the distinct keys, and these, sorted."""
    n = len(keys[0])
    change = np.ones(n, bool)
    change[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    runs = np.flatnonzero(change)  # walkers stay in a tile for a while: sort runs, not rows
    heads = [key[runs] for key in keys]
    order = np.lexsort(heads[::-1])
    heads = [head[order] for head in heads]
    is_new = np.ones(len(runs), bool)
    is_new[1:] = np.logical_or.reduce([head[1:] != head[:-1] for head in heads])
    slot_of_run = np.empty(len(runs), np.int64)
    slot_of_run[order] = np.cumsum(is_new) - 1
    return np.repeat(slot_of_run, np.diff(np.r_[runs, n])), [head[is_new] for head in heads]


@kernel
def _burn_capsules(ends: Floats, touched: Ints, sight_m: float, bits: Bits) -> None:
    """Burn pairs of (segment, tile_row, tile_col, slot), shape (n, 4), each into the tile ``bits[slot]``."""
    for k in range(len(touched)):
        s = touched[k, 0]
        north, east = touched[k, 1] * 640.0, touched[k, 2] * 640.0
        segment = (ends[s, 0] - east, ends[s, 1] - north, ends[s, 2] - east, ends[s, 3] - north)
        _burn_capsule(segment, sight_m, bits[touched[k, 3]])


@kernel
def _burn_capsule(segment: tuple[float, float, float, float], sight_m: float, tile: Bits) -> None:
    """Set the cells of one tile whose centre is within sight of a segment; metres from the tile's corner."""
    ax, ay, bx, by = segment
    long_m = math.hypot(bx - ax, by - ay)
    side_x, side_y = 0.0, 0.0
    if long_m > 0.0:
        side_x, side_y = (ay - by) / long_m * sight_m, (bx - ax) / long_m * sight_m
    first = max(0, first_centre(min(ay, by) - sight_m))
    last = min(127, first_centre(max(ay, by) + sight_m))
    for r in range(first, last + 1):
        west, east = _across(segment, (side_x, side_y), sight_m, (r + 0.5) * 5.0)
        if west > east or east < 0.0 or west >= 640.0:
            continue
        c0, c1 = max(0, first_centre(west)), first_centre(east)
        if (c1 + 0.5) * 5.0 > east:
            c1 -= 1
        if c0 <= min(c1, 127):
            set_run(tile, r, c0, min(c1, 127))


@kernel
def _across(
    segment: tuple[float, float, float, float], side: tuple[float, float], sight_m: float, y: float
) -> tuple[float, float]:
    """Return where a line of constant y enters and leaves a capsule, west over east where it misses.

    A capsule is convex, so this is one run: the outermost of its two discs and its two long edges.
    """
    ax, ay, bx, by = segment
    west, east = math.inf, -math.inf
    for x0, y0 in ((ax, ay), (bx, by)):
        square = sight_m * sight_m - (y - y0) * (y - y0)
        if square >= 0.0:
            half = math.sqrt(square)
            west, east = min(west, x0 - half), max(east, x0 + half)
    if by != ay:
        for sign in (-1.0, 1.0):
            t = (y - (ay + sign * side[1])) / (by - ay)
            if 0.0 <= t <= 1.0:
                x = ax + sign * side[0] + t * (bx - ax)
                west, east = min(west, x), max(east, x)
    return west, east
