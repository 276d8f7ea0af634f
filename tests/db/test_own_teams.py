from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.dated import Stretch
from gis_grid.errors import NotFound
from gis_grid.own_teams import link_member, next_shift, own_teams
from gis_grid.permissions import Caller, Grant, Role, Scope, ScopeKind
from gis_grid.teams import NewMember, Teams, TeamShift, load_teams
from gis_grid.tenures import Person
from tests.builders import BY, NOW, add_signed_in

SHANGHAI = ZoneInfo("Asia/Shanghai")
GRID, COMMUNITY, TOWN = "310112001001001", "310112001001", "310112001"


@pytest.fixture(scope="module")
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def teams(session: Session) -> None:
    """A team of the whole town, one of a grid in the first community, one of a grid in the second."""
    grounds = {"town": ("area", TOWN), "first": ("grid", GRID), "second": ("grid", "310112001002001")}
    member = NewMember("second", "王芳", "1", ("guard", None, None, True, False), None, None)
    posted = NewMember("town", "李雷", "2", ("guard", "area", COMMUNITY, True, False), None, None)
    load_teams(
        session,
        Teams(
            [(0, Stretch((code,), (code, code, "street", None, False))) for code in grounds],
            [(0, member), (0, posted)],
            [(0, Stretch((code, *ground), (False,))) for code, ground in grounds.items()],
            [],
        ),
        by=BY,
        now=NOW,
    )


def teams_of(session: Session, *grants: Grant, who: str = "user:x") -> list[str]:
    found = own_teams(session, Caller(who, grants), at=NOW, zone=SHANGHAI)
    return [one.team.code for one in found]


@pytest.mark.usefixtures("teams")
@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (Grant(Role.PATROLLER, Scope(ScopeKind.AREA, COMMUNITY)), ["first", "town"]),
        (Grant(Role.PATROLLER, Scope(ScopeKind.AREA, TOWN)), ["first", "second", "town"]),
        (Grant(Role.PATROLLER, Scope(ScopeKind.UNIT, "none")), []),
        (Grant(Role.CHECKER), []),
        (Grant(Role.VOLUNTEER), ["first", "second", "town"]),
    ],
)
def test_who_is_in_no_team_is_offered_those_around_their_scope(
    session: Session, grant: Grant, expected: list[str]
) -> None:
    assert teams_of(session, grant) == expected


@pytest.mark.usefixtures("teams")
def test_a_member_is_shown_their_own_team_and_the_ground_they_are_posted_to(session: Session) -> None:
    add_signed_in(session, "wang", [Grant(Role.PATROLLER)])
    add_signed_in(session, "li", [Grant(Role.PATROLLER)])
    link_member(session, "wang", "second", "王芳", by=BY, now=NOW)
    link_member(session, "li", "town", "李雷", by=BY, now=NOW)

    (of_wang,) = own_teams(session, Caller("user:wang", (Grant(Role.PATROLLER),)), at=NOW, zone=SHANGHAI)
    (of_li,) = own_teams(session, Caller("user:li", (Grant(Role.PATROLLER),)), at=NOW, zone=SHANGHAI)

    assert (of_wang.team.code, of_wang.is_member, of_wang.next_shift) == ("second", True, None)
    assert [place.code for place in of_wang.places] == ["310112001002001"]
    assert [(place.level, place.code, place.name) for place in of_li.places] == [("community", COMMUNITY, "社区1")]


@pytest.mark.usefixtures("teams")
def test_an_account_is_linked_to_exactly_one_member(session: Session) -> None:
    add_signed_in(session, "wang", [])

    with pytest.raises(NotFound, match="0 members called '韩梅梅'"):
        link_member(session, "wang", "town", "韩梅梅", by=BY, now=NOW)
    assert session.scalar(sa.select(sa.func.count()).select_from(Person).where(Person.name == "韩梅梅")) == 0


@pytest.mark.parametrize(
    ("at", "starts", "is_on"),
    [
        ("Mon 05:59", "Mon 06:00", False),
        ("Mon 06:00", "Mon 06:00", True),
        ("Mon 21:59", "Mon 06:00", True),
        ("Tue 00:30", "Wed 22:00", False),
        ("Thu 05:59", "Wed 22:00", True),
        ("Sun 12:00", "Mon 06:00", False),
    ],
)
def test_the_shift_told_is_the_one_that_is_on_or_the_next(at: str, starts: str, is_on: bool) -> None:
    monday = TeamShift(weekday="1", starts=time(6), ends=time(22))
    night = TeamShift(weekday="3", starts=time(22), ends=time(6))

    found = next_shift([monday, night], at=_day(at), zone=SHANGHAI)

    assert found is not None
    assert f"{found.starts_at:%a %H:%M}" == starts
    assert (found.is_on, found.ends_at > _day(at)) == (is_on, True)


def _day(text: str) -> datetime:
    """A time in the week of Monday, 2 March 2026, on Shanghai's clock."""
    name, clock = text.split()
    day = datetime(2026, 3, 2, tzinfo=SHANGHAI) + timedelta(
        days=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun").index(name)
    )
    return datetime.combine(day.date(), time.fromisoformat(clock), SHANGHAI)
