"""How much of the ground patrols have seen."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import Anyone, Code, InSession, Json, Now, TheCity
from gis_grid.seen import Window
from gis_grid.seen_shares import PlaceLevel, seen_shares_at

router = APIRouter(prefix="/api/v1", tags=["patrols"])
Day = Annotated[date | None, Query(description="a day on the city's clock")]
Shift = Annotated[int | None, Query(ge=0, le=1, description="0 by day, 1 by night; either without it")]


@router.get("/seen-shares")
def list_seen_shares(
    _: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    level: PlaceLevel = PlaceLevel.TOWN,
    code: Annotated[list[Code] | None, Query(description="only this place; may be given again", max_length=100)] = None,
    since: Annotated[Day, Query(description="first day; the 7 days up to `until` without it")] = None,
    until: Annotated[Day, Query(description="last day; today without it")] = None,
    shift: Shift = None,
) -> Json:
    """The seen share of each block, grid, community, town or the district in a window of whole days, by code."""
    last = until or now.astimezone(city.zone).date()
    first = since or max(last, date(1970, 1, 15)) - timedelta(days=6)
    window = Window(first, last, shift)
    told = seen_shares_at(session, level, window, city=city, at=now, codes=code or None)
    places = [
        {
            "code": row.Index,
            "name": row.name,
            "seen_share": None if row.ground_m2 == 0 else round(float(share), 6),
            "seen_m2": row.seen_m2,
            "ground_m2": row.ground_m2,
            "excluded_m2": row.excluded_m2,
        }
        for row, share in zip(told.itertuples(), told["seen_share"], strict=True)
    ]
    return {"level": level, "since": first.isoformat(), "until": last.isoformat(), "shift": shift, "places": places}
