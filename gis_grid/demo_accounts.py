"""Accounts for a try: one for each role, with passwords made on the spot, marked synthetic where stored."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.accounts import Account, add_account
from gis_grid.database import By
from gis_grid.passwords import Passwords, new_password
from gis_grid.permissions import EVERYWHERE, Grant, Role, Scope, ScopeKind
from gis_grid.teams import TeamGround, TeamMember
from gis_grid.tenures import Person
from gis_grid.territory import Area, Level, the_layer

LIMITED_TO = {
    Role.VOLUNTEER: Level.TOWN,
    Role.PATROLLER: Level.TOWN,
    Role.HANDLER: Level.TOWN,
    Role.GRID_MANAGER: Level.COMMUNITY,
}


@dataclass(frozen=True)
class DemoAccount:
    """What to sign in with; the password is stored nowhere."""

    login: str
    role: Role
    scope: Scope
    password: str


def add_demo_accounts(session: Session, *, passwords: Passwords, by: By, now: datetime) -> list[DemoAccount]:
    """An account for each role, with its password; nothing where there are demo accounts already.

    Roles of the ground count in the layer's first town or its first community, the others everywhere.
    """
    if session.scalar(sa.select(Account.id).where(Account.is_synthetic).limit(1)) is not None:
        return []
    taken = set(session.scalars(sa.select(Account.login)))
    made = []
    for role in Role:
        login = next(name for name in (role.value, f"demo-{role}") if name not in taken)
        account = DemoAccount(login, role, _scope(session, role, now), new_password())
        add_account(
            session,
            login,
            account.password,
            grants=[Grant(role, account.scope)],
            passwords=passwords,
            by=by,
            now=now,
            person=_member(session, account.scope, now) if role is Role.PATROLLER else None,
            is_synthetic=True,
        )
        made.append(account)
    return made


def _member(session: Session, scope: Scope, now: datetime) -> Person | None:
    """Somebody in a team of the whole scope, where there is one: the patroller's page shows that team."""
    query = (
        sa.select(Person)
        .join(TeamMember, TeamMember.person_id == Person.id)
        .join(TeamGround, TeamGround.team_code == TeamMember.team_code)
        .where(TeamGround.code == scope.code, TeamMember.valid.contains(now), TeamGround.valid.contains(now))
    )
    return session.scalar(query.order_by(TeamMember.team_code, Person.id).limit(1))


def _scope(session: Session, role: Role, now: datetime) -> Scope:
    level = LIMITED_TO.get(role)
    if level is None:
        return EVERYWHERE
    layer = the_layer(session, now)
    town = sa.select(Area).where(Area.layer_id == layer.id, Area.level == Level.TOWN.value).order_by(Area.code).limit(1)
    area = session.scalars(town).one()
    if level is Level.COMMUNITY:
        area = session.scalars(sa.select(Area).where(Area.parent_id == area.id).order_by(Area.code).limit(1)).one()
    return Scope(ScopeKind.AREA, area.code)
