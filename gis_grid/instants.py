"""Instants of time: aware, UTC, between 1970 and 2100."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from gis_grid.errors import InvalidInput

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(2101, 1, 1, tzinfo=UTC)


def as_utc(at: datetime) -> datetime:
    """The same instant in UTC.

    Raises
    ------
    InvalidInput
        No time zone, or a year outside 1970–2100.
    """
    if at.tzinfo is None or at.utcoffset() is None:
        raise InvalidInput(f"{at.isoformat()} has no time zone; write for example {at.isoformat()}+08:00")
    try:
        instant = at.astimezone(UTC)
    except OverflowError:
        instant = None
    if instant is None or not FIRST <= instant < LAST:
        raise InvalidInput(f"{at.isoformat()} is not between the years 1970 and 2100")
    return instant


def parse_instant(text: str, *, zone: ZoneInfo | None = None) -> datetime:
    """The instant that an ISO 8601 date or time names, in UTC; `zone` is for texts that name none.

    Raises
    ------
    InvalidInput
        Not a date, no time zone to read it in, or a year outside 1970–2100.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(f"{text!r} is not an ISO 8601 time such as 2026-01-31T08:00:00+08:00") from None
    if at.tzinfo is None and zone is not None:
        at = at.replace(tzinfo=zone)
    return as_utc(at)
