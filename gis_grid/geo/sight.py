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
_KEY_ZERO = 1 << 20
_KEY_MASK = (1 << 21) - 1


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
    none = np.zeros(len(track), bool)
    return changed_steps(track, at_ns, lon, lat, is_stored=none, metric_crs=metric_crs)[0]


def changed_steps(
    track: npt.NDArray[np.intp], at_ns: Ints, lon: Floats, lat: Floats, *, is_stored: Bools, metric_crs: str
) -> tuple[Steps, Steps]:
    """The steps that new fixes add to those between the stored ones, and the stored ones' steps that they undo.

    A new fix within a step undoes it. Fixes come in any order and perhaps repeated; shapes (n,).
    """
    columns: list[Any] = [track, at_ns, lon, lat]
    if not _is_sorted(track, at_ns):
        order = np.lexsort(columns[::-1])
        columns = [column[order] for column in columns]
        is_first = np.ones(len(order), bool)
        is_first[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
        at = np.flatnonzero(is_first)
        columns = [column[at] for column in columns]
        is_stored = np.logical_or.reduceat(is_stored[order], at)
    track, at_ns, lon, lat = columns
    x, y = to_metric("EPSG:4326", metric_crs).transform(lon, lat)
    fixes = _Fixes(track, at_ns, np.column_stack([lon, lat]), np.column_stack([x, y]))
    here = np.flatnonzero(~(is_stored[:-1] & is_stored[1:]))
    stored = np.flatnonzero(is_stored)
    apart = np.flatnonzero(stored[1:] > stored[:-1] + 1)
    return fixes.steps(here, here + 1), fixes.steps(stored[apart], stored[apart + 1])


@dataclass(frozen=True)
class _Fixes:
    """Fixes by track and time; shapes (n,), and (n, 2) of the places."""

    track: npt.NDArray[np.intp]
    at_ns: Ints
    lonlat: Floats
    xy: Floats

    def steps(self, here: npt.NDArray[np.intp], there: npt.NDArray[np.intp]) -> Steps:
        """Those of the steps from one position to another that are ground walked."""
        waited = self.at_ns[there] - self.at_ns[here]
        way_m = self.xy[there] - self.xy[here]
        step_m = np.hypot(way_m[:, 0], way_m[:, 1])
        walked = (self.track[here] == self.track[there]) & (waited > 0) & (waited <= MAX_GAP_S * _NS)
        walked &= (step_m <= MAX_STEP_M) & (step_m <= MAX_SPEED_MPS / _NS * waited)
        here, there = here[walked], there[walked]
        return Steps(
            self.track[here],
            np.column_stack([self.at_ns[here], self.at_ns[there]]),
            np.hstack([self.lonlat[here], self.lonlat[there]]),
            np.hstack([self.xy[here], self.xy[there]]),
        )


def burn_steps(steps: Steps, *, time_zone: str, sight_m: float = 50.0, shifts: Shifts = DAY_AND_NIGHT) -> SeenTiles:
    """Ground seen along steps; see `burn_fixes`."""
    local = _local_ns(steps.at_ns.ravel(), time_zone).reshape(-1, 2)
    ends, period = _split_at_shifts(steps.xy, local, shifts)
    return _burn(ends, period, sight_m)


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


def _split_at_shifts(ends: Floats, local: Ints, shifts: Shifts) -> tuple[Floats, Ints]:
    """Return segments cut where a shift ends, and the period of each: twice the days since 1970, one more by night.

    `local` holds the local times of a segment's two ends, shape (n, 2). A part of no length in time is left out: who is
    there at the stroke of the hour only has seen nothing in the new shift.
    """
    boundaries = shifts.boundaries_ns()
    day, clock = np.divmod(local, _DAY_NS)
    period = 2 * day + ((clock < boundaries[0]) | (clock >= boundaries[1]))
    cut = np.flatnonzero(period[:, 0] != period[:, 1])
    if not len(cut):
        return ends, period[:, 0]
    until = boundaries[np.searchsorted(boundaries, clock[cut, 0], side="right")] - clock[cut, 0]
    share = np.clip(until / np.maximum(local[cut, 1] - local[cut, 0], 1), 0.0, 1.0)[:, None]
    middle = ends[cut, :2] + share * (ends[cut, 2:] - ends[cut, :2])
    before, after = np.hstack([ends[cut, :2], middle]), np.hstack([middle, ends[cut, 2:]])
    some = share[:, 0] < 1.0
    ends = ends.copy()
    ends[cut] = before
    return np.vstack([ends, after[some]]), np.concatenate([period[:, 0], period[cut, 1][some]])


def _burn(ends: Floats, period: Ints, sight_m: float) -> SeenTiles:
    """Burn capsules of segments (n, 4) into tiles."""
    touched, keys = _touch(np.ascontiguousarray(ends), period, sight_m)
    bits = np.zeros((len(keys), TILE_BYTES), np.uint8)
    _burn_capsules(ends, touched, sight_m, bits)
    some = bits.any(axis=1)  # a capsule's box may reach into a tile that the capsule does not
    keys, bits = keys[some], bits[some]
    row, col, of = keys >> 42, (keys >> 21) & _KEY_MASK, (keys & _KEY_MASK) - _KEY_ZERO
    return SeenTiles(row - _KEY_ZERO, col - _KEY_ZERO, of // 2 + _EPOCH, of % 2, bits)


@kernel
def _touch(ends: Floats, period: Ints, sight_m: float) -> tuple[Ints, Ints]:
    """Return (segment, tile_row, tile_col, slot) of each tile in each segment's box, and each slot's key, ascending.

    A key is tile row, tile column and period, 21 bits each, all moved up by `_KEY_ZERO`.
    """
    box = np.empty((len(ends), 4), np.int64)
    many = 0
    for s in range(len(ends)):
        box[s, 0] = math.floor((min(ends[s, 1], ends[s, 3]) - sight_m) / 640.0)
        box[s, 1] = math.floor((max(ends[s, 1], ends[s, 3]) + sight_m) / 640.0) + 1
        box[s, 2] = math.floor((min(ends[s, 0], ends[s, 2]) - sight_m) / 640.0)
        box[s, 3] = math.floor((max(ends[s, 0], ends[s, 2]) + sight_m) / 640.0) + 1
        many += (box[s, 1] - box[s, 0]) * (box[s, 3] - box[s, 2])
    touched, runs = np.empty((many, 4), np.int64), np.empty(many, np.int64)
    k, n_runs = 0, 0
    for s in range(len(ends)):
        for row in range(box[s, 0], box[s, 1]):
            for col in range(box[s, 2], box[s, 3]):
                key = ((row + 1048576) << 42) + ((col + 1048576) << 21) + period[s] + 1048576
                if n_runs == 0 or runs[n_runs - 1] != key:  # walkers stay in a tile for a while: sort runs, not rows
                    runs[n_runs] = key
                    n_runs += 1
                touched[k, 0], touched[k, 1], touched[k, 2], touched[k, 3] = s, row, col, n_runs - 1
                k += 1
    keys = np.sort(runs[:n_runs])
    n_keys = min(n_runs, 1)
    for r in range(1, n_runs):
        if keys[r] != keys[n_keys - 1]:
            keys[n_keys] = keys[r]
            n_keys += 1
    keys = keys[:n_keys]
    slots = np.searchsorted(keys, runs[:n_runs])
    for k in range(many):
        touched[k, 3] = slots[touched[k, 3]]
    return touched, keys


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
