"""Boards and queues: what SQL finds is what the rules say of each case."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.case_access import unit_chain
from gis_grid.case_queues import CaseFilter, Lights, find_cases, in_scope, light_of, lights_by_grid
from gis_grid.cases import Case
from gis_grid.clocks import Light
from gis_grid.geo.datum import LonLat
from gis_grid.permissions import Caller, Grant, Permission, Role, Scope, ScopeKind
from tests.builders import NOW
from tests.stored_cases import INSIDE, SUB_CENTRE, TEAM, WORKSTATION, Desk

EVERYTHING = CaseFilter(is_open=None)
EAST, SOUTH = LonLat(INSIDE.lon + 0.001, INSIDE.lat), LonLat(INSIDE.lon, INSIDE.lat - 0.001)


@pytest.fixture
def many(desk: Desk) -> list[Case]:
    """Cases in three grids, of which some wait to be filed, some are with a team and one is void."""
    cases = [desk.filed(point=point) for point in (INSIDE, EAST, SOUTH) for _ in range(6)]
    cases += [desk.accept(point=point) for point in (INSIDE, SOUTH)]
    cases += [desk.dispatched(point=point) for point in (EAST, SOUTH)]
    desk.step(cases[0], "supervisor", action="void", reason="重复")
    return cases


def random_lights(session: Session, cases: list[Case], rng: random.Random) -> None:
    """Other instants for the lights of each filed one, some without an end, as a suspension leaves them."""
    for case in (case for case in cases if case.serial is not None):
        found = sorted(NOW + timedelta(minutes=rng.randrange(100)) for _ in range(3))
        kept: list[datetime | None] = [*found[: rng.randrange(4)], None, None, None]
        case.yellow_at, case.orange_at, case.red_at = kept[:3]
    session.commit()


def test_lights_counted_in_sql_are_those_of_each_case(desk: Desk, many: list[Case]) -> None:
    rng = random.Random(1)  # noqa: S311 - the same cases each time
    for _ in range(10):
        random_lights(desk.session, many, rng)
        now = NOW + timedelta(minutes=rng.randrange(100))
        expected: dict[str, Lights] = {}
        for case in (case for case in many if case.closed_at is None):
            light = light_of(case, now)
            one = Lights(**{light.value if light else "waiting": 1})
            expected[case.grid_code] = expected.get(case.grid_code, Lights()).plus(one)

        assert lights_by_grid(desk.session, now=now) == expected
        for light in Light:
            found = find_cases(desk.session, CaseFilter(light=light), now=now, limit=100)
            assert {case.id for case in found} == {case.id for case in many if light_of(case, now) is light}


CODES = {
    ScopeKind.ALL: [""],
    ScopeKind.AREA: ["310112001001001", "310112001001", "310112001002", "310112001", "310112", "310112999"],
    ScopeKind.UNIT: [WORKSTATION, SUB_CENTRE, TEAM, "centre", "dept-police", "nowhere"],
}


def random_callers(rng: random.Random) -> Iterator[Caller]:
    for _ in range(80):
        kinds = rng.choices(list(ScopeKind), [1, 6, 6], k=rng.randrange(4))
        yield Caller(
            "user:x", tuple(Grant(rng.choice(list(Role)), Scope(kind, rng.choice(CODES[kind]))) for kind in kinds)
        )


def test_the_cases_in_scope_are_those_that_a_caller_may_act_on(desk: Desk, many: list[Case]) -> None:
    rng = random.Random(2)  # noqa: S311 - the same callers each time
    chains = {case.id: unit_chain(desk.session, case, now=desk.at) for case in many}
    hits = 0
    for caller in random_callers(rng):
        permission = rng.choice([Permission.SEE_REPORT_DETAILS, Permission.HANDLE, Permission.DISPATCH])
        scope = in_scope(caller, permission, now=desk.at)

        found = {case.id for case in find_cases(desk.session, EVERYTHING, now=desk.at, limit=100, scope=scope)}

        assert found == {case.id for case in many if caller.may(permission, area=case.ground, unit=chains[case.id])}
        hits += bool(found)
    assert 10 < hits < 75  # some see something, some nothing


def test_roles_in_two_units_count_in_both(desk: Desk, many: list[Case]) -> None:
    caller = Caller("user:x", tuple(Grant(Role.HANDLER, Scope(ScopeKind.UNIT, code)) for code in (TEAM, WORKSTATION)))

    scope = in_scope(caller, Permission.HANDLE, now=desk.at)

    found = find_cases(desk.session, EVERYTHING, now=desk.at, limit=100, scope=scope)
    assert {case.unit for case in found} == {TEAM, WORKSTATION}


def test_the_root_of_the_units_holds_every_case_that_is_with_a_unit(desk: Desk, many: list[Case]) -> None:
    root = desk.session.scalar(sa.text("select code from units where kind = 'centre'"))
    caller = Caller("user:x", (Grant(Role.DISPATCHER, Scope(ScopeKind.UNIT, str(root))),))

    found = find_cases(
        desk.session,
        EVERYTHING,
        now=desk.at,
        limit=100,
        scope=in_scope(caller, Permission.SEE_REPORT_DETAILS, now=desk.at),
    )

    assert {case.id for case in found} == {case.id for case in many if case.unit}


@pytest.mark.parametrize("is_open", [True, None])
def test_pages_hold_still_while_cases_come_and_go(desk: Desk, many: list[Case], is_open: bool | None) -> None:
    which = CaseFilter(is_open=is_open)
    before = [case.id for case in find_cases(desk.session, which, now=desk.at, limit=100)]
    seen: list[int] = []
    after = None
    while page := find_cases(desk.session, which, now=desk.at, limit=4, after=after):
        seen += [case.id for case in page]
        after = (page[-1].due_at if is_open else page[-1].accepted_at, page[-1].id)
        desk.filed(point=SOUTH)  # comes in while somebody turns pages

    assert [id_ for id_ in seen if id_ in set(before)] == before
    assert len(seen) == len(set(seen))
