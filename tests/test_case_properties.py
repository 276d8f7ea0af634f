"""The life of a case without a database: what follows what, who may not, and that the log tells all of it."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gis_grid.case_deciding import ACTIONS, ANY_STEP
from gis_grid.case_rules import PhotoFacts
from gis_grid.case_side_steps import Absorb
from gis_grid.case_state import BrokenLog, CaseEvent, CaseLevel, Responsibility, Stage, replay
from gis_grid.case_steps import (
    AlreadyAsked,
    DutyMissing,
    IllegalStep,
    LoopNotClosed,
    NoAfterPhoto,
    NotAttempted,
    PhotoUnproved,
    RuledFinally,
    RulingNeeded,
    SamePerson,
    Suspended,
)
from gis_grid.clocks import Light
from gis_grid.errors import GridError, InvalidInput
from gis_grid.routing import Urgency
from tests.builders import NOW
from tests.case_builders import FACTS, HANDLE, LIFE, PHOTO, RULES, SERIAL, Told

HOUR = timedelta(hours=1)
WORDS = {"text": "说明", "reason": "理由"}
CHOICES: dict[str, list[dict[str, Any]]] = {
    "file": [{}, {"urgency": "urgent"}],
    "attempt": [{"duty": "宣传劝阻", "text": "劝阻"}],
    "escalate": [{"duty": "及时报告", "reason": "劝阻无效"}],
    "dispatch": [{"unit": "team"}, {"unit": "ws"}, {"unit": "other", "reason": "更近"}],
    "take": [{}, {"duty": "快速处置"}],
    "return": [{"reason_code": "属地不符", "text": "不在本辖区"}],
    "rule_finally": [{"reason": "裁定", "unit": "team"}, {"reason": "无主"}],
    "transfer": [{"unit": "other", "reason": "移送"}],
    "handle": [{"text": "完成", "after_photo": PHOTO, "duty": "快速处置"}, {"text": "没有照片"}],
    "check": [
        {"result": "pass", "text": "好"},
        {"result": "fail", "text": "不好"},
        {"result": "pass", "text": "好", "confirms_photo": True},
    ],
    "answer": [{"text": "已答复", "satisfaction": "满意"}],
    "close": [{}],
    "reopen": [{"reason": "复发"}],
    "merge": [{"into": SERIAL}],
    "ask_extension": [
        {"clock": "whole", "more": "5 urgent_hours", "reason": "下雨"},
        {"clock": "step", "more": "1 work_days", "reason": "下雨"},
    ],
    "ask_suspension": [{"reason": "等材料"}],
    "approve": [{}],
    "deny": [{"text": "不同意"}],
    "resume": [{"reason": "材料到了"}],
    "void": [{"reason": "误报"}],
    "hand_over": [{"reason": "换届"}],
    "supervise": [{"act": "提醒", "text": "快到期"}, {"act": "催办", "text": "快"}],
}
PEOPLE = st.sampled_from(["王芳", "李雷", "韩梅梅"])
OTHER = Told().up_to("file").state.model_copy(update={"report_id": "00000000-0000-0000-0000-000000000002"})
KNOWN = st.fixed_dictionaries(
    {
        "photo": st.sampled_from(
            [
                None,
                PhotoFacts(PHOTO, 10.0, NOW + 999 * HOUR),
                PhotoFacts(PHOTO, None, None),
                PhotoFacts(PHOTO, 900.0, None),
            ]
        ),
        "start_level": st.sampled_from(list(CaseLevel)),
        "other": st.sampled_from([None, OTHER]),
        "responsible": st.sampled_from([None, FACTS.responsible, Responsibility(tenure_id=2)]),
        "proposed_unit": st.sampled_from([None, "team"]),
    }
)
STEPS = st.sampled_from([{"action": action, **fields} for action, kinds in CHOICES.items() for fields in kinds])
# Mostly the way a case goes, so that long lives are met too.
COMMANDS = st.lists(
    st.tuples(PEOPLE, STEPS | st.sampled_from([step for _, step in LIFE]), KNOWN, st.integers(0, 60)), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(COMMANDS, st.sampled_from(["投诉", "咨询"]), st.sampled_from(list(Urgency)))
def test_whatever_is_tried_the_state_is_the_replay_of_the_log_and_who_handles_never_checks(
    commands: list[tuple[str, dict[str, Any], dict[str, Any], int]], kind: str, urgency: Urgency
) -> None:
    told = Told(kind=kind, urgency=urgency)

    for who, step, known, hours in commands:
        before, steps = told.state, len(told.log)
        refusal = _refused(told, who, step, known, hours)
        if refusal is not None:
            assert str(refusal)
            assert (told.state, len(told.log)) == (before, steps)

        state = told.state
        assert state == replay(told.log)
        assert not set(state.handlers) & set(state.checkers)
        assert state.stage.is_open == (state.closed_at is None)
        assert [event.seq for event in told.log] == list(range(1, len(told.log) + 1))
        assert (state.serial is None) == (state.filed_at is None)
    _assert_closed_only_in_a_loop(told.log, kind)


def _refused(told: Told, who: str, step: dict[str, Any], known: dict[str, Any], hours: int) -> GridError | None:
    try:
        told.then(who, after=hours * HOUR, facts=known, **step)
    except GridError as refusal:
        return refusal
    return None


def _assert_closed_only_in_a_loop(log: list[CaseEvent], kind: str) -> None:
    done: list[str] = []
    for event in log:
        if event.action == "close":
            needed = ["answer"] if kind == "咨询" else ["handle", "check", "answer"]
            assert [action for action in done if action in needed][-len(needed) :] == needed
        done.append(event.action)


@settings(max_examples=100, deadline=None)
@given(COMMANDS)
def test_a_log_survives_being_written_as_json(commands: list[tuple[str, dict[str, Any], dict[str, Any], int]]) -> None:
    told = Told()
    for who, step, known, hours in commands:
        with suppress(GridError):
            told.then(who, after=hours * HOUR, facts=known, **step)

    assert replay(CaseEvent.model_validate_json(event.model_dump_json()) for event in told.log) == told.state


def test_a_case_closes_after_disposal_check_and_answer() -> None:
    told = Told().up_to("close")

    assert told.state.stage is Stage.CLOSED
    assert [event.after for event in told.log] == [
        "accepted", "filed", "filed", "filed", "dispatched", "taken", "handled", "checked", "answered", "closed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("last", "missing"),
    [("take", "disposal, check, answer"), ("handle", "needs check, answer"), ("check", "needs answer")],
)
def test_closing_names_what_is_missing(last: str, missing: str) -> None:
    with pytest.raises(LoopNotClosed, match=missing):
        Told().up_to(last).then("operator", action="close")


def test_a_question_ends_with_its_answer() -> None:
    told = Told(kind="咨询").up_to("file")

    told.then("operator", action="answer", text="周一至周五", satisfaction="满意")
    told.then("operator", action="close")

    assert told.state.stage is Stage.CLOSED


def test_a_complaint_is_not_answered_before_its_check() -> None:
    with pytest.raises(IllegalStep, match="answered after disposal and check"):
        Told().up_to("take").then("operator", action="answer", text="好了", satisfaction="满意")


def test_who_handled_cannot_check_and_who_checked_cannot_handle_the_rework() -> None:
    told = Told().up_to("handle")
    with pytest.raises(SamePerson, match="handler handled"):
        told.then("handler", action="check", result="pass", text="好")
    told.then("checker", action="check", result="fail", text="还有垃圾")

    with pytest.raises(SamePerson, match="checker checked"):
        told.then("checker", **HANDLE)

    assert (told.state.stage, told.state.reworks) == (Stage.REWORK, 1)


def test_both_clocks_start_with_the_filing_and_the_step_clock_anew_with_each_step() -> None:
    told = Told().up_to("file")
    filed, whole = told.at, told.state.whole
    told.then("ws", action="take", duty="快速处置")

    assert whole is not None
    assert told.state.step is not None
    assert (whole.started_at, whole.red_at) == (filed, filed + 100 * HOUR)
    assert told.state.whole == whole
    assert (told.state.step.started_at, told.state.step.red_at) == (told.at, told.at + 10 * HOUR)
    assert told.state.lights_at.light(told.at + 5 * HOUR) is Light.YELLOW
    assert told.state.lights_at.light(told.at + 10 * HOUR - timedelta(microseconds=1)) is Light.ORANGE
    assert told.state.lights_at.light(told.at + 10 * HOUR) is Light.RED


def test_a_refusal_stops_no_clock_and_carries_the_evidence() -> None:
    told = Told().up_to("dispatch")
    clocks = told.state.step, told.state.whole

    told.then("team", action="return", reason_code="属地不符", text="在隔壁网格")

    assert (told.state.step, told.state.whole) == clocks
    assert told.log[-1].said["evidence"] == {"grid_code": "g", "neighbours": ["h"]}


def test_after_the_third_refusal_only_a_final_ruling_sends_the_case_on() -> None:
    told = Told().up_to("escalate")
    for _ in range(3):
        told.then("dispatcher", action="dispatch", unit="team")
        told.then("team", action="return", reason_code="权属不清", text="不是我们的")
    with pytest.raises(RulingNeeded, match="3 units refused"):
        told.then("dispatcher", action="dispatch", unit="team")

    told.then("supervisor", action="rule_finally", reason="裁定", unit="team")

    with pytest.raises(RuledFinally):
        told.then("team", action="return", reason_code="权属不清", text="还是不是")
    assert (told.state.stage, told.state.unit) == (Stage.DISPATCHED, "team")


def test_land_that_nobody_owns_falls_to_its_town() -> None:
    told = Told().up_to("escalate")
    for _ in range(3):
        told.then("dispatcher", action="dispatch", unit="team")
        told.then("team", action="return", reason_code="权属不清", text="无主")

    assert told.then("supervisor", action="rule_finally", reason="无主地").unit == "sub"


def test_a_ruling_before_the_third_refusal_is_refused() -> None:
    told = Told().up_to("dispatch")
    told.then("team", action="return", reason_code="职能交叉", text="不是我们的")

    with pytest.raises(IllegalStep, match="follows refusal 3, not 1"):
        told.then("supervisor", action="rule_finally", reason="裁定", unit="team")


def test_a_case_starts_with_the_community_and_goes_up_only_after_an_attempt() -> None:
    told = Told().up_to("file")
    assert (told.state.unit, told.state.level) == ("ws", CaseLevel.COMMUNITY)
    with pytest.raises(NotAttempted):
        told.then("dispatcher", action="dispatch", unit="team")
    with pytest.raises(NotAttempted):
        told.then("ws", action="escalate", duty="及时报告", reason="太难")

    told.then("ws", action="attempt", duty="宣传劝阻", text="劝阻无效")
    told.then("ws", action="escalate", duty="及时报告", reason="劝阻无效")

    assert (told.state.unit, told.state.level) == ("sub", CaseLevel.TOWN)


def test_an_urgent_case_goes_up_at_once() -> None:
    told = Told(urgency=Urgency.URGENT).up_to("file")

    assert told.then("ws", action="escalate", duty="及时报告", reason="燃气泄漏").level is CaseLevel.TOWN


def test_a_communitys_step_names_one_of_the_six_duties() -> None:
    told = Told().up_to("file")
    with pytest.raises(DutyMissing, match="积极预防"):
        told.then("ws", action="take")
    with pytest.raises(ValidationError):
        told.then("ws", action="take", duty="喝茶")

    assert told.then("ws", action="take", duty="快速处置").stage is Stage.TAKEN


def test_another_unit_than_the_proposed_one_needs_a_reason() -> None:
    told = Told().up_to("escalate")
    known = {"proposed_unit": "team"}
    with pytest.raises(InvalidInput, match="reason: the routing proposes team"):
        told.then("dispatcher", action="dispatch", unit="other", facts=known)

    told.then("dispatcher", action="dispatch", unit="other", reason="team 正在抢险", facts=known)

    assert told.log[-1].said == {"unit": "other", "reason": "team 正在抢险", "proposed_unit": "team"}


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        (None, "needs a photo"),
        (PhotoFacts(PHOTO, 200.5, None), "at most 200 m"),
        (PhotoFacts(PHOTO, None, NOW), "before the dispatch"),
    ],
)
def test_an_after_photo_of_another_place_or_time_is_none(photo: PhotoFacts | None, said: str) -> None:
    with pytest.raises(NoAfterPhoto, match=said):
        Told().up_to("take").then("handler", facts={"photo": photo}, **HANDLE)


@pytest.mark.parametrize("photo", [PhotoFacts(PHOTO, None, NOW + 300 * HOUR), PhotoFacts(PHOTO, 200.0, None)])
def test_a_photo_without_place_or_time_needs_the_checkers_word(photo: PhotoFacts) -> None:
    told = Told().up_to("take")
    told.then("handler", facts={"photo": photo}, **HANDLE)
    with pytest.raises(PhotoUnproved):
        told.then("checker", action="check", result="pass", text="好")

    assert told.then("checker", action="check", result="pass", text="好", confirms_photo=True).stage is Stage.CHECKED


def test_more_time_is_given_by_somebody_else_and_moves_the_due_time() -> None:
    told = Told().up_to("take")
    assert told.state.whole is not None
    due = told.state.whole.red_at
    told.then("handler", action="ask_extension", clock="whole", more="20 urgent_hours", reason="下雨")
    with pytest.raises(SamePerson):
        told.then("handler", action="approve")
    with pytest.raises(AlreadyAsked):
        told.then("handler", action="ask_suspension", reason="等材料")

    told.then("dispatcher", action="approve")

    assert told.state.whole is not None
    assert due is not None
    assert told.state.whole.red_at == due + 20 * HOUR


def test_time_asked_for_a_step_that_is_over_is_forgotten() -> None:
    told = Told().up_to("take")
    told.then("handler", action="ask_extension", clock="step", more="5 urgent_hours", reason="下雨")

    assert told.then("handler", **HANDLE).request is None


def test_suspended_clocks_stand_still_and_run_on_when_resumed() -> None:
    told = Told().up_to("take")
    before = told.state.lights_at
    told.then("handler", action="ask_suspension", reason="等材料")
    told.then("dispatcher", action="approve")
    assert told.state.lights_at.red_at is None
    with pytest.raises(Suspended):
        told.then("handler", **HANDLE)

    told.then("dispatcher", after=48 * HOUR, action="resume", reason="材料到了")

    assert before.red_at is not None
    assert told.state.lights_at.red_at == before.red_at + 48 * HOUR


def test_reopening_is_rework_and_the_time_it_was_closed_does_not_count() -> None:
    told = Told().up_to("close")
    assert told.state.whole is not None
    due = told.state.whole.red_at

    told.then("checker", after=240 * HOUR, action="reopen", reason="复发")

    assert (told.state.stage, told.state.reworks, told.state.closed_at) == (Stage.REWORK, 1, None)
    assert due is not None
    assert told.state.whole is not None
    assert told.state.whole.red_at == due + 240 * HOUR


def test_merging_keeps_the_first_reporter() -> None:
    kept = Told().up_to("file")
    earlier = {"merged": SERIAL, "report_id": "00000000-0000-0000-0000-000000000009", "first_reported_at": NOW - HOUR}

    changes = Absorb(action="absorb", **earlier).changes(kept.state, who="x", at=NOW, facts=FACTS)
    later = Absorb(action="absorb", **{**earlier, "first_reported_at": NOW + HOUR})

    assert changes == {key: earlier[key] for key in ("report_id", "first_reported_at")}
    assert later.changes(kept.state, who="x", at=NOW, facts=FACTS) == {}


def test_a_hand_over_is_an_event_and_nothing_else_moves_the_responsibility() -> None:
    told = Told().up_to("take")
    new = Responsibility(tenure_id=2, post="主任", unit="居委会")
    told.then("handler", facts={"responsible": new}, **HANDLE)
    kept = told.state.responsible

    told.then("supervisor", action="hand_over", reason="换届", facts={"responsible": new})

    assert kept == FACTS.responsible
    assert told.state.responsible == new
    assert told.log[-1].action == "hand_over"


@pytest.mark.parametrize("spoil", [lambda log: log[1:], lambda log: log[:1] + log[2:], lambda log: [*log, log[-1]], lambda log: log[:0]])  # fmt: skip
def test_a_log_with_a_step_missing_or_doubled_is_not_replayed(
    spoil: Callable[[list[CaseEvent]], list[CaseEvent]],
) -> None:
    log = Told().up_to("close").log

    with pytest.raises(BrokenLog):
        replay(spoil(log))


def test_every_step_has_its_permission() -> None:
    offered = {choice["action"] for choice in _schemas()}

    assert offered | {"accept"} == set(ACTIONS)
    assert set(CHOICES) == offered


def _schemas() -> list[dict[str, str]]:
    mapping = ANY_STEP.json_schema()["discriminator"]["mapping"]
    return [{"action": action} for action in mapping]


def test_a_closed_case_takes_no_step_but_its_reopening() -> None:
    taken = []
    for fields in CHOICES:
        told = Told().up_to("close")
        with suppress(GridError):
            told.then("somebody", action=fields, **CHOICES[fields][0])
            taken.append(fields)

    assert taken == ["reopen"]


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "\ud800", "x" * 1001])
def test_words_that_no_log_can_keep_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ANY_STEP.validate_python({"action": "void", "reason": text})


def test_rules_without_a_step_limit_leave_only_the_whole_clock() -> None:
    told = Told().up_to("answer")

    assert RULES.steps.get(Stage.ANSWERED) is None
    assert told.state.step is None
    assert told.state.whole is not None
