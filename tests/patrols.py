"""A patrol team of the nine squares and its outings, in metres from the squares' south-western corner."""

from datetime import datetime

import numpy as np
from pyproj import Transformer
from sqlalchemy.orm import Session

from gis_grid.dated import Stretch
from gis_grid.geo.datum import LonLat
from gis_grid.geo.track_chunks import Judge, make_chunk
from gis_grid.own_teams import link_member
from gis_grid.permissions import Grant, Role
from gis_grid.teams import NewMember, Teams, load_teams
from gis_grid.track_intake import Upload, take_in
from tests.builders import BY, NOW, add_signed_in
from tests.stored_cases import CITY, TEAM

GRID, TOWN = "310112001001001", "310112001"  # the north-western of the nine squares
PATROL = "patrol-1"
X0, Y0 = Transformer.from_crs(4326, 4549, always_xy=True).transform(121.4, 31.1)
BACK = Transformer.from_crs(4549, 4326, always_xy=True)


def at_m(x: float, y: float) -> LonLat:
    """A place of the nine squares, each 100 m wide."""
    return LonLat(*BACK.transform(X0 + x, Y0 + y))


def add_patrol(session: Session, *logins: str, ground: tuple[str, str] = ("grid", GRID)) -> None:
    """A team of a unit, posted to some ground, with these patrollers."""
    members = [NewMember(PATROL, login, login, ("guard", None, None, True, False), None, None) for login in logins]
    teams = Teams(
        [(0, Stretch((PATROL,), ("巡查一队", "first patrol", "street", TEAM, False)))],
        [(0, member) for member in members],
        [(0, Stretch((PATROL, *ground), (False,)))],
        [],
    )
    load_teams(session, teams, by=BY, now=NOW)
    for login in logins:
        add_signed_in(session, login, [Grant(Role.PATROLLER)])
        link_member(session, login, PATROL, login, by=BY, now=NOW)
    session.commit()


def walk(
    session: Session,
    who: str,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    since: datetime,
    step_m: float = 10.0,
    team: str = PATROL,
) -> None:
    """An outing straight from one place to another, a fix each 10 s."""
    count = round(float(np.hypot(end[0] - start[0], end[1] - start[1])) / step_m) + 1
    lon, lat = BACK.transform(X0 + np.linspace(start[0], end[0], count), Y0 + np.linspace(start[1], end[1], count))
    chunk = make_chunk(
        f"{who} {since.isoformat()}",
        0,
        epoch_s=since.timestamp() + 10.0 * np.arange(count),
        lon=lon,
        lat=lat,
        team=team,
        walker=f"user:{who}",
    )
    take_in(session, Upload([chunk], Judge(bounds=None), "test", since), city=CITY)
    session.commit()
