"""Taking in tracks: chunks stored, and in the same transaction the ground they saw.

What ends up seen is what the whole of a track's stored fixes saw, in the order of their times, however its chunks
came: late, twice, overlapping, the last before the first. New fixes usually only add steps, which are burnt; where a
fix falls within a step that was burnt already, the tiles of that step are made again from the chunks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.city import City
from gis_grid.database import run
from gis_grid.geo.sight import MAX_GAP_S, Steps, burn_steps, changed_steps
from gis_grid.geo.tiles import Floats
from gis_grid.geo.track_chunks import COUNTS, Chunk, Judge, Why, are_times_believed, jumps, make_chunk, reason_of
from gis_grid.geo.track_lines import NumberedFixes, fixes_of_lines, line_ewkb, no_fixes
from gis_grid.patrols import TrackChunk
from gis_grid.rebuilding import lock_tiles, rebuild_tiles
from gis_grid.seen import ADD_SEEN, ROWS_AT_ONCE, add_seen, tile_parameters

CHUNK_FIXES = 60
MS = 1_000_000  # nanoseconds
SIGHT_M = 50.0


@dataclass(frozen=True)
class Taken:
    """What became of a chunk.

    Attributes
    ----------
    is_new
        False where the same fixes of the same track were stored before.
    uncounted
        How many fixes are kept but not counted, by reason.
    """

    chunk: Chunk
    is_new: bool
    counted: int
    uncounted: Mapping[Why, int]


@dataclass(frozen=True)
class Upload:
    """Chunks that came together.

    Attributes
    ----------
    judge
        What their fixes are held against.
    source
        How they came: a channel, or a file.
    received_at
        When, by our clock.
    """

    chunks: Sequence[Chunk]
    judge: Judge
    source: str
    received_at: datetime
    is_synthetic: bool = False


@dataclass(frozen=True)
class _Judged:
    upload: Upload
    chunk: Chunk
    counted: Chunk
    why: npt.NDArray[np.int8]
    sha256: str
    jumps: int
    span: tuple[datetime, datetime]


def take_in(session: Session, upload: Upload, *, city: City, sight_m: float = SIGHT_M) -> list[Taken]:
    """Store an upload and what it saw; what became of each chunk, in the order given."""
    (taken,) = take_in_all(session, [upload], city=city, sight_m=sight_m)
    return taken


def take_in_all(
    session: Session, uploads: Sequence[Upload], *, city: City, sight_m: float = SIGHT_M
) -> list[list[Taken]]:
    """Store uploads and what they saw, as if one came after the other; what became of each chunk of each."""
    every = [_judge(upload, chunk) for upload in uploads for chunk in upload.chunks]
    new = _store(session, _without_known(session, every), city, sight_m)
    taken = iter([_taken(one, new) for one in every])
    return [[next(taken) for _ in upload.chunks] for upload in uploads]


def _store(session: Session, judged: list[_Judged], city: City, sight_m: float) -> set[tuple[str, str]]:
    """Store chunks and what they saw; the track and hash of those that were not stored before."""
    if not judged:
        return set()
    tracks = {track: number for number, track in enumerate(sorted({one.chunk.track for one in judged}))}
    added, undone = _changes(judged, _stored_fixes(session, judged, tracks), tracks, city)
    seen = burn_steps(added, time_zone=city.time_zone, sight_m=sight_m)
    rows = _rows(judged)
    if len(undone):
        gone = burn_steps(undone, time_zone=city.time_zone, sight_m=sight_m)
        lock_tiles(session, gone, seen)
        new = run(session, _ADD_CHUNKS, rows)
        rebuild_tiles(session, gone, city=city, sight_m=sight_m)
        add_seen(session, seen)
    elif len(seen) > ROWS_AT_ONCE:
        new = run(session, _ADD_CHUNKS, rows)
        add_seen(session, seen)
    else:
        new = run(session, _ADD_BOTH, rows | tile_parameters(seen))
    return {(row.track, row.content_sha256) for row in new}


def _without_known(session: Session, judged: list[_Judged]) -> list[_Judged]:
    """The chunks without those of which nothing counts and which are stored: their key holds when they first came."""
    doubtful = [one for one in judged if not len(one.counted)]
    if not doubtful:
        return judged
    query = sa.select(TrackChunk.track, TrackChunk.content_sha256).where(
        TrackChunk.track.in_({one.chunk.track for one in doubtful}),
        TrackChunk.content_sha256.in_({one.sha256 for one in doubtful}),
    )
    known = {(track, sha) for track, sha in session.execute(query)}
    return [one for one in judged if len(one.counted) or (one.chunk.track, one.sha256) not in known]


# Statements that go together go to the server together: going there takes as long as what is done there.
# One upload of a track at a time: two that fit together must see each other. The neighbours are looked for once the
# lock is held, not before.
_MONTHS = ("ensure_track_months",)
_NEIGHBOURS = (*_MONTHS, "lock_tracks", "track_neighbours")
_ADD_CHUNKS = ("add_track_chunks",)
_ADD_BOTH = (*ADD_SEEN, *_ADD_CHUNKS)


def _judge(upload: Upload, chunk: Chunk) -> _Judged:
    why = upload.judge(chunk)
    counts = why == COUNTS
    is_whole = bool(counts.all())
    counted = chunk if is_whole else chunk.where(counts)
    span = _span(chunk, counted, why, upload.received_at)
    return _Judged(upload, chunk, counted, why, chunk.sha256, jumps(chunk), span)


def _span(chunk: Chunk, counted: Chunk, why: npt.NDArray[np.int8], now: datetime) -> tuple[datetime, datetime]:
    """First and last time of what counts; the day of receipt where nothing does and its times are not believed."""
    timed = counted if len(counted) else chunk
    if not len(counted) and not are_times_believed(why):
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day, day
    return _utc(int(timed.at_ms[0])), _utc(int(timed.at_ms[-1]))


def _taken(one: _Judged, new: set[tuple[str, str]]) -> Taken:
    """What became of a chunk; the first of several that say the same is the new one."""
    key = one.chunk.track, one.sha256
    is_new = key in new
    new.discard(key)
    uncounted = {}
    if len(one.counted) < len(one.chunk):
        codes, counts = np.unique(one.why[one.why != COUNTS], return_counts=True)
        uncounted = {reason_of(int(code)): int(count) for code, count in zip(codes, counts, strict=True)}
    if one.jumps:
        uncounted[Why.JUMP] = one.jumps
    return Taken(one.chunk, is_new, len(one.counted), uncounted)


def _stored_fixes(session: Session, judged: Sequence[_Judged], tracks: Mapping[str, int]) -> NumberedFixes:
    """Track number, milliseconds, lon and lat of what is stored around the new fixes; their months are made."""
    asked: dict[str, Any] = {"months": sorted({one.span[0].strftime("%Y-%m-01") for one in judged})}
    times = [one.counted.at_ms for one in judged if len(one.counted)]
    if not times:
        run(session, _MONTHS, asked)
        return no_fixes()  # and nothing to be locked for
    since = min(int(part[0]) for part in times) - MAX_GAP_S * 1000
    until = max(int(part[-1]) for part in times) + MAX_GAP_S * 1000
    asked |= {"tracks": list(tracks), "since": _utc(since), "until": _utc(until)}
    rows = [row for row in run(session, _NEIGHBOURS, asked) if row.line is not None]
    stored = fixes_of_lines([row.line for row in rows], [tracks[row.track] for row in rows])
    # No step is longer than a gap: what lies farther off stays as it is.
    near = (stored[1] >= since) & (stored[1] <= until)
    return tuple(column[near] for column in stored)  # type: ignore[return-value]


def _rows(judged: Sequence[_Judged]) -> dict[str, Any]:
    """Chunks as a statement takes them: one list a column."""
    rows = [_row(one) for one in judged]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _row(one: _Judged) -> dict[str, Any]:
    chunk, counted = one.chunk, one.counted
    is_known = bool(len(counted)) and not np.isnan(counted.accuracy_m).all()
    return {
        "track": chunk.track,
        "sequence": chunk.sequence,
        "content_sha256": one.sha256,
        "team": chunk.team,
        "walker": chunk.walker,
        "started_at": one.span[0],
        "ended_at": one.span[1],
        "geom": line_ewkb(counted.lon, counted.lat, counted.at_ms) if len(counted) else None,
        "accuracy_m": _array_text(counted.accuracy_m) if is_known else None,
        "uncounted": _uncounted(one),
        "source": one.upload.source,
        "received_at": one.upload.received_at,
        "is_synthetic": one.upload.is_synthetic,
    }


def _array_text(values: Floats) -> str:
    return "{" + ",".join(["NULL" if value != value else f"{value:g}" for value in values.tolist()]) + "}"  # noqa: PLR0124 nan


def _uncounted(one: _Judged) -> str | None:
    kept: dict[str, Any] = {}
    chunk = one.chunk
    if len(one.counted) < len(chunk):
        for i in np.flatnonzero(one.why != COUNTS).tolist():
            off = float(chunk.accuracy_m[i])
            fix = [float(chunk.lon[i]), float(chunk.lat[i]), int(chunk.at_ms[i]) / 1000, None if np.isnan(off) else off]
            kept.setdefault(reason_of(int(one.why[i])).value, []).append(fix)
    if one.jumps:
        kept[Why.JUMP.value] = one.jumps
    return json.dumps(kept) if kept else None


def _changes(
    judged: Sequence[_Judged], stored: NumberedFixes, tracks: Mapping[str, int], city: City
) -> tuple[Steps, Steps]:
    """The steps that the new fixes add, and those they undo."""
    new = [one.counted for one in judged]
    numbers = np.repeat([tracks[one.track] for one in new], [len(one) for one in new]).astype(np.intp)
    columns = (numbers, *(np.concatenate([getattr(one, name) for one in new]) for name in ("at_ms", "lon", "lat")))
    track, at_ms, lon, lat = (np.concatenate(pair) for pair in zip(stored, columns, strict=True))
    is_stored = np.arange(len(track)) < len(stored[0])
    return changed_steps(track, at_ms * MS, lon, lat, is_stored=is_stored, metric_crs=city.metric_crs)


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def chunks_of(fixes: pd.DataFrame) -> list[Chunk]:
    """Outings cut into chunks, each but the first beginning with its predecessor's last fix.

    Parameters
    ----------
    fixes
        Columns track, lon, lat (WGS84 degrees), at (aware), and perhaps team, walker (None
        where nobody is named) and accuracy_m.
    """
    ordered = fixes.sort_values(["track", "at"], kind="stable")
    epoch_s = ordered["at"].astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
    columns = {name: ordered[name].to_numpy() for name in ("lon", "lat")}
    accuracy = ordered["accuracy_m"].to_numpy(dtype=float) if "accuracy_m" in ordered else np.full(len(ordered), np.nan)
    names = ordered["track"].astype(str).to_numpy()
    teams = ordered["team"].astype(str).to_numpy() if "team" in ordered else np.full(len(ordered), "")
    walkers = ordered["walker"].to_numpy() if "walker" in ordered else np.full(len(ordered), None)
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]).tolist() if len(names) else []
    chunks: list[Chunk] = []
    for first, end in zip(starts, [*starts[1:], len(names)], strict=True):
        for sequence, part in enumerate(_cuts(epoch_s[first:end])):
            cut = slice(first + part.start, first + part.stop)
            chunks.append(
                make_chunk(
                    names[first],
                    sequence,
                    epoch_s=epoch_s[cut],
                    lon=columns["lon"][cut],
                    lat=columns["lat"][cut],
                    accuracy_m=accuracy[cut],
                    team=teams[first],
                    walker=walkers[first],
                )
            )
    return chunks


def _cuts(epoch_s: Floats) -> list[slice]:
    """Pieces of `CHUNK_FIXES` that share their ends; where an outing rests for an hour they share nothing."""
    rests = np.flatnonzero(np.diff(epoch_s) > 3600) + 1
    cuts = []
    for first, end in zip([0, *rests], [*rests, len(epoch_s)], strict=True):
        cuts += [slice(at, min(at + CHUNK_FIXES + 1, end)) for at in range(first, max(end - 1, first + 1), CHUNK_FIXES)]
    return cuts


def store_fixes(
    session: Session,
    fixes: pd.DataFrame,
    *,
    city: City,
    source: str,
    is_synthetic: bool,
    now: datetime,
    sight_m: float = SIGHT_M,
) -> int:
    """Store outings of the past, whose clocks are believed, and what they saw; how many chunks are new.

    Parameters
    ----------
    fixes
        As for `chunks_of`.
    """
    chunks = chunks_of(fixes)
    stored = 0
    for start in range(0, len(chunks), 500):
        upload = Upload(chunks[start : start + 500], Judge(bounds=None), source, now, is_synthetic)
        stored += sum(one.is_new for one in take_in(session, upload, city=city, sight_m=sight_m))
    return stored
