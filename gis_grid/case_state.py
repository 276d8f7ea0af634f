"""What a case is at one moment, and the events it is rebuilt from; pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import reduce
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

from gis_grid.clocks import Calendar, ChangeInstants, Light, Thresholds, change_instants, parse_limit
from gis_grid.errors import Conflict
from gis_grid.routing import Urgency
from gis_grid.supervision_acts import Act, ActRule, act_instants


class Stage(StrEnum):
    """Where a case stands."""

    ACCEPTED = "accepted"  # 受理
    FILED = "filed"  # 立案
    DISPATCHED = "dispatched"  # 派遣
    TAKEN = "taken"  # 接单
    RETURNED = "returned"  # 退单
    HANDLED = "handled"  # 处置
    REWORK = "rework"  # 返工
    CHECKED = "checked"  # 核查
    ANSWERED = "answered"  # 答复
    CLOSED = "closed"  # 结案
    MERGED = "merged"  # 并案
    VOID = "void"  # 作废

    @property
    def is_open(self) -> bool:
        """Whether something is still to be done."""
        return self not in {Stage.CLOSED, Stage.MERGED, Stage.VOID}


class CaseLevel(StrEnum):
    """The level of management whose queue a case is in."""

    COMMUNITY = "community"
    TOWN = "town"
    DISTRICT = "district"


class CaseClock(BaseModel):
    """One of the two clocks of a case: how long it may take, and when its lights come on.

    Attributes
    ----------
    limit, extended
        As `clocks.parse_limit` reads them.
    yellow_at, orange_at, red_at
        None while a pause without end keeps the light from coming on; `red_at` is the due time.
    acts
        When each act of supervision falls due; None where that was not worked out yet.
    """

    model_config = ConfigDict(frozen=True)

    started_at: datetime
    limit: str
    extended: tuple[str, ...] = ()
    yellow_at: datetime | None = None
    orange_at: datetime | None = None
    red_at: datetime | None = None
    acts: dict[Act, datetime | None] | None = None

    def timed(
        self,
        calendar: Calendar,
        thresholds: Thresholds,
        paused: Iterable[tuple[datetime, datetime | None]],
        *,
        acts: Sequence[ActRule] = (),
    ) -> Self:
        """The clock with the instants of its lights and its acts of supervision worked out."""
        pauses, limit = tuple(paused), parse_limit(self.limit)
        extended = [parse_limit(text) for text in self.extended]
        found = change_instants(self.started_at, limit, calendar, thresholds, paused=pauses, extended=extended)
        due = act_instants(
            self.started_at, limit, calendar, thresholds, paused=pauses, extended=extended, lights=found, rules=acts
        )
        return self.model_copy(update={**found._asdict(), "acts": due})

    def light(self, now: datetime) -> Light:
        """The light of this clock at a time."""
        return ChangeInstants(self.yellow_at, self.orange_at, self.red_at).light(now)


class ClockName(StrEnum):
    """Which of the two clocks of a case."""

    STEP = "step"
    WHOLE = "whole"


class IssuedAct(BaseModel):
    """An act of supervision that was issued, and its cause: one run of one clock."""

    model_config = ConfigDict(frozen=True)

    act: Act
    clock: ClockName
    started_at: datetime


class DueAct(NamedTuple):
    """An act that was not issued yet for a run of a clock, and when it falls due."""

    due_at: datetime
    issued: IssuedAct


class Request(BaseModel):
    """An extension (延期) or suspension (挂账) that waits for somebody else's approval."""

    model_config = ConfigDict(frozen=True)

    asks: str
    by: str
    reason: str
    clock: str | None = None
    more: str | None = None


class Responsibility(BaseModel):
    """Who answered for the ground when the case was filed; it moves only by a hand-over."""

    model_config = ConfigDict(frozen=True)

    tenure_id: int | None = None
    post: str | None = None
    unit: str | None = None


class CaseState(BaseModel):
    """All that a case is; equal to the replay of its log.

    Attributes
    ----------
    report_id, first_reported_at
        The first reporter's report.
    unit, level
        In whose queue the case is.
    handlers, checkers
        Who handled and who checked, ever; the two never meet.
    attempts
        Recorded attempts of the community.
    is_final
        A final ruling named the unit: it cannot return the case.
    paused
        When both clocks stood still.
    issued
        Acts of supervision, each with its cause.
    """

    model_config = ConfigDict(frozen=True)

    seq: int
    stage: Stage
    report_id: str
    first_reported_at: datetime
    kind: str
    event_type: str
    urgency: Urgency
    grid_code: str
    community_code: str
    town_code: str
    accepted_at: datetime
    serial: str | None = None
    filed_at: datetime | None = None
    dispatched_at: datetime | None = None
    closed_at: datetime | None = None
    unit: str | None = None
    level: CaseLevel | None = None
    responsible: Responsibility | None = None
    handlers: tuple[str, ...] = ()
    checkers: tuple[str, ...] = ()
    attempts: int = 0
    returns: int = 0
    reworks: int = 0
    is_final: bool = False
    is_photo_unproved: bool = False
    request: Request | None = None
    paused: tuple[tuple[datetime, datetime | None], ...] = ()
    step: CaseClock | None = None
    whole: CaseClock | None = None
    merged_into: str | None = None
    satisfaction: str | None = None
    issued: tuple[IssuedAct, ...] = ()

    @property
    def is_question(self) -> bool:
        """Whether an answer alone ends it (咨询)."""
        return self.kind == "咨询"

    @property
    def is_suspended(self) -> bool:
        """Whether its clocks stand still now (挂账)."""
        return self.stage.is_open and bool(self.paused) and self.paused[-1][1] is None

    @property
    def lights_at(self) -> ChangeInstants:
        """When the case's light changes: the earlier of its two clocks for each colour; none once it is closed."""
        clocks = [clock for clock in (self.step, self.whole) if clock is not None]
        return ChangeInstants(
            *(
                min((at for clock in clocks if (at := getattr(clock, name)) is not None), default=None)
                for name in ChangeInstants._fields
            )
        )

    @property
    def next_act_at(self) -> datetime | None:
        """When the next act of supervision falls due; None when none will."""
        return min((act.due_at for act in self._acts()), default=None)

    @property
    def is_untimed(self) -> bool:
        """Whether it was filed before acts of supervision were worked out, and still is at work."""
        return self.stage.is_open and any(clock is not None and clock.acts is None for clock in (self.step, self.whole))

    def due_acts(self, now: datetime) -> list[DueAct]:
        """The acts that have fallen due and were not issued yet, in the order they fell due."""
        order = list(Act)
        due = [act for act in self._acts() if act.due_at <= now]
        return sorted(due, key=lambda act: (act.due_at, order.index(act.issued.act), act.issued.clock))

    def _acts(self) -> Iterator[DueAct]:
        """The acts still to be issued; a run that is over, and a case that has ended, have none."""
        if not self.stage.is_open:
            return
        named = ((ClockName.STEP, self.step), (ClockName.WHOLE, self.whole))
        for name, clock in ((name, clock) for name, clock in named if clock is not None):
            for act, at in (clock.acts or {}).items():
                issued = IssuedAct(act=act, clock=name, started_at=clock.started_at)
                if at is not None and issued not in self.issued:
                    yield DueAct(at, issued)


class CaseEvent(BaseModel):
    """One step of a case: who did what, and what it changed.

    Attributes
    ----------
    unit
        In whose queue the case is after it.
    said
        What the person gave, and what was found out about it (a photo's distance, a point's neighbours).
    changed
        Every field of `CaseState` that the step changed, so that a log outlives the rules it was written under.
    """

    model_config = ConfigDict(frozen=True)

    seq: int
    at: datetime
    action: str
    who: str
    unit: str | None
    before: Stage | None
    after: Stage
    said: dict[str, Any]
    changed: dict[str, Any]


class BrokenLog(Conflict):
    """A log with a step missing, doubled or out of order."""


def replay(events: Iterable[CaseEvent]) -> CaseState:
    """The state that a whole log leads to.

    Raises
    ------
    BrokenLog
        An empty log, or one whose steps do not follow each other.
    """
    state = reduce(evolve, events, None)
    if state is None:
        raise BrokenLog("a case has at least the step of its acceptance; the log is empty")
    return state


def evolve(state: CaseState | None, event: CaseEvent) -> CaseState:
    """The state after one more event; raises `BrokenLog` for one that does not follow."""
    seq, stage = (state.seq, state.stage) if state else (0, None)
    if event.seq != seq + 1 or event.before != stage:
        raise BrokenLog(f"step {event.seq} from {event.before} cannot follow step {seq} at {stage}")
    before = state.model_dump(mode="json") if state else {}
    return CaseState.model_validate({**before, **event.changed, "seq": event.seq, "stage": event.after})


def event_between(
    before: CaseState | None, after: CaseState, *, action: str, who: str, at: datetime, said: dict[str, Any]
) -> CaseEvent:
    """The event that leads from one state to the next."""
    old = before.model_dump(mode="json") if before else {}
    new = after.model_dump(mode="json")
    return CaseEvent(
        seq=after.seq,
        at=at,
        action=action,
        who=who,
        unit=after.unit,
        before=before.stage if before else None,
        after=after.stage,
        said=said,
        changed={name: value for name, value in new.items() if name not in old or old[name] != value},
    )
