"""Calendars, office hours and light thresholds as files: read, checked and turned into what `clocks` counts with."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from gis_grid.clocks import Calendar, Hours, Light, MalformedCalendar, MalformedThresholds, Thresholds
from gis_grid.errors import InvalidInput

CALENDAR_COLUMNS = ("day", "kind", "name")
OFFICE_HOURS_COLUMNS = ("weekday", "from", "until", "is_example")
LIGHTS_COLUMNS = ("light", "share", "is_example")
EVERY_WORK_DAY = "all"

Row = TypeVar("Row")


class UnreadableCalendarFile(InvalidInput):
    """A file that is not UTF-8 CSV with the columns it needs, or has rows that cannot be read."""


class DayKind(StrEnum):
    """Why a day is one of work or not: an ordinary day, a weekend, a public holiday, a make-up day (调休上班)."""

    WORK = "work"
    REST = "rest"
    HOLIDAY = "holiday"
    MAKEUP = "makeup"

    @property
    def is_work(self) -> bool:
        """Whether offices are open."""
        return self in {DayKind.WORK, DayKind.MAKEUP}


class CalendarDay(NamedTuple):
    """A day of the calendar; `name` is the holiday that it belongs to or makes up for, else empty."""

    day: date
    kind: DayKind
    name: str


class OfficeHours(NamedTuple):
    """One stretch of office hours, on one ISO weekday (1 Monday to 7 Sunday) or, None, on every other work day."""

    weekday: int | None
    begin: time
    end: time
    is_example: bool


def build_calendar(zone: ZoneInfo, days: Iterable[CalendarDay], hours: Iterable[OfficeHours]) -> Calendar:
    """The calendar that days and office hours make.

    Raises
    ------
    MalformedCalendar
        A day twice, or office hours that are empty or overlap.
    """
    works: dict[date, bool] = {}
    for day in days:
        if day.day in works:
            raise MalformedCalendar(f"the calendar has {day.day} twice")
        works[day.day] = day.kind.is_work
    by_weekday: dict[int | None, list[Hours]] = {}
    for span in hours:
        by_weekday.setdefault(span.weekday, []).append((span.begin, span.end))
    general = tuple(by_weekday.pop(None, ()))
    return Calendar(
        zone, general, works, {weekday: tuple(spans) for weekday, spans in by_weekday.items() if weekday is not None}
    )


def load_calendar(zone: ZoneInfo, *, days: Path, office_hours: Path) -> Calendar:
    """The calendar of a `calendar.csv` and an `office_hours.csv`; errors as `read_days` and `build_calendar`."""
    return build_calendar(zone, read_days(days), read_office_hours(office_hours))


def read_days(path: Path) -> list[CalendarDay]:
    """The days of a CSV file with the columns `day`, `kind` and `name`, ascending.

    Days may be missing; `Calendar` then falls back on the weekday and says so.

    Raises
    ------
    UnreadableCalendarFile
        Naming every row at fault, a day twice among them.
    """
    days = _read(path, CALENDAR_COLUMNS, _day)
    twice = [str(day) for day, count in Counter(day.day for day in days).items() if count > 1]
    if twice:
        raise UnreadableCalendarFile(f"{path} has days twice: {', '.join(twice[:20])}")
    return sorted(days)


def read_office_hours(path: Path) -> list[OfficeHours]:
    """The rows of a CSV file with the columns `weekday`, `from`, `until` and `is_example`.

    `weekday` is 1 Monday to 7 Sunday, or `all` for every work day that has no rows of its own, make-up days included;
    `until` 00:00 is the midnight that ends the day.

    Raises
    ------
    UnreadableCalendarFile
        Naming every row at fault. Whether the hours overlap is for `build_calendar` to say.
    """
    return _read(path, OFFICE_HOURS_COLUMNS, _office_hours)


def read_thresholds(path: Path) -> Thresholds:
    """The thresholds of a CSV file with one row each for yellow, orange and red: `light`, `share`, `is_example`.

    Raises
    ------
    UnreadableCalendarFile
        Naming every row at fault.
    MalformedThresholds
        Another set of lights, or shares that do not ascend to 1.
    """
    rows = _read(path, LIGHTS_COLUMNS, _threshold)
    shares = dict(rows)
    if set(shares) != {Light.YELLOW, Light.ORANGE, Light.RED} or len(rows) != len(shares):
        raise MalformedThresholds(f"{path} needs one row each for yellow, orange and red; it has {', '.join(shares)}")
    return Thresholds(shares[Light.YELLOW], shares[Light.ORANGE], shares[Light.RED])


def _read(path: Path, columns: tuple[str, ...], parse: Callable[[Mapping[str, str]], Row]) -> list[Row]:
    """The parsed rows of a CSV file, or all its faults at once."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if set(columns) - set(reader.fieldnames or ()):
                raise UnreadableCalendarFile(f"{path} needs the columns {', '.join(columns)}; has {reader.fieldnames}")
            lines = [{column: row[column].strip() for column in columns} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableCalendarFile(f"{path} is not a readable UTF-8 CSV file: {error}") from error
    rows, faults = [], []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(parse(line))
        except ValueError as error:
            faults.append(f"row {number}: {error}")
    if faults or not rows:
        raise UnreadableCalendarFile(f"{path}: {'; '.join(faults[:20]) or 'no rows'}{' …' if len(faults) > 20 else ''}")
    return rows


def _day(row: Mapping[str, str]) -> CalendarDay:
    if "\0" in row["name"]:
        raise ValueError("a NUL character in the name")
    return CalendarDay(date.fromisoformat(row["day"]), DayKind(row["kind"]), row["name"])


def _office_hours(row: Mapping[str, str]) -> OfficeHours:
    weekday = row["weekday"]
    if weekday != EVERY_WORK_DAY and weekday not in set("1234567"):
        raise ValueError(f"weekday {weekday!r} is not 1 to 7 or {EVERY_WORK_DAY}")
    return OfficeHours(
        None if weekday == EVERY_WORK_DAY else int(weekday),
        _clock_time(row["from"]),
        _clock_time(row["until"]),
        _truth(row),
    )


def _threshold(row: Mapping[str, str]) -> tuple[Light, Fraction]:
    _truth(row)
    if re.fullmatch(r"[01](\.[0-9]{1,9})?", row["share"]) is None:
        raise ValueError(f"share {row['share']!r} is not a number from 0 to 1 such as 0.8")
    return Light(row["light"]), Fraction(row["share"])


def _clock_time(text: str) -> time:
    if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text) is None:
        raise ValueError(f"{text!r} is not a clock time such as 08:30")
    return time.fromisoformat(text)


def _truth(row: Mapping[str, str]) -> bool:
    if row["is_example"] not in {"true", "false"}:
        raise ValueError(f"is_example {row['is_example']!r} is not true or false")
    return row["is_example"] == "true"
