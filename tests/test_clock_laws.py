"""The laws of limits, working time, due times and lights."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from gis_grid.clocks import (
    Calendar,
    Light,
    Limit,
    LimitUnit,
    Pause,
    Thresholds,
    change_instants,
    due_at,
    light_at,
    next_change_at,
    used_share,
)
from tests.clock_builders import NEW_YORK, OFFICE, ROUND_THE_CLOCK, SHANGHAI, THRESHOLDS, US, H, at, calendar, laws

calendars = st.builds(
    calendar,
    st.dictionaries(st.dates(date(2026, 1, 1), date(2026, 12, 31)), st.booleans(), max_size=60),
    zone=st.sampled_from([SHANGHAI, NEW_YORK, ZoneInfo("Australia/Lord_Howe")]),
    office_hours=st.sampled_from([OFFICE, ((time(1, 30), time(2, 30)), (time(23), time(0))), ROUND_THE_CLOCK]),
)
gaps = st.timedeltas(timedelta(), timedelta(days=20))
instants = gaps.map(lambda gap: at("2026-01-01") + 18 * gap + gap % timedelta(milliseconds=7))
limits = st.one_of(
    st.builds(
        Limit,
        st.decimals(Decimal("0.01"), 120, places=2),
        st.sampled_from([LimitUnit.URGENT_HOURS, LimitUnit.WORK_HOURS]),
    ),
    st.builds(Limit, st.integers(1, 15), st.sampled_from([LimitUnit.WORK_DAYS, LimitUnit.NATURAL_DAYS])),
)
thresholds = (
    st.lists(st.fractions(Fraction(1, 97), Fraction(96, 97), max_denominator=97), min_size=2, max_size=2, unique=True)
    .map(sorted)
    .map(lambda shares: Thresholds(*shares, Fraction(1)))
)


@st.composite
def pauses_after(draw: st.DrawFn, start: datetime) -> list[Pause]:
    """Up to three pauses around a start, the last perhaps without end."""
    edges, when = [], start - draw(gaps)
    for _ in range(2 * draw(st.integers(0, 3))):
        when += draw(gaps)
        edges.append(when)
    found: list[Pause] = list(zip(edges[::2], edges[1::2], strict=True))
    if found and draw(st.booleans()):
        found[-1] = (found[-1][0], None)
    return found


@laws
@given(calendars, instants, gaps, gaps)
def test_working_times_add_up(on: Calendar, start: datetime, first: timedelta, second: timedelta) -> None:
    middle, end = start + first, start + first + second

    assert on.work_between(start, middle) + on.work_between(middle, end) == on.work_between(start, end)
    assert on.work_between(start, end) <= end - start


@laws
@given(
    calendars, instants, st.timedeltas(timedelta(), timedelta(days=4)), st.timedeltas(timedelta(), timedelta(days=4))
)
def test_added_working_time_can_be_measured_and_added_in_parts(
    on: Calendar, start: datetime, first: timedelta, second: timedelta
) -> None:
    middle = on.add_work(start, first)

    assert on.work_between(start, middle) == first
    assert on.add_work(middle, second) == on.add_work(start, first + second) or not second


@laws
@given(calendars, instants, gaps, limits)
def test_a_later_start_is_never_due_earlier(on: Calendar, start: datetime, later: timedelta, limit: Limit) -> None:
    # In the hour that is shown twice, the same clock time n days later cannot be both the same and later.
    assume(limit.unit is not LimitUnit.NATURAL_DAYS or on.zone is SHANGHAI)

    assert due_at(start, limit, on) <= due_at(start + later, limit, on)


@laws
@given(st.data(), calendars, instants, limits)
def test_more_holidays_never_make_anything_earlier(
    data: st.DataObject, on: Calendar, start: datetime, limit: Limit
) -> None:
    paused = data.draw(pauses_after(start))
    holidays = data.draw(st.sets(st.integers(-1, 30), min_size=1, max_size=10))
    off = {start.date() + timedelta(days=n): False for n in holidays}
    fewer = Calendar(on.zone, on.office_hours, {**on.days, **off})

    before = change_instants(start, limit, on, THRESHOLDS, paused=paused)
    after = change_instants(start, limit, fewer, THRESHOLDS, paused=paused)

    assert due_at(start, limit, on) <= due_at(start, limit, fewer)
    for earlier, later in zip(before, after, strict=True):
        assert later is None or (earlier is not None and earlier <= later)


@laws
@given(st.data(), calendars, instants, limits, thresholds)
def test_a_light_comes_on_exactly_at_its_instant(
    data: st.DataObject, on: Calendar, start: datetime, limit: Limit, shares: Thresholds
) -> None:
    paused = data.draw(pauses_after(start))
    found = change_instants(start, limit, on, shares, paused=paused)

    for when, light in zip(found, list(Light)[1:], strict=True):
        if when is not None:
            lights = [light_at(start, now, limit, on, shares, paused=paused) for now in (when - US, when)]
            order = [list(Light).index(seen) for seen in lights]
            assert order[0] < list(Light).index(light) <= order[1]


@laws
@given(st.data(), calendars, instants, limits, thresholds)
def test_stored_instants_give_the_light_of_any_time(
    data: st.DataObject, on: Calendar, start: datetime, limit: Limit, shares: Thresholds
) -> None:
    paused = data.draw(pauses_after(start))
    extended = data.draw(st.lists(st.just(limit), max_size=2))
    now = start + data.draw(st.timedeltas(timedelta(days=-1), timedelta(days=40)))
    found = change_instants(start, limit, on, shares, paused=paused, extended=extended)
    light = light_at(start, now, limit, on, shares, paused=paused, extended=extended)
    coming = next_change_at(start, now, limit, on, shares, paused=paused, extended=extended)

    assert found.light(now) is light
    assert (coming is None) == (found.light(datetime(2100, 1, 1, tzinfo=UTC)) is light)
    assert coming is None or (found.light(coming - US) is light and found.light(coming) is not light)


@laws
@given(calendars, instants, limits)
def test_a_limit_is_due_when_all_of_it_is_used(on: Calendar, start: datetime, limit: Limit) -> None:
    end = due_at(start, limit, on)

    assert start < end
    assert used_share(start, end, limit, on) == 1.0
    assert used_share(start, end - US, limit, on) < 1.0
    assert change_instants(start, limit, on, THRESHOLDS).red_at == end


@laws
@given(calendars, instants, gaps, gaps, limits)
def test_a_used_share_never_shrinks(
    on: Calendar, start: datetime, first: timedelta, second: timedelta, limit: Limit
) -> None:
    assert used_share(start, start + first, limit, on) <= used_share(start, start + first + second, limit, on)


@laws
@given(calendars, instants, st.fractions(0, 1), gaps, limits)
def test_a_pause_moves_the_due_time_by_exactly_its_running_time(
    on: Calendar, start: datetime, part: Fraction, length: timedelta, limit: Limit
) -> None:
    assume(limit.unit is not LimitUnit.WORK_DAYS)  # counted in shares of days, see the next test
    end = due_at(start, limit, on)
    stop = start + timedelta(microseconds=int(part * ((end - start) // US)))
    moved = change_instants(start, limit, on, THRESHOLDS, paused=[(stop, stop + length)]).red_at

    assert moved is not None
    if limit.unit is LimitUnit.WORK_HOURS:
        assert on.work_between(end, moved) == (on.work_between(stop, stop + length) if stop < end else 0 * H)
    else:
        assert moved - end == (length if stop < end else 0 * H)


@laws
@given(calendars, instants, st.integers(1, 9), st.integers(1, 9))
def test_whole_work_days_on_hold_move_a_work_day_limit_by_as_many(
    on: Calendar, start: datetime, amount: int, held: int
) -> None:
    evening = due_at(start, Limit(1, LimitUnit.WORK_DAYS), on)
    morning = due_at(start, Limit(1 + held, LimitUnit.WORK_DAYS), on)
    found = change_instants(start, Limit(1 + amount, LimitUnit.WORK_DAYS), on, THRESHOLDS, paused=[(evening, morning)])

    assert found.red_at == due_at(start, Limit(1 + amount + held, LimitUnit.WORK_DAYS), on)


@laws
@given(calendars, instants, limits, limits)
def test_a_longer_limit_is_due_later(on: Calendar, start: datetime, limit: Limit, extension: Limit) -> None:
    assume(limit.unit == extension.unit)

    assert due_at(start, limit, on) < due_at(start, limit.plus([extension]), on)
