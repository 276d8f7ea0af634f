"""Emergencies and drills that are on, told at the top of every page."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from fastapi import Request

from api.deps import Now, TheInstallation
from gis_grid.situations import situations
from gis_grid.territory import Area, GridLayer


class Banner(NamedTuple):
    """A situation in the words of a page."""

    id: int
    kind: str
    is_drill: bool
    name: str
    area: str
    since: datetime


def with_situations(request: Request, installation: TheInstallation, now: Now) -> None:
    """Give a page's request the situations that are on, in a session of its own, closed again."""
    if request.url.path.endswith(("/sheet", ".js")):
        return
    with installation.sessions.begin() as session:
        found = situations(session, at=now)
        codes = {one.area_code for one in found}
        query = sa.select(Area.code, Area.name).join(GridLayer, GridLayer.id == Area.layer_id)
        query = query.where(Area.code.in_(codes), GridLayer.in_force.contains(now))
        names = dict(session.execute(query).all()) if codes else {}
        request.state.situations = [
            Banner(one.id, one.kind, one.is_drill, one.name, names.get(one.area_code, one.area_code), one.since)
            for one in found
        ]
