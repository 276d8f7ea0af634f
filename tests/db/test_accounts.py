"""Accounts, their dated roles, rate counts and demo accounts, as they are stored."""

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from gis_grid import accounts
from gis_grid.accounts import Account, AccountExists, RoleGrant, add_account, add_grant, end_grant, grants_of
from gis_grid.database import Change, sessions
from gis_grid.demo_accounts import add_demo_accounts
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.rate_limits import RateLimit, TooMany, address_key, spend
from gis_grid.territory import ground_of, the_area, the_grid
from tests.builders import BY, CHEAP_PASSWORDS, NOW, PASSWORD, load_squares

TOWN = Grant(Role.CHECKER, Scope(ScopeKind.AREA, "310112001"))
LIMIT = RateLimit("tries", 3, timedelta(hours=1))


def added(session: Session, login: str = "wang.fang", *grants: Grant) -> Account:
    return add_account(session, login, PASSWORD, grants=grants, passwords=CHEAP_PASSWORDS, by=BY, now=NOW)


def test_an_account_has_its_roles_from_when_they_are_given_until_they_are_taken(session: Session) -> None:
    load_squares(session)
    account = added(session, "wang.fang", TOWN)
    day = timedelta(days=1)

    end_grant(session, account, TOWN, by=BY, now=NOW + day)
    held = [grants_of(session, account, at=at) for at in (NOW - day, NOW, NOW + day)]
    add_grant(session, account, TOWN, by=BY, now=NOW + 2 * day)

    assert held == [(), (TOWN,), ()]
    assert grants_of(session, account, at=NOW + 3 * day) == (TOWN,)
    assert session.scalar(sa.select(sa.func.count()).select_from(RoleGrant)) == 2


def test_a_role_given_twice_is_held_once(session: Session) -> None:
    load_squares(session)
    account = added(session, "x1", TOWN, TOWN)

    assert grants_of(session, account, at=NOW) == (TOWN,)


def test_the_database_refuses_one_role_twice_at_once(session: Session) -> None:
    account = added(session, "x1", Grant(Role.PLANNER))
    session.add(
        RoleGrant(account_id=account.id, role="planner", scope_kind="all", scope_code="", valid=Range(NOW, None))
    )

    with pytest.raises(IntegrityError, match="ex_role_grants_account_id"):
        session.flush()


@pytest.mark.parametrize("code", ["310112001001001", "310112001001", "310112001", "310112"])
def test_a_scope_may_be_any_grid_or_area(session: Session, code: str) -> None:
    load_squares(session)
    grant = Grant(Role.GRID_MANAGER, Scope(ScopeKind.AREA, code))

    assert grants_of(session, added(session, "x1", grant), at=NOW) == (grant,)


def test_a_scope_that_is_nowhere_is_refused(session: Session) -> None:
    load_squares(session)

    with pytest.raises(InvalidInput, match="310113"):
        added(session, "x1", Grant(Role.CHECKER, Scope(ScopeKind.AREA, "310113")))


def test_a_role_that_is_not_held_cannot_be_taken(session: Session) -> None:
    with pytest.raises(NotFound, match=r"wang\.fang does not hold planner"):
        end_grant(session, added(session), Grant(Role.PLANNER), by=BY, now=NOW)


@pytest.mark.parametrize("login", ["Wang.Fang", "ＷＡＮＧ.fang", " wang.fang"])
def test_a_login_is_taken_however_it_is_written_and_the_rest_goes_on(session: Session, login: str) -> None:
    added(session)

    with pytest.raises(AccountExists, match=r"wang\.fang exists"):
        added(session, login)
    added(session, "other")


@pytest.mark.parametrize("login", ["", "x", "a b", "a:b", "-ab", "a\0b", "a\ud800", "x" * 41, "x" * 101, "ab\n-"])
def test_a_login_that_cannot_be_one_is_refused(session: Session, login: str) -> None:
    with pytest.raises(InvalidInput, match="login "):
        added(session, login)


def test_the_log_says_who_changed_an_account_and_no_password(session: Session) -> None:
    account = added(session, "wang.fang", Grant(Role.PLANNER))
    accounts.set_password(session, account, "another password", passwords=CHEAP_PASSWORDS, by=BY, now=NOW)
    accounts.disable(session, account, by=BY, now=NOW)
    accounts.disable(session, account, by=BY, now=NOW)

    changes = session.scalars(sa.select(Change).where(Change.thing == "account").order_by(Change.id)).all()
    assert [change.after for change in changes] == [
        {"granted": "planner:all"},
        {"created": True},
        {"password": "changed"},
        {"disabled": True},
    ]
    assert {(change.who, change.key) for change in changes} == {("test", "wang.fang")}


def test_nothing_of_an_account_but_what_may_change_can_be_changed(session: Session, engine: sa.Engine) -> None:
    added(session)
    session.commit()

    for change in ("update accounts set login = 'x'", "delete from accounts", "update sign_in_attempts set login = ''"):
        with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(sa.text(change))


def test_the_ground_of_a_place_is_its_code_and_all_above(session: Session) -> None:
    load_squares(session)

    assert ground_of(the_grid(session, "310112001002003", at=NOW)) == (
        "310112001002003",
        "310112001002",
        "310112001",
        "310112",
    )
    assert ground_of(the_area(session, "310112001", at=NOW)) == ("310112001", "310112")
    assert ground_of(None) == ()


def test_what_is_over_the_limit_is_refused_until_the_window_ends(session: Session) -> None:
    half = timedelta(minutes=30)

    answers = [spend(session, LIMIT, "x", now=NOW + half) for _ in range(4)]
    other = spend(session, LIMIT, "y", now=NOW + half, times=3)
    later = spend(session, LIMIT, "x", now=NOW + 2 * half)

    assert answers[:3] == [None] * 3
    assert isinstance(answers[3], TooMany)
    assert (answers[3].retry_after_s, other, later) == (1800, None, None)


def test_more_at_once_than_the_limit_is_refused_whole(session: Session) -> None:
    assert isinstance(spend(session, LIMIT, "x", now=NOW, times=4), TooMany)


def test_refused_tries_without_end_overflow_nothing(session: Session) -> None:
    for _ in range(3):
        assert isinstance(spend(session, LIMIT, "x", now=NOW, times=2_000_000_000), TooMany)


def test_a_clock_that_is_behind_opens_no_new_window(session: Session) -> None:
    spend(session, LIMIT, "x", now=NOW, times=3)

    assert isinstance(spend(session, LIMIT, "x", now=NOW - timedelta(hours=1)), TooMany)


def test_of_many_at_once_exactly_the_limit_pass(engine: sa.Engine) -> None:
    answers = []

    def try_once() -> None:
        with sessions(engine).begin() as session:
            answers.append(spend(session, LIMIT, "x", now=NOW))

    threads = [threading.Thread(target=try_once) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers.count(None) == 3


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_stands_for_one_household(address: str, key: str) -> None:
    assert address_key(address) == key


def test_demo_accounts_are_one_a_role_marked_synthetic_and_made_once(session: Session) -> None:
    load_squares(session)
    added(session, "dispatcher")

    made = add_demo_accounts(session, passwords=CHEAP_PASSWORDS, by=BY, now=NOW)
    again = add_demo_accounts(session, passwords=CHEAP_PASSWORDS, by=BY, now=NOW)

    stored = {one.login: one for one in session.scalars(sa.select(Account).where(Account.is_synthetic))}
    assert [one.role for one in made] == list(Role)
    assert again == []
    assert set(stored) == {role.value for role in Role} - {"dispatcher"} | {"demo-dispatcher"}
    assert all(CHEAP_PASSWORDS.fits(one.password, stored[one.login].password_hash) for one in made)
    assert {one.role: one.scope.code for one in made if one.scope.code} == {
        Role.VOLUNTEER: "310112001",
        Role.PATROLLER: "310112001",
        Role.HANDLER: "310112001",
        Role.GRID_MANAGER: "310112001001",
    }
