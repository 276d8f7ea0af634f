"""Placing a whole file of points, without a database."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import Datum, DatumGuess, guess_datum, refusal_reasons, to_wgs84
from gis_grid.geo.placing import SNAP_M, GridIndex, Method
from gis_grid.geo.point_batches import PointBatch, PointFile
from gis_grid.geo.point_files import open_points
from gis_grid.geo.whole_files import whole_file

SAMPLE_POINTS = 10_000
SAMPLE_BATCHES = 8


class SameFile(InvalidInput):
    """A target that is one of the files read."""


@dataclass(frozen=True)
class Assigned:
    """What placing a file came to.

    Attributes
    ----------
    guess
        How well the first points fit the grids on each datum.
    counts
        Rows by `Method` value.
    """

    guess: DatumGuess
    counts: Counter[str] = field(default_factory=Counter)


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
    on_progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Assigned:
    """Write `source` to `target` with the grid of each point, rows in order, none dropped; say how they were placed.

    Parameters
    ----------
    source, target
        As in `open_points`. The target appears whole or not at all.
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
    guess, batches = _guess(points, index, datum)
    if not is_forced:
        guess.require_declared()
    assigned = Assigned(guess)
    with whole_file(target) as path, points.sink(path) as sink:
        for batch in batches:
            placements = _place(batch, index, datum, snap_m)
            sink.write(batch, placements)
            assigned.counts.update(placements["method"].tolist())
            on_progress(batch.done, points.size)
    return assigned


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


def _guess(points: PointFile, index: GridIndex, datum: Datum) -> tuple[DatumGuess, Iterator[PointBatch[Any]]]:
    """Guess from the first batches, and all batches from the beginning."""
    batches = points.batches()
    first: list[PointBatch[Any]] = []
    for batch in batches:
        first.append(batch)
        if sum(int(np.isfinite(seen.lon).sum()) for seen in first) >= SAMPLE_POINTS or len(first) == SAMPLE_BATCHES:
            break
    lon = np.concatenate([np.empty(0), *(batch.lon for batch in first)])
    lat = np.concatenate([np.empty(0), *(batch.lat for batch in first)])
    return guess_datum(lon, lat, index.district, datum), chain(first, batches)


def _place(batch: PointBatch[Any], index: GridIndex, datum: Datum, snap_m: float) -> pd.DataFrame:
    """Placements of a batch; a pair that lies near the grids only turned round is refused as swapped."""
    placements = index.place_points(*to_wgs84(batch.lon, batch.lat, datum), snap_m=snap_m)
    reasons = batch.reasons.copy()
    lost = np.flatnonzero((placements["method"] == Method.OUTSIDE.value).to_numpy())
    reasons[lost] = refusal_reasons(batch.lon[lost], batch.lat[lost], bounds=index.bounds)
    is_refused = ~pd.isna(reasons)
    placements.loc[is_refused, "method"] = Method.REFUSED.value
    placements.loc[is_refused, "reason"] = reasons[is_refused]
    return placements
