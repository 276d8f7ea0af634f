"""Acts of supervision without a database: when each falls due, once for its cause, and what a file may say."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gis_grid.case_deciding import decide
from gis_grid.case_rules import Addressee
from gis_grid.case_side_steps import Issue, Retime
from gis_grid.case_state import CaseState, replay
from gis_grid.case_steps import IllegalStep
from gis_grid.errors import InvalidInput
from gis_grid.supervision_acts import DEFAULT_ACTS, read_acts
from tests.case_builders import FACTS, RULES, Told

HOUR = timedelta(hours=1)
SUPERVISED = replace(FACTS, rules=replace(RULES, acts=DEFAULT_ACTS), told=(Addressee("ws"), Addressee("ws", "书记", 7)))
ZONE = ZoneInfo("Asia/Shanghai")


def filed() -> Told:
    """Ten hours for its step, a hundred for the whole; yellow at half, orange at four fifths."""
    return Told(facts=SUPERVISED).up_to("file")


def due(state: CaseState, hours: float, told: Told) -> list[tuple[str, str]]:
    return [(act.issued.act.value, act.issued.clock.value) for act in state.due_acts(told.at + hours * HOUR)]


def test_each_act_falls_due_at_its_light_and_the_last_when_it_was_red_for_as_long_again() -> None:
    told = filed()
    assert told.state.step is not None
    acts = told.state.step.acts

    assert acts is not None
    assert [(act.value, (at - told.at) / HOUR) for act, at in acts.items() if at] == [
        ("提醒", 5), ("催办", 8), ("督办", 10), ("问效", 20),
    ]  # fmt: skip
    assert told.state.next_act_at == told.at + 5 * HOUR


def test_acts_that_fell_due_come_in_that_order_for_both_clocks() -> None:
    told = filed()

    assert due(told.state, 4.9, told) == []
    assert due(told.state, 10, told) == [("提醒", "step"), ("催办", "step"), ("督办", "step")]
    assert due(told.state, 50, told)[-2:] == [("问效", "step"), ("提醒", "whole")]


def test_an_act_is_issued_once_for_one_run_of_one_clock_and_again_for_the_next() -> None:
    told = filed()
    told.then("supervisor", action="supervise", act="提醒", text="快到期", clock="step")
    with pytest.raises(IllegalStep, match="提醒 was issued already for the step clock"):
        told.then("supervisor", action="supervise", act="提醒", text="快到期", clock="step")

    told.then("supervisor", action="supervise", act="提醒", text="快到期", clock="whole")
    told.then("ws", action="take", duty="快速处置")
    told.then("supervisor", action="supervise", act="提醒", text="快到期", clock="step")

    assert len(told.state.issued) == 3


def test_an_act_for_a_run_that_is_over_is_refused() -> None:
    told = filed()
    started_at = told.at
    told.then("ws", action="take", duty="快速处置")

    with pytest.raises(IllegalStep, match="no clock that runs since"):
        told.then("x", action="supervise", act="提醒", text="x", clock="step", started_at=started_at)


def test_the_log_says_who_was_told_and_when_it_fell_due() -> None:
    told = filed()
    (first, *_) = told.state.due_acts(told.at + 6 * HOUR)
    step = Issue(action="supervise", text="x", fell_due_at=first.due_at, **first.issued.model_dump())

    state, event = decide(told.state, step, who="gis-grid", at=told.at + 6 * HOUR, facts=SUPERVISED)

    assert event.said["told"] == [
        {"unit": "ws", "post": None, "holder_id": None}, {"unit": "ws", "post": "书记", "holder_id": 7},
    ]  # fmt: skip
    assert event.said["fell_due_at"].startswith("2026-03-02T10:00:00")
    assert state.next_act_at == told.at + 8 * HOUR


def test_a_case_that_has_ended_has_no_act_to_come() -> None:
    told = Told(facts=SUPERVISED).up_to("close")

    assert told.state.next_act_at is None
    assert told.state.due_acts(told.at + 9999 * HOUR) == []


def test_a_suspended_clock_makes_nothing_due_and_a_resumed_one_later() -> None:
    told = Told(facts=SUPERVISED).up_to("take")
    before = told.state.next_act_at
    told.then("handler", after=timedelta(0), action="ask_suspension", reason="等材料")
    told.then("dispatcher", after=timedelta(0), action="approve")
    assert told.state.next_act_at is None

    told.then("dispatcher", after=48 * HOUR, action="resume", reason="材料到了")

    assert before is not None
    assert told.state.next_act_at == before + 48 * HOUR


def test_more_time_makes_the_later_acts_later_and_issues_none_twice() -> None:
    told = filed()
    told.then("supervisor", action="supervise", act="提醒", text="快到期")
    told.then("ws", action="ask_extension", clock="whole", more="100 urgent_hours", reason="下雨")

    told.then("dispatcher", action="approve")

    assert told.state.whole is not None
    assert told.state.whole.acts is not None
    again = told.state.whole.acts[DEFAULT_ACTS[-1].act]
    assert again == told.state.whole.started_at + 400 * HOUR
    assert ("提醒", "whole") not in due(told.state, 9999, told)


def test_a_case_of_before_gets_its_acts_with_its_next_step_and_its_log_tells() -> None:
    told = Told(facts=SUPERVISED).up_to("file")
    old = [event.model_copy(update={"changed": _without_acts(event.changed)}) for event in told.log]
    state = replay(old)
    assert state.is_untimed

    after, event = decide(state, Retime(action="retime"), who="gis-grid", at=told.at + HOUR, facts=SUPERVISED)

    assert after == replay([*old, event]) == told.state.model_copy(update={"seq": 3})


def _without_acts(changed: dict[str, object]) -> dict[str, object]:
    return {
        name: {key: value for key, value in part.items() if key != "acts"} if isinstance(part, dict) else part
        for name, part in changed.items()
    }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12))
def test_whenever_the_sweep_runs_every_act_due_is_issued_exactly_once(hours: list[int]) -> None:
    told = filed()
    start, state, issued = told.at, told.state, []

    for hour in sorted(hours):
        for act in state.due_acts(start + hour * HOUR):
            step = Issue(action="supervise", text="x", fell_due_at=act.due_at, **act.issued.model_dump())
            state, _ = decide(state, step, who="gis-grid", at=start + hour * HOUR, facts=SUPERVISED)
            issued.append(act)

    last = max(hours, default=0)
    assert issued == sorted(issued, key=lambda act: act.due_at)
    assert {act.issued for act in issued} == {act.issued for act in told.state.due_acts(start + last * HOUR)}
    assert len(issued) == len({(act.issued.act, act.issued.clock) for act in issued})


HEAD = "act,at,tells,since,until,is_example\n"


def test_a_file_names_acts_moments_and_addressees(tmp_path: Path) -> None:
    path = tmp_path / "supervision_acts.csv"
    path.write_text(HEAD + "提醒,orange,unit|parent,,,false\n", encoding="utf-8")

    ((_, stretch),) = read_acts(path, zone=ZONE)

    assert (stretch.key, stretch.values) == (("提醒",), ("orange", ["unit", "parent"], False))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("警告,red,unit,,,true", "act '警告' is not one of 提醒"),
        ("提醒,blue,unit,,,true", "at 'blue' is not one of yellow"),
        ("提醒,red,mayor,,,true", "tells 'mayor'"),
        ("提醒,red,unit|unit,,,true", "each at most once"),
        ("提醒,red,,,,true", "tells is empty"),
        ("提醒,red,unit,,,true\n提醒,yellow,unit,,,true", "rows 2 and 3 both hold for 提醒"),
    ],
)
def test_a_row_that_says_nothing_sensible_is_named(tmp_path: Path, row: str, fault: str) -> None:
    path = tmp_path / "supervision_acts.csv"
    path.write_text(HEAD + row + "\n", encoding="utf-8")

    with pytest.raises(InvalidInput, match=fault.replace("|", r"\|")):
        read_acts(path, zone=ZONE)
