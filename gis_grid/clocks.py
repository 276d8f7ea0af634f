"""The clocks of a case: limits, working time, due times and the four lights.

Pure: no database, no clock of its own. Everything is counted in whole microseconds and fractions, so that a light
changes exactly when it should. A case has two such clocks, one for its step and one for the whole; both are these
functions with another start and another limit.
"""

import bisect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gis_grid.errors import InvalidInput
from gis_grid.instants import FIRST, LAST, as_utc

MOST = 1_000_000
MICROSECOND = timedelta(microseconds=1)
HOUR_US = 3_600_000_000
LAST_US = (LAST - FIRST) // MICROSECOND

Hours = tuple[time, time]
Pause = tuple[datetime, datetime | None]
Span = tuple[int, int]


class MalformedLimit(InvalidInput):
    """A limit without a positive amount or a known unit."""


class MalformedCalendar(InvalidInput):
    """Office hours that are empty or overlap, or a day that is not a date."""


class MalformedThresholds(InvalidInput):
    """Shares of the lights that do not ascend to 1."""


class MalformedPauses(InvalidInput):
    """Pauses that overlap or end before they begin."""


class ReversedTimes(InvalidInput):
    """A stretch of time that ends before it begins."""


class DueTooLate(InvalidInput):
    """A limit that would end after the year 2100."""


class LimitUnit(StrEnum):
    """What a limit is counted in: 紧急工作时, 工作时, 工作日, 自然日; `due_at` says how each is counted."""

    URGENT_HOURS = "urgent_hours"
    WORK_HOURS = "work_hours"
    WORK_DAYS = "work_days"
    NATURAL_DAYS = "natural_days"

    @property
    def is_hours(self) -> bool:
        """Whether it can be divided: hours can, days cannot."""
        return self in {LimitUnit.URGENT_HOURS, LimitUnit.WORK_HOURS}


@dataclass(frozen=True)
class Limit:
    """How long something may take.

    Attributes
    ----------
    amount
        Above 0, at most a million; days are whole, hours have at most 8 decimals (so they are whole microseconds).

    Raises
    ------
    MalformedLimit
        Another amount, or a float, which would not be exact.
    """

    amount: int | Decimal
    unit: LimitUnit

    def __post_init__(self) -> None:
        amount = self.amount
        if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
            raise MalformedLimit(f"a limit of {amount!r} must be an int or a Decimal")
        if not isinstance(self.unit, LimitUnit):
            raise MalformedLimit(f"a limit in {self.unit!r}: the units are {', '.join(LimitUnit)}")
        if (isinstance(amount, Decimal) and not amount.is_finite()) or not 0 < amount <= MOST:
            raise MalformedLimit(f"a limit of {amount} {self.unit} must be above 0 and at most {MOST}")
        decimals = 8 if self.unit.is_hours else 0
        # The first test keeps 1e-999999 from becoming a huge integer in the second.
        if Decimal(amount).adjusted() < -decimals or Fraction(amount) * 10**decimals % 1:
            raise MalformedLimit(f"a limit of {amount} {self.unit} can have at most {decimals} decimals")

    def __str__(self) -> str:
        """As `parse_limit` reads it."""
        digits = f"{Decimal(self.amount):f}"
        return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits} {self.unit}"

    def plus(self, extensions: Sequence["Limit"]) -> "Limit":
        """The limit with extensions (延期) added, which are counted in its own unit.

        Raises
        ------
        MalformedLimit
            An extension in another unit.
        """
        if any(extension.unit != self.unit for extension in extensions):
            raise MalformedLimit(f"a limit of {self} can only be extended in {self.unit}")
        return Limit(sum((Decimal(extension.amount) for extension in extensions), Decimal(self.amount)), self.unit)


def parse_limit(text: str) -> Limit:
    """The limit that a text such as `4 work_hours` or `0.5 urgent_hours` names.

    Raises
    ------
    MalformedLimit
        Anything else.
    """
    found = re.fullmatch(r"([0-9]{1,7}(?:\.[0-9]{1,8})?) ([a-z_]+)", text.strip())
    if found is None or found[2] not in set(LimitUnit):
        raise MalformedLimit(f"{text!r} is not a limit such as 4 work_hours; the units are {', '.join(LimitUnit)}")
    return Limit(Decimal(found[1]), LimitUnit(found[2]))


@dataclass(frozen=True)
class Calendar:
    """When a city works.

    Attributes
    ----------
    zone
        The time zone that days and office hours are in.
    office_hours
        From and until of a work day, until exclusive; 00:00 as the end is the midnight that ends the day.
    days
        Whether a day is a work day: public holidays False, make-up days True. A day the table lacks is a work day from
        Monday to Friday; `is_known` and `known_until` tell where that rule guesses.
    weekday_hours
        Other office hours on an ISO weekday (1 Monday to 7 Sunday), make-up days included.

    Raises
    ------
    MalformedCalendar
        Office hours that are none, empty, overlapping or with a time zone, or a day that is not a plain date.

    Notes
    -----
    Office hours are clock times. One that the clocks skip is the instant they are put forward; one that they show twice
    is the first of the two.
    """

    zone: ZoneInfo
    office_hours: tuple[Hours, ...]
    days: Mapping[date, bool]
    weekday_hours: Mapping[int, tuple[Hours, ...]] = field(default_factory=dict)
    # What `windows` found so far: the same days are asked for by every case.
    _found: dict[date, tuple[Span, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for day, is_work in self.days.items():
            if type(day) is not date or not isinstance(is_work, bool):
                raise MalformedCalendar(f"{day!r}: {is_work!r} must be a date and whether it is a work day")
        if wrong := set(self.weekday_hours) - set(range(1, 8)):
            raise MalformedCalendar(f"weekdays are 1 Monday to 7 Sunday, not {', '.join(map(str, sorted(wrong)))}")
        weekdays = {weekday: _checked(hours) for weekday, hours in self.weekday_hours.items()}
        object.__setattr__(self, "office_hours", _checked(self.office_hours))
        object.__setattr__(self, "weekday_hours", MappingProxyType(weekdays))
        object.__setattr__(self, "days", MappingProxyType(dict(self.days)))

    def is_work_day(self, day: date) -> bool:
        """Whether a day is a work day: by the table, else Monday to Friday."""
        return self.days.get(day, day.isoweekday() <= 5)

    def is_known(self, day: date) -> bool:
        """Whether the table has the day, so that `is_work_day` need not guess."""
        return day in self.days

    @property
    def known_until(self) -> date | None:
        """The last day of the table; None for an empty one."""
        return max(self.days, default=None)

    def windows(self, day: date) -> tuple[Span, ...]:
        """The office hours of a day in microseconds since 1970 UTC, ascending; none on a day off."""
        if day not in self._found:
            self._found[day] = self._windows(day) if self.is_work_day(day) else ()
        return self._found[day]

    def _windows(self, day: date) -> tuple[Span, ...]:
        midnight = datetime.combine(day, time())
        spans = []
        for begin, end in self.weekday_hours.get(day.isoweekday(), self.office_hours):
            until = datetime.combine(day, end) if end > time() else midnight + timedelta(days=1)
            spans.append((_wall_us(datetime.combine(day, begin), self.zone), _wall_us(until, self.zone)))
        return tuple((begin, end) for begin, end in spans if begin < end)

    def work_between(self, start: datetime, until: datetime) -> timedelta:
        """The working time between two instants.

        Raises
        ------
        ReversedTimes
            `until` is before `start`.
        InvalidInput
            A time without a zone, or outside 1970–2100.
        """
        begin, end = _us(start), _us(until)
        if end < begin:
            raise ReversedTimes(f"{until.isoformat()} is before {start.isoformat()}")
        return sum((stop - go for _, go, stop in _office_time(self, begin, end)), 0) * MICROSECOND

    def add_work(self, start: datetime, work: timedelta) -> datetime:
        """The first instant, in UTC, by which so much working time has passed since `start`.

        Filling a window ends at its end, not at the next one's beginning; no working time at all is `start` itself.

        Raises
        ------
        ReversedTimes
            `work` is negative.
        DueTooLate
            There is not so much working time before the year 2101.
        InvalidInput
            A time without a zone, or outside 1970–2100.
        """
        if work < timedelta():
            raise ReversedTimes(f"working time of {work} cannot be added")
        begin, left = _us(start), work // MICROSECOND
        if not left:
            return _instant(begin)
        for _, go, stop in _office_time(self, begin, LAST_US):
            if stop - go >= left:
                return _instant(go + left)
            left -= stop - go
        raise DueTooLate(f"{work} of working time after {start.isoformat()} ends after the year 2100")


class Light(StrEnum):
    """How late something is: 蓝, 黄, 橙, 红; red is overdue."""

    BLUE = "blue"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


@dataclass(frozen=True)
class Thresholds:
    """The shares of a limit from which a light is on; exact fractions, because 0.8 is not one in binary.

    Raises
    ------
    MalformedThresholds
        Not fractions, not ascending from above 0, or red not at 1: a red case is an overdue one.
    """

    yellow: Fraction
    orange: Fraction
    red: Fraction

    def __post_init__(self) -> None:
        if not all(isinstance(share, Fraction) for share in self.shares):
            raise MalformedThresholds(f"shares must be exact, such as Fraction('0.8'); got {self}")
        if not 0 < self.yellow < self.orange < self.red or self.red != 1:
            raise MalformedThresholds(f"shares must ascend, 0 < yellow < orange < red = 1; got {self}")

    def __str__(self) -> str:
        """The three shares."""
        return f"yellow {self.yellow}, orange {self.orange}, red {self.red}"

    @property
    def shares(self) -> tuple[Fraction, Fraction, Fraction]:
        """Yellow, orange, red."""
        return self.yellow, self.orange, self.red


class ChangeInstants(NamedTuple):
    """When a clock's lights come on, in UTC; None for one that a pause without end keeps from coming on.

    A case stores these three for each clock and compares them with the time, so that a million lights cost one
    comparison each. They hold until the start, the limit, the pauses, the calendar or the thresholds change.
    `red_at` is the due time.
    """

    yellow_at: datetime | None
    orange_at: datetime | None
    red_at: datetime | None

    def light(self, now: datetime) -> Light:
        """The light at a time."""
        now = as_utc(now)
        return list(Light)[sum(at is not None and at <= now for at in self)]

    def next_after(self, now: datetime) -> datetime | None:
        """The first of the three after a time, None when there is none."""
        now = as_utc(now)
        return min((at for at in self if at is not None and at > now), default=None)


def due_at(start: datetime, limit: Limit, calendar: Calendar) -> datetime:
    """The first instant, in UTC, at which a limit is used up; from then on it is overdue.

    urgent_hours
        Run round the clock.
    work_hours
        Run inside office hours only. Begun in the night, at noon or on a holiday, they run from the next opening;
        using up a day ends at its closing, not at the next opening.
    work_days
        The day of the start is not counted, be it a work day or not, morning or evening. The limit ends when office
        hours end on the n-th work day after it.
    natural_days
        End at the same clock time n days later; holidays count and do not move the end.

    Raises
    ------
    DueTooLate
        It would end after the year 2100.
    InvalidInput
        A start without a zone, or outside 1970–2100.

    Notes
    -----
    Not counting the first day, counting hours at once and ending with business hours are 民法典 (Civil Code) articles
    201 and 203. A due time in natural days that the clocks skip is the instant they are put forward; one they show
    twice is the first.
    """
    (due,) = _reach(_stretches(start, limit, calendar, LAST_US), (Fraction(1),))
    if due is None:
        raise DueTooLate(f"{limit} from {start.isoformat()} end after the year 2100")
    return _instant(due)


def used_share(
    start: datetime,
    now: datetime,
    limit: Limit,
    calendar: Calendar,
    *,
    paused: Sequence[Pause] = (),
    extended: Sequence[Limit] = (),
) -> float:
    """Share of a limit used at a time: 0 before the start, below 1 until it is due, above 1 when overdue.

    Limits in work hours and work days are used up in working time (each work day by the same share, however long its
    office hours are), those in urgent hours and natural days in elapsed time. A float is for showing: `light_at` is
    exact. Raises as `light_at`.
    """
    return float(_used(start, now, limit.plus(extended), calendar, paused))


def light_at(
    start: datetime,
    now: datetime,
    limit: Limit,
    calendar: Calendar,
    thresholds: Thresholds,
    *,
    paused: Sequence[Pause] = (),
    extended: Sequence[Limit] = (),
) -> Light:
    """The light of a clock at a time, exact to the microsecond; blue before the start.

    Parameters
    ----------
    paused
        Ascending, disjoint (from, until) in which the clock stands still (挂账), until exclusive; the last one's until
        is None while it lasts. What lies before the start is of no account, so both clocks of a case take the same.
    extended
        Extensions (延期) in the limit's unit; they are added to it, whenever they were granted.

    Raises
    ------
    MalformedPauses
        Pauses that overlap, are out of order or end before they begin.
    MalformedLimit
        An extension in another unit.
    InvalidInput
        A time without a zone, or outside 1970–2100.
    """
    share = _used(start, now, limit.plus(extended), calendar, paused)
    return list(Light)[sum(threshold <= share for threshold in thresholds.shares)]


def change_instants(
    start: datetime,
    limit: Limit,
    calendar: Calendar,
    thresholds: Thresholds,
    *,
    paused: Sequence[Pause] = (),
    extended: Sequence[Limit] = (),
) -> ChangeInstants:
    """When the lights of a clock come on; parameters and errors as `light_at`.

    Raises
    ------
    DueTooLate
        It would be due after the year 2100.
    """
    whole = limit.plus(extended)
    pauses, horizon = _checked_pauses(paused)
    running = _without(_stretches(start, whole, calendar, horizon), pauses)
    found = _reach(running, thresholds.shares)
    if found[-1] is None and horizon == LAST_US:
        raise DueTooLate(f"{whole} from {start.isoformat()} end after the year 2100")
    return ChangeInstants(*(None if at is None else _instant(at) for at in found))


def next_change_at(
    start: datetime,
    now: datetime,
    limit: Limit,
    calendar: Calendar,
    thresholds: Thresholds,
    *,
    paused: Sequence[Pause] = (),
    extended: Sequence[Limit] = (),
) -> datetime | None:
    """The first instant after `now`, in UTC, with another light; None when red, or when a pause has no end.

    Parameters and errors as `change_instants`.
    """
    return change_instants(start, limit, calendar, thresholds, paused=paused, extended=extended).next_after(now)


class _Stretch(NamedTuple):
    """Time in which a clock runs, in microseconds since 1970, and how long it would have to run so for the limit."""

    begin: int
    end: int
    whole: int


def _stretches(start: datetime, limit: Limit, calendar: Calendar, horizon: int) -> Iterator[_Stretch]:
    """The stretches in which the clock of an unpaused limit runs, ascending, up to `horizon`."""
    begin = _us(start)
    if limit.unit is LimitUnit.WORK_DAYS:
        first = _local_date(begin, calendar.zone) + timedelta(days=1)
        for day, go, stop in _office_time(calendar, begin, horizon, first=first):
            length = sum(end - begin for begin, end in calendar.windows(day))
            yield _Stretch(go, stop, int(limit.amount) * length)
    elif limit.unit is LimitUnit.WORK_HOURS:
        whole = int(limit.amount * HOUR_US)
        for _, go, stop in _office_time(calendar, begin, horizon):
            yield _Stretch(go, stop, whole)
    elif begin < horizon:
        if limit.unit is LimitUnit.URGENT_HOURS:
            whole = int(limit.amount * HOUR_US)
        else:
            wall = _instant(begin).astimezone(calendar.zone).replace(tzinfo=None, fold=0)
            whole = _wall_us(wall + timedelta(days=int(limit.amount)), calendar.zone) - begin
        yield _Stretch(begin, horizon, whole)


def _office_time(
    calendar: Calendar, begin: int, end: int, *, first: date | None = None
) -> Iterator[tuple[date, int, int]]:
    """Office hours between two instants, ascending: the day, from and until; from day `first` on if given."""
    first = first or _local_date(begin, calendar.zone)
    # Clocks put back just after midnight show yesterday's date again: today's office hours may have begun by then.
    last = _local_date(end, calendar.zone) + timedelta(days=1)
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(ordinal)
        for go, stop in calendar.windows(day):
            if go < end and stop > begin:
                yield day, max(go, begin), min(stop, end)


def _without(stretches: Iterator[_Stretch], pauses: Sequence[Span]) -> Iterator[_Stretch]:
    """The stretches less the pauses."""
    for stretch in stretches:
        begin = stretch.begin
        for stop, go in pauses:
            if go <= begin:
                continue
            if stop >= stretch.end:
                break
            if stop > begin:
                yield stretch._replace(begin=begin, end=stop)
            begin = go
        if begin < stretch.end:
            yield stretch._replace(begin=begin)


def _reach(stretches: Iterator[_Stretch], shares: Sequence[Fraction]) -> list[int | None]:
    """The first instants, in microseconds, at which ascending shares of a limit are used; None where none is."""
    found: list[int | None] = []
    used = Fraction(0)
    for begin, end, whole in stretches:
        after = used + Fraction(end - begin, whole)
        while after >= shares[len(found)]:
            found.append(begin + math.ceil((shares[len(found)] - used) * whole))
            if len(found) == len(shares):
                return found
        used = after
    return [*found, *[None] * (len(shares) - len(found))]


def _used(start: datetime, now: datetime, limit: Limit, calendar: Calendar, paused: Sequence[Pause]) -> Fraction:
    pauses, horizon = _checked_pauses(paused)
    running = _without(_stretches(start, limit, calendar, min(_us(now), horizon)), pauses)
    return sum((Fraction(end - begin, whole) for begin, end, whole in running), Fraction(0))


def _checked_pauses(paused: Sequence[Pause]) -> tuple[list[Span], int]:
    """The ended pauses, and the instant from which the clock stands still for good; in microseconds."""
    spans: list[Span] = []
    for number, (stop, go) in enumerate(paused, start=1):
        span = _us(stop), LAST_US if go is None else _us(go)
        if span[1] < span[0]:
            raise MalformedPauses(f"pause {number} ends before it begins at {stop.isoformat()}")
        if spans and span[0] < spans[-1][1]:
            raise MalformedPauses(f"pause {number} begins at {stop.isoformat()}, before the one before it ends")
        spans.append(span)
    if spans and paused[-1][1] is None:
        return spans[:-1], spans[-1][0]
    return spans, LAST_US


def _checked(hours: Sequence[Hours]) -> tuple[Hours, ...]:
    """Office hours of a day, ascending."""
    if not hours:
        raise MalformedCalendar("office hours are empty")
    if any(clock.tzinfo is not None for span in hours for clock in span):
        raise MalformedCalendar("office hours must be clock times without a time zone")
    ascending = sorted(hours)
    for number, (begin, end) in enumerate(ascending):
        if time() < end <= begin:
            raise MalformedCalendar(f"office hours {begin}–{end} end before they begin")
        if number and not time() < ascending[number - 1][1] <= begin:
            raise MalformedCalendar(f"office hours {begin}–{end} overlap the ones before them")
    return tuple(ascending)


def _us(at: datetime) -> int:
    return (as_utc(at) - FIRST) // MICROSECOND


def _instant(us: int) -> datetime:
    return FIRST + us * MICROSECOND


def _local_date(us: int, zone: ZoneInfo) -> date:
    return _instant(us).astimezone(zone).date()


def _wall_us(wall: datetime, zone: ZoneInfo) -> int:
    """The first instant at which clocks in `zone` show `wall` or later, in microseconds since 1970."""
    at = wall.replace(tzinfo=zone).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) != wall:
        at = _transition(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), at, zone)
    return (at - FIRST) // MICROSECOND


def _transition(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The whole second between two instants at which the clocks in `zone` are changed."""
    seconds = range(math.floor(before.timestamp()), math.ceil(after.timestamp()) + 1)
    offset = before.astimezone(zone).utcoffset()
    place = bisect.bisect_left(
        seconds, x=True, key=lambda second: datetime.fromtimestamp(second, zone).utcoffset() != offset
    )
    return datetime.fromtimestamp(seconds[place], UTC)
