"""Emergencies switch the rules while they are on; drills are practised like the real thing and counted nowhere."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.pages.figures import count_by_type, count_reports
from gis_grid.assessment import KeptCounts, assess
from gis_grid.bulletin import red_cases
from gis_grid.case_queues import lights_by_grid
from gis_grid.cases import Case, DrillAndReal, is_rebuilt_by_its_log
from gis_grid.clocks import Limit, LimitUnit
from gis_grid.counted_steps import By
from gis_grid.database import Change
from gis_grid.duplicates import likely_duplicates
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.openness import busy_squares, public_counts, reds_by_unit
from gis_grid.periods import Period
from gis_grid.reports import ReportFilter, Source, count_by_grid, count_by_sender, find_reports, points_of
from gis_grid.rewards import candidates
from gis_grid.routing import Step, Urgency, limits_for
from gis_grid.situations import (
    AlreadyOn,
    NotOn,
    Situation,
    SituationKind,
    end_situation,
    governing,
    situations,
    start_situation,
)
from gis_grid.tenures import NewTenure, appoint
from tests.builders import BY, NOW
from tests.stored_cases import CITY, INSIDE, SUB_CENTRE, WORKSTATION, Desk

TOWN, DISTRICT = "310112001", "310112"
EMERGENCY, DRILL = SituationKind.EMERGENCY, SituationKind.DRILL
MARCH = Period.month("2026-03", CITY.zone)
LATER = NOW + timedelta(days=60)
SINCE = NOW - timedelta(days=1)


def start(desk: Desk, kind: SituationKind = EMERGENCY, area: str = DISTRICT, **changes: Any) -> Situation:
    begun = start_situation(desk.session, kind, "台风", area, reason="橙色预警", by=BY, now=desk.at, **changes)
    desk.session.commit()
    return begun


def whole(case: Case) -> str:
    clock = case.read_state().whole
    assert clock is not None
    return clock.limit


def test_an_emergency_changes_routing_and_limits_while_it_is_on(desk: Desk) -> None:
    before = desk.filed()
    begun = start(desk)
    during = desk.filed()
    end_situation(desk.session, begun.id, reason="解除", by=BY, now=desk.at)
    after = desk.filed()

    assert [case.unit for case in (before, during, after)] == [WORKSTATION, SUB_CENTRE, WORKSTATION]
    assert whole(during) == "12 urgent_hours"
    assert whole(before) == whole(after) != whole(during)


def test_the_log_says_by_which_situation_a_step_was_decided(desk: Desk) -> None:
    begun = start(desk)
    case = desk.accept()
    event = desk.step(case, "operator", action="file")

    assert event.said["situation"] == begun.id
    assert is_rebuilt_by_its_log(desk.session, case)


def test_what_the_emergency_does_not_name_stays_as_in_routine(desk: Desk) -> None:
    routine = limits_for(desk.session, "E0102", urgency=Urgency.NORMAL, at=NOW)
    switched = limits_for(desk.session, "E0102", urgency=Urgency.NORMAL, at=NOW, rule_set="emergency")

    assert switched[Step.FILE] == routine[Step.FILE]
    assert switched[Step.HANDLE] == Limit(6, LimitUnit("urgent_hours")) != routine[Step.HANDLE]


def test_of_two_emergencies_that_of_the_smaller_area_governs(desk: Desk) -> None:
    start(desk)
    small = start(desk, area=TOWN)
    known = situations(desk.session)
    ground = ("310112001001001", "310112001001", TOWN, DISTRICT)

    assert governing(known, ground, drill_id=None, at=NOW) == small
    elsewhere = governing(known, ("x", "y", "310112002", DISTRICT), drill_id=None, at=NOW)
    assert elsewhere is not None
    assert elsewhere.area_code == DISTRICT


def test_a_situation_is_begun_and_ended_once_and_both_are_logged(desk: Desk) -> None:
    begun = start(desk)
    with pytest.raises(AlreadyOn, match="台风"):
        start(desk)
    with pytest.raises(InvalidInput, match="reason"):
        end_situation(desk.session, begun.id, reason=" ", by=BY, now=LATER)
    end_situation(desk.session, begun.id, reason="解除", by=BY, now=LATER)
    with pytest.raises(NotOn):
        end_situation(desk.session, begun.id, reason="解除", by=BY, now=LATER)

    logged = desk.session.scalars(sa.select(Change.after).where(Change.thing == "situation").order_by(Change.id)).all()
    assert [after["reason"] for after in logged if after] == ["橙色预警", "解除"]


@pytest.mark.parametrize(
    ("changes", "error"), [({"area": "999"}, NotFound), ({"rule_set": "flood"}, InvalidInput)], ids=["area", "rules"]
)
def test_what_there_is_not_is_refused_and_nothing_begins(
    desk: Desk, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        start(desk, **changes)
    desk.session.rollback()

    assert situations(desk.session) == []


COUNTED: dict[str, Callable[[Session], Any]] = {
    "reports by grid": lambda session: count_by_grid(session, ReportFilter()),
    "reports on pages": lambda session: count_reports(session, ReportFilter()),
    "reports by type": lambda session: count_by_type(session, ReportFilter()),
    "heat, and reports near blind spots": lambda session: len(points_of(session, ReportFilter())),
    "silent grids": lambda session: count_by_grid(session, ReportFilter(since=SINCE, until=LATER)),
    "lights by grid": lambda session: lights_by_grid(session, now=LATER),
    "public counts": lambda session: public_counts(session, since=SINCE),
    "busy squares": lambda session: busy_squares(session, ReportFilter(since=SINCE)),
    "reports by whom they come from": lambda session: count_by_sender(session, ReportFilter()),
    "bulletin": lambda session: len(red_cases(session, MARCH, now=LATER).runs),
    "public bulletin": lambda session: reds_by_unit(red_cases(session, MARCH, now=LATER).runs),
    **{
        f"assessment by {by}": lambda session, by=by: [  # type: ignore[misc]
            (row.key, dict(row.counts)) for row in assess(session, MARCH, by, now=LATER, kept=KeptCounts(CITY)).rows
        ]
        for by in By
    },
    "likely duplicates": lambda session: len(
        likely_duplicates(session, INSIDE, "E0102", observed_at=NOW, now=NOW + timedelta(days=5))
    ),
}


def busy(desk: Desk, **changes: Any) -> None:
    """Seven reports in one square: one becomes a closed case, one of a patrol and one more turn red."""
    for _ in range(4):
        desk.report(**changes)
    for source in (Source.RESIDENT, Source.PATROL):
        desk.at = NOW
        desk.filed(source=source, **changes)
    desk.at = NOW
    desk.closed(**changes)


def test_a_drill_changes_no_count_anywhere_and_the_same_for_real_changes_each(desk: Desk) -> None:
    tenure = NewTenure("310112001001001", "王芳", "书记", "一居委", "0-1", None, NOW - timedelta(days=9), None)
    appoint(desk.session, [tenure], by=BY, now=NOW)
    drill = start(desk, DRILL)
    counts = [{name: count(desk.session) for name, count in COUNTED.items()}]
    for changes in ({"drill_id": drill.id}, {}):
        desk.at = NOW
        busy(desk, **changes)
        counts.append({name: count(desk.session) for name, count in COUNTED.items()})
    nothing, drilled, real = counts

    assert {name: (nothing[name], drilled[name]) for name in COUNTED if drilled[name] != nothing[name]} == {}
    assert [name for name in COUNTED if real[name] == drilled[name]] == []


def test_drills_are_listed_but_never_rewarded_merged_with_what_is_real_or_passed_on(desk: Desk) -> None:
    drill = start(desk, DRILL)
    practised, real = desk.filed(drill_id=drill.id), desk.filed()

    with pytest.raises(DrillAndReal):
        desk.step(practised, "operator", action="merge", into=real.serial)
    assert practised.is_drill
    assert [report.is_drill for report in find_reports(desk.session, ReportFilter(), limit=9)] == [False, True]
    assert candidates(desk.session) == []


def test_a_drill_can_practise_the_emergency_rules_alone(desk: Desk) -> None:
    drill = start(desk, DRILL, rule_set="emergency")

    assert desk.filed(drill_id=drill.id).unit == SUB_CENTRE
    assert desk.filed().unit == WORKSTATION


@pytest.mark.parametrize("why", ["no drill", "over", "elsewhere"])
def test_a_report_is_part_only_of_a_drill_that_is_on_where_it_lies(desk: Desk, why: str) -> None:
    drill = start(desk, EMERGENCY if why == "no drill" else DRILL, "310112001002" if why == "elsewhere" else DISTRICT)
    if why == "over":
        desk.at += timedelta(hours=1)
        end_situation(desk.session, drill.id, reason="结束", by=BY, now=desk.at)

    with pytest.raises(InvalidInput, match="drill"):
        desk.report(drill_id=drill.id)
