"""Cases as they are stored: the state of each, the log it is rebuilt from, and the steps that change both at once."""

import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

from gis_grid.case_deciding import AnyStep, accept, decide
from gis_grid.case_facts import facts_for
from gis_grid.case_side_steps import Absorb, Merge
from gis_grid.case_state import CaseEvent, CaseLevel, CaseState, Stage, replay
from gis_grid.case_steps import Step
from gis_grid.city import City
from gis_grid.database import TELLS_WEBHOOK, Base, By, sql
from gis_grid.dated import one_of
from gis_grid.errors import Conflict, NotFound
from gis_grid.event_types import EventType
from gis_grid.exchange import ExchangeMessage, MessageKind, act_content, message_row, tell_back
from gis_grid.exchange_peers import WEBHOOK
from gis_grid.instants import LAST
from gis_grid.notices import Notice, notice_rows
from gis_grid.reports import Report, the_report
from gis_grid.routing import Urgency
from gis_grid.situations import Situation
from gis_grid.territory import Grid, ground_of

CHANNEL = "gis_grid_cases"
NEVER_DUE = LAST - timedelta(microseconds=1)  # sorts a case without a running clock behind all others


class Case(Base):
    """A case as it is now; every column but the first five follows from `state`.

    Attributes
    ----------
    opening_report_id
        The report that it was accepted for; after a merge `report_id` may be an earlier one.
    due_at
        When the first of its two clocks runs out; the year 2101 while none runs.
    yellow_at, orange_at, red_at
        When its light changes: the earlier of its two clocks.
    next_act_at
        When its next act of supervision falls due.
    state
        `CaseState` as JSON; equal to the replay of `case_events`.
    """

    __tablename__ = "cases"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    opening_report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), unique=True)
    grid_id: Mapped[int] = mapped_column(sa.ForeignKey(Grid.id), index=True)
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    drill_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Situation.id))
    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), index=True)
    serial: Mapped[str | None] = mapped_column(unique=True)
    seq: Mapped[int]
    stage: Mapped[str]
    kind: Mapped[str]
    event_type: Mapped[str] = mapped_column(sa.ForeignKey(EventType.code))
    urgency: Mapped[str]
    grid_code: Mapped[str]
    community_code: Mapped[str]
    town_code: Mapped[str]
    district_code: Mapped[str]
    unit: Mapped[str | None]
    level: Mapped[str | None]
    accepted_at: Mapped[datetime]
    filed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    yellow_at: Mapped[datetime | None]
    orange_at: Mapped[datetime | None]
    red_at: Mapped[datetime | None]
    next_act_at: Mapped[datetime | None]
    state: Mapped[dict[str, Any]]

    report: Mapped[Report] = relationship(foreign_keys=[report_id])
    grid: Mapped[Grid] = relationship()

    # What is open is a small and steady part of all cases: each of these holds that part alone.
    __table_args__ = (
        sa.Index("ix_cases_open", "due_at", "id", postgresql_where=sa.text("closed_at is null")),
        sa.Index(
            "ix_cases_open_grid",
            "grid_code",
            "due_at",
            "id",
            postgresql_where=sa.text("closed_at is null"),
            postgresql_include=["filed_at", "yellow_at", "orange_at", "red_at", "drill_id"],
        ),
        sa.Index("ix_cases_drill_id", "drill_id", postgresql_where=sa.text("drill_id is not null")),
        *(
            sa.Index(f"ix_cases_open_{name}", column, "due_at", "id", postgresql_where=sa.text("closed_at is null"))
            for name, column in (("community", "community_code"), ("town", "town_code"), ("unit", "unit"))
        ),
        sa.Index("ix_cases_next_act", "next_act_at", "id", postgresql_where=sa.text("closed_at is null")),
        sa.Index("ix_cases_accepted_at", "accepted_at", "id"),
        sa.Index("ix_cases_grid_accepted_at", "grid_code", "accepted_at", "id"),
        sa.CheckConstraint(one_of("stage", Stage), name="stage"),
        sa.CheckConstraint(one_of("urgency", Urgency), name="urgency"),
        sa.CheckConstraint(one_of("level", CaseLevel), name="level"),
        sa.CheckConstraint("(closed_at is null) = (stage not in ('closed', 'merged', 'void'))", name="closed"),
        sa.CheckConstraint("(serial is null) = (filed_at is null)", name="serial"),
    )

    @property
    def name(self) -> str:
        """The serial number, or what stands for it before there is one."""
        return self.serial or str(self.id)

    @property
    def is_drill(self) -> bool:
        """Whether it is only practised: shown as such everywhere, and counted nowhere."""
        return self.drill_id is not None

    @property
    def ground(self) -> tuple[str, ...]:
        """Codes of its grid, community, town and district, lowest first."""
        return self.grid_code, self.community_code, self.town_code, self.district_code

    def read_state(self) -> CaseState:
        """The state as an object."""
        return CaseState.model_validate(self.state)

    def write_state(self, state: CaseState) -> None:
        """Let every column follow a state."""
        lights = state.lights_at
        self.state = state.model_dump(mode="json")
        self.report_id = uuid.UUID(state.report_id)
        self.serial, self.seq, self.stage = state.serial, state.seq, state.stage.value
        self.kind, self.event_type, self.urgency = state.kind, state.event_type, state.urgency.value
        self.grid_code, self.community_code, self.town_code = state.grid_code, state.community_code, state.town_code
        self.unit, self.level = state.unit, state.level.value if state.level else None
        self.accepted_at, self.filed_at, self.closed_at = state.accepted_at, state.filed_at, state.closed_at
        self.yellow_at, self.orange_at, self.red_at = lights
        self.due_at = lights.red_at or NEVER_DUE
        self.next_act_at = state.next_act_at


class CaseLogEntry(Base):
    """One step of one case; rows are only ever added."""

    __tablename__ = "case_events"

    case_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(Case.id), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    action: Mapped[str]
    who: Mapped[str]
    unit: Mapped[str | None]
    before: Mapped[str | None]
    after: Mapped[str]
    said: Mapped[dict[str, Any]]
    changed: Mapped[dict[str, Any]]
    channel: Mapped[str]
    request_id: Mapped[str]

    # By due time as it is written, so that the runs of clocks that ran out in a period are found without the others.
    __table_args__ = (
        sa.Index("ix_case_events_at", "at", postgresql_using="brin"),
        *(
            sa.Index(
                f"ix_case_events_{clock}_due",
                sa.text(f"((changed -> '{clock}'::text) ->> 'red_at'::text)"),
                postgresql_where=sa.text(f"((changed -> '{clock}'::text) ->> 'red_at'::text) is not null"),
            )
            for clock in ("step", "whole")
        ),
    )

    @property
    def event(self) -> CaseEvent:
        """The step as the pure rules know it."""
        return CaseEvent(
            seq=self.seq,
            at=self.at,
            action=self.action,
            who=self.who,
            unit=self.unit,
            before=Stage(self.before) if self.before else None,
            after=Stage(self.after),
            said=self.said,
            changed=self.changed,
        )


class CaseSerial(Base):
    """The last serial number of a day."""

    __tablename__ = "case_serials"

    day: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[int]

    __table_args__ = (sa.CheckConstraint("last between 1 and 99999", name="last"),)


class LiesInNoGrid(Conflict):
    """A report has to be placed before it can become a case."""


class AcceptedAlready(Conflict):
    """The report is a case already."""


class DrillAndReal(Conflict):
    """What is practised and what is real are never merged."""


class Superseded(Conflict):
    """Somebody else took a step on the case since the asker last saw it."""


def accept_report(
    session: Session, report_id: uuid.UUID, *, urgency: Urgency = Urgency.NORMAL, by: By, now: datetime
) -> Case:
    """受理: the case of a report, new and without a serial number yet.

    Raises
    ------
    NotFound
        No such report.
    LiesInNoGrid, AcceptedAlready
        It cannot become a case, or is one.
    """
    report = the_report(session, report_id, for_update=True)
    if report.grid is None:
        raise LiesInNoGrid(f"report {report_id} lies in no grid; place it by hand first")
    known = session.scalar(sa.select(Case).where(Case.opening_report_id == report_id))
    if known is not None:
        raise AcceptedAlready(f"report {report_id} is case {known.name} already")
    ground = ground_of(report.grid)
    event = accept(
        report_id=str(report.id),
        reported_at=report.received_at,
        kind=report.kind,
        event_type=report.event_type,
        urgency=urgency,
        grid_code=ground[0],
        community_code=ground[1],
        town_code=ground[2],
        who=by.who,
        at=now,
    )
    case = Case(
        opening_report_id=report.id,
        grid_id=report.grid.id,
        district_code=ground[-1],
        is_synthetic=report.is_synthetic,
        drill_id=report.drill_id,
    )
    store_steps(session, [(case, replay([event]), event)], by=by)
    return case


def lock_cases(session: Session, names: Iterable[str]) -> list[Case]:
    """The cases with these serial numbers or ids, in the order asked, locked until the transaction ends.

    They are locked in one order, so that two that merge crosswise wait for each other instead of failing.

    Raises
    ------
    NotFound
        Naming the first that there is not.
    """
    names = list(names)
    query = sa.select(Case).where(_is_named(names)).order_by(Case.id).with_for_update(of=Case)
    query = query.options(joinedload(Case.report)).execution_options(populate_existing=True)
    found: dict[str, Case] = {}
    for case in session.scalars(query):
        found[str(case.id)] = case
        if case.serial is not None:
            found[case.serial] = case
    missing = next((name for name in names if name not in found), None)
    if missing is not None:
        raise NotFound(f"there is no case {missing[:40]}")
    return [found[name] for name in names]


def the_case(session: Session, name: str) -> Case:
    """The case with this serial number or id, or `NotFound`."""
    case = session.scalar(sa.select(Case).where(_is_named([name])))
    if case is None:
        raise NotFound(f"there is no case {name[:40]}")
    return case


def _is_named(names: Sequence[str]) -> sa.ColumnElement[bool]:
    ids = [int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name)]
    return sa.or_(Case.id.in_(ids), Case.serial.in_(names))


def needed_cases(name: str, step: Step) -> list[str]:
    """Names of the cases that a step on this one changes: to be locked together."""
    return [name, step.into] if isinstance(step, Merge) else [name]


def take_step(
    session: Session,
    cases: Sequence[Case],
    step: AnyStep,
    *,
    city: City,
    photos: Path,
    by: By,
    now: datetime,
) -> CaseEvent:
    """Take a step on the first of some locked cases (`lock_cases` of `needed_cases`), and log it.

    Of several who act on one case at once, one is first; whoever names `expected_seq` is told when it was not them.

    Raises
    ------
    Superseded
        The case has gone on since `expected_seq`.
    GridError
        What `case_deciding.decide` and `case_facts.facts_for` refuse; nothing is changed then.
    """
    case = cases[0]
    if step.expected_seq is not None and step.expected_seq != case.seq:
        last = session.get_one(CaseLogEntry, (case.id, case.seq))
        raise Superseded(
            f"case {case.name} has gone on: step {case.seq}, {last.action} by {last.who} at {last.at.isoformat()}; "
            f"you saw step {step.expected_seq}"
        )
    if any(other.drill_id != case.drill_id for other in cases[1:]):
        raise DrillAndReal(f"case {case.name} and {cases[1].name} are not of one drill: they are not merged")
    event = log_step(session, cases, step, city=city, photos=photos, by=by, now=now)
    tell_back(session, case.id, case.name, event, now=now)
    if isinstance(step, Merge):
        state = case.read_state()
        absorb = Absorb(
            action="absorb",
            merged=case.name,
            report_id=state.report_id,
            first_reported_at=state.first_reported_at,
        )
        log_step(session, cases[1:], absorb, city=city, photos=photos, by=by, now=now)
    return event


def log_step(
    session: Session, cases: Sequence[Case], step: Step, *, city: City, photos: Path, by: By, now: datetime
) -> CaseEvent:
    """Decide on a step of the first of some locked cases and log it; for steps that the program itself takes too."""
    case, others = cases[0], cases[1:]
    state = case.read_state()
    other = others[0].read_state() if others else None
    facts = facts_for(session, state, step, case.report, case.grid, other=other, city=city, photos=photos, now=now)
    after, event = decide(state, step, who=by.who, at=now, facts=facts)
    store_steps(session, [(case, after, event)], by=by)
    return event


def store_steps(session: Session, steps: Sequence[tuple[Case, CaseState, CaseEvent]], *, by: By) -> None:
    """Write states and the events that led to them, and tell whoever listens once the transaction is committed.

    Several steps of one case come in their order. Whoever a step tells gets a notice in the same transaction.
    """
    for case, state, _ in steps:
        case.write_state(state)
        session.add(case)
    session.flush()
    # With nulls left out, as the ORM would, rows that differ in them go to the server one by one.
    whole_rows = {"render_nulls": True}
    entries = [_log_row(case.id, event, by) for case, _, event in steps]
    session.execute(sa.insert(CaseLogEntry), entries, execution_options=whole_rows)
    notices = [row for case, _, event in steps for row in notice_rows(case.id, event)]
    if notices:
        session.execute(sa.insert(Notice), notices, execution_options=whole_rows)
    if session.info.get(TELLS_WEBHOOK):
        _tell_webhook(session, steps)
    session.execute(sql("notify_cases"), {"channel": CHANNEL, "case_ids": sorted({case.id for case, _, _ in steps})})


def _tell_webhook(session: Session, steps: Sequence[tuple[Case, CaseState, CaseEvent]]) -> None:
    rows = [
        message_row(
            WEBHOOK,
            MessageKind.ACT,
            act_content(case.name, event, is_synthetic=case.is_synthetic, is_drill=case.is_drill),
            now=event.at,
            case_id=case.id,
        )
        for case, _, event in steps
        if event.action == "supervise"
    ]
    if rows:
        session.execute(sa.insert(ExchangeMessage), rows)


def _log_row(case_id: int, event: CaseEvent, by: By) -> dict[str, Any]:
    return {
        "case_id": case_id,
        **event.model_dump(exclude={"before", "after"}),
        "before": event.before.value if event.before else None,
        "after": event.after.value,
        "channel": by.channel,
        "request_id": by.request_id,
    }


def log_of(session: Session, case: Case) -> list[CaseLogEntry]:
    """Every step of a case, in order."""
    return list(session.scalars(sa.select(CaseLogEntry).where(CaseLogEntry.case_id == case.id).order_by("seq")))


def is_rebuilt_by_its_log(session: Session, case: Case) -> bool:
    """Whether a case is, to the last field, what the replay of its log gives."""
    return replay(entry.event for entry in log_of(session, case)) == case.read_state()
