"""The steps beside a case's way: merging, more time, suspension, void, hand-over, supervision; pure."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, Field

from gis_grid.case_rules import Facts
from gis_grid.case_state import CaseClock, CaseState, ClockName, IssuedAct, Request, Stage
from gis_grid.case_steps import FILED, AlreadyAsked, Changes, IllegalStep, LimitText, SamePerson, Step, Words
from gis_grid.clocks import parse_limit
from gis_grid.supervision_acts import Act

S = Stage


class Noted(Step):
    """A step that the log keeps and that leaves the case as it stands; made by the program with what it tells of."""

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """None."""
        return {}


class Merge(Step):
    """并案: the case ends in another one, which keeps whoever reported first."""

    action: Literal["merge"]
    into: Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        other = facts.other
        if other is None or other.report_id == state.report_id:
            raise IllegalStep("into: a case is merged into another one")
        if not other.stage.is_open or other.stage is S.ACCEPTED or other.is_suspended:
            raise IllegalStep(f"into: case {other.serial or self.into} is not at work, so nothing is merged into it")
        return {"stage": S.MERGED, "closed_at": at, "merged_into": other.serial, "request": None}


class Absorb(Step):
    """The other side of a merge; made by the program in the same transaction."""

    STAGES: ClassVar = FILED
    action: Literal["absorb"]
    merged: str
    report_id: str
    first_reported_at: datetime

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if self.first_reported_at >= state.first_reported_at:
            return {}
        return {"report_id": self.report_id, "first_reported_at": self.first_reported_at}


class AskExtension(Step):
    """延期 asked for: more time on one of the clocks."""

    STAGES: ClassVar = FILED
    action: Literal["ask_extension"]
    clock: Literal["step", "whole"]
    more: LimitText
    reason: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        clock: CaseClock | None = getattr(state, self.clock)
        if state.request is not None:
            raise AlreadyAsked(f"the {state.request.asks} that {state.request.by} asked for waits for its approval")
        if clock is None:
            raise IllegalStep(f"clock: there is no limit on the {self.clock} now")
        _extended(clock, self.more)
        asked = Request(asks="extension", by=who, reason=self.reason, clock=self.clock, more=self.more)
        return {"request": asked}


def _extended(clock: CaseClock, more: str) -> CaseClock:
    extended = (*clock.extended, more)
    parse_limit(clock.limit).plus([parse_limit(text) for text in extended])
    return clock.model_copy(update={"extended": extended})


class AskSuspension(Step):
    """挂账 asked for: the clocks are to stand still."""

    STAGES: ClassVar = FILED
    action: Literal["ask_suspension"]
    reason: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if state.request is not None:
            raise AlreadyAsked(f"the {state.request.asks} that {state.request.by} asked for waits for its approval")
        return {"request": Request(asks="suspension", by=who, reason=self.reason)}


def _waiting(state: CaseState, who: str) -> Request:
    if state.request is None:
        raise AlreadyAsked("no extension or suspension waits for approval")
    if state.request.by == who:
        raise SamePerson(f"{who} asked for the {state.request.asks}, and who asks never decides on it")
    return state.request


class Approve(Step):
    """Somebody else grants what was asked for."""

    STAGES: ClassVar = FILED
    action: Literal["approve"]
    text: Words | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        asked = _waiting(state, who)
        if asked.asks == "suspension":
            return {"request": None, "paused": (*state.paused, (at, None))}
        clock: CaseClock | None = getattr(state, asked.clock or "whole")
        if clock is None or asked.more is None:
            raise IllegalStep(f"there is no limit on the {asked.clock} any more")
        return {"request": None, asked.clock or "whole": _extended(clock, asked.more)}


class Deny(Step):
    """Somebody else refuses what was asked for."""

    STAGES: ClassVar = FILED
    action: Literal["deny"]
    text: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        _waiting(state, who)
        return {"request": None}


class Resume(Step):
    """The suspension ends, and both clocks run on."""

    STAGES: ClassVar = FILED
    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["resume"]
    reason: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if not state.is_suspended:
            raise IllegalStep("the case is not suspended")
        return {"paused": (*state.paused[:-1], (state.paused[-1][0], at))}


class Void(Step):
    """作废, with the reason."""

    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["void"]
    reason: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        paused = state.paused
        if state.is_suspended:
            paused = (*paused[:-1], (paused[-1][0], at))
        return {"stage": S.VOID, "closed_at": at, "request": None, "paused": paused}


class HandOver(Step):
    """The responsibility that the case kept since it was filed moves to whoever answers for the ground now."""

    STAGES: ClassVar = FILED
    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["hand_over"]
    reason: Words

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        if facts.responsible is None:
            raise IllegalStep("nobody answers for this ground now, so there is nobody to hand over to")
        if facts.responsible == state.responsible:
            raise IllegalStep("the case is with whoever answers for the ground now")
        return {"responsible": facts.responsible}


class JoinOperation(Noted):
    """The case becomes part of a joint operation (联动执法); made by the program when one is planned."""

    STAGES: ClassVar = FILED
    action: Literal["join_operation"]
    operation: int
    title: Words
    units: tuple[str, ...]


class LeaveOperation(Noted):
    """A joint operation that the case was part of was called off; made by the program with that."""

    STAGES: ClassVar = frozenset(Stage)
    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["leave_operation"]
    operation: int
    title: Words
    reason: Words


class Exchanged(Noted):
    """What went to or came from 110 or the city about the case; made by the program with the message."""

    STAGES: ClassVar = frozenset(Stage)
    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["exchange"]
    peer: str
    message: str
    what: Literal["came_from", "passed_up", "received", "returned", "refused", "answered"]
    reference: str | None = None
    text: str | None = None


class Relocate(Step):
    """The case's place lies in another grid of a new layer; made by the program when that layer is activated.

    Who has the case and who answered for the ground when it was filed stays: a hand-over is a step of its own.
    """

    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["relocate"]
    layer: int
    from_grid_code: str
    grid_code: str
    community_code: str
    town_code: str

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        return {"grid_code": self.grid_code, "community_code": self.community_code, "town_code": self.town_code}


class Supervise(Step):
    """提醒, 催办, 督办 or 问效, on record: issued once for a cause, which is one run of one clock.

    Attributes
    ----------
    started_at
        When the run began; that which goes on now without it.
    """

    STAGES: ClassVar = FILED
    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["supervise"]
    act: Act
    text: Words
    clock: ClockName = ClockName.WHOLE
    started_at: AwareDatetime | None = None

    def changes(self, state: CaseState, *, who: str, at: datetime, facts: Facts) -> Changes:  # noqa: ARG002
        """See `Step`."""
        run: CaseClock | None = getattr(state, self.clock)
        if run is None or self.started_at not in {None, run.started_at}:
            raise IllegalStep(f"clock: the {self.clock} has no clock that runs since {self.started_at or 'its start'}")
        issued = IssuedAct(act=self.act, clock=self.clock, started_at=run.started_at)
        if issued in state.issued:
            raise IllegalStep(
                f"{self.act} was issued already for the {self.clock} clock that runs since {run.started_at.isoformat()}"
            )
        return {"issued": (*state.issued, issued)}

    def findings(self, facts: Facts) -> dict[str, Any]:
        """Who was told."""
        return {"told": [vars(one) for one in facts.told]}


class Issue(Supervise):
    """An act that fell due; made by the program's sweep, which says when that was."""

    fell_due_at: AwareDatetime


class Retime(Noted):
    """The acts of supervision of a case from before there were any are worked out; made by the program's sweep."""

    STAGES: ClassVar = FILED
    IS_FOR_SUSPENDED: ClassVar = True
    action: Literal["retime"]
