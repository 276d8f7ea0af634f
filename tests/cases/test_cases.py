"""Cases in a real database: steps, what they are decided by, and that the log tells all of it."""

from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import sessionmaker

from gis_grid.case_deciding import ANY_STEP
from gis_grid.case_state import Stage
from gis_grid.case_steps import NoAfterPhoto, PhotoUnproved, RuledFinally, RulingNeeded
from gis_grid.cases import (
    AcceptedAlready,
    Case,
    CaseLogEntry,
    LiesInNoGrid,
    Superseded,
    accept_report,
    is_rebuilt_by_its_log,
    lock_cases,
    log_of,
    needed_cases,
    take_step,
    the_case,
)
from gis_grid.clocks import Light
from gis_grid.errors import GridError, NotFound
from gis_grid.geo.datum import LonLat
from gis_grid.tenures import NewTenure, appoint
from tests.builders import BY, NOW
from tests.stored_cases import CITY, INSIDE, SUB_CENTRE, TEAM, WORKSTATION, Desk, by


def test_a_case_goes_from_its_acceptance_to_its_end_and_its_log_tells_every_step(desk: Desk) -> None:
    case = desk.closed()

    log = log_of(desk.session, case)
    assert [entry.action for entry in log] == [
        "accept", "file", "attempt", "escalate", "dispatch", "take", "handle", "check", "answer", "close",
    ]  # fmt: skip
    assert [entry.seq for entry in log] == list(range(1, 11))
    assert (case.stage, case.closed_at) == ("closed", desk.at)
    assert is_rebuilt_by_its_log(desk.session, case)


def test_a_serial_number_is_district_day_and_five_digits_counted_from_one_each_day(desk: Desk) -> None:
    first, second = desk.filed(), desk.filed()
    desk.at += timedelta(hours=16)  # midnight in Shanghai is 16:00 in UTC
    third = desk.filed()

    assert [case.serial for case in (first, second, third)] == [
        "3101122026030200001", "3101122026030200002", "3101122026030300001",
    ]  # fmt: skip


def test_when_the_serial_numbers_of_a_day_are_used_up_a_filing_is_refused(desk: Desk) -> None:
    desk.session.execute(sa.text("insert into case_serials values ('20260302', 99999)"))
    case = desk.accept()

    with pytest.raises(GridError, match="99999 serial numbers of 20260302 are used up"):
        desk.step(case, "operator", action="file")


def test_a_case_starts_with_the_community_and_is_proposed_to_the_towns_team_once_passed_up(desk: Desk) -> None:
    case = desk.filed()
    started = (case.unit, case.level)
    desk.step(case, "station", action="attempt", duty="宣传劝阻", text="劝阻无效")
    desk.step(case, "station", action="escalate", duty="及时报告", reason="劝阻无效")
    passed_up = (case.unit, case.level)

    event = desk.step(case, "dispatcher", action="dispatch", unit=TEAM)

    assert started == (WORKSTATION, "community")
    assert passed_up == (SUB_CENTRE, "town")
    assert event.said["proposed_unit"] == case.unit == TEAM


def test_what_no_community_can_handle_starts_with_the_lowest_level_that_can(desk: Desk) -> None:
    case = desk.filed(event_type="E0402")

    assert (case.unit, case.level) == (SUB_CENTRE, "town")


def test_a_case_keeps_who_answered_for_the_ground_until_it_is_handed_over(desk: Desk) -> None:
    def tenure(name: str, since: timedelta, until: timedelta | None) -> NewTenure:
        ends = NOW + until if until else None
        return NewTenure("310112001001001", name, f"{name}的岗位", "居委会", "0-1", None, NOW + since, ends)

    change = timedelta(hours=2)
    appoint(desk.session, [tenure("王芳", -change, change), tenure("李雷", change, None)], by=BY, now=NOW)
    case = desk.filed()
    kept = case.read_state().responsible

    desk.step(case, "supervisor", action="hand_over", reason="换届", after=change)

    now = case.read_state().responsible
    assert kept is not None
    assert now is not None
    assert (kept.post, now.post) == ("王芳的岗位", "李雷的岗位")


def test_a_refusal_carries_whose_grids_are_near_and_stops_no_clock(desk: Desk) -> None:
    case = desk.dispatched()
    before = case.read_state()

    event = desk.step(case, "handler", action="return", reason_code="属地不符", text="不在辖区")

    evidence = event.said["evidence"]
    assert (evidence["grid_code"], evidence["method"]) == ("310112001001001", "inside")
    assert evidence["near"][0] == {
        "grid_code": "310112001001001", "community": "社区1", "town": "江川路街道", "distance_m": 0.0,
    }  # fmt: skip
    assert {near["grid_code"] for near in evidence["near"]} > {"310112001001001", "310112001001002"}
    assert case.read_state().whole == before.whole
    assert case.read_state().step == before.step


def test_the_third_refusal_goes_to_a_final_ruling_and_unowned_land_falls_to_its_town(desk: Desk) -> None:
    case = desk.dispatched()
    for _ in range(2):
        desk.step(case, "handler", action="return", reason_code="权属不清", text="不归我")
        desk.step(case, "dispatcher", action="dispatch", unit=TEAM)
    desk.step(case, "handler", action="return", reason_code="权属不清", text="不归我")
    with pytest.raises(RulingNeeded):
        desk.step(case, "dispatcher", action="dispatch", unit=TEAM)

    desk.step(case, "supervisor", action="rule_finally", reason="无主地属地兜底")

    assert (case.unit, case.stage) == (SUB_CENTRE, Stage.DISPATCHED)
    with pytest.raises(RuledFinally):
        desk.step(case, "handler", action="return", reason_code="权属不清", text="不归我")


@pytest.mark.parametrize(
    ("lon", "taken", "why"),
    [
        (121.41, "2026:03:05 09:00:00", "m from the place; at most 200 m count"),
        (INSIDE.lon, "2026:03:01 09:00:00", "before the dispatch"),
    ],
)
def test_an_after_photo_from_elsewhere_or_from_before_is_refused(desk: Desk, lon: float, taken: str, why: str) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    desk.at = NOW + timedelta(days=4)
    photo = desk.after_photo(case, lon=lon, taken=taken)

    with pytest.raises(NoAfterPhoto, match=why):
        desk.step(case, "handler", action="handle", text="完成", after_photo=photo)


def test_a_photo_that_was_there_before_the_dispatch_shows_nothing_whatever_its_clock_says(desk: Desk) -> None:
    case = desk.filed()
    photo = desk.after_photo(case)
    desk.step(case, "station", action="attempt", duty="宣传劝阻", text="劝阻无效")
    desk.step(case, "station", action="escalate", duty="及时报告", reason="劝阻无效")
    desk.step(case, "dispatcher", action="dispatch", unit=TEAM)
    desk.step(case, "handler", action="take")

    with pytest.raises(NoAfterPhoto, match="before the dispatch"):
        desk.step(case, "handler", action="handle", text="完成", after_photo=photo)


@pytest.mark.parametrize(
    ("lon", "taken"), [(None, None), (None, "2026:03:05 09:00:00"), (INSIDE.lon, "2099:01:01 00:00:00")]
)
def test_a_photo_that_proves_too_little_has_to_be_confirmed_by_the_checker(
    desk: Desk, lon: float | None, taken: str | None
) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    desk.at = NOW + timedelta(days=4)
    photo = desk.after_photo(case, lon=lon, taken=taken)
    desk.step(case, "handler", action="handle", text="完成", after_photo=photo)
    with pytest.raises(PhotoUnproved):
        desk.step(case, "checker", action="check", result="pass", text="好")

    desk.step(case, "checker", action="check", result="pass", text="到场看过", confirms_photo=True)

    assert case.stage == "checked"


def test_merging_ends_one_case_and_keeps_the_first_reporter_in_the_other(desk: Desk) -> None:
    late, early = desk.filed(at=NOW), desk.filed(at=NOW - timedelta(hours=5))

    desk.step(early, "operator", action="merge", into=late.serial)

    assert (early.stage, early.read_state().merged_into) == ("merged", late.serial)
    assert late.report_id == early.opening_report_id
    assert log_of(desk.session, late)[-1].action == "absorb"
    assert all(is_rebuilt_by_its_log(desk.session, case) for case in (late, early))


def test_a_report_that_lies_in_no_grid_becomes_no_case_before_it_is_placed(desk: Desk) -> None:
    with pytest.raises(LiesInNoGrid, match="place it by hand first"):
        desk.accept(point=LonLat(121.3, 31.0))


def test_a_report_becomes_one_case_only(desk: Desk) -> None:
    report = desk.report()
    case = desk.accept(report)

    with pytest.raises(AcceptedAlready, match=f"is case {case.id} already"):
        desk.accept(report)


@pytest.mark.parametrize("name", ["99", "3101122026030200009", "1" * 18])
def test_an_unknown_case_is_named(desk: Desk, name: str) -> None:
    with pytest.raises(NotFound, match=f"no case {name}"):
        the_case(desk.session, name)


def test_an_unknown_unit_or_photo_is_named_and_nothing_is_changed(desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    before = case.seq

    with pytest.raises(NotFound, match="no unit nowhere"):
        desk.step(case, "handler", action="transfer", unit="nowhere", reason="x")
    with pytest.raises(NotFound, match="has no photo"):
        desk.step(case, "handler", action="handle", text="完成", after_photo="0" * 64)

    assert the_case(desk.session, case.name).seq == before


def test_who_acts_on_what_has_gone_on_is_told_who_was_first(desk: Desk) -> None:
    case = desk.filed()
    seen = case.seq
    desk.step(case, "station", action="take", duty="快速处置", expected_seq=seen)

    with pytest.raises(Superseded, match=r"step 3, take by user:station"):
        desk.step(case, "other", action="attempt", duty="宣传劝阻", text="x", expected_seq=seen)


def test_of_many_who_act_on_one_case_at_once_exactly_one_wins_and_the_others_are_told(
    desk: Desk, engine: sa.Engine
) -> None:
    case = desk.filed()
    asked = ANY_STEP.validate_python({"action": "take", "duty": "快速处置", "expected_seq": case.seq})
    answers: list[object] = []
    start = Barrier(8)

    def act(number: int) -> None:
        start.wait()
        try:
            with sessionmaker(engine).begin() as session:
                cases = lock_cases(session, [case.name])
                take_step(session, cases, asked, city=CITY, photos=Path(), by=by(str(number)), now=desk.at)
            answers.append("won")
        except Superseded as told:
            answers.append(told)

    threads = [Thread(target=act, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers.count("won") == 1
    assert len([one for one in answers if isinstance(one, Superseded)]) == 7
    desk.session.expire_all()
    assert len(log_of(desk.session, case)) == 3


def test_two_cases_merged_crosswise_at_once_end_in_one_of_them(desk: Desk, engine: sa.Engine) -> None:
    one, two = desk.filed(), desk.filed()
    start = Barrier(2)

    def merge(case: str, into: str) -> None:
        step = ANY_STEP.validate_python({"action": "merge", "into": into})
        start.wait()
        try:
            with sessionmaker(engine).begin() as session:
                cases = lock_cases(session, needed_cases(case, step))
                take_step(session, cases, step, city=CITY, photos=Path(), by=by(case), now=desk.at)
        except GridError:
            pass

    threads = [Thread(target=merge, args=pair) for pair in ((one.name, two.name), (two.name, one.name))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    desk.session.expire_all()
    assert sorted(the_case(desk.session, case.name).stage for case in (one, two)) == ["filed", "merged"]


@pytest.mark.parametrize(
    "statement", ["update case_events set who = 'x'", "delete from case_events", "delete from cases"]
)
def test_the_application_cannot_alter_or_delete_what_is_in_the_log(desk: Desk, statement: str) -> None:
    desk.filed()

    with pytest.raises(ProgrammingError, match="permission denied"):
        desk.session.execute(sa.text(statement))


def test_the_columns_of_a_case_are_those_of_its_state(desk: Desk) -> None:
    case = desk.dispatched()
    state = case.read_state()

    assert (case.serial, case.seq, case.stage, case.unit) == (state.serial, state.seq, state.stage, state.unit)
    assert (case.yellow_at, case.orange_at, case.red_at) == state.lights_at
    assert case.due_at == case.red_at
    assert case.ground == ("310112001001001", "310112001001", "310112001", "310112")


@pytest.mark.parametrize(("event_type", "minutes"), [("E0402", 30), ("E0102", 60)])
def test_a_filed_case_shows_blue_and_changes_when_half_of_its_shorter_limit_is_used(
    desk: Desk, event_type: str, minutes: int
) -> None:
    case = desk.filed(event_type=event_type)
    lights = case.read_state().lights_at
    opens = NOW.replace(hour=5, minute=30)  # filed at noon in Shanghai, offices open again at half past one

    # One work hour until the dispatch; in the community's own queue two until it is taken.
    assert lights.light(desk.at) is Light.BLUE
    assert lights.yellow_at == opens + timedelta(minutes=minutes)


def test_a_log_entry_keeps_the_channel_and_the_request(desk: Desk) -> None:
    case = desk.accept()

    (entry,) = log_of(desk.session, case)

    assert (entry.who, entry.channel, entry.request_id) == ("user:operator", "test", "r1")
    assert desk.session.scalar(sa.select(sa.func.count()).select_from(CaseLogEntry)) == 1


def test_accepting_needs_a_report(desk: Desk) -> None:
    import uuid

    with pytest.raises(NotFound):
        accept_report(desk.session, uuid.uuid4(), by=BY, now=NOW)

    assert desk.session.scalar(sa.select(sa.func.count()).select_from(Case)) == 0
