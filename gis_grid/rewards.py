"""Rewards for tip-offs (爆料奖励): the first reporter alone, of hazards alone, once verified; an append-only ledger."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from gis_grid.case_state import Stage
from gis_grid.case_steps import SamePerson
from gis_grid.cases import Case, lock_cases
from gis_grid.database import Base, By
from gis_grid.dated import one_of
from gis_grid.errors import Conflict, InvalidInput
from gis_grid.event_types import EventType
from gis_grid.informants import Informant
from gis_grid.reports import Report
from gis_grid.reward_rules import RewardRule, reward_rule


class RewardStep(StrEnum):
    """What becomes of a reward."""

    GRANTED = "granted"
    PAID = "paid"
    REFUSED = "refused"


class RewardEntry(Base):
    """One step of a case's reward; rows are only ever added, and the last one says how it stands.

    Attributes
    ----------
    report_id
        The first reporter's report, that of a case merged into this one where it was earlier.
    amount_yuan, rule_id
        By the rule in force when that report came in.
    """

    __tablename__ = "reward_entries"

    case_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(Case.id), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), index=True)
    step: Mapped[str]
    amount_yuan: Mapped[Decimal] = mapped_column(sa.Numeric)
    rule_id: Mapped[int] = mapped_column(sa.ForeignKey(RewardRule.id))
    at: Mapped[datetime]
    who: Mapped[str]
    reason: Mapped[str]
    channel: Mapped[str]
    request_id: Mapped[str]

    __table_args__ = (sa.CheckConstraint(one_of("step", RewardStep), name="step"),)


class NotRewarded(Conflict):
    """A case that gets no reward; the message says why."""


class RewardSettled(Conflict):
    """The step does not follow from how the reward stands."""


@dataclass(frozen=True)
class Candidate:
    """A case whose first reporter is to be rewarded, and by which rule."""

    case: Case
    rule: RewardRule


def candidates(session: Session, *, limit: int = 200) -> list[Candidate]:
    """Cases that a reward can be granted for, those closed first before the others."""
    query = (
        _tipped_off()
        .where(
            Case.stage == Stage.CLOSED.value,
            sa.func.jsonb_array_length(Case.state["checkers"]) > 0,
            ~sa.exists().where(RewardEntry.case_id == Case.id),
        )
        .order_by(Case.closed_at, Case.id)
        .limit(limit)
    )
    return [Candidate(case, _rule_for(session, case)) for case in session.scalars(query)]


def unverified(session: Session, *, limit: int = 200) -> list[Case]:
    """Open cases that would be rewarded once somebody has checked them and they are closed, the oldest first."""
    query = _tipped_off().where(Case.closed_at.is_(None)).order_by(Case.accepted_at, Case.id)
    return list(session.scalars(query.limit(limit)))


def _tipped_off() -> sa.Select[Case]:
    """Cases, no drills, whose first reporter is sealed and whose type was to be rewarded when it was reported."""
    kind = aliased(EventType)
    has_rule = sa.exists().where(
        RewardRule.event_type.in_([kind.code, kind.parent_code]), RewardRule.valid.contains(Report.received_at)
    )
    return (
        sa.select(Case)
        .join(Report, Report.id == Case.report_id)
        .join(Informant, Informant.report_id == Case.report_id)
        .join(kind, kind.code == Case.event_type)
        .where(Case.drill_id.is_(None), has_rule)
    )


def unpaid(session: Session) -> list[tuple[RewardEntry, Case]]:
    """The grants that were neither paid nor refused since, the oldest first."""
    later = aliased(RewardEntry)
    query = (
        sa.select(RewardEntry, Case)
        .join(Case, Case.id == RewardEntry.case_id)
        .where(
            RewardEntry.step == RewardStep.GRANTED.value,
            ~sa.exists().where(later.case_id == RewardEntry.case_id, later.seq > RewardEntry.seq),
        )
        .order_by(RewardEntry.at, RewardEntry.case_id)
    )
    return [(entry, case) for entry, case in session.execute(query)]


def entries_of(session: Session, case: Case) -> list[RewardEntry]:
    """A case's part of the ledger, in order."""
    return list(session.scalars(sa.select(RewardEntry).where(RewardEntry.case_id == case.id).order_by(RewardEntry.seq)))


def ledger(session: Session, *, limit: int = 1000) -> list[tuple[RewardEntry, Case]]:
    """The entries of all cases, the latest first."""
    query = sa.select(RewardEntry, Case).join(Case, Case.id == RewardEntry.case_id)
    query = query.order_by(RewardEntry.at.desc(), RewardEntry.case_id.desc(), RewardEntry.seq.desc()).limit(limit)
    return [(entry, case) for entry, case in session.execute(query)]


def settle(session: Session, name: str, step: RewardStep, *, reason: str, by: By, now: datetime) -> RewardEntry:
    """Grant, pay or refuse the reward of a case; who grants does not pay.

    Raises
    ------
    NotFound
        No such case.
    NotRewarded
        Not a hazard, not verified, a drill, or nobody's who could be paid.
    RewardSettled, SamePerson
        The step does not follow, or not by them.
    """
    if not reason.strip():
        raise InvalidInput("reason: is empty", fields=("reason",))
    (case,) = lock_cases(session, [name])
    known = entries_of(session, case)
    _check_order(case, known, step, by)
    rule = _rule_for(session, case)
    entry = RewardEntry(
        case_id=case.id,
        seq=len(known) + 1,
        report_id=known[0].report_id if known else case.report_id,
        step=step.value,
        amount_yuan=known[0].amount_yuan if known else rule.amount_yuan,
        rule_id=known[0].rule_id if known else rule.id,
        at=now,
        who=by.who,
        reason=reason.strip(),
        channel=by.channel,
        request_id=by.request_id,
    )
    session.add(entry)
    session.flush()
    return entry


def _check_order(case: Case, known: Sequence[RewardEntry], step: RewardStep, by: By) -> None:
    last = RewardStep(known[-1].step) if known else None
    first = RewardStep.GRANTED if last is None else RewardStep.PAID
    if last not in {None, RewardStep.GRANTED} or step not in {first, RewardStep.REFUSED}:
        stands = f"is {last.value} already" if last else "is not granted yet"
        raise RewardSettled(f"the reward of case {case.name} {stands}: {step.value} does not follow")
    if step is RewardStep.PAID and known[-1].who == by.who:
        raise SamePerson(f"{by.who} granted this reward, and who grants does not pay")


def _rule_for(session: Session, case: Case) -> RewardRule:
    """The rule that a case is rewarded by, or `NotRewarded` with why it is not."""
    name = f"case {case.name}"
    if case.is_drill:
        raise NotRewarded(f"{name} is a drill: it is not rewarded")
    if case.stage != Stage.CLOSED:
        raise NotRewarded(f"{name} is {case.stage}: a reward follows only when it is closed")
    if not case.read_state().checkers:
        raise NotRewarded(f"{name} was closed without a check on the ground: it is not verified")
    rule = reward_rule(session, case.event_type, at=case.report.received_at)
    if rule is None:
        raise NotRewarded(f"{name} is of type {case.event_type}, which no reward rule named when it was reported")
    if session.get(Informant, case.report_id) is None:
        raise NotRewarded(f"{name}: whoever reported it first left no sealed name, so nobody can be paid")
    return rule
