"""`gis-grid users` and `gis-grid keys` as they are typed."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from typer.testing import Result

from gis_grid.accounts import Account, caller_of_key, grants_of, the_account
from gis_grid.dated import Stretch
from gis_grid.errors import GridError
from gis_grid.installation import utc_now
from gis_grid.passwords import Passwords
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.sign_in import SessionKind, caller_of_secret, open_session
from gis_grid.teams import NewMember, TeamMember, Teams, load_teams
from tests.builders import BY, NOW, PASSWORD, load_squares

Run = Callable[..., Result]
WANG = ("users", "add", "wang.fang", "--role", "planner", "--password-stdin")


def test_an_account_is_added_with_its_roles_and_a_password_typed_twice(run: Run, session: Session) -> None:
    load_squares(session)
    roles = ("--role", "checker:310112001", "--role", "handler:unit:CG-1")

    result = run("users", "add", "wang.fang", *roles, typed=f"{PASSWORD}\n{PASSWORD}\n")

    account = the_account(session, "wang.fang")
    assert result.exit_code == 0, result.output
    assert PASSWORD not in result.output
    assert Passwords().fits(PASSWORD, account.password_hash)
    assert grants_of(session, account, at=utc_now()) == (
        Grant(Role.CHECKER, Scope(ScopeKind.AREA, "310112001")),
        Grant(Role.HANDLER, Scope(ScopeKind.UNIT, "CG-1")),
    )


def test_a_password_comes_from_standard_input_or_is_made_and_shown(run: Run, session: Session) -> None:
    given = run(*WANG, typed=f"{PASSWORD}\n")
    made = run("users", "add", "li.lei", "--role", "planner", "--generate")

    shown = made.output.split("shown this once): ")[1].split()[0]
    assert (given.exit_code, made.exit_code) == (0, 0)
    assert Passwords().fits(PASSWORD, the_account(session, "wang.fang").password_hash)
    assert Passwords().fits(shown, the_account(session, "li.lei").password_hash)


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (("users", "add", "x1", "--role", "boss", "--generate"), None, "role 'boss' is not one of"),
        (("users", "add", "x1", "--role", "checker:999", "--generate"), None, "code '999'"),
        (("users", "add", "x1", "--role", "planner", "--password-stdin"), "short\n", "shorter than 12"),
        (("users", "add", "a:b", "--role", "planner", "--generate"), None, "login 'a:b'"),
        (("users", "add", "x1", "--role", "planner", "--generate", "--password-stdin"), None, "do not go together"),
        (("users", "passwd", "nobody", "--generate"), None, "no account 'nobody'"),
        (("users", "disable", "nobody"), None, "no account 'nobody'"),
        (("keys", "revoke", "nothing"), None, "no key 'nothing'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_stored(
    run: Run, session: Session, words: tuple[str, ...], typed: str | None, said: str
) -> None:
    result = run(*words, typed=typed)

    assert isinstance(result.exception, GridError)
    assert said in str(result.exception)
    assert session.scalar(sa.select(sa.func.count()).select_from(Account)) == 0


def test_a_new_password_and_disabling_end_what_is_signed_in(run: Run, session: Session) -> None:
    run(*WANG, typed=f"{PASSWORD}\n")
    secrets = []
    for command in (("passwd", "wang.fang", "--generate"), ("disable", "wang.fang")):
        account = the_account(session, "wang.fang")
        signed_in = open_session(session, account, kind=SessionKind.BEARER, address="x", now=utc_now())
        session.commit()
        result = run("users", *command)
        secrets.append(signed_in.secret)
        assert result.exit_code == 0, result.output

    session.expire_all()
    assert [caller_of_secret(session, one, kind=SessionKind.BEARER, now=utc_now()) for one in secrets] == [None, None]
    assert "wang.fang                disabled" in run("users", "list").output


def test_roles_are_given_listed_and_taken(run: Run) -> None:
    run(*WANG, typed=f"{PASSWORD}\n")
    run("users", "grant", "wang.fang", "--role", "checker")
    both = run("users", "list").output
    run("users", "withdraw", "wang.fang", "--role", "planner")

    assert "planner:all, checker:all" in both
    assert "planner" not in run("users", "list").output


def test_a_key_is_shown_once_and_revoked(run: Run, session: Session) -> None:
    added = run("keys", "add", "hotline-12345", "--role", "operator")
    secret = added.output.split("shown this once): ")[1].strip()
    caller = caller_of_key(session, secret, now=utc_now())
    listed = run("keys", "list").output
    run("keys", "revoke", "hotline-12345")
    session.expire_all()

    assert caller is not None
    assert (caller.who, caller.grants) == ("key:hotline-12345", (Grant(Role.OPERATOR),))
    assert ("hotline-12345" in listed, secret in listed) == (True, False)
    assert caller_of_key(session, secret, now=utc_now()) is None
    assert "revoked" in run("keys", "list").output


def test_an_accounts_owner_is_named_as_a_member_of_a_team(run: Run, session: Session) -> None:
    load_squares(session)
    member = NewMember("s", "王芳", None, ("guard", None, None, True, False), None, None)
    team = Stretch(("s",), ("街面队", "Street patrol", "street", None, False))
    load_teams(session, Teams([(0, team)], [(0, member)], [], []), by=BY, now=NOW)
    session.commit()
    run(*WANG, typed=f"{PASSWORD}\n")

    wrong, right = run("users", "member", "wang.fang", "s", "李雷"), run("users", "member", "wang.fang", "s", "王芳")

    person_id = the_account(session, "wang.fang").person_id
    assert "0 members called '李雷'" in str(wrong.exception)
    assert right.exit_code == 0, right.output
    assert person_id == session.scalar(sa.select(TeamMember.person_id))


def test_raw_fixes_are_dropped_only_after_a_time_that_somebody_has_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsaid = run("tracks", "forget")
    monkeypatch.setenv("GIS_GRID_TRACK_DAYS", "90")
    said = run("tracks", "forget")

    assert "expected how many days" in str(unsaid.exception)
    assert "0 chunks dropped" in said.output
