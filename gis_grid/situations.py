"""Emergencies (应急) and drills (演练): events over an area, begun and ended by somebody, with rules of their own."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSTZRANGE, Range
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, By, Change, change
from gis_grid.dated import one_at_a_time, one_of
from gis_grid.errors import Conflict, InvalidInput, NotFound
from gis_grid.territory import the_area

STARTING = 1014  # advisory lock: one begins at a time
ROUTINE = ""
EMERGENCY_SET = "emergency"


class SituationKind(StrEnum):
    """What a situation is."""

    EMERGENCY = "emergency"
    DRILL = "drill"


class Situation(Base):
    """An emergency or a drill over an area, from when to when; what it was is never changed, it only ends.

    Attributes
    ----------
    rule_set
        The set of routing rules and limits that goes before the routine one: for all that lies in the area during an
        emergency, for its own reports alone in a drill. None for a drill by routine rules.
    """

    __tablename__ = "situations"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    area_code: Mapped[str]
    reason: Mapped[str]
    rule_set: Mapped[str | None]
    valid: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)
    started_by: Mapped[str]
    ended_by: Mapped[str | None]
    end_reason: Mapped[str | None]

    __table_args__ = (
        one_at_a_time("situations", "kind", "area_code"),
        sa.CheckConstraint(one_of("kind", SituationKind), name="kind"),
        sa.CheckConstraint("upper_inf(valid) = (ended_by is null)", name="ended"),
        sa.CheckConstraint("kind = 'drill' or rule_set is not null", name="rule_set"),
    )

    @property
    def is_drill(self) -> bool:
        """Whether it is only practised."""
        return self.kind == SituationKind.DRILL

    @property
    def since(self) -> datetime:
        """When it began."""
        if self.valid.lower is None:
            raise Conflict(f"situation {self.id} has no beginning")
        return self.valid.lower

    def is_on(self, at: datetime) -> bool:
        """Whether it is going on at a time."""
        return self.since <= at and (self.valid.upper is None or at < self.valid.upper)


class AlreadyOn(Conflict):
    """The area has an emergency, or a drill, already."""


class NotOn(Conflict):
    """The situation is over."""


def situations(session: Session, *, at: datetime | None = None) -> list[Situation]:
    """All situations, or those that are going on at a time; the latest first."""
    query = sa.select(Situation).order_by(sa.func.lower(Situation.valid).desc(), Situation.id.desc())
    return list(session.scalars(query if at is None else query.where(Situation.valid.contains(at))))


def the_situation(session: Session, situation_id: int, *, for_update: bool = False) -> Situation:
    """The situation with this id, or `NotFound`."""
    query = sa.select(Situation).where(Situation.id == situation_id)
    found = session.scalar(query.with_for_update() if for_update else query)
    if found is None:
        raise NotFound(f"there is no emergency or drill {situation_id}")
    return found


def start_situation(
    session: Session,
    kind: SituationKind,
    name: str,
    area_code: str,
    *,
    reason: str,
    rule_set: str | None = None,
    by: By,
    now: datetime,
) -> Situation:
    """Begin an emergency or a drill over an area; an emergency without a rule set takes `emergency`.

    Raises
    ------
    NotFound
        No such area in the layer in force.
    InvalidInput
        No name or reason, or no rule is loaded for that set.
    AlreadyOn
        The same area has one of that kind already.
    """
    for field, text in (("name", name), ("reason", reason)):
        if not text.strip():
            raise InvalidInput(f"{field}: is empty", fields=(field,))
    area = the_area(session, area_code, at=now)
    if kind is SituationKind.EMERGENCY and rule_set is None:
        rule_set = EMERGENCY_SET
    if rule_set is not None and not _has_rules(session, rule_set, now):
        raise InvalidInput(
            f"rule_set: no rule of a set {rule_set!r} is in force: there is no routing.{rule_set}.csv",
            fields=("rule_set",),
        )
    # One at a time begins or ends: who comes second is told, not failed by the constraint.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(STARTING)))
    on = [one for one in situations(session, at=now) if (one.kind, one.area_code) == (kind.value, area.code)]
    if on:
        raise AlreadyOn(f"{on[0].kind} {on[0].id} ({on[0].name}) is on in {area.code} since {on[0].since.isoformat()}")
    begun = Situation(
        kind=kind.value,
        name=name.strip(),
        area_code=area.code,
        reason=reason.strip(),
        rule_set=rule_set,
        valid=Range(now, None),
        started_by=by.who,
    )
    session.add(begun)
    session.flush()
    after = {"kind": kind.value, "name": begun.name, "area": area.code, "rule_set": rule_set, "reason": begun.reason}
    session.execute(sa.insert(Change), [change("situation", str(begun.id), by=by, at=now, after=after)])
    return begun


def _has_rules(session: Session, rule_set: str, at: datetime) -> bool:
    tables = (Base.metadata.tables[name] for name in ("routing_rules", "limits"))
    found = (sa.exists().where(table.c.rule_set == rule_set, table.c.valid.contains(at)) for table in tables)
    return bool(session.scalar(sa.select(sa.or_(*found))))


def end_situation(session: Session, situation_id: int, *, reason: str, by: By, now: datetime) -> Situation:
    """End an emergency or a drill; what was done in it stays as it was decided.

    Raises
    ------
    NotFound, NotOn
        There is none, or it is over.
    InvalidInput
        No reason.
    """
    if not reason.strip():
        raise InvalidInput("reason: is empty", fields=("reason",))
    found = the_situation(session, situation_id, for_update=True)
    if found.ended_by is not None or now <= found.since:
        why = f"was ended by {found.ended_by}" if found.ended_by else "has only just begun"
        raise NotOn(f"{found.kind} {found.id} ({found.name}) {why}: it cannot be ended now")
    found.valid, found.ended_by, found.end_reason = Range(found.since, now), by.who, reason.strip()
    after = {"ended_at": now.isoformat(), "reason": found.end_reason}
    session.execute(sa.insert(Change), [change("situation", str(found.id), by=by, at=now, after=after)])
    session.flush()
    return found


def governing(
    known: Iterable[Situation], ground: Sequence[str], *, drill_id: int | None, at: datetime
) -> Situation | None:
    """The situation whose rules hold for something; None in routine.

    A drill's own, if it names a rule set; for all else the emergency of the smallest area that holds it, the latest
    where two have the same.

    Parameters
    ----------
    ground
        Codes of the thing's grid, community, town and district, lowest first.
    """
    if drill_id is not None:
        return next((one for one in known if one.id == drill_id and one.rule_set), None)
    on = [one for one in known if not one.is_drill and one.area_code in ground and one.is_on(at)]
    return min(on, key=lambda one: (ground.index(one.area_code), -one.since.timestamp()), default=None)


def situation_of(session: Session, ground: Sequence[str], *, drill_id: int | None, at: datetime) -> Situation | None:
    """`governing` among what is stored."""
    return governing(situations(session), ground, drill_id=drill_id, at=at)


def the_drill(session: Session, drill_id: int, ground: Collection[str], *, at: datetime) -> Situation:
    """The drill that a report on a ground is part of.

    Raises
    ------
    InvalidInput
        There is no such drill, it is not on, or the report lies outside its area.
    """
    found = session.get(Situation, drill_id)
    if found is None or not found.is_drill or not found.is_on(at):
        raise InvalidInput(f"drill: no drill {drill_id} is on", fields=("drill",))
    if found.area_code not in ground:
        raise InvalidInput(f"drill: drill {drill_id} is in {found.area_code}, the report is not", fields=("drill",))
    return found
