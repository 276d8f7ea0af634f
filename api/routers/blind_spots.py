"""Blind spots of four kinds."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated

import shapely.geometry
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session, defer, joinedload

from api.deps import Anyone, Code, InSession, Json, Now, TheCity
from api.shapes import manager_json
from gis_grid.blindspots import BlindKind, BlindSpot, find_blind_spots
from gis_grid.database import Change
from gis_grid.patrols import TrackChunk
from gis_grid.permissions import Caller
from gis_grid.seen import Window
from gis_grid.territory import Area, Grid, GridLayer, ground_of, the_layer

router = APIRouter(prefix="/api/v1", tags=["patrols"])
MAX_SPOTS = 1000
KEPT = 16


class Found:
    """Blind spots found lately, kept as long as nothing was stored since: finding them again takes seconds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, list[BlindSpot]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, find: Callable[[], list[BlindSpot]]) -> list[BlindSpot]:
        """The spots; `key` names all that they depend on. One is looked for at a time."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = find()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


@router.get("/blind-spots")
def list_blind_spots(
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    kind: Annotated[list[BlindKind] | None, Query(description="only this kind; may be given again")] = None,
    area: Annotated[Code | None, Query(description="only those of this grid, community, town or the district")] = None,
    since: Annotated[
        date | None, Query(description="first day of the window; the 7 days up to `until` without")
    ] = None,
    until: Annotated[date | None, Query(description="last day, on the city's clock; today without it")] = None,
    shift: Annotated[int | None, Query(ge=0, le=1, description="0 by day, 1 by night; either without it")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_SPOTS, description="of each kind, the worst")] = 100,
) -> Json:
    """The worst blind spots of each kind as GeoJSON: where, since when, how bad, why, and who answers."""
    last = until or now.astimezone(city.zone).date()
    window = Window(since or max(last, date(1970, 1, 15)) - timedelta(days=6), last, shift)
    kinds = tuple(one for one in BlindKind if one in (kind or BlindKind))
    newest = sa.select(
        *(sa.select(sa.func.max(table.id)).scalar_subquery() for table in (Change, TrackChunk, GridLayer))
    )
    key = (window, kinds, area, now.date(), tuple(session.execute(newest).one()))
    found = request.app.state.blind_spots.get(
        key, lambda: find_blind_spots(session, city, window, now=now, kinds=kinds, area=area)
    )
    kept = [spot for one in BlindKind for spot in [spot for spot in found if spot.kind is one][:limit]]
    grounds = _grounds(session, {tenure.code for spot in kept for tenure in spot.managers}, at=now)
    counts = {one.value: sum(spot.kind is one for spot in found) for one in BlindKind}
    return {
        "type": "FeatureCollection",
        "since": window.first.isoformat(),
        "until": window.last.isoformat(),
        "shift": shift,
        "counts": counts,
        "features": [_feature(spot, caller, grounds) for spot in kept],
    }


def _grounds(session: Session, codes: set[str], *, at: datetime) -> dict[str, tuple[str, ...]]:
    """Of each grid its own code and those of all areas above it."""
    areas = joinedload(Grid.community).joinedload(Area.parent).joinedload(Area.parent)
    query = sa.select(Grid).where(Grid.layer_id == the_layer(session, at).id, Grid.code.in_(codes))
    grids = session.scalars(query.options(areas.defer(Area.geom), defer(Grid.geom)))
    return {grid.code: ground_of(grid) for grid in grids}


def _feature(spot: BlindSpot, caller: Caller, grounds: Mapping[str, Collection[str]]) -> Json:
    return {
        "type": "Feature",
        "geometry": shapely.geometry.mapping(spot.place),
        "properties": {
            "kind": spot.kind,
            "what": spot.what,
            "code": spot.code,
            "area_m2": round(spot.area_m2, 1),
            "since": spot.since.isoformat() if spot.since else None,
            "badness": round(spot.badness, 1),
            "why": spot.why,
            "answers": list(spot.answers),
            "managers": [manager_json(tenure, caller, grounds.get(tenure.code, ())) for tenure in spot.managers],
        },
    }
