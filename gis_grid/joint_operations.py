"""Joint operations (“2+X”联动执法): two bodies lead, others join, over one case or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from gis_grid.case_numbers import joint_leads
from gis_grid.case_side_steps import JoinOperation, LeaveOperation
from gis_grid.cases import Case, log_step
from gis_grid.city import City
from gis_grid.database import Base, By
from gis_grid.errors import Conflict, InvalidInput, NotFound
from gis_grid.units import Unit, UnitKind, enforcement_body, find_units, units_at

MOST_CASES, MOST_UNITS = 100, 30


class JointOperation(Base):
    """A planned operation; what its units do in it stands in the logs of its cases."""

    __tablename__ = "joint_operations"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    title: Mapped[str]
    reason: Mapped[str]
    planned_at: Mapped[datetime]
    planned_by: Mapped[str]
    starts_at: Mapped[datetime]

    units: Mapped[list["JointUnit"]] = relationship(order_by="JointUnit.unit_code", lazy="selectin")
    cases: Mapped[list["JointCase"]] = relationship(order_by="JointCase.case_id", lazy="selectin")
    cancellation: Mapped["JointCancellation | None"] = relationship(lazy="selectin")

    __table_args__ = (
        sa.CheckConstraint("starts_at >= planned_at", name="starts_at"),
        sa.Index("ix_joint_operations_starts_at", "starts_at", "id"),
    )

    @property
    def lead_time(self) -> timedelta:
        """How long it took from planning to beginning."""
        return self.starts_at - self.planned_at


class JointUnit(Base):
    """A unit that takes part, and the body it leads for; None for those that join."""

    __tablename__ = "joint_units"

    operation_id: Mapped[int] = mapped_column(sa.ForeignKey(JointOperation.id), primary_key=True)
    unit_code: Mapped[str] = mapped_column(primary_key=True)
    leads_for: Mapped[str | None]


class JointCase(Base):
    """A case that an operation is about."""

    __tablename__ = "joint_cases"

    operation_id: Mapped[int] = mapped_column(sa.ForeignKey(JointOperation.id), primary_key=True)
    case_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(Case.id), primary_key=True, index=True)

    case: Mapped[Case] = relationship(lazy="joined")


class JointCancellation(Base):
    """That an operation was called off before it began, and why; rows are only ever added."""

    __tablename__ = "joint_cancellations"

    operation_id: Mapped[int] = mapped_column(sa.ForeignKey(JointOperation.id), primary_key=True)
    reason: Mapped[str]
    cancelled_at: Mapped[datetime]
    cancelled_by: Mapped[str]

    __table_args__ = (sa.CheckConstraint("btrim(reason) <> ''", name="reason"),)


class LeadMissing(InvalidInput):
    """A joint operation without one of the bodies that must lead it."""


class CannotBeCancelled(Conflict):
    """The operation has begun, or was called off already."""


@dataclass(frozen=True)
class NewOperation:
    """An operation as somebody plans it."""

    title: str
    reason: str
    units: Sequence[str]
    starts_at: datetime


def plan_operation(
    session: Session, cases: Sequence[Case], new: NewOperation, *, city: City, photos: Path, by: By, now: datetime
) -> JointOperation:
    """A new operation over cases that are locked; each has it in its log.

    Raises
    ------
    LeadMissing
        Naming the bodies (城管, 派出所) for which no unit takes part.
    InvalidInput
        No case, a case twice, a unit that is not there, or a beginning in the past.
    IllegalStep, Suspended
        A case that is not at work.
    """
    if not 1 <= len(cases) <= MOST_CASES or len({case.id for case in cases}) != len(cases):
        raise InvalidInput(f"cases: 1 to {MOST_CASES} different cases", fields=("cases",))
    if new.starts_at < now:
        raise InvalidInput(f"starts_at: {new.starts_at.isoformat()} is past", fields=("starts_at",))
    leads = _leads(session, new.units, now=now)
    operation = JointOperation(
        title=new.title, reason=new.reason, planned_at=now, planned_by=by.who, starts_at=new.starts_at
    )
    session.add(operation)
    session.flush()
    operation.units = [JointUnit(operation_id=operation.id, unit_code=code, leads_for=body) for code, body in leads]
    operation.cases = [JointCase(operation_id=operation.id, case_id=case.id) for case in cases]
    step = JoinOperation(
        action="join_operation", operation=operation.id, title=new.title, units=tuple(code for code, _ in leads)
    )
    for case in cases:
        log_step(session, [case], step, city=city, photos=photos, by=by, now=now)
    return operation


def cancel_operation(
    session: Session,
    operation: JointOperation,
    cases: Sequence[Case],
    *,
    reason: str,
    city: City,
    photos: Path,
    by: By,
    now: datetime,
) -> JointCancellation:
    """Call off an operation that has not begun; its cases, which are locked, have that in their logs.

    Raises
    ------
    InvalidInput
        No reason.
    CannotBeCancelled
        See there.
    """
    if not reason.strip():
        raise InvalidInput("reason: is empty", fields=("reason",))
    session.refresh(operation, ["cancellation"])  # who came first has it by now: its cases are locked
    if (known := operation.cancellation) is not None:
        raise CannotBeCancelled(f"joint operation {operation.id} was called off by {known.cancelled_by} already")
    if operation.starts_at <= now:
        raise CannotBeCancelled(f"joint operation {operation.id} began at {operation.starts_at.isoformat()}")
    operation.cancellation = JointCancellation(reason=reason.strip(), cancelled_at=now, cancelled_by=by.who)
    session.flush()
    step = LeaveOperation(
        action="leave_operation", operation=operation.id, title=operation.title, reason=operation.cancellation.reason
    )
    for case in cases:
        log_step(session, [case], step, city=city, photos=photos, by=by, now=now)
    return operation.cancellation


def _leads(session: Session, codes: Sequence[str], *, now: datetime) -> list[tuple[str, str | None]]:
    if not 1 <= len(codes) <= MOST_UNITS:
        raise InvalidInput(f"units: 1 to {MOST_UNITS} units", fields=("units",))
    there = find_units(session, codes, at=now)
    unknown = sorted(set(codes) - there.keys())
    if unknown:
        raise InvalidInput(f"units: no such units: {', '.join(unknown)}", fields=("units",))
    bodies = joint_leads(session, at=now)
    leads = [(code, _leads_for(session, unit, bodies, now=now)) for code, unit in sorted(there.items())]
    missing = find_units(session, set(bodies) - {body for _, body in leads}, at=now)
    if missing:
        named = ", ".join(f"{unit.name} ({code})" for code, unit in sorted(missing.items()))
        raise LeadMissing(
            f"units: a joint operation is led together; no unit takes part that enforces as {named}",
            fields=("units",),
        )
    return leads


@dataclass(frozen=True)
class Choice:
    """A unit that can take part, and the name of the body that it would lead for; None for those that join."""

    unit: Unit
    leads_for: str | None


def units_to_choose(session: Session, town_code: str, *, at: datetime) -> list[Choice]:
    """The units that could take part in a town, those that lead first: its teams and stations, then departments."""
    bodies = find_units(session, joint_leads(session, at=at), at=at)
    near = units_at(session, at=at, kinds=(UnitKind.TEAM, UnitKind.STATION, UnitKind.SQUAD), area_code=town_code)
    wide = units_at(session, at=at, kinds=(UnitKind.DEPARTMENT,))
    found = []
    for unit in (*near, *wide):
        body = bodies.get(_enforces_as(unit))
        found.append(Choice(unit, body.name if body else None))
    return sorted(found, key=lambda one: one.leads_for is None or one.unit.area_code is None)


def _enforces_as(unit: Unit) -> str:
    return unit.enforces_as or unit.code


def _leads_for(session: Session, unit: Unit, bodies: Sequence[str], *, now: datetime) -> str | None:
    body = enforcement_body(session, unit, at=now).code
    return body if body in bodies else None


def the_operation(session: Session, operation_id: int) -> JointOperation:
    """The operation with this number, or `NotFound`."""
    operation = session.get(JointOperation, operation_id)
    if operation is None:
        raise NotFound(f"there is no joint operation {operation_id}")
    return operation


def operations_of(session: Session, case: Case) -> list[JointOperation]:
    """The operations that a case is part of, the first planned first."""
    query = sa.select(JointOperation).join(JointCase).where(JointCase.case_id == case.id)
    return list(session.scalars(query.order_by(JointOperation.id)))


def operations(session: Session, *, limit: int) -> list[JointOperation]:
    """Operations, the latest beginning first."""
    query = sa.select(JointOperation).order_by(JointOperation.starts_at.desc(), JointOperation.id.desc())
    return list(session.scalars(query.limit(limit)))
