"""Limits, working time, due times and lights, hand-checked on the real calendar of 2026."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gis_grid.clocks import (
    Calendar,
    ChangeInstants,
    DueTooLate,
    Light,
    Limit,
    LimitUnit,
    MalformedCalendar,
    MalformedLimit,
    MalformedPauses,
    MalformedThresholds,
    Pause,
    ReversedTimes,
    Thresholds,
    change_instants,
    due_at,
    light_at,
    next_change_at,
    parse_limit,
    used_share,
)
from gis_grid.errors import InvalidInput
from tests.clock_builders import (
    NEW_YORK,
    OFFICE,
    REAL,
    ROUND_THE_CLOCK,
    SHANGHAI,
    THRESHOLDS,
    US,
    H,
    at,
    calendar,
    due,
    laws,
)


@pytest.mark.parametrize(
    "text", ["4 work_hours", "0.5 urgent_hours", "7 work_days", "30 natural_days", "100 work_days"]
)
def test_a_limit_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_limit(text)) == text


@laws
@given(st.integers(1, 10**8), st.sampled_from(LimitUnit))
def test_a_limit_read_back_is_the_same(amount: int, unit: LimitUnit) -> None:
    limit = Limit(Decimal(amount).scaleb(-4) if unit.is_hours else amount % 1000 + 1, unit)

    assert parse_limit(str(limit)) == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4",
        "4 hours",
        "0 work_hours",
        "-1 work_days",
        "1e3 work_hours",
        "nan work_hours",
        "1.5 work_days",
        "4  work_hours",
        "1000001 work_hours",
        "９ work_hours",
        "0.000000001 work_hours",
        "4 work_hours\0",
        "inf work_days",
    ],
)
def test_a_text_that_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(MalformedLimit):
        parse_limit(text)


@pytest.mark.parametrize(
    "amount",
    [0, -1, True, 0.5, Decimal("nan"), Decimal("snan"), Decimal("inf"), Decimal("1e999999"), Decimal("1e-999999")],
)
def test_an_amount_that_is_no_exact_positive_number_is_refused(amount: int) -> None:
    with pytest.raises(MalformedLimit):
        Limit(amount, LimitUnit.WORK_HOURS)


def test_a_limit_is_not_extended_in_another_unit() -> None:
    with pytest.raises(MalformedLimit, match="only be extended in work_hours"):
        parse_limit("4 work_hours").plus([parse_limit("1 work_days")])


# --- calendars


@pytest.mark.parametrize(
    "hours",
    [
        (),
        ((time(9), time(9)),),
        ((time(17), time(9)),),
        ((time(8), time(12)), (time(11, 59), time(17))),
        ((time(8), time(0)), (time(9), time(17))),
        ((time(8, tzinfo=UTC), time(12)),),
    ],
)
def test_office_hours_that_are_empty_overlap_or_have_a_zone_are_refused(hours: tuple[tuple[time, time], ...]) -> None:
    with pytest.raises(MalformedCalendar):
        calendar(office_hours=hours)


def test_a_day_with_a_time_or_a_weekday_8_is_refused() -> None:
    with pytest.raises(MalformedCalendar):
        calendar({datetime(2026, 3, 2, tzinfo=UTC): True})
    with pytest.raises(MalformedCalendar):
        Calendar(SHANGHAI, OFFICE, {}, {8: OFFICE})


def test_days_that_the_table_lacks_go_by_the_weekday_and_say_so() -> None:
    on = calendar({date(2026, 1, 2): False})

    assert [on.is_work_day(date(2026, 1, day)) for day in (1, 2, 3)] == [True, False, False]
    assert [on.is_known(date(2026, 1, day)) for day in (1, 2)] == [False, True]
    assert on.known_until == date(2026, 1, 2)
    assert calendar().known_until is None
    assert REAL.known_until == date(2026, 12, 31)


def test_a_weekday_can_have_hours_of_its_own() -> None:
    on = Calendar(SHANGHAI, OFFICE, {}, {5: ((time(9), time(12)),)})

    assert on.work_between(at("2026-03-05"), at("2026-03-06")) == 7 * H  # a Thursday
    assert on.work_between(at("2026-03-06"), at("2026-03-07")) == 3 * H


def test_working_time_leaves_out_noon_nights_and_the_spring_festival() -> None:
    assert REAL.work_between(at("2026-03-02 09:00"), at("2026-03-02 14:00")) == 3 * H
    assert REAL.work_between(at("2026-03-02 17:30"), at("2026-03-03 08:30")) == 0 * H
    # Make-up Saturday 14 February, holiday 15–23 February, Tuesday 24 February.
    assert REAL.work_between(at("2026-02-14 00:00"), at("2026-02-25 00:00")) == 14 * H


def test_filling_a_window_ends_at_its_end_and_one_microsecond_more_after_the_next_opening() -> None:
    start = at("2026-03-02 08:30")

    assert REAL.add_work(start, 3 * H) == at("2026-03-02 11:30")
    assert REAL.add_work(start, 3 * H + US) == at("2026-03-02 13:30") + US
    assert REAL.add_work(at("2026-03-01 12:00"), 0 * H) == at("2026-03-01 12:00")


def test_working_time_backwards_is_refused() -> None:
    with pytest.raises(ReversedTimes):
        REAL.work_between(at("2026-03-03"), at("2026-03-02"))
    with pytest.raises(ReversedTimes):
        REAL.add_work(at("2026-03-03"), -H)


def test_a_city_that_never_works_is_never_due() -> None:
    never = calendar({date(1970, 1, 1) + timedelta(days=n): False for n in range(131 * 366)})

    with pytest.raises(DueTooLate):
        never.add_work(at("2026-03-02"), US)
    with pytest.raises(DueTooLate):
        due_at(at("2026-03-02"), parse_limit("1 work_days"), never)


# --- due times, by hand


@pytest.mark.parametrize(
    ("start", "limit", "expected"),
    [
        ("2026-03-02 09:00", "4 urgent_hours", "2026-03-02 13:00"),
        ("2026-02-14 23:00", "4 urgent_hours", "2026-02-15 03:00"),
        ("2026-03-02 09:00", "4 work_hours", "2026-03-02 15:00"),  # over noon
        ("2026-03-02 16:00", "4 work_hours", "2026-03-03 11:00"),  # over night
        ("2026-03-02 12:00", "1 work_hours", "2026-03-02 14:30"),  # at noon
        ("2026-03-02 03:00", "1 work_hours", "2026-03-02 09:30"),  # before opening
        ("2026-03-02 08:30", "7 work_hours", "2026-03-02 17:30"),  # exactly a day: its closing
        ("2026-03-02 17:30", "1 work_hours", "2026-03-03 09:30"),  # at closing
        ("2026-03-06 17:00", "1 work_hours", "2026-03-09 09:00"),  # over a weekend
        ("2026-02-14 17:00", "1 work_hours", "2026-02-24 09:00"),  # over the Spring Festival
        ("2026-02-17 12:00", "1 work_hours", "2026-02-24 09:30"),  # on New Year's Day
        ("2026-02-13 09:00", "1 work_days", "2026-02-14 17:30"),  # Friday, then a make-up Saturday
        ("2026-02-13 09:00", "2 work_days", "2026-02-24 17:30"),
        ("2026-02-13 09:00", "6 work_days", "2026-02-28 17:30"),  # the second make-up Saturday
        ("2026-02-13 09:00", "7 work_days", "2026-03-02 17:30"),
        ("2026-03-02 00:00", "1 work_days", "2026-03-03 17:30"),  # the day of the start is not counted
        ("2026-03-02 23:59", "1 work_days", "2026-03-03 17:30"),
        ("2026-02-17 12:00", "1 work_days", "2026-02-24 17:30"),  # started on a holiday
        ("2026-12-31 10:00", "1 natural_days", "2027-01-01 10:00"),
        ("2026-02-13 10:15", "3 natural_days", "2026-02-16 10:15"),  # a holiday does not move it
        ("2024-02-28 10:00", "2 natural_days", "2024-03-01 10:00"),  # a leap day between
        ("2024-02-29 10:00", "366 natural_days", "2025-03-01 10:00"),
        ("2025-12-31 16:30", "2 work_hours", "2026-01-04 09:30"),  # 1–3 January off, Sunday 4 January made up
    ],
)
def test_a_limit_is_due_when_the_rule_says(start: str, limit: str, expected: str) -> None:
    assert due(start, limit) == expected


@pytest.mark.parametrize(
    ("start", "limit", "expected"),
    [
        ("2026-03-07 12:00", "1 natural_days", "2026-03-08 12:00"),  # a day of 23 hours
        ("2026-03-07 12:00", "24 urgent_hours", "2026-03-08 13:00"),
        ("2026-03-07 02:30", "1 natural_days", "2026-03-08 03:00"),  # 02:30 is skipped
        ("2026-10-31 12:00", "24 urgent_hours", "2026-11-01 11:00"),
        ("2026-10-31 01:30", "1 natural_days", "2026-11-01 01:30"),
        ("2026-03-06 17:00", "1 work_hours", "2026-03-09 09:00"),
        ("2026-10-30 17:00", "1 work_hours", "2026-11-02 09:00"),
    ],
)
def test_a_clock_change_keeps_clock_times_and_hours_apart(start: str, limit: str, expected: str) -> None:
    assert due(start, limit, calendar(zone=NEW_YORK)) == expected


def test_a_time_shown_twice_is_the_first() -> None:
    start = at("2026-10-31 01:30", NEW_YORK)

    assert due_at(start, parse_limit("1 natural_days"), calendar(zone=NEW_YORK)) == datetime(
        2026, 11, 1, 5, 30, tzinfo=UTC
    )


def test_office_hours_on_a_clock_change_are_as_long_as_they_last() -> None:
    sunday = {date(2026, 3, 8): True, date(2026, 11, 1): True}
    nights = calendar(sunday, zone=NEW_YORK, office_hours=((time(1), time(2, 15)), (time(2, 15), time(4))))

    assert nights.work_between(at("2026-03-08", NEW_YORK), at("2026-03-09", NEW_YORK)) == 2 * H
    assert nights.work_between(at("2026-11-01", NEW_YORK), at("2026-11-02", NEW_YORK)) == 4 * H


def test_a_day_that_the_clocks_leave_out_is_no_work_day() -> None:
    apia = calendar(zone=ZoneInfo("Pacific/Apia"))  # went from Thursday 29 to Saturday 31 December 2011

    assert due("2011-12-29 09:00", "1 work_days", apia) == "2012-01-02 17:30"
    assert due("2011-12-29 09:00", "1 natural_days", apia) == "2011-12-31 00:00"


def test_clocks_put_back_over_midnight_lose_no_office_hours() -> None:
    st_johns = ZoneInfo("America/St_Johns")  # at 00:01 on 29 October 2006 it was 23:01 on the 28th again
    open_all_day = calendar(
        {date(2006, 10, 28): True, date(2006, 10, 29): True}, zone=st_johns, office_hours=ROUND_THE_CLOCK
    )
    begin, end = at("2006-10-28", st_johns), at("2006-10-30", st_johns)
    middle = at("2006-10-28 23:30", st_johns, fold=1)

    assert open_all_day.work_between(begin, end) == end - begin == 49 * H
    assert open_all_day.work_between(begin, middle) + open_all_day.work_between(middle, end) == 49 * H


@pytest.mark.parametrize("unit", LimitUnit)
def test_a_limit_past_the_year_2100_is_refused(unit: LimitUnit) -> None:
    limit = Limit(1_000_000, unit)

    with pytest.raises(DueTooLate):
        due_at(at("2026-03-02 09:00"), limit, REAL)
    with pytest.raises(DueTooLate):
        change_instants(at("2026-03-02 09:00"), limit, REAL, THRESHOLDS)


@pytest.mark.parametrize(
    "when", [datetime.fromisoformat("2026-03-02"), datetime(1969, 12, 31, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)]
)
def test_times_without_a_zone_or_outside_1970_to_2100_are_refused(when: datetime) -> None:
    limit, good = parse_limit("4 work_hours"), at("2026-03-02 09:00")

    for refused in (
        lambda: due_at(when, limit, REAL),
        lambda: light_at(when, good, limit, REAL, THRESHOLDS),
        lambda: light_at(good, when, limit, REAL, THRESHOLDS),
        lambda: light_at(good, good, limit, REAL, THRESHOLDS, paused=[(when, None)]),
        lambda: next_change_at(good, when, limit, REAL, THRESHOLDS),
        lambda: REAL.work_between(when, good),
        lambda: REAL.add_work(when, H),
    ):
        with pytest.raises(InvalidInput):
            refused()


# --- lights, by hand


def test_the_lights_of_four_work_hours_change_after_two_and_after_three_and_a_fifth() -> None:
    found = change_instants(at("2026-03-02 09:00"), parse_limit("4 work_hours"), REAL, THRESHOLDS)

    assert found == ChangeInstants(at("2026-03-02 11:00"), at("2026-03-02 14:12"), at("2026-03-02 15:00"))


def test_work_days_are_used_up_from_the_next_work_day_on() -> None:
    found = change_instants(at("2026-03-02 09:00"), parse_limit("1 work_days"), REAL, THRESHOLDS)

    # Tuesday has 7 working hours: half of them is 3.5, four fifths 5.6.
    assert found == ChangeInstants(at("2026-03-03 14:00"), at("2026-03-03 16:06"), at("2026-03-03 17:30"))


def test_each_work_day_uses_the_same_share_however_long_it_is() -> None:
    on = Calendar(SHANGHAI, OFFICE, {}, {5: ((time(9), time(11)),)})
    thursday_closing, friday_at_ten = at("2026-03-05 17:30"), at("2026-03-06 10:00")

    assert used_share(at("2026-03-04 09:00"), thursday_closing, parse_limit("2 work_days"), on) == 0.5
    assert used_share(at("2026-03-04 09:00"), friday_at_ten, parse_limit("2 work_days"), on) == 0.75


def test_a_share_is_nothing_before_the_start_and_double_when_twice_the_limit_has_passed() -> None:
    start, limit = at("2026-03-02 09:00"), parse_limit("4 urgent_hours")

    assert [used_share(start, start + n * H, limit, REAL) for n in (-5, 0, 1, 4, 8)] == [0, 0, 0.25, 1, 2]
    assert light_at(start, start - H, limit, REAL, THRESHOLDS) is Light.BLUE


def test_a_share_just_short_of_due_is_below_one_even_as_a_float() -> None:
    start, limit = datetime(1971, 1, 1, tzinfo=UTC), Limit(1_000_000, LimitUnit.URGENT_HOURS)

    assert used_share(start, due_at(start, limit, REAL) - US, limit, REAL) < 1


def test_a_night_on_hold_costs_no_work_hours() -> None:
    pause = (at("2026-03-02 17:30"), at("2026-03-03 08:30"))
    found = change_instants(at("2026-03-02 16:00"), parse_limit("4 work_hours"), REAL, THRESHOLDS, paused=[pause])

    assert found.red_at == at("2026-03-03 11:00")


def test_a_morning_on_hold_moves_a_work_day_limit_by_that_morning() -> None:
    pause = (at("2026-03-03 08:30"), at("2026-03-03 11:30"))
    found = change_instants(at("2026-03-02 09:00"), parse_limit("1 work_days"), REAL, THRESHOLDS, paused=[pause])

    assert found.red_at == at("2026-03-04 11:30")


def test_holidays_on_hold_move_nothing_earlier() -> None:
    start, limit = at("2026-03-02 09:00"), parse_limit("1 work_days")
    pause = [(at("2026-03-03 00:00"), at("2026-03-04 00:00"))]
    without = change_instants(start, limit, calendar(), THRESHOLDS, paused=pause)
    with_holiday = change_instants(start, limit, calendar({date(2026, 3, 3): False}), THRESHOLDS, paused=pause)

    assert without == with_holiday
    assert without.red_at == at("2026-03-04 17:30")


def test_a_pause_without_end_keeps_the_light_and_leaves_nothing_to_come() -> None:
    start, limit = at("2026-03-02 09:00"), parse_limit("4 urgent_hours")
    on_hold: Sequence[Pause] = [(at("2026-03-02 11:30"), None)]
    found = change_instants(start, limit, REAL, THRESHOLDS, paused=on_hold)

    assert found == ChangeInstants(at("2026-03-02 11:00"), None, None)
    assert light_at(start, at("2027-03-02"), limit, REAL, THRESHOLDS, paused=on_hold) is Light.YELLOW
    assert found.light(at("2027-03-02")) is Light.YELLOW
    assert next_change_at(start, at("2026-03-02 11:00"), limit, REAL, THRESHOLDS, paused=on_hold) is None


def test_a_pause_before_the_start_does_not_count() -> None:
    start, limit = at("2026-03-02 09:00"), parse_limit("4 urgent_hours")
    before = [(at("2026-03-01 09:00"), at("2026-03-02 10:00"))]

    assert change_instants(start, limit, REAL, THRESHOLDS, paused=before).red_at == at("2026-03-02 14:00")


def test_an_extension_turns_red_back() -> None:
    start, now, limit = at("2026-03-02 09:00"), at("2026-03-02 13:00"), parse_limit("4 urgent_hours")

    assert light_at(start, now, limit, REAL, THRESHOLDS) is Light.RED
    assert next_change_at(start, now, limit, REAL, THRESHOLDS) is None
    assert light_at(start, now, limit, REAL, THRESHOLDS, extended=[limit]) is Light.YELLOW
    assert next_change_at(start, now, limit, REAL, THRESHOLDS, extended=[limit]) == at("2026-03-02 15:24")


def test_extended_work_days_end_when_office_hours_end() -> None:
    three, two = parse_limit("3 work_days"), parse_limit("2 work_days")
    found = change_instants(at("2026-03-02 09:00"), three, REAL, THRESHOLDS, extended=[two])

    assert found.red_at == at("2026-03-09 17:30")


@pytest.mark.parametrize(
    "paused",
    [
        [("2026-03-02 10:00", "2026-03-02 09:00")],
        [("2026-03-02 10:00", "2026-03-02 12:00"), ("2026-03-02 11:00", "2026-03-02 13:00")],
        [("2026-03-02 12:00", "2026-03-02 13:00"), ("2026-03-02 10:00", "2026-03-02 11:00")],
        [("2026-03-02 10:00", None), ("2026-03-02 12:00", "2026-03-02 13:00")],
    ],
)
def test_pauses_that_overlap_or_are_out_of_order_are_refused(paused: list[tuple[str, str | None]]) -> None:
    pauses = [(at(stop), None if go is None else at(go)) for stop, go in paused]

    with pytest.raises(MalformedPauses):
        light_at(at("2026-03-02 09:00"), at("2026-03-03"), parse_limit("4 work_hours"), REAL, THRESHOLDS, paused=pauses)
    with pytest.raises(MalformedPauses):
        change_instants(at("2026-03-02 09:00"), parse_limit("4 work_hours"), REAL, THRESHOLDS, paused=pauses)


@pytest.mark.parametrize("shares", ["0 0.8 1", "0.8 0.5 1", "0.5 0.5 1", "0.5 1 1", "0.5 0.8 0.9", "0.5 0.8 1.1"])
def test_thresholds_that_do_not_ascend_to_one_are_refused(shares: str) -> None:
    with pytest.raises(MalformedThresholds):
        Thresholds(*map(Fraction, shares.split()))


def test_thresholds_that_are_floats_are_refused() -> None:
    with pytest.raises(MalformedThresholds, match="exact"):
        Thresholds(0.5, 0.8, 1.0)  # type: ignore[arg-type]
