"""The days that a window is asked for."""

from datetime import date, timedelta

from gis_grid.errors import InvalidInput
from gis_grid.instants import FIRST, LAST


def days_asked(since: date | None, until: date | None, *, today: date, days: int) -> tuple[date, date]:
    """First and last day of a window, both in it; the `days` up to today, or to `until`, where nothing is asked.

    Raises
    ------
    InvalidInput
        Days out of order or out of range.
    """
    for name, day in (("since", since), ("until", until)):
        if day is not None and not FIRST.date() + timedelta(days=days) < day < LAST.date():
            raise InvalidInput(f"{name}: {day} is not between the years 1970 and 2100", fields=(name,))
    last = until or today
    first = since or last - timedelta(days=days - 1)
    if first > last:
        raise InvalidInput(f"since: {first} lies after until, {last}", fields=("since",))
    return first, last
