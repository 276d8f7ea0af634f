"""Whose patrol somebody walks: their teams, when those are out, and on which ground."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.accounts import Account, the_account
from gis_grid.blocks import Block, BlockLayer
from gis_grid.database import By, Change, change
from gis_grid.errors import NotFound
from gis_grid.permissions import POWERS, Caller, Permission, ScopeKind
from gis_grid.shift_weeks import DAY_MIN, EVERY_DAY, WEEK_MIN, WeekShift
from gis_grid.teams import GroundKind, Team, TeamGround, TeamMember, TeamShift
from gis_grid.tenures import Person
from gis_grid.territory import Area, Grid, layer_in_force
from gis_grid.units import codes_below

Above = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Place:
    """A piece of ground: `level` is block, grid, community, town or district; a grid's name is its community's."""

    level: str
    code: str
    name: str


@dataclass(frozen=True)
class NextShift:
    """A shift as it falls: the one that is on, or the next one."""

    shift: TeamShift
    starts_at: datetime
    ends_at: datetime
    is_on: bool


@dataclass(frozen=True)
class OwnTeam:
    """A team that somebody may walk for.

    Attributes
    ----------
    is_member
        True where they are known to be in it, False where it only lies in their scope.
    next_shift
        None for a team without shifts.
    places
        Where they are posted; all of the team's ground where they are posted nowhere in particular.
    """

    team: Team
    is_member: bool
    next_shift: NextShift | None
    places: tuple[Place, ...]


def own_teams(session: Session, caller: Caller, *, at: datetime, zone: ZoneInfo) -> list[OwnTeam]:
    """The teams somebody is a member of; for who is in none, those whose ground or unit lies in their scope. By code.

    An account's owner is known once `link_member` has said who it is.
    """
    member_of = {row.team_code: row for row in session.scalars(_memberships(caller, at))}
    places, above = _places(session, at)
    grounds: dict[str, list[str]] = defaultdict(list)
    query = sa.select(TeamGround.team_code, TeamGround.code).where(TeamGround.valid.contains(at))
    for team_code, code in session.execute(query.order_by(TeamGround.code)):
        grounds[team_code].append(code)
    shifts: dict[str, list[TeamShift]] = defaultdict(list)
    for shift in session.scalars(sa.select(TeamShift).where(TeamShift.valid.contains(at))):
        shifts[shift.team_code].append(shift)
    within = _Within.of(session, caller, above, at=at)
    found = []
    for team in session.scalars(sa.select(Team).where(Team.valid.contains(at)).order_by(Team.code)):
        own = member_of.get(team.code)
        if own is None and (member_of or not within.holds(grounds[team.code], team.unit_code)):
            continue
        codes = [own.code] if own is not None and own.code else grounds[team.code]
        posted = tuple(places[code] for code in codes if code in places)
        found.append(OwnTeam(team, own is not None, next_shift(shifts[team.code], at=at, zone=zone), posted))
    return found


def _memberships(caller: Caller, at: datetime) -> sa.Select[TeamMember]:
    owner = sa.select(Account.person_id).where(Account.login == caller.who.removeprefix("user:")).scalar_subquery()
    return sa.select(TeamMember).where(TeamMember.person_id == owner, TeamMember.valid.contains(at))


@dataclass(frozen=True)
class _Within:
    """Where somebody may walk."""

    is_everywhere: bool
    areas: frozenset[str]
    units: frozenset[str]
    above: Above

    @classmethod
    def of(cls, session: Session, caller: Caller, above: Above, *, at: datetime) -> "_Within":
        scopes = [grant.scope for grant in caller.grants if Permission.SEND_TRACK in POWERS[grant.role]]
        units = [scope.code for scope in scopes if scope.kind is ScopeKind.UNIT]
        return cls(
            is_everywhere=any(scope.kind is ScopeKind.ALL for scope in scopes),
            areas=frozenset(scope.code for scope in scopes if scope.kind is ScopeKind.AREA),
            units=frozenset(code for unit in units for code in session.scalars(codes_below(unit, at=at))),
            above=above,
        )

    def holds(self, grounds: Iterable[str], unit: str | None) -> bool:
        """Whether a team's ground or unit lies in a scope; a team around a narrow scope counts as well."""
        if self.is_everywhere or unit in self.units:
            return True
        around = {code for scope in self.areas for code in self.above.get(scope, ())}
        return any(ground in around or not self.areas.isdisjoint(self.above.get(ground, ())) for ground in grounds)


def _places(session: Session, at: datetime) -> tuple[dict[str, Place], Above]:
    """Every block, grid and area in force by its code, and the codes of each with all above it."""
    layer = layer_in_force(session, at)
    places: dict[str, Place] = {}
    above: dict[str, tuple[str, ...]] = {}
    if layer is None:
        return places, above
    areas = {
        id_: (Place(level, code, name), parent)
        for id_, level, code, name, parent in session.execute(
            sa.select(Area.id, Area.level, Area.code, Area.name, Area.parent_id).where(Area.layer_id == layer.id)
        )
    }

    def chain(id_: int | None) -> tuple[str, ...]:
        return () if id_ is None else (areas[id_][0].code, *chain(areas[id_][1]))

    for id_, (place, _) in areas.items():
        places[place.code], above[place.code] = place, chain(id_)
    grids = sa.select(Grid.code, Grid.community_id).where(Grid.layer_id == layer.id)
    for code, community in session.execute(grids):
        places[code] = Place(GroundKind.GRID, code, areas[community][0].name)
        above[code] = (code, *chain(community))
    blocks = sa.select(Block.code, Block.name, BlockLayer.parent_code).join(Block.layer)
    for code, name, parent in session.execute(blocks.where(BlockLayer.in_force.contains(at))):
        places[code] = Place(GroundKind.BLOCK, code, name)
        above[code] = (code, *above.get(parent, ()))
    return places, above


def next_shift(shifts: Iterable[TeamShift], *, at: datetime, zone: ZoneInfo) -> NextShift | None:
    """The shift that is on at a time, else the next one; None where there are none."""
    local = at.astimezone(zone)
    minute = local.weekday() * DAY_MIN + local.hour * 60 + local.minute
    whole = local.replace(second=0, microsecond=0)
    found = []
    for shift in shifts:
        start, length = WeekShift(shift.weekday, shift.starts, shift.ends).minutes
        for day in range(7) if shift.weekday == EVERY_DAY else (int(shift.weekday) - 1,):
            since = (minute - day * DAY_MIN - start) % WEEK_MIN
            is_on = since < length
            # Wall-clock minutes, as the hours of a shift are.
            starts_at = whole - timedelta(minutes=since if is_on else since - WEEK_MIN)
            found.append(NextShift(shift, starts_at, starts_at + timedelta(minutes=length), is_on))
    return min(found, key=lambda one: (not one.is_on, one.starts_at), default=None)


def link_member(session: Session, login: str, team: str, name: str, *, by: By, now: datetime) -> None:
    """Say who an account's owner is: a member of a team.

    Raises
    ------
    NotFound
        No such account, or not exactly one member of that name in the team now.
    """
    account = the_account(session, login)
    query = sa.select(Person).join(TeamMember, TeamMember.person_id == Person.id)
    people = session.scalars(
        query.where(TeamMember.team_code == team, TeamMember.valid.contains(now), Person.name == name)
    ).all()
    if len(people) != 1:
        raise NotFound(f"team {team} has {len(people)} members called {name!r} now: expected one")
    account.person_id = people[0].id
    after = {"team": team, "member": name}
    session.execute(sa.insert(Change), [change("account", account.login, by=by, at=now, after=after)])
