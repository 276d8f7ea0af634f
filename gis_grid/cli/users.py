"""`gis-grid users` and `gis-grid keys`."""

import sys
from collections.abc import Sequence
from typing import Annotated

import sqlalchemy as sa
import typer

from gis_grid.accounts import (
    Account,
    ApiKey,
    add_account,
    add_grant,
    add_key,
    disable,
    end_grant,
    grants_of,
    revoke_key,
    set_password,
    the_account,
)
from gis_grid.cli.options import City, err, open_city, out
from gis_grid.database import by_command
from gis_grid.errors import InvalidInput
from gis_grid.installation import utc_now
from gis_grid.own_teams import link_member
from gis_grid.passwords import checked_password, new_password
from gis_grid.permissions import parse_grant
from gis_grid.sign_in import end_sessions

Login = Annotated[str, typer.Argument(metavar="NAME", help="The login name.")]
Roles = Annotated[
    list[str],
    typer.Option(
        "--role",
        metavar="ROLE[:SCOPE]",
        help="A role; SCOPE is the code of an area or grid, or unit:CODE. Everywhere without it. Repeatable.",
    ),
]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it, this once.")]


def add(
    login: Login,
    *,
    role: Roles,
    password_stdin: FromStdin = False,
    generate: Generate = False,
    city: City = None,
) -> None:
    """Add an account with its roles; the password is asked for.

    Example: `gis-grid users add wang.fang --role grid_manager:310112101008`
    """
    grants = [parse_grant(text) for text in role]
    password = _password(from_stdin=password_stdin, is_generated=generate)
    with open_city(city) as (installation, session):
        now = utc_now()
        account = add_account(
            session, login, password, grants=grants, passwords=installation.passwords, by=by_command(), now=now
        )
    out.print(f"{account.login} added: {', '.join(map(str, grants))}", markup=False, soft_wrap=True)


def passwd(login: Login, *, password_stdin: FromStdin = False, generate: Generate = False, city: City = None) -> None:
    """Give an account another password and end its sign-ins.

    Example: `gis-grid users passwd wang.fang`
    """
    with open_city(city) as (_, session):
        the_account(session, login)
    password = _password(from_stdin=password_stdin, is_generated=generate)
    with open_city(city) as (installation, session):
        account, now = the_account(session, login), utc_now()
        set_password(session, account, password, passwords=installation.passwords, by=by_command(), now=now)
        end_sessions(session, account, now=now)
    out.print(f"{account.login}: password changed, sign-ins ended", markup=False)


def _password(*, from_stdin: bool, is_generated: bool) -> str:
    if from_stdin and is_generated:
        raise InvalidInput("--password-stdin and --generate do not go together")
    if is_generated:
        password = new_password()
        out.print(f"Password (shown this once): {password}", markup=False)
        return password
    if from_stdin:
        given = sys.stdin.readline().rstrip("\r\n")
    else:
        given = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    checked_password(given)
    return given


def disable_account(login: Login, *, city: City = None) -> None:
    """Let nobody sign in with an account any more; its sign-ins end at once.

    Example: `gis-grid users disable wang.fang`
    """
    with open_city(city) as (_, session):
        account, now = the_account(session, login), utc_now()
        disable(session, account, by=by_command(), now=now)
        end_sessions(session, account, now=now)
    out.print(f"{account.login} disabled", markup=False)


def grant(login: Login, *, role: Roles, city: City = None) -> None:
    """Give an account further roles from now on.

    Example: `gis-grid users grant wang.fang --role checker:310112101`
    """
    with open_city(city) as (_, session):
        account = the_account(session, login)
        for text in role:
            add_grant(session, account, parse_grant(text), by=by_command(), now=utc_now())
    out.print(f"{account.login}: {', '.join(role)} granted", markup=False, soft_wrap=True)


def withdraw(login: Login, *, role: Roles, city: City = None) -> None:
    """Take roles away from an account from now on; that it had them is kept.

    Example: `gis-grid users withdraw wang.fang --role checker:310112101`
    """
    with open_city(city) as (_, session):
        account = the_account(session, login)
        for text in role:
            end_grant(session, account, parse_grant(text), by=by_command(), now=utc_now())
    out.print(f"{account.login}: {', '.join(role)} withdrawn", markup=False, soft_wrap=True)


def member(
    login: Login,
    team: Annotated[str, typer.Argument(help="The team's code.")],
    name: Annotated[str, typer.Argument(metavar="MEMBER", help="The member's name, as in team_members.csv.")],
    *,
    city: City = None,
) -> None:
    """Say which member of a patrol team an account's owner is.

    The page of outings shows that team and their ground.

    Example: `gis-grid users member wang.fang street-day-310112102 城管巡逻员044`
    """
    with open_city(city) as (_, session):
        link_member(session, login, team, name, by=by_command(), now=utc_now())
    out.print(f"{login} is {name} of {team}", markup=False, soft_wrap=True)


def list_accounts(*, city: City = None) -> None:
    """List all accounts with the roles they have now.

    Example: `gis-grid users list`
    """
    with open_city(city) as (_, session):
        accounts = session.scalars(sa.select(Account).order_by(Account.login)).all()
        rows = [(a.login, grants_of(session, a, at=utc_now()), a.disabled_at is not None) for a in accounts]
    _print(rows, "disabled")


def _print(rows: Sequence[tuple[str, Sequence[object], bool]], ended: str) -> None:
    for name, grants, is_ended in rows:
        roles = ", ".join(map(str, grants)) or "no role"
        out.print(f"{name:24} {ended if is_ended else roles}", markup=False, soft_wrap=True)
    err.print(f"{len(rows)} in all")


KeyName = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called; the log names it so.")]


def add_key_(name: KeyName, *, role: Roles, city: City = None) -> None:
    """Make a key for another system and print it, this once.

    Example: `gis-grid keys add hotline-12345 --role operator`
    """
    grants = [parse_grant(text) for text in role]
    with open_city(city) as (_, session):
        secret = add_key(session, name, grants=grants, by=by_command(), now=utc_now())
    out.print(f"Key (shown this once): {secret}", markup=False, soft_wrap=True)


def revoke(name: KeyName, *, city: City = None) -> None:
    """Let a key count no more, from now on.

    Example: `gis-grid keys revoke hotline-12345`
    """
    with open_city(city) as (_, session):
        revoke_key(session, name, by=by_command(), now=utc_now())
    out.print(f"key {name} revoked", markup=False)


def list_keys(*, city: City = None) -> None:
    """List all keys with their roles; the keys themselves are not stored.

    Example: `gis-grid keys list`
    """
    with open_city(city) as (_, session):
        keys = session.scalars(sa.select(ApiKey).order_by(ApiKey.name)).all()
        rows = [(key.name, grants_of(session, key, at=utc_now()), key.revoked_at is not None) for key in keys]
    _print(rows, "revoked")
