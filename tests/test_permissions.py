"""The table of powers and what a scope holds; no database."""

import pytest

from gis_grid.errors import InvalidInput
from gis_grid.permissions import (
    ANONYMOUS,
    EVERYWHERE,
    OPEN_TO_ALL,
    POWERS,
    Caller,
    Grant,
    OutOfScope,
    Permission,
    Role,
    Scope,
    ScopeKind,
    parse_grant,
)

GROUND = ("310112001001001", "310112001001", "310112001", "310112")
P = Permission


def caller(*grants: Grant) -> Caller:
    return Caller("user:x", grants)


def test_every_role_has_its_powers_and_every_permission_somebody() -> None:
    assert set(POWERS) == set(Role)
    assert set().union(*POWERS.values()) == set(Permission)
    assert all(powers >= OPEN_TO_ALL for powers in POWERS.values())


def test_who_takes_in_never_dispatches_and_who_handles_never_checks() -> None:
    both = {
        (P.ACCEPT, P.DISPATCH),
        (P.HANDLE, P.CHECK),
        (P.HANDLE, P.CLOSE),
        (P.HANDLE, P.EXTEND),
        (P.HANDLE, P.SUSPEND),
    }

    assert [(role, pair) for role, powers in POWERS.items() for pair in both if set(pair) <= powers] == []


def test_only_the_administrator_manages_accounts_and_no_acts_on_cases_come_with_it() -> None:
    assert [role for role, powers in POWERS.items() if P.MANAGE_ACCOUNTS in powers] == [Role.ADMINISTRATOR]
    assert POWERS[Role.ADMINISTRATOR] & {P.ACCEPT, P.DISPATCH, P.CHECK, P.CLOSE, P.RULE_FINALLY} == set()


@pytest.mark.parametrize("code", GROUND)
def test_an_area_holds_all_that_lies_in_it(code: str) -> None:
    assert caller(Grant(Role.CHECKER, Scope(ScopeKind.AREA, code))).may(P.CHECK, area=GROUND)


@pytest.mark.parametrize("code", ["310112001002", "3101120010", "31", "310112001001002", ""])
def test_a_code_that_merely_begins_alike_holds_nothing(code: str) -> None:
    assert not caller(Grant(Role.CHECKER, Scope(ScopeKind.AREA, code))).may(P.CHECK, area=GROUND)


def test_what_lies_in_no_grid_is_for_roles_that_count_everywhere() -> None:
    assert caller(Grant(Role.OPERATOR)).may(P.PLACE_REPORT)
    assert not caller(Grant(Role.OPERATOR, Scope(ScopeKind.AREA, "310112"))).may(P.PLACE_REPORT)


def test_a_unit_holds_its_own_cases_and_those_of_the_units_below() -> None:
    team = caller(Grant(Role.HANDLER, Scope(ScopeKind.UNIT, "CG")))

    assert team.may(P.TAKE, unit=("CG-1", "CG", "ROOT"))
    assert not team.may(P.TAKE, unit=("ROOT",))
    assert not team.may(P.TAKE, area=("CG",))


def test_roles_do_not_lend_each_other_their_scopes() -> None:
    both = caller(Grant(Role.RESIDENT), Grant(Role.CHECKER, Scope(ScopeKind.AREA, "310112001")))

    assert both.has(P.CHECK)
    assert not both.may(P.CHECK, area=("310112002", "310112"))


def test_a_refusal_names_who_what_and_where() -> None:
    with pytest.raises(OutOfScope, match="user:x may not rule finally for 310112001001001"):
        caller(Grant(Role.OPERATOR)).demand(P.RULE_FINALLY, area=GROUND)


def test_without_signing_in_one_may_look_and_report() -> None:
    assert {permission for permission in Permission if ANONYMOUS.may(permission)} == OPEN_TO_ALL


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("planner", Grant(Role.PLANNER)),
        ("planner:all", Grant(Role.PLANNER, EVERYWHERE)),
        ("checker:310112", Grant(Role.CHECKER, Scope(ScopeKind.AREA, "310112"))),
        ("checker:area:310112", Grant(Role.CHECKER, Scope(ScopeKind.AREA, "310112"))),
        (" handler:unit:CG-1 ", Grant(Role.HANDLER, Scope(ScopeKind.UNIT, "CG-1"))),
    ],
)
def test_a_grant_is_read_as_it_is_written(text: str, grant: Grant) -> None:
    assert parse_grant(text) == grant
    assert parse_grant(str(grant)) == grant


@pytest.mark.parametrize("text", ["", "boss", "checker:", "checker:unit:", "checker:town:x", "checker:a:b:c", ":x"])
def test_a_grant_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_grant(text)
