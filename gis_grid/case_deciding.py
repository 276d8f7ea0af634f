"""Deciding on a step: the event that it is, or a refusal by name that changes nothing; pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from gis_grid.case_rules import CaseRules, Facts
from gis_grid.case_side_steps import (
    Approve,
    AskExtension,
    AskSuspension,
    Deny,
    HandOver,
    Merge,
    Resume,
    Supervise,
    Void,
)
from gis_grid.case_state import CaseClock, CaseEvent, CaseState, Stage, event_between
from gis_grid.case_steps import (
    Answer,
    Attempt,
    Check,
    Close,
    Dispatch,
    Escalate,
    File,
    Handle,
    IllegalStep,
    Reopen,
    Return,
    RuleFinally,
    Step,
    Suspended,
    Take,
    Transfer,
)
from gis_grid.routing import Urgency

S = Stage

AnyStep = Annotated[
    File
    | Attempt
    | Escalate
    | Dispatch
    | Take
    | Return
    | RuleFinally
    | Transfer
    | Handle
    | Check
    | Answer
    | Close
    | Reopen
    | Merge
    | AskExtension
    | AskSuspension
    | Approve
    | Deny
    | Resume
    | Void
    | HandOver
    | Supervise,
    Field(discriminator="action"),
]
ANY_STEP: TypeAdapter[AnyStep] = TypeAdapter(AnyStep)

# The permission that each action needs; the edges look it up here and nowhere else.
ACTIONS: Mapping[str, str] = {
    "accept": "accept",
    "file": "file",
    "attempt": "handle",
    "escalate": "handle",
    "dispatch": "dispatch",
    "take": "take",
    "return": "take",
    "rule_finally": "rule_finally",
    "transfer": "transfer",
    "handle": "handle",
    "check": "check",
    "answer": "answer",
    "close": "close",
    "reopen": "check",
    "merge": "merge",
    "ask_extension": "handle",
    "ask_suspension": "handle",
    "approve": "extend",
    "deny": "extend",
    "resume": "suspend",
    "void": "void",
    "hand_over": "supervise",
    "supervise": "supervise",
}


def permission_for(action: str, state: CaseState) -> str:
    """The permission that a step on a case needs: approving a suspension is another one than approving an extension."""
    if action in {"approve", "deny"} and state.request is not None and state.request.asks == "suspension":
        return "suspend"
    return ACTIONS[action]


def accept(
    *,
    report_id: str,
    reported_at: datetime,
    kind: str,
    event_type: str,
    urgency: Urgency,
    grid_code: str,
    community_code: str,
    town_code: str,
    who: str,
    at: datetime,
) -> CaseEvent:
    """受理: the first event of a case."""
    state = CaseState(
        seq=1,
        stage=S.ACCEPTED,
        report_id=report_id,
        first_reported_at=reported_at,
        kind=kind,
        event_type=event_type,
        urgency=urgency,
        grid_code=grid_code,
        community_code=community_code,
        town_code=town_code,
        accepted_at=at,
    )
    return event_between(None, state, action="accept", who=who, at=at, said={})


def decide(state: CaseState, step: Step, *, who: str, at: datetime, facts: Facts) -> tuple[CaseState, CaseEvent]:
    """The case after a step, and the event that the step is.

    Raises
    ------
    IllegalStep, Suspended, NotAttempted, RulingNeeded, RuledFinally, LoopNotClosed, NoAfterPhoto, PhotoUnproved,
    SamePerson, DutyMissing, AlreadyAsked, InvalidInput
        Nothing is changed then.
    """
    name = f"case {state.serial or 'without a serial number'}"
    if state.is_suspended and not step.IS_FOR_SUSPENDED:
        raise Suspended(f"{name} is suspended: resume it before {step.action}")
    if state.stage not in step.STAGES:
        raise IllegalStep(f"{name} is {state.stage}: {step.action} does not follow")
    changes = step.changes(state, who=who, at=at, facts=facts)
    after = state.model_copy(update={"seq": state.seq + 1, **changes})
    after = _with_clocks(state, after, at=at, rules=facts.rules)
    said = {
        **step.model_dump(mode="json", exclude={"action", "expected_seq"}, exclude_none=True),
        **step.findings(facts),
        **({"situation": facts.situation} if facts.situation is not None else {}),
    }
    return after, event_between(state, after, action=step.action, who=who, at=at, said=said)


def _with_clocks(before: CaseState, after: CaseState, *, at: datetime, rules: CaseRules) -> CaseState:
    """The state with the clocks that its stage, pauses and extensions call for; a refusal stops none."""
    if after.whole is None or not after.stage.is_open:
        return after
    update: dict[str, Any] = {}
    is_new_step = after.step == before.step and (
        after.stage is not before.stage or after.dispatched_at != before.dispatched_at or after.level != before.level
    )
    step = after.step
    if is_new_step and after.stage is not S.RETURNED:
        limit = rules.steps.get(after.stage)
        step = CaseClock(started_at=at, limit=str(limit)) if limit else None
        if after.request is not None and after.request.clock == "step":
            update["request"] = None  # more time was asked for a step that is over
    is_retimed = after.paused != before.paused or before.is_untimed
    if step is not None and (step != before.step or is_retimed):
        step = step.timed(rules.calendar, rules.thresholds, after.paused, acts=rules.acts)
    if after.whole != before.whole or is_retimed:
        update["whole"] = after.whole.timed(rules.calendar, rules.thresholds, after.paused, acts=rules.acts)
    return after.model_copy(update={"step": step, **update})
