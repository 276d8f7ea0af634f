"""The sweep on a real database: once for each cause, several at once, after a stop; and the notices it writes."""

from datetime import timedelta
from threading import Barrier, Event, Thread

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import sessionmaker

from gis_grid.cases import CaseLogEntry, is_rebuilt_by_its_log, lock_cases, log_of
from gis_grid.installation import Installation
from gis_grid.notices import Notice, mark_read
from gis_grid.permissions import Caller, Grant, Role, Scope, ScopeKind
from gis_grid.supervision import find_notices, sweep
from gis_grid.supervision_acts import DEFAULT_ACTS, SupervisionAct, acts_at
from gis_grid.sweeping import keep_sweeping, sweep_all
from gis_grid.tenures import Person
from gis_grid.units import PostHolder
from tests.builders import NOW
from tests.stored_cases import CITY, TEAM, WORKSTATION, Desk

LATER = NOW + timedelta(days=40)
ACTS = ["提醒", "催办", "督办", "问效"]


def acts_of(desk: Desk, case) -> list[CaseLogEntry]:
    return [entry for entry in log_of(desk.session, case) if entry.action == "supervise"]


def test_after_a_stop_each_act_is_issued_once_dated_now_and_says_when_it_fell_due(desk: Desk) -> None:
    case = desk.filed()

    first = sweep(desk.session, city=CITY, now=LATER)
    again = sweep(desk.session, city=CITY, now=LATER)

    said = [entry.said for entry in acts_of(desk, case)]
    assert (first.issued, again.issued) == (8, 0)
    assert sorted(one["act"] for one in said) == sorted(ACTS * 2)
    assert [one["fell_due_at"] for one in said] == sorted(one["fell_due_at"] for one in said)
    assert {entry.at for entry in acts_of(desk, case)} == {LATER}
    assert {(entry.who, entry.channel) for entry in acts_of(desk, case)} == {("gis-grid", "sweep")}
    assert is_rebuilt_by_its_log(desk.session, case)
    assert case.next_act_at is None


def test_a_sweep_in_time_issues_what_is_due_and_leaves_the_rest(desk: Desk) -> None:
    case = desk.filed()
    assert case.next_act_at == case.yellow_at

    sweep(desk.session, city=CITY, now=case.yellow_at - timedelta(microseconds=1))
    before = len(acts_of(desk, case))
    sweep(desk.session, city=CITY, now=case.yellow_at)

    assert (before, [entry.said["act"] for entry in acts_of(desk, case)]) == (0, ["提醒"])
    assert case.next_act_at == case.orange_at


def test_the_database_issues_no_act_for_a_case_that_has_ended(desk: Desk) -> None:
    desk.closed()

    assert sweep(desk.session, city=CITY, now=LATER).issued == 0


def test_many_sweeps_at_once_issue_each_act_once(desk: Desk, engine: sa.Engine) -> None:
    for _ in range(6):
        desk.filed()
    start, issued = Barrier(4), []

    def run() -> None:
        start.wait()
        after = None
        while True:
            with sessionmaker(engine).begin() as session:
                done = sweep(session, city=CITY, now=LATER, after=after, at_once=2)
            issued.append(done.issued)
            if (after := done.after) is None:
                return

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sessionmaker(engine).begin() as session:
        issued.append(sweep(session, city=CITY, now=LATER).issued)

    stored = desk.session.scalars(sa.select(CaseLogEntry).where(CaseLogEntry.action == "supervise")).all()
    causes = {(entry.case_id, entry.said["act"], entry.said["clock"]) for entry in stored}
    assert sum(issued) == len(stored) == len(causes) == 6 * 8


def test_a_case_that_somebody_works_on_is_left_to_the_next_sweep(desk: Desk, engine: sa.Engine) -> None:
    case = desk.filed()
    with sessionmaker(engine).begin() as other:
        lock_cases(other, [case.name])
        meanwhile = sweep(desk.session, city=CITY, now=LATER).issued

    assert meanwhile == 0
    assert sweep(desk.session, city=CITY, now=LATER).issued == 8


def test_a_sweep_that_is_rolled_back_leaves_nothing_and_the_next_issues_all(desk: Desk) -> None:
    case = desk.filed()
    sweep(desk.session, city=CITY, now=LATER)
    desk.session.rollback()
    assert acts_of(desk, case) == []

    assert sweep(desk.session, city=CITY, now=LATER).issued == 8


def test_the_unit_its_parent_and_the_first_responsible_by_post_are_told_and_no_phone(desk: Desk) -> None:
    person = Person(name="王芳", own_phone="13800000000")
    desk.session.add(person)
    desk.session.flush()
    holder = PostHolder(
        unit_code=WORKSTATION, title="党组织书记", person_id=person.id, valid=Range(NOW - timedelta(days=9), None)
    )
    desk.session.add(holder)
    case = desk.filed()

    sweep(desk.session, city=CITY, now=LATER)

    overseen = next(entry.said for entry in acts_of(desk, case) if entry.said["act"] == "督办")
    assert overseen["told"] == [
        {"unit": WORKSTATION, "post": None, "holder_id": None},
        {"unit": "sub-310112001", "post": None, "holder_id": None},
        {"unit": WORKSTATION, "post": "党组织书记", "holder_id": holder.id},
    ]
    assert not any("13800000000" in str(entry.said) for entry in log_of(desk.session, case))
    assert desk.session.scalar(sa.select(sa.func.count()).select_from(Notice)) == 2 * (1 + 2 + 3 + 3)


def test_a_notice_is_shown_to_whom_it_told_until_they_read_it(desk: Desk) -> None:
    desk.dispatched()
    sweep(desk.session, city=CITY, now=LATER)
    team = Caller("user:team", (Grant(Role.HANDLER, Scope(ScopeKind.UNIT, TEAM)),))
    other = Caller("user:other", (Grant(Role.HANDLER, Scope(ScopeKind.UNIT, "team-housing-310112001")),))
    resident = Caller("user:resident", (Grant(Role.RESIDENT),))

    def shown(caller: Caller, **only: bool) -> list[int]:
        return [notice.id for notice, _, _ in find_notices(desk.session, caller, now=LATER, **only)]

    told = shown(team)
    mark_read(desk.session, told[0], who=team.who, now=LATER)
    again = mark_read(desk.session, told[0], who=team.who, now=LATER + timedelta(days=1))

    assert len(told) >= 8
    assert (shown(other), shown(resident)) == ([], [])
    assert again == LATER
    assert shown(team, is_unread=True) == told[1:]


def test_an_act_that_a_person_issues_is_a_notice_too_and_is_not_issued_again(desk: Desk) -> None:
    case = desk.filed()
    desk.step(case, "supervisor", action="supervise", act="督办", text="领导批示")

    done = sweep(desk.session, city=CITY, now=LATER)

    notices = desk.session.scalars(sa.select(Notice).where(Notice.act == "督办", Notice.clock == "whole")).all()
    assert done.issued == 7
    assert {notice.fell_due_at for notice in notices} == {None}


def test_acts_of_a_case_from_before_supervision_are_worked_out_by_the_sweep(desk: Desk) -> None:
    case = desk.filed()
    without_acts = "update cases set state = state #- '{step,acts}' #- '{whole,acts}', next_act_at = yellow_at"
    desk.session.execute(sa.text(without_acts))
    desk.session.expire_all()

    done = sweep(desk.session, city=CITY, now=LATER)

    assert (done.issued, done.faults) == (8, {})
    assert log_of(desk.session, case)[2].action == "retime"


def test_acts_are_data_and_without_any_the_defaults_count(desk: Desk) -> None:
    stored = acts_at(desk.session, at=NOW)
    desk.session.execute(sa.update(SupervisionAct).values(valid=Range(empty=True)))

    assert stored == acts_at(desk.session, at=NOW) == DEFAULT_ACTS


def test_a_fault_of_one_case_is_told_and_the_others_are_swept(desk: Desk) -> None:
    stuck, fine = desk.filed(event_type="E0402"), desk.filed()
    desk.session.execute(sa.text("update limits set valid = 'empty' where step = 'whole' and event_type = '*'"))
    desk.session.execute(
        sa.text(
            "insert into limits (event_type, urgency, step, amount, unit, valid) "
            "values ('E0102', '*', 'whole', 7, 'work_days', '[2020-01-01,)')"
        )
    )

    done = sweep(desk.session, city=CITY, now=LATER)

    assert list(done.faults) == [stuck.name]
    assert "no limit for the whole" in done.faults[stuck.name]
    assert len(acts_of(desk, fine)) == 8


@pytest.mark.parametrize("statement", ["update notices set unit_code = 'x'", "delete from notice_reads"])
def test_the_application_cannot_alter_who_was_told_or_read(desk: Desk, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        desk.session.execute(sa.text(statement))


def test_the_service_sweeps_by_itself_and_goes_on_after_a_failure(
    installation: Installation, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    case = desk.filed()
    swept, calls = Event(), []

    def clock():
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the clock is gone")
        if len(calls) == 3:
            swept.set()
        return LATER

    with keep_sweeping(installation, every_s=0.01, clock=clock):
        assert swept.wait(60)

    desk.session.expire_all()
    assert len(acts_of(desk, case)) == 8
    assert "tried again" in caplog.text


def test_a_sweep_in_portions_leaves_nothing(installation: Installation, desk: Desk) -> None:
    for _ in range(3):
        desk.filed()

    assert sweep_all(installation, now=LATER).issued == 24
