"""The steps on a case's way from its filing to its end: what each needs, when it is refused, what it changes; pure."""

from abc import abstractmethod
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gis_grid.case_rules import Facts
from gis_grid.case_state import CaseClock, CaseLevel, CaseState, Stage
from gis_grid.clocks import parse_limit
from gis_grid.errors import Conflict, Forbidden, InvalidInput
from gis_grid.routing import Urgency

S = Stage
OPEN = frozenset(stage for stage in Stage if stage.is_open)
FILED = OPEN - {S.ACCEPTED}


class IllegalStep(Conflict):
    """The step does not follow from where the case stands."""


class Suspended(Conflict):
    """The case is suspended (挂账): it must be resumed first."""


class NotAttempted(Conflict):
    """The community has not recorded an attempt yet, and the case is not urgent."""


class RulingNeeded(Conflict):
    """The case was refused too often: only a final ruling sends it on."""


class RuledFinally(Conflict):
    """A final ruling named this unit: it cannot return the case."""


class LoopNotClosed(Conflict):
    """Disposal, check or answer is missing."""


class NoAfterPhoto(InvalidInput):
    """A disposal has no after-photo that shows the place after the dispatch."""


class PhotoUnproved(Conflict):
    """The after-photo tells no place or time, and the checker has not confirmed it."""


class SamePerson(Forbidden):
    """Who handles never checks, and who asks never approves."""


class DutyMissing(InvalidInput):
    """A community's step without one of the six duties."""


class AlreadyAsked(Conflict):
    """A request waits for its approval already, or there is none."""


class Duty(StrEnum):
    """The six duties of the front end (前端处理)."""

    PREVENT = "积极预防"
    FIND = "巡查发现"
    DISSUADE = "宣传劝阻"
    HANDLE = "快速处置"
    REPORT = "及时报告"
    CONSOLIDATE = "巩固成效"


class ReturnReason(StrEnum):
    """Why a unit refuses a case."""

    WRONG_GROUND = "属地不符"
    UNCLEAR_OWNER = "权属不清"
    OVERLAPPING_POWERS = "职能交叉"


class Satisfaction(StrEnum):
    """What the resident says of the answer."""

    SATISFIED = "满意"
    FAIRLY = "基本满意"
    DISSATISFIED = "不满意"
    NOT_SAID = "未表态"


def _plain(text: str) -> str:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds a NUL character or half of a surrogate pair")
    if not text.strip():
        raise ValueError("is empty")
    return text


def _limit(text: str) -> str:
    try:
        return str(parse_limit(text))
    except InvalidInput as error:
        raise ValueError(str(error)) from error


Words = Annotated[str, AfterValidator(_plain), Field(min_length=1, max_length=1000)]
Name = Annotated[str, AfterValidator(_plain), Field(min_length=1, max_length=100)]
LimitText = Annotated[str, AfterValidator(_limit), Field(max_length=40)]
Changes = dict[str, Any]


class Step(BaseModel):
    """A step that somebody asks for.

    Attributes
    ----------
    STAGES
        Where the case must stand.
    IS_FOR_SUSPENDED
        Whether it can be done while the clocks stand still.
    expected_seq
        Number of the last step that whoever asks has seen; a later one refuses this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    STAGES: ClassVar[frozenset[Stage]] = OPEN
    IS_FOR_SUSPENDED: ClassVar[bool] = False

    action: str
    expected_seq: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)] | None = None

    @abstractmethod
    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:
        """The fields of the state that the step sets, or why it is refused."""

    def findings(self, facts: Facts) -> dict[str, Any]:  # noqa: ARG002 - some steps have some
        """What the log keeps besides what the person said."""
        return {}


class File(Step):
    """立案: the case gets its serial number, both clocks start, the community's queue has it first."""

    STAGES: ClassVar = frozenset({S.ACCEPTED})
    action: Literal["file"]
    urgency: Urgency | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        return {
            "stage": S.FILED,
            "serial": facts.next_serial(),
            "filed_at": at,
            "urgency": self.urgency or state.urgency,
            "unit": facts.start_unit,
            "level": facts.start_level,
            "responsible": facts.responsible,
            "whole": CaseClock(started_at=at, limit=str(facts.rules.whole)),
        }


def _needs_duty(state: CaseState, duty: Duty | None) -> None:
    if state.level is CaseLevel.COMMUNITY and duty is None:
        raise DutyMissing(f"duty: a community's step names one of {', '.join(Duty)}")


class Attempt(Step):
    """The community tries first; it is on record whether it helped or not."""

    STAGES: ClassVar = frozenset({S.FILED, S.TAKEN, S.REWORK})
    action: Literal["attempt"]
    duty: Duty
    text: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.level is not CaseLevel.COMMUNITY:
            raise IllegalStep(f"an attempt is the community's; this case is with the {state.level}")
        return {"attempts": state.attempts + 1}


class Escalate(Step):
    """The community passes the case up: after an attempt, or because it is urgent."""

    STAGES: ClassVar = frozenset({S.FILED, S.TAKEN, S.REWORK})
    action: Literal["escalate"]
    duty: Duty
    reason: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.level is not CaseLevel.COMMUNITY:
            raise IllegalStep(f"only a community passes a case up; this one is with the {state.level}")
        if not state.attempts and state.urgency is not Urgency.URGENT:
            raise NotAttempted("the community records an attempt before it passes a case up, unless it is urgent")
        return {"stage": S.FILED, "level": CaseLevel.TOWN, "unit": facts.dispatch_unit}


class Dispatch(Step):
    """派遣: to the unit that the routing proposes, or with a reason to another one."""

    STAGES: ClassVar = frozenset({S.FILED, S.RETURNED, S.REWORK})
    action: Literal["dispatch"]
    unit: Name
    reason: Words | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.returns >= facts.rules.returns_before_ruling and not state.is_final:
            raise RulingNeeded(f"{state.returns} units refused the case: only a final ruling sends it on")
        if state.is_final and self.unit != state.unit:
            raise RuledFinally(f"a final ruling sent the case to {state.unit}: no other unit gets it")
        if state.level is CaseLevel.COMMUNITY and self.unit != state.unit:
            raise NotAttempted("the case is in the community's queue: the community tries it, or passes it up, first")
        if facts.proposed_unit not in {None, self.unit} and self.reason is None:
            raise InvalidInput(f"reason: the routing proposes {facts.proposed_unit}; another unit needs a reason")
        return {"stage": S.DISPATCHED, "unit": self.unit, "dispatched_at": at}

    def findings(self, facts: Facts) -> dict[str, Any]:
        """What the routing proposed."""
        return {"proposed_unit": facts.proposed_unit}


class Take(Step):
    """接单: a unit takes what it was sent, a community what is in its queue."""

    STAGES: ClassVar = frozenset({S.DISPATCHED, S.FILED})
    action: Literal["take"]
    duty: Duty | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.stage is S.FILED and state.level is not CaseLevel.COMMUNITY:
            raise IllegalStep("a case that no unit was sent cannot be taken: it is dispatched first")
        _needs_duty(state, self.duty)
        return {"stage": S.TAKEN, "dispatched_at": state.dispatched_at or at}


class Return(Step):
    """退单: a unit refuses what it was sent; the clock runs on."""

    STAGES: ClassVar = frozenset({S.DISPATCHED})
    action: Literal["return"]
    reason_code: ReturnReason
    text: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.is_final:
            raise RuledFinally(f"a final ruling sent the case to {state.unit}: it cannot be returned")
        level = CaseLevel.TOWN if state.level is CaseLevel.COMMUNITY else state.level
        return {"stage": S.RETURNED, "returns": state.returns + 1, "unit": facts.dispatch_unit, "level": level}

    def findings(self, facts: Facts) -> dict[str, Any]:
        """What the placement says about whose ground it is."""
        return {"evidence": dict(facts.evidence) if facts.evidence else None}


class RuleFinally(Step):
    """Final ruling after the third refusal: the unit named must take it; without one, nobody owns the land."""

    STAGES: ClassVar = frozenset({S.RETURNED})
    action: Literal["rule_finally"]
    reason: Words
    unit: Name | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.returns < facts.rules.returns_before_ruling:
            raise IllegalStep(
                f"a final ruling follows refusal {facts.rules.returns_before_ruling}, not {state.returns}"
            )
        unit = self.unit or facts.town_unit
        if unit is None:
            raise InvalidInput("unit: land that nobody owns falls to its town, and this case lies in none; name a unit")
        return {"stage": S.DISPATCHED, "unit": unit, "dispatched_at": at, "is_final": True}


class Transfer(Step):
    """移送: the case goes to another unit, or out of the city's hands with the reference kept."""

    STAGES: ClassVar = frozenset({S.DISPATCHED, S.TAKEN, S.REWORK})
    action: Literal["transfer"]
    unit: Name
    reason: Words
    reference: Name | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.is_final:
            raise RuledFinally(f"a final ruling sent the case to {state.unit}: it cannot be transferred")
        if state.level is CaseLevel.COMMUNITY and not state.attempts and state.urgency is not Urgency.URGENT:
            raise NotAttempted("the community records an attempt before it passes a case on, unless it is urgent")
        if self.unit == state.unit:
            raise IllegalStep(f"the case is with {self.unit} already")
        level = CaseLevel.TOWN if state.level is CaseLevel.COMMUNITY else state.level
        return {"stage": S.DISPATCHED, "unit": self.unit, "dispatched_at": at, "level": level}


class Handle(Step):
    """处置: done, with a photo taken near the place after the dispatch."""

    STAGES: ClassVar = frozenset({S.TAKEN, S.REWORK})
    action: Literal["handle"]
    text: Words
    after_photo: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    duty: Duty | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        _needs_duty(state, self.duty)
        if who in state.checkers:
            raise SamePerson(f"{who} checked this case, and who checks never handles")
        is_unproved = _is_unproved(state, self.after_photo, facts)
        return {
            "stage": S.HANDLED,
            "handlers": tuple(sorted({*state.handlers, who})),
            "is_photo_unproved": is_unproved,
        }

    def findings(self, facts: Facts) -> dict[str, Any]:
        """What the photo's metadata tell."""
        photo = facts.photo
        if photo is None:
            return {}
        taken_at = photo.taken_at.isoformat() if photo.taken_at else None
        return {"photo_distance_m": photo.distance_m, "photo_taken_at": taken_at}


def _is_unproved(state: CaseState, sha256: str | None, facts: Facts) -> bool:
    photo, near_m = facts.photo, facts.rules.after_photo_m
    if sha256 is None or photo is None:
        raise NoAfterPhoto("after_photo: a disposal needs a photo of the place after it, added to the case's report")
    if photo.distance_m is not None and photo.distance_m > near_m:
        raise NoAfterPhoto(f"after_photo: taken {photo.distance_m:.0f} m from the place; at most {near_m:g} m count")
    since = state.dispatched_at
    if photo.taken_at is not None and since is not None and photo.taken_at < since:
        raise NoAfterPhoto(f"after_photo: taken {photo.taken_at.isoformat()}, before the dispatch {since.isoformat()}")
    return photo.distance_m is None or photo.taken_at is None


class Check(Step):
    """核查: by somebody who did not handle; what fails is done again (返工)."""

    STAGES: ClassVar = frozenset({S.HANDLED})
    action: Literal["check"]
    result: Literal["pass", "fail"]
    text: Words
    confirms_photo: bool = False

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if who in state.handlers:
            raise SamePerson(f"{who} handled this case, and who handles never checks")
        checkers = tuple(sorted({*state.checkers, who}))
        if self.result == "fail":
            return {"stage": S.REWORK, "reworks": state.reworks + 1, "checkers": checkers, "is_photo_unproved": False}
        if state.is_photo_unproved and not self.confirms_photo:
            raise PhotoUnproved("confirms_photo: the after-photo tells no place or time; the checker confirms it")
        return {"stage": S.CHECKED, "checkers": checkers, "is_photo_unproved": False}


class Answer(Step):
    """答复: the resident is told, and asked; a question (咨询) needs no field work before it."""

    STAGES: ClassVar = frozenset({S.CHECKED, S.FILED, S.DISPATCHED, S.TAKEN})
    action: Literal["answer"]
    text: Words
    satisfaction: Satisfaction

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.stage is not S.CHECKED and not state.is_question:
            raise IllegalStep(f"a {state.kind} is answered after disposal and check; this case is {state.stage}")
        return {"stage": S.ANSWERED, "satisfaction": self.satisfaction.value}


class Close(Step):
    """结案: only after disposal, check and answer."""

    action: Literal["close"]

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.stage is S.ANSWERED:
            return {"stage": S.CLOSED, "closed_at": at, "request": None}
        has = {"disposal": state.stage in {S.HANDLED, S.CHECKED}, "check": state.stage is S.CHECKED, "answer": False}
        needed = ("answer",) if state.is_question else tuple(has)
        raise LoopNotClosed(f"closing needs {', '.join(name for name in needed if not has[name])} first")


class Reopen(Step):
    """A closed case is worked on again, and counts as rework; the time it was closed does not run."""

    STAGES: ClassVar = frozenset({S.CLOSED})
    action: Literal["reopen"]
    reason: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        return {
            "stage": S.REWORK,
            "reworks": state.reworks + 1,
            "closed_at": None,
            "satisfaction": None,
            "paused": (*state.paused, (state.closed_at, at)),
        }
