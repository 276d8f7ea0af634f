"""The bulletin lists exactly the runs of clocks that turned red in a period, with who had the case then."""

import csv
import io
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.orm import Session

from api.documents import bulletin_html
from gis_grid.bulletin import Bulletin, bulletin_csv, red_cases
from gis_grid.case_state import CaseState, evolve
from gis_grid.cases import Case, log_of
from gis_grid.errors import InvalidInput
from gis_grid.periods import Period
from gis_grid.tenures import Person
from gis_grid.units import PostHolder
from tests.builders import NOW
from tests.stored_cases import CITY, SUB_CENTRE, TEAM, WORKSTATION, Desk

LATER = NOW + timedelta(days=60)
MARCH = Period.month("2026-03", CITY.zone)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def drawn_up(desk: Desk, period: Period = MARCH, now: datetime = LATER) -> Bulletin:
    return red_cases(desk.session, period, now=now)


def told(bulletin: Bulletin) -> list[tuple[str, str, str | None, str]]:
    return [(run.serial, run.clock, run.unit, run.stage) for run in bulletin.runs]


def test_a_case_that_nobody_touched_is_red_on_both_clocks_in_its_first_queue(desk: Desk) -> None:
    case = desk.filed()

    bulletin = drawn_up(desk)

    assert sorted(told(bulletin)) == [
        (case.serial, "step", WORKSTATION, "filed"), (case.serial, "whole", WORKSTATION, "filed"),
    ]  # fmt: skip
    assert bulletin.cases == 1
    assert {run.red_at for run in bulletin.runs} >= {case.red_at}


def test_a_step_taken_in_time_is_not_red_and_who_took_it_has_it_when_time_runs_out(desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", after=timedelta(minutes=1), action="take")

    runs = [run for run in drawn_up(desk).runs if run.stage == "taken"]

    assert [(run.unit, run.person, run.taker) for run in runs] == [(TEAM, "user:handler", "user:handler")] * 2


def test_before_anybody_took_it_the_units_first_responsible_post_answers(desk: Desk) -> None:
    vacant = desk.filed()
    before = {run.person for run in drawn_up(desk).runs}
    person = Person(name="王芳", own_phone="13800000000")
    desk.session.add(person)
    desk.session.flush()
    held = PostHolder(unit_code=WORKSTATION, title="党组织书记", person_id=person.id, valid=Range(NOW - DAY, None))
    desk.session.add(held)
    desk.session.flush()

    after = {(run.person, run.holder_id) for run in drawn_up(desk).runs}

    assert vacant.unit == WORKSTATION
    assert before == {"党组织书记(空缺 vacant)"}
    assert after == {("党组织书记", held.id)}


def test_a_unit_that_got_the_case_later_is_not_named_for_it(desk: Desk) -> None:
    case = desk.filed()
    desk.step(case, "station", after=10 * DAY, action="attempt", duty="宣传劝阻", text="无效")
    desk.step(case, "station", action="escalate", duty="及时报告", reason="无效")
    desk.step(case, "dispatcher", action="dispatch", unit=TEAM, reason="就近")

    assert {run.unit for run in drawn_up(desk).runs if run.clock == "whole"} == {WORKSTATION, SUB_CENTRE, TEAM} & {
        WORKSTATION
    }


def test_what_ended_before_its_time_ran_out_is_not_listed(desk: Desk) -> None:
    case = desk.filed()
    desk.step(case, "supervisor", after=timedelta(minutes=1), action="void", reason="误报")

    assert told(drawn_up(desk)) == []


def test_a_time_that_has_not_come_yet_is_not_red(desk: Desk) -> None:
    desk.filed()

    assert told(drawn_up(desk, now=desk.at)) == []


def test_more_time_given_in_time_keeps_a_case_out_and_given_too_late_does_not(desk: Desk) -> None:
    in_time, too_late = desk.dispatched(), desk.dispatched()
    for case, wait in ((in_time, timedelta(0)), (too_late, 12 * DAY)):
        desk.step(case, "handler", after=HOUR, action="take")
        desk.step(case, "handler", after=wait, action="ask_extension", clock="whole", more="20 work_days", reason="雨")
        desk.step(case, "dispatcher", action="approve")

    red = {run.serial for run in drawn_up(desk, now=NOW + 20 * DAY).runs if run.clock == "whole"}

    assert red == {too_late.serial}


def test_a_period_begins_and_ends_at_midnight_on_the_citys_clock(desk: Desk) -> None:
    case = desk.filed()
    assert case.red_at is not None
    day = case.red_at.astimezone(CITY.zone).date()

    counts = [
        len([run for run in drawn_up(desk, Period(one, one, CITY.zone)).runs if run.clock == "step"])
        for one in (day - DAY, day, day + DAY)
    ]

    assert counts == [0, 1, 0]


def test_the_bulletin_agrees_with_a_replay_of_every_log(desk: Desk) -> None:
    closed = desk.closed()
    desk.at = NOW
    reopened = desk.closed()
    desk.step(reopened, "checker", after=DAY, action="reopen", reason="复发")
    desk.at = NOW
    returned = desk.dispatched()
    desk.step(returned, "handler", after=3 * DAY, action="return", reason_code="属地不符", text="不在辖区")
    desk.at = NOW
    suspended = desk.dispatched()
    desk.step(suspended, "handler", action="take")
    desk.step(suspended, "handler", action="ask_suspension", reason="等材料")
    desk.step(suspended, "dispatcher", action="approve")
    desk.step(suspended, "dispatcher", after=2 * DAY, action="resume", reason="好了")

    for now in (LATER, NOW + 5 * DAY, NOW + 9 * DAY):
        expected = sorted(
            red
            for case in [closed, reopened, returned, suspended]
            for red in replayed(desk.session, case, now)
            if MARCH.since <= red[3] < MARCH.until
        )
        found = [(run.serial, run.clock, run.started_at, run.red_at, run.unit) for run in drawn_up(desk, now=now).runs]
        assert sorted(found) == expected
        assert expected


def replayed(session: Session, case: Case, now: datetime) -> list[tuple[str, str, datetime, datetime, str | None]]:
    """Every run that turned red, found by looking at the case between each two of its steps."""
    states: list[tuple[datetime, CaseState]] = []
    for entry in log_of(session, case):
        states.append((entry.at, evolve(states[-1][1] if states else None, entry.event)))
    found = {}
    for (at, state), (until, _) in pairwise([*states, (now, states[-1][1])]):
        for name, clock in (("step", state.step), ("whole", state.whole)):
            if clock is not None and clock.red_at is not None and state.stage.is_open and at <= clock.red_at <= until:
                key = (case.serial, name, clock.started_at)
                found.setdefault(key, (*key, clock.red_at, state.unit))
    return list(found.values())


def test_units_and_persons_are_counted_by_cases_the_most_first(desk: Desk) -> None:
    for _ in range(2):
        desk.filed()
    taken = desk.dispatched()
    desk.step(taken, "handler", after=timedelta(minutes=1), action="take")

    counted = drawn_up(desk).by_unit_and_person

    assert [count for *_, count in counted] == sorted((count for *_, count in counted), reverse=True)
    assert ("江川路街道城管中队", "user:handler", 1) in [(unit, person, count) for unit, person, count in counted]


def test_the_csv_has_a_row_a_run_and_the_page_is_escaped(desk: Desk) -> None:
    case = desk.filed()
    desk.step(case, "<b>=1", after=timedelta(minutes=1), action="take", duty="快速处置")
    bulletin = drawn_up(desk)

    rows = list(csv.DictReader(io.StringIO(bulletin_csv(bulletin, zone=CITY.zone).removeprefix("\ufeff"))))
    page = bulletin_html(bulletin, CITY)

    assert [row["case"] for row in rows] == [case.serial] * 2
    assert rows[0]["log_rows"].split()
    assert "user:&lt;b&gt;=1" in page
    assert "<b>=1" not in page
    assert "http" not in page


@pytest.mark.parametrize(
    "text", ["2026-13", "2026-3", "march", "2026-03-01", "0000-01", "1970-01", "2100-01", "9999-12"]
)
def test_a_month_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Period.month(text, CITY.zone)


def test_a_month_is_compared_with_the_one_before_and_the_one_a_year_before() -> None:
    january = Period.month("2026-01", CITY.zone)

    assert (january.month_before.first, january.month_before.last) == (date(2025, 12, 1), date(2025, 12, 31))
    assert (january.year_before.first, january.year_before.last) == (date(2025, 1, 1), date(2025, 1, 31))
    assert january.since.isoformat() == "2025-12-31T16:00:00+00:00"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + "T04:00").replace(tzinfo=CITY.zone)


@pytest.mark.parametrize(
    ("today", "since", "until", "days"),
    [
        ("2026-03-01", None, None, ("2026-02-01", "2026-02-28")),
        ("2026-03-07", None, None, ("2026-02-01", "2026-02-28")),
        ("2026-03-08", None, None, ("2026-03-01", "2026-03-08")),
        ("2026-01-03", None, None, ("2025-12-01", "2025-12-31")),
        ("2026-03-01", "2026-03-01", None, ("2026-03-01", "2026-03-01")),
        ("2026-03-01", None, "2026-02-20", ("2026-02-01", "2026-02-20")),
        ("2026-03-20", None, "2026-03-19", ("2026-03-01", "2026-03-19")),
    ],
)
def test_without_days_it_is_the_month_up_to_now_and_the_last_one_in_the_first_week(
    today: str, since: str | None, until: str | None, days: tuple[str, str]
) -> None:
    first, last = (date.fromisoformat(text) if text else None for text in (since, until))
    period = Period.asked(first, last, now=at(today), zone=CITY.zone)

    assert (str(period.first), str(period.last)) == days


@pytest.mark.parametrize(
    ("month", "today", "months"),
    [
        ("2026-01", "2026-03-05", ["2025-12", "2026-02"]),
        ("2026-01", "2026-01-31", ["2025-12"]),
        ("2026-12", "2027-01-01", ["2026-11", "2027-01"]),
        ("1971-01", "2099-12-31", ["1971-02"]),
        ("2099-12", "2099-12-31", ["2099-11"]),
        ("2099-12", "2026-03-05", []),
    ],
)
def test_beside_a_month_lie_those_that_have_begun(month: str, today: str, months: list[str]) -> None:
    beside = Period.month(month, CITY.zone).beside(at(today))

    assert [f"{one.first:%Y-%m}" for one in beside if one.is_month] == months
