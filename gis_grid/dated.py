"""Rules and units as they hold over time: read from files, kept in ranges, never rewritten backwards."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from gis_grid.errors import InvalidInput
from gis_grid.instants import parse_instant

BEGINNING = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
FAULTS_SHOWN = 20
T = TypeVar("T")

Key = tuple[Any, ...]
Values = tuple[Any, ...]


class Dated:
    """Columns of a table whose rows hold over a range of time.

    A row that was withdrawn before it came into force keeps an empty range: nothing is ever deleted.
    """

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    valid: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)
    is_example: Mapped[bool] = mapped_column(server_default=sa.false())


class DatedTable(Protocol):
    """A mapped class with `Dated`, and the columns that name a thing and those that describe it."""

    KEY: tuple[str, ...]
    VALUES: tuple[str, ...]
    id: InstrumentedAttribute[int]
    valid: InstrumentedAttribute[Range[datetime]]


def one_at_a_time(table: str, *key: str) -> ExcludeConstraint:
    """The constraint that two rows of one key never hold at once."""
    same = [(column, "=") for column in key]
    return ExcludeConstraint(*same, ("valid", "&&"), name=f"ex_{table}_valid", using="gist")


def one_of(column: str, words: Iterable[str]) -> str:
    """The SQL of a check that a column holds one of these words."""
    quoted = ", ".join(f"'{word}'" for word in words)
    return f"{column} in ({quoted})"


@dataclass(frozen=True)
class Stretch:
    """What a file says of one key from `since` (None: does not say) until, not including, `until` (None: goes on)."""

    key: Key
    values: Values
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Span:
    """Values that hold from `lower` until, not including, `upper` (None: goes on)."""

    lower: datetime
    upper: datetime | None
    values: Values


@dataclass(frozen=True)
class Loaded:
    """What a load did to one table: rows that began, rows whose range changed, rows withdrawn before they began."""

    opened: int = 0
    closed: int = 0
    withdrawn: int = 0

    def __bool__(self) -> bool:
        return bool(self.opened or self.closed or self.withdrawn)


def timeline(stored: Sequence[Span], wanted: Sequence[Span], *, now: datetime) -> list[Span]:
    """What is stored up to `now` and what is wanted from then on, ascending; equal neighbours are one."""
    past = [_clip(span, upper=now) for span in stored]
    future = [_clip(span, lower=now) for span in wanted]
    return _joined(span for span in (*past, *future) if span is not None)


def _clip(span: Span, *, lower: datetime | None = None, upper: datetime | None = None) -> Span | None:
    begin = span.lower if lower is None else max(span.lower, lower)
    ends = [end for end in (span.upper, upper) if end is not None]
    end = min(ends) if ends else None
    return Span(begin, end, span.values) if end is None or begin < end else None


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.lower):
        if joined and joined[-1].upper == span.lower and joined[-1].values == span.values:
            joined[-1] = Span(joined[-1].lower, span.upper, span.values)
        else:
            joined.append(span)
    return joined


def store_dated(session: Session, table: Any, stretches: Iterable[Stretch], *, now: datetime) -> Loaded:
    """Bring a table to what a file says, from `now` on; the same file again changes nothing.

    What was in force before `now` stays as it was stored. A key that is new begins where the file says, or where it
    does not say: at `now`, and in 1970 when the table was empty. A key that the file no longer has ends at `now`.

    Parameters
    ----------
    table
        A mapped class with `Dated`, `KEY` and `VALUES`; see `DatedTable`.
    """
    rows = _stored(session, table)
    begins = now if rows else BEGINNING
    wanted: dict[Key, list[Stretch]] = {}
    for stretch in stretches:
        wanted.setdefault(stretch.key, []).append(stretch)
    changes = _Changes()
    for key in wanted.keys() | rows.keys():
        ids = rows.get(key, {})
        spans = [
            Span(one.since or (BEGINNING if ids else begins), one.until, one.values) for one in wanted.get(key, ())
        ]
        spans = [span for span in spans if span.upper is None or span.lower < span.upper]
        aim = timeline([span for span, _ in ids.values()], spans, now=now) if ids else _joined(spans)
        changes.compare(key, ids, aim)
    return changes.store(session, table)


def _stored(session: Session, table: Any) -> dict[Key, dict[datetime, tuple[Span, int]]]:
    columns = [getattr(table, name) for name in (*table.KEY, *table.VALUES)]
    width = len(table.KEY)
    rows: dict[Key, dict[datetime, tuple[Span, int]]] = {}
    for id_, valid, *rest in session.execute(
        sa.select(table.id, table.valid, *columns).where(~sa.func.isempty(table.valid))
    ):
        span = Span(valid.lower, valid.upper, tuple(rest[width:]))
        rows.setdefault(tuple(rest[:width]), {})[valid.lower] = (span, id_)
    return rows


class _Changes:
    """Rows to withdraw, to close at another time and to open, in the order that no constraint refuses."""

    def __init__(self) -> None:
        self.withdrawn: list[int] = []
        self.moved: list[dict[str, Any]] = []
        self.opened: list[tuple[Key, Span]] = []

    def compare(self, key: Key, stored: Mapping[datetime, tuple[Span, int]], aim: Sequence[Span]) -> None:
        kept = set()
        for span in aim:
            old, id_ = stored.get(span.lower, (None, 0))
            if old is None or old.values != span.values:
                self.opened.append((key, span))
                continue
            kept.add(span.lower)
            if old.upper != span.upper:
                self.moved.append({"row": id_, "range": Range(span.lower, span.upper)})
        self.withdrawn += [id_ for lower, (_, id_) in stored.items() if lower not in kept]

    def store(self, session: Session, table: Any) -> Loaded:
        if self.withdrawn:
            nothing: Range[datetime] = Range(empty=True)
            session.execute(sa.update(table).where(table.id.in_(self.withdrawn)).values(valid=nothing))
        rows = sa.table(table.__tablename__, sa.column("id"), sa.column("valid", TSTZRANGE))
        if self.moved:
            move = sa.update(rows).where(rows.c.id == sa.bindparam("row")).values(valid=sa.bindparam("range"))
            session.execute(move, self.moved)
        if self.opened:
            names = (*table.KEY, *table.VALUES)
            begun = [
                dict(zip(names, (*key, *span.values), strict=True)) | {"valid": Range(span.lower, span.upper)}
                for key, span in sorted(self.opened, key=lambda one: (tuple(map(str, one[0])), one[1].lower))
            ]
            session.execute(sa.insert(table), begun)
        session.expire_all()
        return Loaded(opened=len(self.opened), closed=len(self.moved), withdrawn=len(self.withdrawn))


@dataclass(frozen=True)
class Row:
    """One line of a file: its number and its cells, stripped."""

    number: int
    cells: Mapping[str, str]
    faults: tuple[str, ...] = ()

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def truth(self, column: str) -> bool:
        """`true` or `false`."""
        return self.choice(column, ("true", "false")) == "true"

    def choice(self, column: str, choices: Iterable[str]) -> str:
        """The cell, one of `choices`."""
        words = list(choices)
        if self[column] not in words:
            raise InvalidInput(f"{column} {self[column]!r} is not one of {', '.join(words)}")
        return self[column]

    def range(self, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
        """`since` and `until`, each None where the cell is empty; dates start at midnight in `zone`."""
        since, until = (parse_instant(text, zone=zone) if text else None for text in (self["since"], self["until"]))
        if until is not None and until <= (since or BEGINNING):
            raise InvalidInput(f"until {self['until']} is not after since {self['since'] or '1970-01-01'}")
        return since, until


def read_file(
    path: Path, parse: Callable[[Row], T], *, columns: Sequence[str], optional: Iterable[str] = ()
) -> list[tuple[int, T]]:
    """What `parse` makes of each row of a UTF-8 CSV file, with the row's number; blank lines are skipped.

    Raises
    ------
    InvalidInput
        Naming every row at fault, at once.
    """
    parsed, faults = [], []
    for row in _rows(path, columns, frozenset(optional)):
        if row.faults:
            faults.append(f"row {row.number}: {', '.join(row.faults)}")
            continue
        try:
            parsed.append((row.number, parse(row)))
        except InvalidInput as error:
            faults.append(f"row {row.number}: {error}")
    refuse(path, faults)
    return parsed


def _rows(path: Path, columns: Sequence[str], optional: frozenset[str]) -> list[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(columns) - optional - set(reader.fieldnames or ())
            unknown = set(reader.fieldnames or ()) - set(columns)
            if missing or unknown:
                raise InvalidInput(f"{path} needs the columns {', '.join(columns)}; it has {reader.fieldnames}")
            return [_row(reader.line_num, line, columns, optional) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} is not a readable UTF-8 CSV file: {error}") from error


def _row(number: int, line: Mapping[str, Any], columns: Sequence[str], optional: frozenset[str]) -> Row:
    cells = {name: (line.get(name) or "").strip() for name in columns}
    faults = [f"{name} is empty" for name in columns if name not in optional and not cells[name]]
    if None in line:  # where csv.DictReader puts what is past the last column
        faults.append("more cells than columns")
    if any("\0" in cell for cell in cells.values()):
        faults.append("a NUL character")
    return Row(number, cells, tuple(faults))


def refuse(path: Path, faults: Sequence[str]) -> None:
    """Raise `InvalidInput` naming the faults of a file, if there are any."""
    if faults:
        more = f" … and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise InvalidInput(f"{path}: " + "; ".join(faults[:FAULTS_SHOWN]) + more)


def refuse_overlaps(path: Path, numbered: Iterable[tuple[int, Stretch]]) -> None:
    """Raise `InvalidInput` naming rows that say two things of one key for one moment."""
    by_key: dict[Key, list[tuple[int, Stretch]]] = {}
    for number, stretch in numbered:
        by_key.setdefault(stretch.key, []).append((number, stretch))
    faults = []
    for key, rows in by_key.items():
        rows.sort(key=lambda row: row[1].since or BEGINNING)
        for (first, one), (second, other) in pairwise(rows):
            if one.until is None or (other.since or BEGINNING) < one.until:
                faults.append(
                    f"rows {first} and {second} both hold for {' '.join(filter(None, map(str, key)))} at one time"
                )
    refuse(path, faults)
