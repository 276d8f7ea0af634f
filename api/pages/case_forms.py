"""The forms of a case: a step each that the caller may take and that follows from where the case stands."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from api.case_access import unit_chain
from api.pages.case_words import ACTIONS, LIMIT_UNITS, SAID, VALUES
from api.pages.words import message
from gis_grid.case_deciding import AnyStep, permission_for
from gis_grid.case_facts import propose_for, responsible_at
from gis_grid.case_numbers import numbers_at
from gis_grid.case_state import CaseLevel, CaseState, ClockName, Stage
from gis_grid.case_steps import Duty, ReturnReason, Satisfaction, Step
from gis_grid.cases import Case
from gis_grid.clocks import parse_limit
from gis_grid.permissions import Caller, Permission
from gis_grid.routing import Urgency
from gis_grid.supervision_acts import Act
from gis_grid.units import Unit, UnitKind, units_at

Kind = Literal["area", "line", "choice", "unit", "check", "photo", "amount"]
STEPS: Mapping[str, type[Step]] = {
    get_args(step.model_fields["action"].annotation)[0]: step for step in get_args(get_args(AnyStep)[0])
}
# In the order in which they are offered; the first that follows is open.
WAY = (
    "approve", "deny", "resume", "file", "take", "attempt", "escalate", "handle", "dispatch", "rule_finally", "check",
    "answer", "close", "return",
)  # fmt: skip
BESIDE = ("transfer", "merge", "ask_extension", "ask_suspension", "supervise", "hand_over", "reopen", "void")
NAMED_UNITS = (UnitKind.SUB_CENTRE, UnitKind.TEAM, UnitKind.STATION, UnitKind.SQUAD, UnitKind.COMMUNITY_WORKSTATION)


@dataclass(frozen=True)
class Field:
    """One thing that a step needs to be told.

    Attributes
    ----------
    options
        Value and message, or for units code and name.
    value
        What stands in it at first.
    """

    name: str
    label: str
    kind: Kind
    options: tuple[tuple[str, str], ...] = ()
    value: str = ""
    is_required: bool = True
    hint: str = ""


@dataclass(frozen=True)
class StepForm:
    """The form of one step; `hint` is a message, or empty."""

    action: str
    title: str
    fields: tuple[Field, ...]
    is_on_the_way: bool
    hint: str = ""


TEXT = Field("text", message("说明"), "area")
REASON = Field("reason", message("理由"), "area")


def forms_for(session: Session, caller: Caller, case: Case, state: CaseState, *, now: datetime) -> list[StepForm]:
    """The forms that a caller is offered, those on the case's way first."""
    chain = unit_chain(session, case, now=now)
    needed = numbers_at(session, at=now).returns_before_ruling
    found = []
    for action in (*WAY, *BESIDE):
        permission = Permission(permission_for(action, state))
        if caller.is_key or not caller.may(permission, area=case.ground, unit=chain):
            continue
        if follows(state, action, who=caller.who, returns_before_ruling=needed):
            fields = _fields(session, case, state, action, now=now)
            if fields is not None:
                found.append(StepForm(action, ACTIONS[action], fields, action in WAY, _hint(state, action)))
    return found


def form_of(session: Session, case: Case, state: CaseState, action: str, *, now: datetime) -> StepForm:
    """The form of a step whether or not it follows now: somebody had it open when the case went on."""
    fields = _fields(session, case, state, action, now=now)
    return StepForm(action, ACTIONS[action], fields or (), action in WAY)


def follows(state: CaseState, action: str, *, who: str, returns_before_ruling: int) -> bool:
    """Whether a step follows from where a case stands, as far as can be told before it is filled in."""
    step = STEPS[action]
    if state.stage not in step.STAGES or (state.is_suspended and not step.IS_FOR_SUSPENDED):
        return False
    is_communitys = state.level is CaseLevel.COMMUNITY
    is_tried = bool(state.attempts) or state.urgency is Urgency.URGENT
    is_asked = state.request is not None
    tests: dict[str, bool] = {
        "attempt": is_communitys,
        "escalate": is_communitys and is_tried,
        "dispatch": not is_communitys and (state.is_final or state.returns < returns_before_ruling),
        "take": state.stage is Stage.DISPATCHED or is_communitys,
        "return": not state.is_final,
        "rule_finally": state.returns >= returns_before_ruling,
        "transfer": not state.is_final and (not is_communitys or is_tried),
        "handle": who not in state.checkers,
        "check": who not in state.handlers,
        "answer": state.stage is Stage.CHECKED or state.is_question,
        "close": state.stage is Stage.ANSWERED,
        "approve": state.request is not None and state.request.by != who,
        "deny": state.request is not None and state.request.by != who,
        "ask_extension": not is_asked,
        "ask_suspension": not is_asked,
        "resume": state.is_suspended,
        "supervise": bool(_unissued(state)),
    }
    return tests.get(action, True)


def _unissued(state: CaseState) -> list[str]:
    """The acts that may still be issued by hand, which are for the present run of the whole clock."""
    if state.whole is None:
        return []
    run = ClockName.WHOLE, state.whole.started_at
    issued = {one.act for one in state.issued if (one.clock, one.started_at) == run}
    return [act for act in Act if act not in issued]


def _hint(state: CaseState, action: str) -> str:
    if action == "check" and state.is_photo_unproved:
        return message("照片没有拍摄地点或时间，通过核查时请一并确认。")
    return HINTS.get(action, "")


HINTS = {
    "file": message("立案后生成流水号，两个时钟开始计时。"),
    "escalate": message("先行处置已有记录，案件转到街镇分中心。"),
    "handle": message("照片须在派遣之后、在现场附近拍摄。"),
    "return": message("退单不停表；第三次退单后由上级终裁。"),
    "rule_finally": message("不填单位，则由属地街镇兜底。"),
    "merge": message("本案并入另一件，保留最早的上报人。"),
    "ask_suspension": message("批准后两个时钟都停。"),
    "hand_over": message("责任移交给现任网格长。"),
    "close": message("处置、核查、答复都已完成。"),
}


def _fields(session: Session, case: Case, state: CaseState, action: str, *, now: datetime) -> tuple[Field, ...] | None:
    """What a step needs to be told; None where it turns out that it cannot be taken."""
    made: Callable[[], tuple[Field, ...] | None] | None = {
        "dispatch": lambda: _dispatch(session, case, state, now=now),
        "rule_finally": lambda: (_unit(session, case, now=now, is_required=False), REASON),
        "transfer": lambda: (
            _unit(session, case, now=now), REASON, Field("reference", SAID["reference"], "line", is_required=False),
        ),
        "ask_extension": lambda: _extension(state),
        "supervise": lambda: (_choice("act", _unissued(state)), TEXT),
        "hand_over": lambda: _hand_over(session, case, state, now=now),
    }.get(action)  # fmt: skip
    return made() if made else _plain_fields(state, action)


def _plain_fields(state: CaseState, action: str) -> tuple[Field, ...]:
    duty = (_duty(Duty.HANDLE),) if state.level is CaseLevel.COMMUNITY else ()
    photo = Field("photo", message("处置后照片"), "photo")
    confirms = Field("confirms_photo", message("照片确为现场处置后所拍"), "check", is_required=False)
    fields: dict[str, tuple[Field, ...]] = {
        "file": (_choice("urgency", list(Urgency), value=state.urgency.value),),
        "attempt": (_duty(Duty.DISSUADE), TEXT),
        "escalate": (_duty(Duty.REPORT), REASON),
        "take": duty,
        "return": (_choice("reason_code", list(ReturnReason)), TEXT),
        "handle": (photo, TEXT, *duty),
        "check": (_choice("result", ["pass", "fail"]), TEXT, *((confirms,) if state.is_photo_unproved else ())),
        "answer": (TEXT, _choice("satisfaction", list(Satisfaction))),
        "close": (),
        "merge": (Field("into", message("并入案件的流水号"), "line"),),
        "approve": (Field("text", message("说明"), "area", is_required=False),),
        "deny": (TEXT,),
    }
    return fields.get(action, (REASON,))


def _choice(name: str, values: Iterable[str], *, value: str = "") -> Field:
    options = tuple((str(one), VALUES[str(one)]) for one in values)
    return Field(name, SAID[name], "choice", options, value or options[0][0])


def _duty(first: Duty) -> Field:
    return _choice("duty", list(Duty), value=first.value)


def _dispatch(session: Session, case: Case, state: CaseState, *, now: datetime) -> tuple[Field, ...]:
    proposal = propose_for(session, state, case.report, case.grid, now=now)
    unit = _unit(session, case, now=now, first=(proposal.unit, *proposal.alternatives), value=proposal.unit)
    reason = Field("reason", message("改派理由"), "area", is_required=False, hint=message("不按系统建议派遣时必填。"))
    return unit, reason


def _unit(
    session: Session,
    case: Case,
    *,
    now: datetime,
    first: Iterable[Unit] = (),
    value: Unit | None = None,
    is_required: bool = True,
) -> Field:
    """A field for a unit: the departments and what works on the case's own ground."""
    there = units_at(session, at=now, kinds=(UnitKind.DEPARTMENT, *NAMED_UNITS))
    near = [unit for unit in there if unit.kind == UnitKind.DEPARTMENT or unit.area_code in case.ground]
    named = {unit.code: unit.name for unit in (*first, *near)}
    options = tuple((f"{name} {code}", "") for code, name in named.items())
    return Field("unit", SAID["unit"], "unit", options, f"{value.name} {value.code}" if value else "", is_required)


def _hand_over(session: Session, case: Case, state: CaseState, *, now: datetime) -> tuple[Field, ...] | None:
    """Nothing to be handed over while nobody else answers for the ground."""
    answers = responsible_at(session, case.grid, at=now)
    return None if answers is None or answers == state.responsible else (REASON,)


def _extension(state: CaseState) -> tuple[Field, ...] | None:
    clocks = [(name, clock) for name in ("step", "whole") if (clock := getattr(state, name)) is not None]
    if not clocks:
        return None
    # A clock is extended in its own unit: the two are one choice.
    units = {name: parse_limit(clock.limit).unit.value for name, clock in clocks}
    options = tuple((f"{name} {unit}", f"{VALUES[name]}|{LIMIT_UNITS[unit]}") for name, unit in units.items())
    return (
        Field("clock", SAID["clock"], "choice", options, options[0][0]),
        Field("amount", message("延长多少"), "amount", value="1"),
        REASON,
    )


def read_step(form: StepForm, sent: FormData) -> dict[str, Any]:
    """The step that a filled form asks for, as `case_deciding.ANY_STEP` reads it; photos are left out."""
    step: dict[str, Any] = {"action": form.action}
    for field in form.fields:
        said = sent.get(field.name)
        text = said.strip() if isinstance(said, str) else ""
        if field.kind == "check":
            step[field.name] = bool(text)
        elif field.kind == "unit" and text:
            step[field.name] = text.split()[-1]
        elif text and field.kind != "photo":
            step[field.name] = text
    if "amount" in step:
        clock, _, unit = step.get("clock", "").partition(" ")
        step |= {"clock": clock, "more": f"{step.pop('amount')} {unit}"}
    seen = sent.get("expected_seq")
    if isinstance(seen, str) and seen.isascii() and seen.isdigit() and len(seen) < 10:
        step["expected_seq"] = int(seen)
    return step


def missing(form: StepForm, sent: FormData) -> list[str]:
    """The labels of what must be filled in and is not."""
    return [
        field.label
        for field in form.fields
        if field.is_required and field.kind != "photo" and not str(sent.get(field.name) or "").strip()
    ]
