"""Finding cases: boards, queues and the lights of what is open; closed cases are read only where they are asked for."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, defer, joinedload

from gis_grid.case_state import CaseLevel, Stage
from gis_grid.cases import Case
from gis_grid.clocks import ChangeInstants, Light
from gis_grid.event_types import EventType
from gis_grid.permissions import POWERS, Caller, Permission, ScopeKind
from gis_grid.reports import Report, Source
from gis_grid.territory import Area, Grid
from gis_grid.units import codes_below

# The instants between which a light is on, as columns; None for no bound.
BETWEEN: dict[Light, tuple[str | None, str | None]] = {
    Light.RED: ("red_at", None),
    Light.ORANGE: ("orange_at", "red_at"),
    Light.YELLOW: ("yellow_at", "orange_at"),
    Light.BLUE: (None, "yellow_at"),
}


@dataclass(frozen=True)
class CaseFilter:
    """Which cases: all that fit every part that is given.

    Attributes
    ----------
    area
        Code of a community, town or district.
    unit
        Code of the unit in whose own queue they are.
    is_open
        Only open ones, only ended ones, or, None, both.
    """

    grid: str | None = None
    area: str | None = None
    unit: str | None = None
    stage: str | None = None
    light: Light | None = None
    event_type: str | None = None
    is_open: bool | None = True

    def conditions(self, now: datetime) -> list[sa.ColumnElement[bool]]:
        """The `where` of a query on cases."""
        found: list[sa.ColumnElement[bool]] = []
        if self.is_open is not None:
            found.append(Case.closed_at.is_(None) if self.is_open else Case.closed_at.is_not(None))
        if self.grid is not None:
            found.append(Case.grid_code == self.grid)
        if self.area is not None:
            found.append(sa.or_(*(column == self.area for column in AREAS)))
        if self.unit is not None:
            found.append(Case.unit == self.unit)
        if self.stage is not None:
            found.append(Case.stage == self.stage)
        if self.light is not None:
            found += _shows(self.light, now)
        if self.event_type is not None:
            kinds = sa.select(EventType.code).where(
                sa.or_(EventType.code == self.event_type, EventType.parent_code == self.event_type)
            )
            found.append(Case.event_type.in_(kinds))
        return found


AREAS = (Case.community_code, Case.town_code, Case.district_code)


def _shows(light: Light, now: datetime) -> list[sa.ColumnElement[bool]]:
    """Conditions for a running case to show a light."""
    since, until = BETWEEN[light]
    found: list[sa.ColumnElement[bool]] = [Case.closed_at.is_(None), Case.filed_at.is_not(None)]
    if since is not None:
        found.append(getattr(Case, since) <= now)
    if until is not None:
        end = getattr(Case, until)
        found.append(sa.or_(end.is_(None), end > now))
    return found


def light_of(case: Case, now: datetime) -> Light | None:
    """The light of a case: the worse of its two clocks'; None before it is filed and after its end."""
    if case.serial is None or case.closed_at is not None:
        return None
    return ChangeInstants(case.yellow_at, case.orange_at, case.red_at).light(now)


def next_change_of(case: Case, now: datetime) -> datetime | None:
    """When the light of a case changes next; None when it will not."""
    if light_of(case, now) is None:
        return None
    return ChangeInstants(case.yellow_at, case.orange_at, case.red_at).next_after(now)


def in_scope(caller: Caller, permission: Permission, *, now: datetime) -> sa.ColumnElement[bool]:
    """The condition that a case lies where a caller may do something, as `Caller.may` decides for one."""
    conditions: list[sa.ColumnElement[bool]] = []
    for grant in caller.grants:
        if permission not in POWERS[grant.role]:
            continue
        code = grant.scope.code
        match grant.scope.kind:
            case ScopeKind.ALL:
                return sa.true()
            case ScopeKind.AREA:
                conditions.append(sa.or_(*(column == code for column in (Case.grid_code, *AREAS))))
            case ScopeKind.UNIT:
                conditions.append(Case.unit.in_(codes_below(code, at=now)))
    return sa.or_(sa.false(), *conditions)


# Whose next move it is, by where a case stands; a case that is filed is the community's first where it has it.
NEXT_MOVE: tuple[tuple[sa.ColumnElement[bool], Permission], ...] = (
    (Case.stage == Stage.ACCEPTED.value, Permission.FILE),
    (sa.and_(Case.stage == Stage.FILED.value, Case.level == CaseLevel.COMMUNITY.value), Permission.TAKE),
    (sa.and_(Case.stage == Stage.FILED.value, Case.level != CaseLevel.COMMUNITY.value), Permission.DISPATCH),
    (Case.stage == Stage.RETURNED.value, Permission.DISPATCH),
    (Case.stage == Stage.DISPATCHED.value, Permission.TAKE),
    (Case.stage.in_((Stage.TAKEN.value, Stage.REWORK.value)), Permission.HANDLE),
    (Case.stage == Stage.HANDLED.value, Permission.CHECK),
    (Case.stage == Stage.CHECKED.value, Permission.ANSWER),
    (Case.stage == Stage.ANSWERED.value, Permission.CLOSE),
    (Case.state["request"]["asks"].astext == "extension", Permission.EXTEND),
    (Case.state["request"]["asks"].astext == "suspension", Permission.SUSPEND),
)


def waits_for(caller: Caller, *, now: datetime) -> sa.ColumnElement[bool]:
    """The condition that the next move on a case is one that a caller may make."""
    moves = (sa.and_(stands, in_scope(caller, permission, now=now)) for stands, permission in NEXT_MOVE)
    return sa.or_(sa.false(), *moves)


def has_a_move(caller: Caller) -> bool:
    """Whether cases can wait for a caller at all."""
    return any(caller.has(permission) for _, permission in NEXT_MOVE)


def find_cases(
    session: Session,
    which: CaseFilter,
    *,
    now: datetime,
    limit: int,
    scope: sa.ColumnElement[bool] | None = None,
    after: tuple[datetime, int] | None = None,
) -> list[Case]:
    """Cases, those due first before the others; ended ones by when they were accepted, the latest first.

    Parameters
    ----------
    scope
        A further condition, of `in_scope`.
    after
        The (due_at, id) of the last one already seen; (accepted_at, id) where not only open ones are asked for.
    """
    query = sa.select(Case).where(*which.conditions(now))
    if scope is not None:
        query = query.where(scope)
    if which.is_open:
        key = sa.tuple_(Case.due_at, Case.id)
        query = query.order_by(Case.due_at, Case.id)
        query = query if after is None else query.where(key > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    else:
        key = sa.tuple_(Case.accepted_at, Case.id)
        query = query.order_by(Case.accepted_at.desc(), Case.id.desc())
        query = query if after is None else query.where(key < sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    return list(session.scalars(query.options(*_NAMES).limit(limit)))


# Names are wanted, not outlines: those would be most of what is read.
_NAMES = (
    joinedload(Case.report),
    joinedload(Case.grid).options(
        defer(Grid.geom),
        joinedload(Grid.community).options(defer(Area.geom), joinedload(Area.parent).defer(Area.geom)),
    ),
)


class Lights(NamedTuple):
    """How many open cases show each light; those that wait to be filed show none."""

    waiting: int = 0
    blue: int = 0
    yellow: int = 0
    orange: int = 0
    red: int = 0

    @property
    def total(self) -> int:
        """All open cases."""
        return sum(self)

    @property
    def worst(self) -> Light | None:
        """The worst light that is on; None where none is."""
        return next((light for light in reversed(Light) if getattr(self, light.value)), None)

    def plus(self, other: "Lights") -> "Lights":
        """Both together."""
        return Lights(*(one + two for one, two in zip(self, other, strict=True)))


def lights_by_grid(
    session: Session, *, now: datetime, which: CaseFilter | None = None, scope: sa.ColumnElement[bool] | None = None
) -> dict[str, Lights]:
    """The lights of the open cases of each grid that has any, without drills; parameters as `find_cases`."""
    # Each light includes the worse ones: a clock that is past orange is past yellow.
    yellow, orange, red = (
        sa.func.count().filter(column <= now) for column in (Case.yellow_at, Case.orange_at, Case.red_at)
    )
    waiting = sa.func.count().filter(Case.filed_at.is_(None))
    query = sa.select(Case.grid_code, sa.func.count(), waiting, yellow, orange, red)
    query = query.where(Case.drill_id.is_(None), *(which or CaseFilter()).conditions(now))
    if scope is not None:
        query = query.where(scope)
    return {
        code: Lights(new, total - new - past_yellow, past_yellow - past_orange, past_orange - past_red, past_red)
        for code, total, new, past_yellow, past_orange, past_red in session.execute(query.group_by(Case.grid_code))
    }


def waiting_reports(session: Session, caller: Caller, *, since: datetime, limit: int) -> list[Report]:
    """Reports since a time that are no case yet and that a caller may accept, the newest first.

    History that was loaded never becomes a case; what lies in no grid has to be placed first.
    """
    is_case = sa.exists().where(Case.opening_report_id == Report.id)
    community, town, district = aliased(Area), aliased(Area), aliased(Area)
    query = (
        sa.select(Report)
        .join(Grid, Grid.id == Report.grid_id)
        .join(community, community.id == Grid.community_id)
        .join(town, town.id == community.parent_id)
        .join(district, district.id == town.parent_id)
        .where(Report.received_at >= since, Report.source != Source.IMPORT.value, ~is_case)
    )
    scopes = [grant.scope for grant in caller.grants if Permission.ACCEPT in POWERS[grant.role]]
    if not any(scope.kind is ScopeKind.ALL for scope in scopes):
        codes = [scope.code for scope in scopes if scope.kind is ScopeKind.AREA]
        query = query.where(
            sa.or_(*(column.in_(codes) for column in (Grid.code, community.code, town.code, district.code)))
        )
    return list(session.scalars(query.order_by(Report.received_at.desc(), Report.id.desc()).limit(limit)))
