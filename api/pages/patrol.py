"""The page that an outing is recorded on, made for a phone."""

from datetime import datetime
from typing import Annotated, Any

import shapely
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.deps import InSession, Json, Now, TheCity, TheInstallation, needs
from api.pages.language import Language, language_of
from api.pages.rendering import page, say
from api.pages.words import DUTIES, SHIFTS, TEAMS
from gis_grid.blocks import blocks_frame
from gis_grid.geo.sight import MAX_GAP_S, MAX_SPEED_MPS, MAX_STEP_M
from gis_grid.geo.track_chunks import MAX_ACCURACY_M
from gis_grid.installation import Installation
from gis_grid.intake import district_bounds
from gis_grid.own_teams import NextShift, OwnTeam, own_teams
from gis_grid.permissions import Caller, Permission
from gis_grid.teams import GroundKind
from gis_grid.territory import grids_frame, grids_named, layer_in_force
from gis_grid.track_intake import SIGHT_M

router = APIRouter()
Walker = Annotated[Caller, Depends(needs(Permission.SEND_TRACK))]
NAMED = 3
MOST_GRIDS = 250  # some 100 kB


@router.get("/patrol", response_class=HTMLResponse)
def patrol_page(
    *, request: Request, caller: Walker, session: InSession, city: TheCity, installation: TheInstallation, now: Now
) -> HTMLResponse:
    """One's team, shift and ground, and the means to record an outing; what is recorded goes through the JSON API."""
    teams = own_teams(session, caller, at=now, zone=city.zone)
    values = nobodys_values(session, installation, now=now)
    values["login"] = caller.who.partition(":")[2]
    values["setup"] |= {
        "who": caller.who,
        "teams": [_team(request, team) for team in teams],
        "ground": _features(session, {place.code for team in teams for place in team.places}, now),
    }
    return page(request, "patrol.html", caller=caller, **values)


def _features(session: Session, codes: set[str], now: datetime) -> list[Json]:
    """Outlines of blocks, and of grids by their own or an area's code, for the map without a network; of many, none."""
    blocks = blocks_frame(session, at=now)
    blocks = blocks[blocks["block_code"].isin(codes)]
    layer = layer_in_force(session, now)
    if layer is None:
        return []
    grids = grids_frame(session, layer, ids=grids_named(codes))
    if len(grids) > MOST_GRIDS:
        grids = grids.iloc[:0]
    return [
        *(_feature(row.block_code, row.geometry) for row in blocks.itertuples()),
        *(
            _feature(row.grid_code, row.geometry, community_code=row.community_code, town_code=row.town_code)
            for row in grids.itertuples()
        ),
    ]


def _feature(code: str, outline: shapely.Geometry, **properties: str) -> Json:
    rounded = shapely.transform(outline, lambda lonlat: lonlat.round(6))  # 0.1 m
    return {
        "type": "Feature",
        "id": code,
        "properties": properties,
        "geometry": shapely.geometry.mapping(rounded),
    }


def nobodys_values(session: Session, installation: Installation, *, now: datetime) -> Json:
    """What the page's template is filled with before anybody's name, team and ground."""
    setup: Json = {
        "who": None,
        "bounds": district_bounds(session, at=now),
        "teams": [],
        "ground": [],
        "counts": {
            "accuracy_m": MAX_ACCURACY_M,
            "gap_s": MAX_GAP_S,
            "step_m": MAX_STEP_M,
            "speed_mps": MAX_SPEED_MPS,
            "sight_m": SIGHT_M,
        },
    }
    return {"setup": setup, "login": "", "track_days": installation.settings.track_days}


def _team(request: Request, own: OwnTeam) -> Json:
    """A team as the page tells of it: a name, lines of words, and codes of its ground."""
    team = own.team
    lines = [say(request, str(TEAMS[team.kind])), _shift(request, own.next_shift), _ground(request, own)]
    if team.is_example:
        lines.append(say(request, "示例巡查队（合成数据）"))
    return {
        "code": team.code,
        "name": team.name if language_of(request) is Language.CHINESE else team.name_en,
        "is_member": own.is_member,
        "lines": lines,
        "ground": [{"level": place.level, "code": place.code} for place in own.places],
    }


def _shift(request: Request, next_shift: NextShift | None) -> str:
    if next_shift is None:
        return say(request, "没有排班")
    shift = next_shift.shift
    values: dict[str, Any] = {
        "kind": say(request, SHIFTS[shift.kind]),
        "starts": f"{next_shift.starts_at:%H:%M}",
        "ends": f"{next_shift.ends_at:%H:%M}",
        "day": f"{next_shift.starts_at:%m-%d}",
    }
    is_on = next_shift.is_on
    told = (
        say(request, "当班：%(kind)s %(starts)s–%(ends)s", **values)
        if is_on
        else say(request, "现在不当班；下一班：%(day)s %(kind)s %(starts)s–%(ends)s", **values)
    )
    comma = say(request, "、")
    duties = [
        comma.join(say(request, DUTIES[duty]) for duty in column.split("/"))
        for column in (shift.first_duty, shift.second_duty)
        if column
    ]
    if not duties:
        return told
    told_duties = say(request, "第一职责%(first)s", first=duties[0])
    if len(duties) > 1:
        told_duties += comma + say(request, "第二职责%(second)s", second=duties[1])
    return f"{told} · {told_duties}"


def _ground(request: Request, own: OwnTeam) -> str:
    """Where they go, by name; a grid by its code."""
    if not own.places:
        return say(request, "没有划定范围")
    names = [f"{place.name} {place.code}" if place.level == GroundKind.GRID else place.name for place in own.places]
    comma, more = say(request, "、"), len(names) - NAMED
    told = comma.join(names[:NAMED])
    if more > 0:
        return say(request, "今天的范围：%(names)s等%(n)s处", names=told, n=len(names))
    return say(request, "今天的范围：%(names)s", names=told)
