"""A week of shifts, minute by minute: who is out, and when nobody is. Pure.

A week begins on Monday at 00:00 on the city's clock. Minutes are wall-clock minutes: a night on which the clocks are
put forward or back is counted as any other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import time

import numpy as np
import numpy.typing as npt

from gis_grid.errors import InvalidInput

DAY_MIN = 1440
WEEK_MIN = 7 * DAY_MIN
EVERY_DAY = "daily"
WEEKDAYS = (EVERY_DAY, *"1234567")
NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Week = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WeekShift:
    """A shift on an ISO weekday (`1` to `7`, Monday first) or `daily`; ending by its start, it ends the day after."""

    weekday: str
    starts: time
    ends: time

    def __post_init__(self) -> None:
        if self.weekday not in WEEKDAYS:
            raise InvalidInput(f"weekday {self.weekday!r} is not one of {', '.join(WEEKDAYS)}")
        for hour in (self.starts, self.ends):
            if hour.second or hour.microsecond or hour.tzinfo:
                raise InvalidInput(f"shift hour {hour}: expected a whole minute on the city's clock")

    @property
    def minutes(self) -> tuple[int, int]:
        """Minute of the day it starts, and how many minutes it lasts."""
        start = self.starts.hour * 60 + self.starts.minute
        end = self.ends.hour * 60 + self.ends.minute
        return start, (end - start - 1) % DAY_MIN + 1


@dataclass(frozen=True)
class Gap:
    """Minutes of the week [start, start + minutes) in which nobody is out; a gap may run past Sunday's midnight."""

    start: int
    minutes: int

    def __str__(self) -> str:
        if self.minutes == WEEK_MIN:
            return "all week"
        return f"{clock(self.start)}–{clock(self.start + self.minutes)}"


def clock(minute: int) -> str:
    """A minute of the week as `Mon 21:50`."""
    day, rest = divmod(minute % WEEK_MIN, DAY_MIN)
    return f"{NAMES[day]} {rest // 60:02d}:{rest % 60:02d}"


def week_of(shifts: Iterable[WeekShift]) -> Week:
    """Whether somebody is out, for each minute of the week; shape (10080,)."""
    week = np.zeros(WEEK_MIN, dtype=bool)
    for shift in shifts:
        start, length = shift.minutes
        days = range(7) if shift.weekday == EVERY_DAY else [int(shift.weekday) - 1]
        for day in days:
            week[np.arange(day * DAY_MIN + start, day * DAY_MIN + start + length) % WEEK_MIN] = True
    return week


def gaps_of(week: Week) -> list[Gap]:
    """Every stretch of minutes in which nobody is out; one across the end of the week is one gap."""
    if not week.any():
        return [Gap(0, WEEK_MIN)]
    # Begun where somebody is out, no gap is cut in two by the end of the week.
    first = int(np.argmax(week))
    turned = np.r_[np.roll(week, -first), True].astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(turned) == -1) + 1, np.flatnonzero(np.diff(turned) == 1) + 1
    gaps = [Gap(int(start + first) % WEEK_MIN, int(end - start)) for start, end in zip(starts, ends, strict=True)]
    return sorted(gaps, key=lambda gap: gap.start)
