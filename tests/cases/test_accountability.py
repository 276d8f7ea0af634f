"""Accountability out of the log: what is proposed with which rows, what may be referred, and that it stays."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from gis_grid.accountability import (
    Cause,
    Evidence,
    Ground,
    NewReferral,
    OwnCase,
    Proposal,
    ReferredAlready,
    proposals,
    refer,
)
from gis_grid.assessment import KeptCounts, assess
from gis_grid.bulletin import red_cases
from gis_grid.cases import Case
from gis_grid.counted_steps import By
from gis_grid.errors import InvalidInput
from gis_grid.periods import Period
from gis_grid.rules import load_rules
from gis_grid.situations import SituationKind, start_situation
from gis_grid.supervision import sweep
from tests.builders import NOW
from tests.stored_cases import CITY, TEAM, WORKSTATION, Desk, by

MARCH = Period.month("2026-03", CITY.zone)
LATER = NOW + timedelta(days=60)
DAY = timedelta(days=1)
OTHER_TEAM = "team-housing-310112001"


def found(desk: Desk, ground: Ground) -> list[Proposal]:
    return [one for one in proposals(desk.session, MARCH, now=LATER) if one.ground is ground]


def let_hold(desk: Desk, *rows: str) -> None:
    """Load a file of numbers before the month begins; a row is `name,value,since,until`."""
    text = "\n".join(["name,value,since,until,is_example", *(f"{row},false" for row in rows)])
    (desk.photos / "case_numbers.csv").write_text(text, encoding="utf-8")
    load_rules(desk.session, CITY, folder=desk.photos, by=by("admin"), now=MARCH.since - DAY)
    desk.session.commit()


def passed_round(desk: Desk, **changes: object) -> Case:
    """Returned by one team and then by another: steps 6 and 8 of the log."""
    case = desk.dispatched(**changes)
    desk.step(case, "handler", action="return", reason_code="属地不符", text="不在辖区")
    desk.step(case, "dispatcher", action="dispatch", unit=OTHER_TEAM, reason="房管")
    desk.step(case, "other", action="return", reason_code="职能交叉", text="不归房管")
    return case


def new(case: Case, *seqs: int, unit: str = TEAM, **changes: object) -> NewReferral:
    evidence = tuple(Evidence(case.name, seq) for seq in seqs)
    words = {"legal_duty": "市容条例第九条", "adverse_effect": "垃圾堆放四十天"}
    return replace(NewReferral(unit, Cause.SHIRKED, evidence=evidence, **words), **changes)  # type: ignore[arg-type]


def test_a_red_overrun_is_proposed_with_the_rows_that_say_so(desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")

    (one,) = [one for one in found(desk, Ground.RED_OVERRUN) if one.unit == TEAM]

    assert (one.cause, one.person, one.cases) == (Cause.RED_OVERDUE, "user:handler", [case.name])
    assert Evidence(case.name, case.seq) in one.evidence
    assert not one.is_referred


def test_a_question_without_an_answer_is_proposed_and_one_answered_in_time_is_not(desk: Desk) -> None:
    left, moved = desk.filed(), desk.filed()
    asked = NOW + 20 * DAY
    sweep(desk.session, city=CITY, now=asked)
    desk.at = asked
    desk.step(moved, "supervisor", action="void", reason="误报")

    proposed = found(desk, Ground.QUESTION_UNANSWERED)

    assert {(one.cases[0], one.cause, one.unit) for one in proposed} == {(left.name, Cause.DELAYED, WORKSTATION)}
    assert all(len(one.evidence) == 1 for one in proposed)
    let_hold(desk, "question_unanswered_h,2000,,")
    assert found(desk, Ground.QUESTION_UNANSWERED) == []


def test_a_case_passed_round_is_proposed_for_each_who_passed_it_on(desk: Desk) -> None:
    case = passed_round(desk)

    proposed = found(desk, Ground.PASSED_ROUND)

    assert {(one.unit, one.person) for one in proposed} == {(TEAM, "user:handler"), (OTHER_TEAM, "user:other")}
    assert {one.evidence for one in proposed} == {(Evidence(case.name, 6), Evidence(case.name, 8))}


def test_how_often_a_case_may_be_passed_round_is_as_it_was_then(desk: Desk) -> None:
    returned_again = desk.at + timedelta(hours=7)
    passed_round(desk)

    let_hold(desk, f"returns_before_referral,3,,{returned_again.isoformat()}", "after_photo_m,200,,")
    assert len(found(desk, Ground.PASSED_ROUND)) == 2  # nothing is stated for then, and the default is 2

    let_hold(desk, "returns_before_referral,3,,")
    assert found(desk, Ground.PASSED_ROUND) == []

    let_hold(desk, f"returns_before_referral,3,,{returned_again.isoformat()}",
             f"returns_before_referral,2,{returned_again.isoformat()},")  # fmt: skip
    assert len(found(desk, Ground.PASSED_ROUND)) == 2

    let_hold(desk, f"returns_before_referral,2,,{returned_again.isoformat()}",
             f"returns_before_referral,3,{returned_again.isoformat()},")  # fmt: skip
    assert found(desk, Ground.PASSED_ROUND) == []


def test_work_that_fails_its_check_again_and_again_is_proposed(desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    desk.at = NOW + 4 * DAY
    for _ in range(2):
        desk.step(case, "handler", action="handle", text="清理完毕", after_photo=desk.after_photo(case))
        desk.step(case, "checker", action="check", result="fail", text="还有")

    (one,) = found(desk, Ground.REWORKED)

    assert (one.unit, one.person, one.cause) == (TEAM, "user:handler", Cause.PERFUNCTORY)
    assert one.evidence == (Evidence(case.name, 8), Evidence(case.name, 10))
    let_hold(desk, "reworks_before_referral,3,,")
    assert found(desk, Ground.REWORKED) == []


def test_a_unit_with_many_red_cases_is_proposed_once(desk: Desk) -> None:
    cases = [desk.filed() for _ in range(5)]

    (one,) = found(desk, Ground.MANY_RED)

    assert (one.cause, one.cases) == (Cause.INEFFICIENT, sorted(case.name for case in cases))
    let_hold(desk, "red_cases_before_referral,6,,")
    assert found(desk, Ground.MANY_RED) == []
    let_hold(desk, "red_cases_before_referral,6,,2026-03-02", "red_cases_before_referral,5,2026-03-02,")
    assert len(found(desk, Ground.MANY_RED)) == 1


def test_what_is_proposed_can_be_referred_once_and_is_marked_then(desk: Desk) -> None:
    case = passed_round(desk)

    referral = refer(desk.session, new(case, 6, 8, person="user:handler"), by=by("supervisor"), now=LATER)

    assert [(row["seq"], row["action"], row["who"]) for row in referral.evidence] == [
        (6, "return", "user:handler"),
        (8, "return", "user:other"),
    ]
    marked = {one.unit: one.is_referred for one in found(desk, Ground.PASSED_ROUND)}
    assert marked == {TEAM: True, OTHER_TEAM: False}
    with pytest.raises(ReferredAlready, match="referred for 推诿扯皮"):
        refer(desk.session, new(case, 8, 6), by=by("supervisor"), now=LATER)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"legal_duty": "  "}, "legal_duty"),
        ({"adverse_effect": ""}, "adverse_effect"),
        ({"unit": ""}, "unit"),
        ({"unit": "team-water-310112001"}, "unit"),
        ({"evidence": ()}, "evidence"),
        ({"evidence": (Evidence("9", 1),)}, "evidence"),
        ({"person": "user:nobody"}, "person"),
        ({"adverse_effect": "x" * 2001}, "adverse_effect"),
    ],
)
def test_a_referral_that_lacks_a_field_or_that_the_log_does_not_bear_out_is_refused(
    desk: Desk, changes: dict[str, object], field: str
) -> None:
    case = passed_round(desk)

    with pytest.raises(InvalidInput, match=field) as refused:
        refer(desk.session, new(case, 6, **changes), by=by("supervisor"), now=LATER)

    assert refused.value.fields == (field,)


def test_a_row_that_the_log_does_not_have_is_no_evidence(desk: Desk) -> None:
    case = passed_round(desk)

    with pytest.raises(InvalidInput, match=f"{case.name}#99"):
        refer(desk.session, new(case, 6, 99), by=by("supervisor"), now=LATER)


@pytest.mark.parametrize(("who", "person"), [("handler", None), ("handler", "user:handler"), ("dispatcher", None)])
def test_nobody_refers_themselves_or_what_they_had_a_hand_in(desk: Desk, who: str, person: str | None) -> None:
    case = passed_round(desk)

    with pytest.raises(OwnCase, match=who):
        refer(desk.session, new(case, 5, 6, person=person), by=by(who), now=LATER)


def test_a_post_of_the_unit_can_be_referred(desk: Desk) -> None:
    case = desk.filed()

    referral = refer(desk.session, new(case, 2, unit=WORKSTATION, person="党组织书记"), by=by("supervisor"), now=LATER)

    assert referral.person == "党组织书记"


@pytest.mark.parametrize("statement", ["update referrals set cause = '工作延误'", "delete from referrals"])
def test_the_service_cannot_change_what_was_referred(desk: Desk, statement: str) -> None:
    refer(desk.session, new(passed_round(desk), 6), by=by("supervisor"), now=LATER)

    with pytest.raises(ProgrammingError, match="permission denied"):
        desk.session.execute(sa.text(statement))


def test_a_drill_counts_nowhere(desk: Desk) -> None:
    drill = start_situation(
        desk.session, SituationKind.DRILL, "演练", "310112", reason="演练", by=by("supervisor"), now=desk.at
    )
    case = passed_round(desk, drill_id=drill.id)

    assert proposals(desk.session, MARCH, now=LATER) == []
    assert red_cases(desk.session, MARCH, now=LATER).runs == ()
    assert assess(desk.session, MARCH, By.CITY, now=LATER, kept=KeptCounts(CITY)).rows == ()
    with pytest.raises(InvalidInput, match="no row of the log that counts"):
        refer(desk.session, new(case, 6), by=by("supervisor"), now=LATER)
