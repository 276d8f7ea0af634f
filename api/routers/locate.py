"""Which grid a point is in, and who answers for it."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import Anyone, Finite, InSession, Instant, Json, Now, TheCity, TheInstallation
from api.shapes import manager_json, place_names
from gis_grid.geo.datum import Datum
from gis_grid.intake import wgs84_point
from gis_grid.locating import MAX_ACCURACY_M, MIN_ACCURACY_M, locate
from gis_grid.tenures import manager_of
from gis_grid.territory import Grid, ground_of

router = APIRouter(prefix="/api/v1", tags=["locate"])


@router.get("/locate")
def locate_point(  # the parameters of one question
    caller: Anyone,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    lon: Annotated[Finite, Query(examples=[121.3817])],
    lat: Annotated[Finite, Query(examples=[31.1128])],
    datum: Datum = Datum.WGS84,
    accuracy: Annotated[
        Finite | None, Query(ge=MIN_ACCURACY_M, le=MAX_ACCURACY_M, description="radius in metres")
    ] = None,
    at: Annotated[Instant | None, Query(description="ask the layer in force then; now without it")] = None,
) -> Json:
    """The grid of a point, how it was decided, and who answers for it at that time."""
    at = at or now
    point = wgs84_point(session, lon, lat, datum, at=at)
    (found,) = locate(session, [point], at=[at], accuracy_m=[accuracy], snap_m=installation.settings.snap_m)
    grid = session.get(Grid, found.grid_id) if found.grid_id is not None else None
    manager = manager_of(session, grid.code, at=at) if grid else None
    return {
        "lon": point.lon,
        "lat": point.lat,
        "city": city.name,
        **place_names(grid),
        "method": found.method,
        "distance_m": found.distance_m,
        "is_uncertain": found.is_uncertain,
        "shares": found.shares,
        "layer_id": found.layer_id,
        "manager": manager_json(manager, caller, ground_of(grid)),
    }
