"""Which month a page tells of, and the ways to the months beside it."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query

from gis_grid.city import City
from gis_grid.periods import Period

Month = Annotated[str, Query(description="such as 2026-03; the month at hand without it", max_length=20)]


def period_of(month: str, city: City, now: datetime) -> Period:
    """The month that is asked for, the one at hand where none is."""
    return Period.month(month, city.zone) if month else Period.at_hand(now, city.zone)


def month_text(period: Period) -> str:
    """A month as the addresses of pages have it, such as `2026-03`."""
    return f"{period.first:%Y-%m}"


def days_text(period: Period) -> str:
    """First and last day as the addresses of pages have them."""
    return urlencode({"since": period.first, "until": period.last})


def month_links(period: Period, now: datetime, link: Callable[[Period], str]) -> list[tuple[str, str]]:
    """The months beside a period that have begun, in words, and the address of each."""
    return [
        (f"‹ {month_text(month)}" if month.first < period.first else f"{month_text(month)} ›", link(month))
        for month in period.beside(now)
    ]
