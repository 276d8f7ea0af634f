"""Placing a whole file of points, without a database."""

import hashlib
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import pandas as pd

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import Datum, DatumGuess, guess_datum, refusal_reasons, to_wgs84
from gis_grid.geo.parts import Note, Parts, parts_of
from gis_grid.geo.placing import METHODS, SNAP_M, GridIndex, Method
from gis_grid.geo.point_batches import PointBatch, PointFile, PointSink, Span, UnreadablePoints
from gis_grid.geo.point_files import open_points

SAMPLE_POINTS = 10_000
SAMPLE_BATCHES = 8
SAMPLE_BATCH_ROWS = 65_536
_PROBE_BYTES = 65_536
_METHODS = pd.Index([method.value for method in METHODS])


class SameFile(InvalidInput):
    """A target that is one of the files read."""


@dataclass
class Assigned:
    """What placing a file came to.

    Attributes
    ----------
    guess
        How well the first points fit the grids on each datum.
    counts
        Rows by `Method` value.
    resumed_rows
        How many of them had been placed before the same work was killed.
    """

    guess: DatumGuess
    counts: Counter[str]
    resumed_rows: int = 0


OnProgress: TypeAlias = Callable[[int, int], None]


class PlacingCluster(Protocol):
    """Other machines that do pieces of the work; `gis_grid.clusters.Cluster` is one."""

    def in_order(self, job: Any, pieces: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Each piece with its result, in the order of the pieces."""


def assign_points(
    source: Path,
    target: Path,
    index: GridIndex,
    *,
    lon: str | None = None,
    lat: str | None = None,
    datum: Datum = Datum.WGS84,
    snap_m: float = SNAP_M,
    is_forced: bool = False,
    on_progress: OnProgress = lambda _done, _size: None,
    cluster: "PlacingCluster | None" = None,
) -> Assigned:
    """Write `source` to `target` with the grid of each point, rows in order, none dropped; say how they were placed.

    Parameters
    ----------
    source, target
        As in `open_points`. The target appears whole or not at all. After a kill, the same call goes on with the rows
        that were not written yet (a GeoPackage is begun anew).
    lon, lat
        Names of the coordinate columns.
    datum
        What the coordinates are measured on.
    snap_m
        As in `GridIndex.place`.
    is_forced
        Place even when another datum is likely.
    on_progress
        Called after each batch with how much of how much is done.
    cluster
        Who places the rows, span by span, instead of this process; each worker reads `source` by the same path. The
        result is the same, and a run that was killed goes on with or without a cluster.

    Raises
    ------
    DatumMismatch
        Another datum puts clearly more of the first points into the grids.
    SameFile
        The target is the source, by whatever name.
    UnreadablePoints, UnclearColumns, InvalidInput
        What `open_points` and `GridIndex.place_points` refuse.
    """
    refuse_same_file(target, source)
    points = open_points(source, target, lon=lon, lat=lat)
    guess = _guess(points, index, datum)
    if not is_forced:
        guess.require_declared()
    rule = {"lon": lon, "lat": lat, "datum": datum.value, "snap_m": snap_m, "grids": index.digest}
    with parts_of(target, {"source": _identity(source), **rule}, points.join) as parts:
        assigned = Assigned(guess, sum((Counter(note["counts"]) for note in parts.notes), Counter()))
        assigned.resumed_rows = sum(assigned.counts.values())
        job = PlacingJob(source.resolve(), target, index, lon, lat, datum, snap_m, _probe(source))
        mark = parts.notes[-1]["mark"] if parts.notes else 0
        placed = _place_here(points, job, mark, parts, on_progress)
        if cluster is not None and mark is not None:
            placed = _place_there(
                cluster.in_order(job, points.spans(mark)), parts, lambda done: on_progress(done, points.size)
            )
        for counts in placed:
            assigned.counts.update(counts)
    return assigned


def _place_here(
    points: PointFile, job: "PlacingJob", mark: int | None, parts: Parts, on_progress: OnProgress
) -> Iterator[Counter[str]]:
    """Write part after part from a mark on; rows of each by method."""
    while mark is not None:
        note: Note = {}
        with parts.part(note) as path, points.sink(path, is_first=not parts.notes) as sink:
            counts, mark = _write_part(
                points.batches(mark),
                sink,
                job.place,
                size=points.size,
                part_rows=points.part_rows,
                on_progress=on_progress,
            )
            note.update(counts=counts, mark=mark)
        yield counts


def _place_there(
    spans: Iterable[tuple[Span, "PlacedSpan"]], parts: Parts, on_progress: Callable[[int], None]
) -> Iterator[Counter[str]]:
    """Keep what workers made of spans; rows of each by method."""
    for span, placed in spans:
        with parts.part({"counts": placed.counts, "mark": span.end}) as path:
            path.write_bytes(placed.content)
        on_progress(span.done)
        yield Counter(placed.counts)


class PlacedSpan(NamedTuple):
    """A part of the result, as the bytes of its file, and its rows by method."""

    content: bytes
    counts: dict[str, int]


@dataclass(frozen=True)
class PlacingJob:
    """Placing spans of one file, by whatever process can read it.

    Attributes
    ----------
    source, target, lon, lat, datum, snap_m
        As for `assign_points`; of the target only the name's suffix matters.
    probe
        Tells whether a file is the one that was meant.
    """

    source: Path
    target: Path
    index: GridIndex
    lon: str | None
    lat: str | None
    datum: Datum
    snap_m: float
    probe: str

    def check(self) -> None:
        """Pass where the source can be read and is the one that was meant."""
        open_points(self.source, self.target, lon=self.lon, lat=self.lat)
        if _probe(self.source) != self.probe:
            raise UnreadablePoints(f"{self.source}: another file than the one to be placed")

    def place(self, batch: PointBatch[Any]) -> pd.DataFrame:
        """As `_place`."""
        return _place(batch, self.index, self.datum, self.snap_m)

    def __call__(self, span: Span) -> PlacedSpan:
        """Part of the result that a span makes."""
        points = open_points(self.source, self.target, lon=self.lon, lat=self.lat)
        with tempfile.TemporaryDirectory(prefix="gis-grid-") as folder:
            path = Path(folder) / self.target.name
            with points.sink(path, is_first=span.start == 0) as sink:
                counts, _ = _write_part(points.batches(span.start, span.end), sink, self.place, size=points.size)
            return PlacedSpan(path.read_bytes(), dict(counts))


def _write_part(
    batches: Iterable[PointBatch[Any]],
    sink: PointSink,
    place: Callable[[PointBatch[Any]], pd.DataFrame],
    *,
    size: int,
    part_rows: float = math.inf,
    on_progress: OnProgress = lambda _done, _size: None,
) -> tuple[Counter[str], int | None]:
    """Write at least `part_rows` rows; return how many there were by method, and the mark after them, None at the end.

    A batch is written while the next one is read and placed: writing takes most of the time.
    """
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        for batch in batches:
            placements = place(batch)
            if writing is not None:
                writing.result()
            writing = writer.submit(sink.write, batch, placements)
            counts.update({str(method): int(n) for method, n in placements["method"].value_counts().items() if n})
            on_progress(batch.done, size)
            if batch.mark is not None and sum(counts.values()) >= part_rows:
                writing.result()
                return counts, batch.mark
        if writing is not None:
            writing.result()
    return counts, None


def _identity(source: Path) -> Note:
    """What tells that a file is the one it was."""
    stat = source.stat()
    return {"path": str(source.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _probe(source: Path) -> str:
    """What tells a file from others on other machines too: its size, first and last bytes."""
    with source.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        ends = hashlib.sha256(file.read(_PROBE_BYTES))
        file.seek(max(0, size - _PROBE_BYTES))
        ends.update(file.read(_PROBE_BYTES))
    return f"{size}:{ends.hexdigest()}"


def refuse_same_file(target: Path, source: Path) -> None:
    """Let a target pass that is another file than `source`.

    Raises
    ------
    SameFile
        Both are one file, be it through a link.
    InvalidInput
        The target is something else than a file, or its folder is missing.
    """
    if not target.parent.is_dir():
        raise InvalidInput(f"{target}: no such folder")
    if not target.exists():
        return
    if not target.is_file():
        raise InvalidInput(f"{target}: not a file")
    if source.exists() and os.path.samefile(source, target):
        raise SameFile(f"{target}: is what is read; give the result another name")


def _guess(points: PointFile, index: GridIndex, datum: Datum) -> DatumGuess:
    """Guess from the first batches."""
    first: list[PointBatch[Any]] = []
    for batch in points.batches():
        first.append(batch)
        if sum(int(np.isfinite(seen.lon).sum()) for seen in first) >= SAMPLE_POINTS or len(first) == SAMPLE_BATCHES:
            break
    lon = np.concatenate([np.empty(0), *(batch.lon[:SAMPLE_BATCH_ROWS] for batch in first)])
    lat = np.concatenate([np.empty(0), *(batch.lat[:SAMPLE_BATCH_ROWS] for batch in first)])
    return guess_datum(lon, lat, index.district, datum)


def _place(batch: PointBatch[Any], index: GridIndex, datum: Datum, snap_m: float) -> pd.DataFrame:
    """Placements of a batch; a pair that lies near the grids only turned round is refused as swapped.

    Columns as of `GridIndex.place_points`, texts as categories.
    """
    lon, lat = (batch.lon, batch.lat) if datum is Datum.WGS84 else to_wgs84(batch.lon, batch.lat, datum)
    placed = index.place_arrays(lon, lat, snap_m=snap_m)
    methods = placed.methods
    why = np.full(len(methods), -1, dtype=np.int32)
    lost = np.flatnonzero(methods >= METHODS.index(Method.OUTSIDE))
    reasons = refusal_reasons(batch.lon[lost], batch.lat[lost], bounds=index.bounds)
    given = batch.reasons[lost]
    why[lost], texts = pd.factorize(np.where(pd.isna(given), reasons, given))
    methods[lost[why[lost] >= 0]] = METHODS.index(Method.REFUSED)
    columns = {
        "grid_code": index.codes_of(placed.ranks),
        "method": pd.Categorical.from_codes(methods.astype(np.int8), _METHODS),
        "distance_m": placed.distances_m,
        "reason": pd.Categorical.from_codes(why, pd.Index(texts, dtype=object)),
    }
    return pd.DataFrame(columns, copy=False)
