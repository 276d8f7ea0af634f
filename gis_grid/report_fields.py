"""Fields of a report from the columns of somebody's table."""

import csv
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.city import City
from gis_grid.errors import InvalidInput
from gis_grid.event_types import EventType
from gis_grid.geo.datum import Datum, LonLat, refusal_reasons, to_wgs84
from gis_grid.geo.privacy import coarsen
from gis_grid.instants import parse_instant
from gis_grid.intake import district_bounds
from gis_grid.report_tables import Row
from gis_grid.reports import FUTURE, Kind, NewReport, Source

NEEDED = ("lon", "lat", "kind", "event_type", "text")
FIELDS = (*NEEDED, "id", "observed_at", "received_at", "accuracy_m", "source", "reporter_name", "reporter_phone")
CHOSEN = ("kind", "event_type", "source")
MAX_CHARS = {"text": 4000, "reporter_name": 100, "reporter_phone": 40}
MAX_ACCURACY_M = 10_000
MAX_SHOWN = 60
NAMESPACE = uuid.UUID("5f0b8a52-2c54-5c0e-9a51-310112001002")
Value = TypeVar("Value")


class UnusableMapping(InvalidInput):
    """Fields that are unknown, given twice, or missing; or columns that the file does not have."""


@dataclass(frozen=True)
class FieldMap:
    """Where the fields of a report come from.

    Attributes
    ----------
    columns, constants
        Column, or the one text, of each field of `FIELDS`.
    values
        For kind, event_type and source: what a text in the file stands for; others stand for themselves.
    zone
        Of times that name none; one that the clocks show twice is read as the first.
    source_name
        Who numbered the rows: rows of the same number under the same name are the same report.
    """

    columns: Mapping[str, str]
    zone: ZoneInfo
    constants: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    datum: Datum = Datum.WGS84
    source_name: str = "historic"

    def __post_init__(self) -> None:
        given = [*self.columns, *self.constants]
        faults = [f"{name} is not a field of a report" for name in given if name not in FIELDS]
        faults += [f"{name} is given twice" for name in sorted(set(self.columns) & set(self.constants))]
        faults += [f"{name} is missing" for name in NEEDED if name not in given]
        if not {"observed_at", "received_at"} & set(given):
            faults.append("observed_at or received_at is missing: when was it?")
        faults += [f"{name} cannot have a table of values" for name in self.values if name not in CHOSEN]
        if faults:
            raise UnusableMapping(f"{'; '.join(faults)} (fields: {', '.join(FIELDS)})")

    def positions(self, heading: Sequence[str]) -> dict[str, int]:
        """Where each mapped field stands in a row, or `UnusableMapping`."""
        lost = [
            f"column {column!r} for {name} {'stands there twice' if column in heading else 'is not there'}"
            for name, column in self.columns.items()
            if heading.count(column) != 1
        ]
        if lost:
            raise UnusableMapping(f"{'; '.join(lost)}; the columns are {', '.join(heading)}")
        return {name: heading.index(column) for name, column in self.columns.items()}

    def cell(self, row: Row, name: str, where: Mapping[str, int]) -> str:
        """The text of a field in a row, with its table of values applied; "" where there is none."""
        text = row.cells[where[name]].strip() if name in where else self.constants.get(name, "").strip()
        return self.values.get(name, {}).get(text, text)


def read_values(path: Path) -> dict[str, str]:
    """What texts stand for, from a UTF-8 CSV file with the columns from and to."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from error
    values = {row.get("from"): row.get("to") for row in rows}
    if not rows or None in values or None in values.values() or len(values) < len(rows):
        raise InvalidInput(f"{path}: expected the columns from and to, and each from once")
    return {str(key): str(value) for key, value in values.items()}


def to_number(text: str) -> float:
    """The number, nan where there is none."""
    try:
        return float(text) if "_" not in text else float("nan")  # Python would read 1_000 as a number
    except ValueError:
        return float("nan")


class RowReader:
    """Turns rows into reports of one city.

    Parameters
    ----------
    where
        Position of each mapped field in a row, as `FieldMap.positions` has it.
    now
        Reports from after tomorrow are refused.
    """

    def __init__(
        self, session: Session, fields: FieldMap, where: Mapping[str, int], *, city: City, now: datetime
    ) -> None:
        self.fields, self.where, self.now = fields, where, now
        self.metric_crs = city.metric_crs
        self.bounds = district_bounds(session, at=now)
        self.types = _known_types(session)

    def read(self, rows: Sequence[Row]) -> list[NewReport | str]:
        """For each row its report, or all that is wrong with it."""
        good = [row for row in rows if row.fault is None]
        lon, lat = (np.array([to_number(self._cell(row, name)) for row in good]) for name in ("lon", "lat"))
        wrong = refusal_reasons(lon, lat, bounds=self.bounds)
        is_place = np.array([reason is None for reason in wrong], dtype=bool)
        point, public = np.full((2, len(good)), np.nan), np.full((2, len(good)), np.nan)
        point[:, is_place] = to_wgs84(lon[is_place], lat[is_place], self.fields.datum)
        public[:, is_place] = coarsen(*point[:, is_place], metric_crs=self.metric_crs)
        wrong[is_place & ~np.isfinite(public).all(axis=0)] = "lon, lat: nowhere near the city"
        pairs = [[LonLat(*pair) for pair in both.T.tolist()] for both in (np.vstack([lon, lat]), point, public)]
        reports = (self._report(*parts) for parts in zip(good, wrong, *pairs, strict=True))
        return [row.fault or next(reports) for row in rows]

    def _cell(self, row: Row, name: str) -> str:
        return self.fields.cell(row, name, self.where)

    def _report(self, row: Row, wrong: str | None, sent: LonLat, point: LonLat, public: LonLat) -> NewReport | str:
        faults = [] if wrong is None else [self._why_no_place(row, wrong)]

        def take(name: str, read: Callable[[str], Value]) -> Value | None:
            text = self._cell(row, name)
            if not text and name in NEEDED:
                faults.append(f"{name}: empty")
            try:
                return read(text) if text else None
            except InvalidInput as error:
                faults.append(f"{name}: {error}")
                return None

        kind, type_, text = take("kind", _kind), take("event_type", self._type), take("text", _plain("text"))
        observed_at, received_at = take("observed_at", self._instant), take("received_at", self._instant)
        source, accuracy_m = take("source", _source), take("accuracy_m", _accuracy_m)
        name, phone = take("reporter_name", _plain("reporter_name")), take("reporter_phone", _plain("reporter_phone"))
        if observed_at is None and received_at is None and not any("_at: " in fault for fault in faults):
            faults.append("observed_at, received_at: empty")
        if faults or kind is None or type_ is None or text is None:
            return "; ".join(faults)
        return NewReport(
            id=self._id(row),
            sent=sent,
            datum=self.fields.datum,
            point=point,
            public_point=public,
            kind=kind,
            event_type=type_,
            text=text,
            source=source or Source.IMPORT,
            accuracy_m=accuracy_m,
            observed_at=observed_at,
            received_at=received_at or observed_at,
            reporter_name=name,
            reporter_phone=phone,
        )

    def _why_no_place(self, row: Row, wrong: str) -> str:
        texts = {name: self._cell(row, name) for name in ("lon", "lat")}
        faults = [f"{name}: empty" for name, text in texts.items() if not text]
        faults += [
            f"{name}: {text[:MAX_SHOWN]!r} is not a number"
            for name, text in texts.items()
            if text and np.isnan(to_number(text))
        ]
        return "; ".join(faults) or wrong

    def _id(self, row: Row) -> uuid.UUID:
        """The row's own UUID, else one that the same row gets every time."""
        text = self._cell(row, "id")
        try:
            return uuid.UUID(text)
        except ValueError:
            key = [self.fields.source_name, "id", text] if text else [self.fields.source_name, "row", *row.cells]
            return uuid.uuid5(NAMESPACE, json.dumps(key))

    def _type(self, text: str) -> str:
        code = self.types.get(text)
        if code is None:
            raise InvalidInput(f"{text[:MAX_SHOWN]!r} is no code and no name in the city's list of event types")
        return code

    def _instant(self, text: str) -> datetime:
        at = parse_instant(text[:MAX_SHOWN], zone=self.fields.zone)
        if at > self.now + FUTURE:
            raise InvalidInput(f"{at.isoformat()} lies more than a day ahead")
        return at


def _known_types(session: Session) -> dict[str, str]:
    """Codes by code, and by each name that only one type has."""
    rows = session.execute(sa.select(EventType.code, EventType.name, EventType.name_en)).all()
    names = [(name, row.code) for row in rows for name in {row.name, row.name_en}]
    count = Counter(name for name, _ in names)
    return {name: code for name, code in names if count[name] == 1} | {row.code: row.code for row in rows}


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise InvalidInput(f"{text[:MAX_SHOWN]!r} is not one of {', '.join(Kind)}") from None


def _source(text: str) -> Source:
    try:
        return Source(text)
    except ValueError:
        raise InvalidInput(f"{text[:MAX_SHOWN]!r} is not one of {', '.join(Source)}") from None


def _accuracy_m(text: str) -> float:
    metres = to_number(text)
    if not 0 < metres <= MAX_ACCURACY_M:
        raise InvalidInput(f"{text[:MAX_SHOWN]!r} is not a number of metres above 0 and up to {MAX_ACCURACY_M}")
    return metres


def _plain(name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if "\0" in text:
            raise InvalidInput("holds a NUL character")
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidInput("holds half of a surrogate pair")
        if len(text) > MAX_CHARS[name]:
            raise InvalidInput(f"{len(text)} characters, at most {MAX_CHARS[name]}")
        return text

    return read
