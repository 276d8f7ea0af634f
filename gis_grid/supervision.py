"""Supervision: the sweep that issues every act that has fallen due, and the notices of whom it told."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.case_deciding import decide
from gis_grid.case_facts import addressees, rules_at, set_of
from gis_grid.case_rules import Addressee, CaseRules, Facts
from gis_grid.case_side_steps import Issue, Retime
from gis_grid.case_state import CaseEvent, CaseState, DueAct
from gis_grid.case_steps import Step
from gis_grid.cases import Case, store_steps
from gis_grid.city import City
from gis_grid.database import By
from gis_grid.errors import GridError, NotFound
from gis_grid.notices import Notice, NoticeRead
from gis_grid.permissions import POWERS, Caller, Permission, ScopeKind
from gis_grid.situations import Situation, governing, situations
from gis_grid.supervision_acts import Act
from gis_grid.units import Unit, UnitKind, codes_below

AT_ONCE = 500
BY_SWEEP = By(who="gis-grid", channel="sweep")

log = logging.getLogger(__name__)
Taken = tuple[Case, CaseState, CaseEvent]


@dataclass(frozen=True)
class Swept:
    """What a sweep did.

    Attributes
    ----------
    issued
        How many acts.
    faults
        Why acts of a case could not be issued, by the case's name; the next sweep tries again.
    after
        Where the next call goes on; None when nothing is left.
    """

    issued: int
    faults: dict[str, str]
    after: tuple[datetime, int] | None


def sweep(
    session: Session, *, city: City, now: datetime, after: tuple[datetime, int] | None = None, at_once: int = AT_ONCE
) -> Swept:
    """Issue the acts that have fallen due in at most `at_once` cases, each once for its cause, dated `now`.

    Cases that somebody works on at this moment are left to the next sweep, so that any number of processes can sweep
    at once. After a stop each act that fell due meanwhile is issued, if its clock still runs, and says when it did.
    To be committed after each call: the cases stay locked until then.
    """
    key = sa.tuple_(Case.next_act_at, Case.id)
    query = sa.select(Case).where(Case.closed_at.is_(None), Case.next_act_at <= now)
    if after is not None:
        query = query.where(key > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    query = query.order_by(Case.next_act_at, Case.id).limit(at_once)
    query = query.with_for_update(of=Case, skip_locked=True).execution_options(populate_existing=True)
    cases = list(session.scalars(query))
    last = cases[-1] if len(cases) == at_once else None
    going_on = (last.next_act_at, last.id) if last is not None and last.next_act_at is not None else None
    known = _Known(session, city, now, {case.unit for case in cases if case.unit})
    taken: list[Taken] = []
    faults: dict[str, str] = {}
    for case in cases:
        try:
            taken += list(_acts_of(case, known))
        except GridError as error:
            faults[case.name] = str(error)
            log.warning("acts of case %s could not be issued: %s", case.name, error)
    if taken:
        store_steps(session, taken, by=BY_SWEEP)
    return Swept(sum(event.action == "supervise" for _, _, event in taken), faults, going_on)


def _acts_of(case: Case, known: "_Known") -> Iterator[Taken]:
    state = case.read_state()
    if state.is_untimed:
        facts = Facts(rules=known.rules(case, state, Retime(action="retime")))
        state, event = decide(state, Retime(action="retime"), who=BY_SWEEP.who, at=known.now, facts=facts)
        yield case, state, event
    for due in state.due_acts(known.now):
        step = _issue(due, state)
        facts = Facts(rules=known.rules(case, state, step), told=known.told(step.act, state.unit))
        state, event = decide(state, step, who=BY_SWEEP.who, at=known.now, facts=facts)
        yield case, state, event


def _issue(due: DueAct, state: CaseState) -> Issue:
    cause = due.issued
    limit = getattr(state, cause.clock).limit
    return Issue(
        action="supervise",
        act=cause.act,
        clock=cause.clock,
        started_at=cause.started_at,
        fell_due_at=due.due_at,
        text=f"{cause.act}: {cause.clock} clock of {limit}, stage {state.stage}",
    )


@dataclass
class _Known:
    """What many cases of one sweep are decided by alike, looked up once."""

    session: Session
    city: City
    now: datetime
    units: set[str]
    _situations: list[Situation] | None = None
    _rules: dict[tuple[str, str, str], CaseRules] = field(default_factory=dict)
    _told: dict[Act, dict[str, tuple[Addressee, ...]]] = field(default_factory=dict)

    def rules(self, case: Case, state: CaseState, step: Step) -> CaseRules:
        if self._situations is None:
            self._situations = situations(self.session)
        rule_set = set_of(governing(self._situations, case.ground, drill_id=case.drill_id, at=self.now))
        key = (state.event_type, state.urgency, rule_set)
        if key not in self._rules:
            self._rules[key] = rules_at(self.session, state, step, city=self.city, rule_set=rule_set, now=self.now)
        return self._rules[key]

    def told(self, act: Act, unit: str | None) -> tuple[Addressee, ...]:
        if act not in self._told:
            self._told[act] = addressees(self.session, act, self.units, now=self.now)
        return self._told[act].get(unit or "", ())


def find_notices(
    session: Session,
    caller: Caller,
    *,
    now: datetime,
    is_unread: bool = False,
    is_addressed: bool = False,
    before: int | None = None,
    limit: int = 100,
) -> list[tuple[Notice, Case, datetime | None]]:
    """Notices in a caller's scope, the newest first, each with its case and when the caller read it.

    Parameters
    ----------
    is_unread
        Only those that the caller has not read.
    is_addressed
        Only those that the caller is meant to read: for whose role counts everywhere, those told to the centre.
    before
        Only those with a lower id.
    """
    mine = (NoticeRead.notice_id == Notice.id) & (NoticeRead.who == caller.who)
    query = sa.select(Notice, Case, NoticeRead.at).join(Case, Case.id == Notice.case_id).outerjoin(NoticeRead, mine)
    query = query.where(_told_in_scope(caller, now=now, is_addressed=is_addressed))
    if is_unread:
        query = query.where(NoticeRead.at.is_(None))
    if before is not None:
        query = query.where(Notice.id < before)
    query = query.order_by(Notice.id.desc()).limit(limit)
    return [(notice, case, at) for notice, case, at in session.execute(query)]


def count_unread(session: Session, caller: Caller, *, now: datetime, most: int = 100) -> int:
    """How many notices a caller is meant to read and has not read; at `most` counting stops."""
    is_read = sa.exists().where(NoticeRead.notice_id == Notice.id, NoticeRead.who == caller.who)
    query = sa.select(Notice.id).join(Case, Case.id == Notice.case_id)
    query = query.where(~is_read, _told_in_scope(caller, now=now, is_addressed=True)).limit(most)
    return session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0


def the_notice(session: Session, notice_id: int, caller: Caller, *, now: datetime) -> Notice:
    """A notice in a caller's scope, or `NotFound`: what was told to others is not there."""
    query = sa.select(Notice).join(Case, Case.id == Notice.case_id)
    notice = session.scalar(query.where(Notice.id == notice_id, _told_in_scope(caller, now=now)))
    if notice is None:
        raise NotFound(f"there is no notice {notice_id} for {caller.who}")
    return notice


def _told_in_scope(caller: Caller, *, now: datetime, is_addressed: bool = False) -> sa.ColumnElement[bool]:
    """The condition that a notice told a unit of the caller's, or is of a case on the caller's ground."""
    root = sa.select(Unit.code).where(Unit.kind == UnitKind.CENTRE.value, Unit.valid.contains(now))
    conditions: list[sa.ColumnElement[bool]] = []
    for grant in caller.grants:
        if Permission.SEE_REPORT_DETAILS not in POWERS[grant.role]:
            continue
        code = grant.scope.code
        match grant.scope.kind:
            case ScopeKind.ALL if is_addressed:
                conditions.append(Notice.unit_code.in_(root))
            case ScopeKind.ALL:
                return sa.true()
            case ScopeKind.AREA:
                ground = (Case.grid_code, Case.community_code, Case.town_code, Case.district_code)
                conditions.append(sa.or_(*(column == code for column in ground)))
            case ScopeKind.UNIT:
                conditions.append(Notice.unit_code.in_(codes_below(code, at=now)))
    return sa.or_(sa.false(), *conditions)
