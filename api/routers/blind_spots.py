"""Blind spots of four kinds, and the cases that they become."""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Annotated, Any

import shapely.geometry
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session, defer, joinedload

from api.case_shapes import case_json, spot_case_json
from api.deps import Anyone, Code, Finite, InSession, Json, Now, TheActor, TheCity, TheInstallation
from api.routers.cases import Accepter
from api.shapes import manager_json
from api.spots import demand_filing, seen_again_of, spots_in, window_of
from gis_grid.blindspots import BlindKind, BlindSpot
from gis_grid.geo.datum import Datum
from gis_grid.intake import wgs84_point
from gis_grid.permissions import Caller
from gis_grid.routing import Urgency
from gis_grid.spot_cases import (
    SpotCase,
    file_spot,
    filed_spots,
    open_spot_cases,
    pick_spot,
    seen_again_figure,
)
from gis_grid.territory import Area, Grid, ground_of, the_layer

router = APIRouter(prefix="/api/v1/blind-spots", tags=["patrols"])
MAX_SPOTS = 1000
Shift = Annotated[int | None, Query(ge=0, le=1, description="0 by day, 1 by night; either without it")]
InArea = Annotated[Code | None, Query(description="only those of this grid, community, town or the district")]


@router.get("")
def list_blind_spots(
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    kind: Annotated[list[BlindKind] | None, Query(description="only this kind; may be given again")] = None,
    area: InArea = None,
    since: Annotated[
        date | None, Query(description="first day of the window; the 7 days up to `until` without")
    ] = None,
    until: Annotated[date | None, Query(description="last day, on the city's clock; today without it")] = None,
    shift: Shift = None,
    limit: Annotated[int, Query(ge=1, le=MAX_SPOTS, description="of each kind, the worst")] = 100,
) -> Json:
    """The worst blind spots of each kind as GeoJSON: where, since when, how bad, why, and who answers.

    `case` is the open case of one that is filed already.
    """
    window = window_of(since, until, shift, today=now.astimezone(city.zone).date())
    found = spots_in(request, session, city, window, now=now, kinds=kind or tuple(BlindKind), area=area)
    kept = [spot for one in BlindKind for spot in [spot for spot in found if spot.kind is one][:limit]]
    grounds = _grounds(session, {tenure.code for spot in kept for tenure in spot.managers}, at=now)
    filed = open_spot_cases(session, kept)
    counts = {one.value: sum(spot.kind is one for spot in found) for one in BlindKind}
    return {
        "type": "FeatureCollection",
        "since": window.first.isoformat(),
        "until": window.last.isoformat(),
        "shift": shift,
        "counts": counts,
        "features": [_feature(spot, caller, grounds, filed.get(number)) for number, spot in enumerate(kept)],
    }


def _grounds(session: Session, codes: set[str], *, at: datetime) -> dict[str, tuple[str, ...]]:
    """Of each grid its own code and those of all areas above it."""
    areas = joinedload(Grid.community).joinedload(Area.parent).joinedload(Area.parent)
    query = sa.select(Grid).where(Grid.layer_id == the_layer(session, at).id, Grid.code.in_(codes))
    grids = session.scalars(query.options(areas.defer(Area.geom), defer(Grid.geom)))
    return {grid.code: ground_of(grid) for grid in grids}


def _feature(spot: BlindSpot, caller: Caller, grounds: Mapping[str, Collection[str]], filed: SpotCase | None) -> Json:
    return {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(spot.place),
        "properties": {
            "kind": spot.kind,
            "what": spot.what,
            "code": spot.code,
            "point": list(spot.point),
            "area_m2": round(spot.area_m2, 1),
            "since": spot.since.isoformat() if spot.since else None,
            "badness": round(spot.badness, 1),
            "why": spot.why,
            "why_zh": spot.why_zh,
            "answers": list(spot.answers),
            "managers": [manager_json(tenure, caller, grounds.get(tenure.code, ())) for tenure in spot.managers],
            "case": filed.case.name if filed else None,
        },
    }


class SpotIn(BaseModel):
    """A blind spot to make a case of: its kind and a point in it (`point` of the list), and the window it was found in.

    `since`, `until` and `shift` are as the list was asked with. `what` tells apart two of a kind at one place.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"kind": "unseen", "lon": 121.4005, "lat": 31.1003, "event_type": "E0601", "shift": 1}]
        },
    )

    kind: BlindKind
    what: Code | None = None
    lon: Finite
    lat: Finite
    datum: Datum = Datum.WGS84
    since: date | None = None
    until: date | None = None
    shift: Annotated[int | None, Field(ge=0, le=1)] = None
    event_type: Code
    urgency: Urgency = Urgency.NORMAL


@router.post("/cases", status_code=201)
def file_blind_spot(
    sent: SpotIn,
    request: Request,
    caller: Accepter,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Make a case of a blind spot, accepted and filed in the grid that answers for it; 409 while the same one is open.

    The same: of the same kind (geometric and unmanned ones of the same `what`, too), with at least half of the smaller
    one's ground in common.
    """
    point = wgs84_point(session, sent.lon, sent.lat, sent.datum, at=now)
    window = window_of(sent.since, sent.until, sent.shift, today=now.astimezone(city.zone).date())
    spot = pick_spot(spots_in(request, session, city, window, now=now), sent.kind, point, what=sent.what)
    demand_filing(session, caller, spot, now=now)
    case = file_spot(
        session,
        spot,
        window,
        event_type=sent.event_type,
        urgency=sent.urgency,
        city=city,
        snap_m=installation.settings.snap_m,
        photos=installation.photos,
        by=by,
        now=now,
    )
    return case_json(case, caller, now=now)


@router.get("/cases")
def list_spot_cases(
    request: Request, _: Anyone, session: InSession, city: TheCity, now: Now, area: InArea = None
) -> Json:
    """The blind spots filed in the last year (500 at most), the latest first, and how long they took to be seen again.

    Days are counted from the last day of the window that a place was found in to the day by which at least half of it
    was seen, by the shift that had not seen it.
    """
    rows = filed_spots(session, now=now, area=area)
    seen = seen_again_of(request, session, rows, city=city, now=now)
    figure = seen_again_figure(seen)
    told: list[dict[str, Any]] = [spot_case_json(row, one) for row, one in zip(rows, seen, strict=True)]
    return {
        "seen_again": {"cases": figure.cases, "not_yet": figure.not_yet, "median_days": figure.median_days},
        "cases": told,
    }
