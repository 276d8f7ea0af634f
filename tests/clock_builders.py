"""Calendars and instants for the tests of clocks."""

from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import settings

from gis_grid.calendars import load_calendar
from gis_grid.city import MINHANG
from gis_grid.clocks import (
    Calendar,
    Thresholds,
    due_at,
    parse_limit,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
US = timedelta(microseconds=1)
H = timedelta(hours=1)
OFFICE = ((time(8, 30), time(11, 30)), (time(13, 30), time(17, 30)))
ROUND_THE_CLOCK = ((time(0), time(0)),)
laws = settings(deadline=None)
THRESHOLDS = Thresholds(Fraction("0.5"), Fraction("0.8"), Fraction(1))
REAL = load_calendar(
    SHANGHAI, days=MINHANG.with_name("calendar.csv"), office_hours=MINHANG.with_name("office_hours.csv")
)


def calendar(
    days: dict[date, bool] | None = None,
    *,
    zone: ZoneInfo = SHANGHAI,
    office_hours: tuple[tuple[time, time], ...] = OFFICE,
) -> Calendar:
    return Calendar(zone, office_hours, days or {})


def at(text: str, zone: ZoneInfo = SHANGHAI, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def due(start: str, limit: str, on: Calendar = REAL) -> str:
    return f"{due_at(at(start, on.zone), parse_limit(limit), on).astimezone(on.zone):%Y-%m-%d %H:%M}"


# --- limits
