"""Chunks of a track as they arrive: which fixes count, and why the others do not. Pure.

Nothing that is sent is thrown away: a fix that does not count is kept with its reason.
"""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import (
    MIN_POINTS_TO_TELL,
    Datum,
    guess_datum,
    refusal_reasons,
    to_wgs84,
    wgs84_to_bd09,
    wgs84_to_gcj02,
)
from gis_grid.geo.sight import MAX_SPEED_MPS
from gis_grid.geo.tiles import Floats, Ints

MAX_FIXES = 1000
MAX_SPAN_MS = 6 * 3_600_000
MAX_ACCURACY_M = 50.0
MAX_CLOCK_MS = 120_000
MAX_LATE_MS = 90 * 86_400_000
FAR_DEG = 0.2
_FIRST_MS, _LAST_MS = 0, 4_133_980_800_000  # 1970 to 2100, both whole


class Why(StrEnum):
    """Why a fix does not count."""

    ACCURACY = "accuracy"  # worse than MAX_ACCURACY_M
    CLOCK = "clock"  # ahead of ours, or sent by a clock that is off, by more than MAX_CLOCK_MS
    LATE = "late"  # older than MAX_LATE_MS when it came
    FAR = "far"  # nowhere near the district
    DATUM = "datum"  # what was sent with it lies clearly better in the district on another datum than on the one named
    JUMP = "jump"  # reached and left faster than anybody drives; it still breaks the line


_WHYS = (Why.ACCURACY, Why.CLOCK, Why.LATE, Why.FAR, Why.DATUM)
COUNTS = -1


class UnusableChunk(InvalidInput):
    """A chunk that holds no line of fixes."""


@dataclass(frozen=True)
class Chunk:
    """A piece of one outing, WGS84, in the order of its times.

    Attributes
    ----------
    track, sequence
        The outing, and the sender's number of the piece.
    at_ms
        Shape (n,), milliseconds since 1970 UTC.
    lon, lat
        Shape (n,), WGS84 degrees.
    accuracy_m
        Shape (n,), nan where unknown.
    sent_on
        The datum the sender named; coordinates here are converted already.
    """

    track: str
    sequence: int
    at_ms: Ints
    lon: Floats
    lat: Floats
    accuracy_m: Floats
    sent_on: Datum = Datum.WGS84
    team: str = ""
    walker: str | None = None

    def __len__(self) -> int:
        return len(self.at_ms)

    def where(self, keep: npt.NDArray[np.bool_]) -> "Chunk":
        """The chunk with the fixes only where a mask of shape (n,) is set."""
        columns = (self.at_ms[keep], self.lon[keep], self.lat[keep], self.accuracy_m[keep])
        return Chunk(self.track, self.sequence, *columns, self.sent_on, self.team, self.walker)

    @property
    def sha256(self) -> str:
        """Of what the chunk says, whatever its number: the same fixes sent again are the same chunk."""
        parts = (self.at_ms, self.lon, self.lat, self.accuracy_m)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def make_chunk(
    track: str,
    sequence: int,
    *,
    epoch_s: Sequence[float] | Floats,
    lon: Sequence[float] | Floats,
    lat: Sequence[float] | Floats,
    accuracy_m: Sequence[float | None] | Floats | None = None,
    datum: Datum = Datum.WGS84,
    team: str = "",
    walker: str | None = None,
) -> Chunk:
    """A chunk out of columns of fixes in any order.

    Raises
    ------
    UnusableChunk
        Columns of different lengths, no fix or too many, a number that is no time or place, or too long a span.
    """
    at, x, y = (np.asarray(column, dtype=np.float64) for column in (epoch_s, lon, lat))
    off = np.full(len(at), np.nan) if accuracy_m is None else np.array(accuracy_m, dtype=np.float64)
    if not len(at) == len(x) == len(y) == len(off):
        raise UnusableChunk(f"columns of {len(at)}, {len(x)}, {len(y)} and {len(off)} fixes: expected one length")
    if not 0 < len(at) <= MAX_FIXES:
        raise UnusableChunk(f"{len(at)} fixes: expected 1 to {MAX_FIXES} in a chunk")
    if not (at.min() >= _FIRST_MS / 1000 and at.max() < _LAST_MS / 1000):  # so is nan, which passes through min and max
        raise UnusableChunk("epoch_s: expected seconds since 1970, up to the year 2100, in each fix")
    if not (np.abs(x).max() <= 180 and np.abs(y).max() <= 90):
        raise UnusableChunk(str(next(why for why in refusal_reasons(x, y) if why is not None)))
    if (off < 0).any() or np.isinf(off).any():
        raise UnusableChunk("accuracy_m: expected metres, 0 or more")
    at_ms = np.round(at * 1000).astype(np.int64)
    if int(at_ms.max() - at_ms.min()) > MAX_SPAN_MS:
        raise UnusableChunk(
            f"fixes over {(at_ms.max() - at_ms.min()) / 3_600_000:.1f} h: expected at most 6 in a chunk"
        )
    if datum is not Datum.WGS84:
        x, y = to_wgs84(x, y, datum)
    if (at_ms[1:] < at_ms[:-1]).any():
        order = np.lexsort([y, x, at_ms])
        at_ms, x, y, off = at_ms[order], x[order], y[order], off[order]
    return Chunk(track, sequence, at_ms, x, y, off, datum, team, walker)


@dataclass(frozen=True)
class Judge:
    """What fixes are held against.

    Attributes
    ----------
    bounds
        West, south, east, north of the district; None where there is none yet.
    received_ms
        When the upload came, by our clock; None for files, whose times are believed.
    sent_ms
        When it was sent, by the sender's clock; None where that is not told.
    wrong
        Datums that cannot be what chunks naming them are on.
    """

    bounds: tuple[float, float, float, float] | None
    received_ms: int | None = None
    sent_ms: int | None = None
    wrong: Collection[Datum] = ()

    def __call__(self, chunk: Chunk) -> npt.NDArray[np.int8]:
        """Why each fix does not count, a position in the reasons, or `COUNTS`; shape (n,)."""
        why = np.full(len(chunk), COUNTS, dtype=np.int8)
        if self.bounds is not None:
            west, south, east, north = self.bounds
            near = (chunk.lon > west - FAR_DEG) & (chunk.lon < east + FAR_DEG)
            near &= (chunk.lat > south - FAR_DEG) & (chunk.lat < north + FAR_DEG)
            why[~near] = _WHYS.index(Why.FAR)
        if self.received_ms is not None:
            why[chunk.at_ms < self.received_ms - MAX_LATE_MS] = _WHYS.index(Why.LATE)
            off_ms = 0 if self.sent_ms is None else abs(self.sent_ms - self.received_ms)
            ahead = chunk.at_ms > self.received_ms + MAX_CLOCK_MS
            why[ahead | (off_ms > MAX_CLOCK_MS)] = _WHYS.index(Why.CLOCK)
        why[chunk.accuracy_m > MAX_ACCURACY_M] = _WHYS.index(Why.ACCURACY)
        if chunk.sent_on in self.wrong:
            why[:] = _WHYS.index(Why.DATUM)
        return why


def are_times_believed(why: npt.NDArray[np.int8]) -> bool:
    """Whether no fix was left out for its time."""
    return not ((why == _WHYS.index(Why.CLOCK)) | (why == _WHYS.index(Why.LATE))).any()


def reason_of(code: int) -> Why:
    """The reason at a position."""
    return _WHYS[code]


def wrong_datums(chunks: Sequence[Chunk], district: shapely.Geometry) -> Mapping[Datum, Datum]:
    """By datum that chunks name, another on which they lie clearly better in the district; without those that may be.

    At least 100 distinct places on the named datum and a lead of 2 percentage points, as for any batch.
    """
    found = {}
    for named in {one.sent_on for one in chunks}:
        some = [one for one in chunks if one.sent_on is named]
        lon, lat = np.concatenate([one.lon for one in some]), np.concatenate([one.lat for one in some])
        # With every fix in the district no other datum can lead: that is most uploads, and quick to see.
        if len(lon) < MIN_POINTS_TO_TELL or shapely.intersects_xy(district, lon, lat).all():
            continue
        likely = guess_datum(*_as_sent(lon, lat, named), district, named).likely
        if likely is not None:
            found[named] = likely
    return found


def _as_sent(lon: Floats, lat: Floats, datum: Datum) -> tuple[Floats, Floats]:
    if datum is Datum.GCJ02:
        return wgs84_to_gcj02(lon, lat)
    return wgs84_to_bd09(lon, lat) if datum is Datum.BD09 else (lon, lat)


def jumps(chunk: Chunk) -> int:
    """How many fixes were reached and left faster than anybody drives."""
    if len(chunk) < 3:
        return 0
    east, north = 111_320 * math.cos(math.radians(chunk.lat[0])), 110_800.0
    step_m = np.hypot((chunk.lon[1:] - chunk.lon[:-1]) * east, (chunk.lat[1:] - chunk.lat[:-1]) * north)
    is_fast = step_m * 1000 > MAX_SPEED_MPS * (chunk.at_ms[1:] - chunk.at_ms[:-1])
    return int((is_fast[1:] & is_fast[:-1]).sum())
