"""Periods on the city's clock: whole days and whole months, and the ones they are compared with."""

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from gis_grid.errors import InvalidInput
from gis_grid.instants import as_utc

SETTLING = timedelta(days=7)


@dataclass(frozen=True)
class Period:
    """Days from `first` up to and with `last` on the clocks of `zone`.

    Raises
    ------
    InvalidInput
        The last day is before the first, or a day is not between 1970 and 2100.
    """

    first: date
    last: date
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise InvalidInput(f"until: {self.last} is before {self.first}", fields=("until",))
        if self.first.year < 1971 or self.last.year > 2099:
            raise InvalidInput(f"since: {self.first} to {self.last} is not between 1971 and 2099", fields=("since",))

    @classmethod
    def month(cls, text: str, zone: ZoneInfo) -> Self:
        """The month that a text such as `2026-03` names, or `InvalidInput`."""
        found = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", text)
        if found is None:
            raise InvalidInput(f"month: {text[:20]!r} is not a month such as 2026-03", fields=("month",))
        return cls._of_month(int(found[1]), int(found[2]), zone)

    @classmethod
    def at_hand(cls, now: datetime, zone: ZoneInfo) -> Self:
        """The month to show unasked: the last one in the first seven days of a month, which have little to tell."""
        day = now.astimezone(zone).date() - SETTLING
        return cls._of_month(day.year, day.month, zone)

    @classmethod
    def asked(cls, since: date | None, until: date | None, *, now: datetime, zone: ZoneInfo) -> Self:
        """The days asked for; without the first, the month up to the last; without both, the one at hand up to now."""
        today = now.astimezone(zone).date()
        if since is None and until is None:
            month = cls.at_hand(now, zone)
            return cls(month.first, min(month.last, today), zone)
        last = until or today
        return cls(since or last.replace(day=1), last, zone)

    @classmethod
    def _of_month(cls, year: int, month: int, zone: ZoneInfo) -> Self:
        if not 1 <= year <= 9999:
            raise InvalidInput(f"month: the year {year} is not between 1971 and 2099", fields=("month",))
        return cls(date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1]), zone)

    @property
    def since(self) -> datetime:
        """The instant it begins, in UTC."""
        return as_utc(datetime.combine(self.first, time(), self.zone))

    @property
    def until(self) -> datetime:
        """The instant it is over, exclusive, in UTC."""
        return as_utc(datetime.combine(self.last + timedelta(days=1), time(), self.zone))

    @property
    def is_month(self) -> bool:
        """Whether it is one whole month of the calendar."""
        return (self.first, self.last) == (
            self.first.replace(day=1),
            self.first.replace(day=calendar.monthrange(self.first.year, self.first.month)[1]),
        )

    @property
    def month_before(self) -> Self:
        """For a month, the one before it (环比)."""
        day = self.first.replace(day=1) - timedelta(days=1)
        return self._of_month(day.year, day.month, self.zone)

    @property
    def year_before(self) -> Self:
        """For a month, the same one a year before (同比)."""
        return self._of_month(self.first.year - 1, self.first.month, self.zone)

    def beside(self, now: datetime) -> list[Self]:
        """The months before and after its first day's that have begun."""
        start = self.first.replace(day=1)
        days = [start - timedelta(days=1), start + timedelta(days=31)]
        today = now.astimezone(self.zone).date()
        return [
            self._of_month(day.year, day.month, self.zone)
            for day in days
            if day.year >= 1971 and day.replace(day=1) <= today
        ]

    def __str__(self) -> str:
        return f"{self.first} – {self.last}"
