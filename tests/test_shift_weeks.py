from datetime import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from gis_grid.shift_weeks import EVERY_DAY, WEEK_MIN, WEEKDAYS, Gap, WeekShift, gaps_of, week_of

DAY = WeekShift(EVERY_DAY, time(6), time(22))
NIGHT = WeekShift(EVERY_DAY, time(22), time(6))
hours = st.times().map(lambda at: at.replace(second=0, microsecond=0))
shifts = st.lists(st.builds(WeekShift, st.sampled_from(WEEKDAYS), hours, hours), max_size=12)


def test_day_and_night_leave_no_minute() -> None:
    assert gaps_of(week_of([DAY, NIGHT])) == []


def test_a_hand_over_ten_minutes_late_is_found_every_day() -> None:
    late = WeekShift(EVERY_DAY, time(22, 10), time(6))

    gaps = gaps_of(week_of([DAY, late]))

    assert [gap.minutes for gap in gaps] == [10] * 7
    assert str(gaps[0]) == "Mon 22:00–Mon 22:10"


def test_a_night_on_sunday_runs_into_monday() -> None:
    week = week_of([WeekShift("7", time(22), time(6))])

    assert week[:360].all()
    assert week.sum() == 480


def test_a_gap_across_the_end_of_the_week_is_one() -> None:
    gaps = gaps_of(week_of([WeekShift("2", time(0), time(0)), WeekShift("3", time(0), time(0))]))

    assert [(gap.start, gap.minutes) for gap in gaps] == [(3 * 1440, 5 * 1440)]
    assert str(gaps[0]) == "Thu 00:00–Tue 00:00"


def test_without_shifts_the_whole_week_is_one_gap() -> None:
    assert gaps_of(week_of([])) == [Gap(0, WEEK_MIN)]
    assert str(Gap(0, WEEK_MIN)) == "all week"


@given(shifts)
def test_gaps_and_covered_minutes_make_up_the_week(some: list[WeekShift]) -> None:
    week = week_of(some)

    missed = np.zeros(WEEK_MIN, dtype=bool)
    for gap in gaps_of(week):
        missed[np.arange(gap.start, gap.start + gap.minutes) % WEEK_MIN] = True
    assert (missed == ~week).all()


@pytest.mark.parametrize("hour", [time(6, 0, 1), time(6, 0, 0, 1)])
def test_hours_are_whole_minutes(hour: time) -> None:
    with pytest.raises(InvalidInput, match="whole minute"):
        WeekShift(EVERY_DAY, hour, time(22))
