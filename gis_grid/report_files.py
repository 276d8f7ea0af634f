"""Historic reports from a file: placed and stored, and what could not be read handed back unchanged."""

import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from gis_grid.bulk_filing import BulkFiled, file_in_bulk
from gis_grid.city import City
from gis_grid.database import By
from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import DatumGuess, guess_datum
from gis_grid.geo.whole_files import whole_file
from gis_grid.report_fields import FieldMap, RowReader, to_number
from gis_grid.report_tables import Reject, Rejected, Row, Table, open_table
from gis_grid.reports import NewReport
from gis_grid.territory import Level, areas_frame, the_layer

BATCH = 5000


class UnreadableRows(InvalidInput):
    """Rows that cannot be read, and no file named for them."""


@dataclass(frozen=True)
class LoadedReports:
    """What became of the rows of a file.

    Attributes
    ----------
    stored
        New reports by placing method.
    repeated
        Rows whose report was stored before.
    datum
        What the points say about their datum.
    """

    rows: int
    stored: Counter[str]
    repeated: int
    rejected: int
    datum: DatumGuess


Tell = Callable[[str, int, int | None], None]


def say_nothing(_what: str, _done: int, _total: int | None) -> None:
    """Progress that nobody watches."""


def load_report_file(
    session: Session,
    path: Path,
    fields: FieldMap,
    *,
    city: City,
    snap_m: float,
    by: By,
    now: datetime,
    rejects: Path | None = None,
    is_forced: bool = False,
    tell: Tell = say_nothing,
) -> LoadedReports:
    """Place and store the reports of a file, batch by batch in the caller's transaction.

    A row's id is its own UUID, else one made of the source's name and the row's number or, without any, of all its
    cells: loading again stores nothing twice.

    Parameters
    ----------
    rejects
        Where rows go that cannot be read; written whole, with the heading, even when there are none. None: one such
        row refuses the file.
    is_forced
        Take points that look like another datum.
    tell
        Called with what is being done, rows done, and of how many (None: unknown).

    Raises
    ------
    UnreadableTable, UnusableMapping, UnreadableRows
    DatumMismatch
        The points fit the district better on another datum.
    NotFound
        No layer is in force.
    """
    table = open_table(path)
    _refuse_target(rejects, path, table)
    where = fields.positions(table.heading)
    guess, total = _guess_datum(session, table, where, fields, now=now, tell=tell)
    if not is_forced:
        guess.require_declared()
    reader = RowReader(session, fields, where, city=city, now=now)
    loading = _Loading(session, reader, snap_m=snap_m, by=by, now=now)
    with ExitStack() as stack:
        reject: Reject = _refuse
        if rejects is not None:
            reject = stack.enter_context(table.rejects(stack.enter_context(whole_file(rejects, is_private=True))))
        for batch in _batches(table.rows()):
            reject(loading.load(batch))
            tell("Storing", loading.rows, total)
    return LoadedReports(loading.rows, loading.stored, loading.repeated, loading.rejected, guess)


def _refuse_target(rejects: Path | None, path: Path, table: Table) -> None:
    if rejects is None:
        return
    if rejects.exists() and rejects.samefile(path):
        raise InvalidInput(f"{rejects} is the file that is loaded; name another one for the rejected rows")
    if rejects.suffix.lower() != table.suffix:
        raise InvalidInput(f"{rejects}: the rejected rows of this file need a name ending in {table.suffix}")


def _refuse(rejected: Sequence[Rejected]) -> None:
    if rejected:
        listed = "; ".join(reason for _, reason in rejected[:5])
        raise UnreadableRows(
            f"nothing is stored: rows that cannot be read, such as: {listed}. "
            "Name a file for them with --rejects to store the others"
        )


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, BATCH)):
        yield batch


def _guess_datum(
    session: Session, table: Table, where: Mapping[str, int], fields: FieldMap, *, now: datetime, tell: Tell
) -> tuple[DatumGuess, int]:
    """What all points of the file say about their datum, and how many rows it has."""
    district = areas_frame(session, the_layer(session, now), Level.DISTRICT).geometry.iloc[0]
    lon, lat = array("d"), array("d")
    count = 0
    for batch in _batches(table.rows()):
        for row in batch:
            if row.fault is None:
                lon.append(to_number(fields.cell(row, "lon", where)))
                lat.append(to_number(fields.cell(row, "lat", where)))
        count += len(batch)
        tell("Reading", count, None)
    return guess_datum(np.asarray(lon), np.asarray(lat), district, fields.datum), count


class _Loading:
    """Stores batches and counts what became of their rows."""

    def __init__(self, session: Session, reader: RowReader, *, snap_m: float, by: By, now: datetime) -> None:
        self.session, self.reader = session, reader
        self.snap_m, self.by, self.now = snap_m, by, now
        self.rows = self.repeated = self.rejected = 0
        self.stored: Counter[str] = Counter()

    def load(self, batch: list[Row]) -> list[Rejected]:
        """Store a batch; the rows that were not, and why."""
        read = self.reader.read(batch)
        new = [item for item in read if isinstance(item, NewReport)]
        answers = iter(file_in_bulk(self.session, new, snap_m=self.snap_m, by=self.by, now=self.now))
        refused = []
        for row, item in zip(batch, read, strict=True):
            answer = next(answers) if isinstance(item, NewReport) else item
            if not isinstance(answer, BulkFiled):
                refused.append((row, str(answer)))
            elif answer.method is None:
                self.repeated += 1
            else:
                self.stored[answer.method] += 1
        self.rows += len(batch)
        self.rejected += len(refused)
        return refused
