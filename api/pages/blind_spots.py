"""Pages of blind spots: the map of all four kinds, their list, and one of them with the form for its case."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from api.deps import Anyone, Code, Finite, InSession, Now, TheActor, TheCity, TheInstallation
from api.errors import status_of
from api.pages import figures
from api.pages.drawing_spots import draw_blind_spots
from api.pages.figures import type_names
from api.pages.refusals import told
from api.pages.rendering import page, say, sheet
from api.pages.sheets import Drawn
from api.pages.words import SYNTHETIC_PARTS, message
from api.routers.cases import Accepter
from api.spots import demand_filing, seen_again_of, spots_in, spots_key, window_of
from gis_grid.blindspots import BlindKind, BlindSpot
from gis_grid.errors import GridError
from gis_grid.geo.datum import LonLat
from gis_grid.patrols import has_synthetic_tracks
from gis_grid.permissions import Caller, Permission
from gis_grid.routing import Urgency
from gis_grid.seen import Window
from gis_grid.spot_cases import (
    SpotCase,
    file_spot,
    filed_spots,
    newest_spot_case,
    open_spot_cases,
    pick_spot,
    seen_again_figure,
)
from gis_grid.territory import Level, areas_frame, the_layer

router = APIRouter()
LISTED = 20
OTHER = "E0601"
KINDS = {
    BlindKind.GEOMETRIC: message("几何盲区"),
    BlindKind.UNSEEN: message("未见地面"),
    BlindKind.SILENT: message("沉默网格"),
    BlindKind.UNMANNED: message("无人之地"),
}
WHATS = {
    "no_grid": message("不在任何网格"),
    "no_block": message("不在任何责任块"),
    "joint_seam": message("接缝，两家共管"),
    "unowned_seam": message("接缝，无人管"),
    "unseen": message("全天未见"),
    "unseen_by_night": message("夜间未见"),
    "unseen_by_day": message("白天未见"),
    "silent": message("上报过少"),
    "no_manager": message("没有网格长"),
    "vacant_block": message("责任块无人"),
    "short_block": message("责任块缺人"),
    "shift_gap": message("班次有空"),
}
Day = Annotated[date | None, Query(description="a day on the city's clock")]
Blank = Annotated[str, Query(max_length=0)]
Shift = Annotated[int | None, Query(ge=0, le=1, description="0 by day, 1 by night")]
Of = Annotated[Code | None, Query(description="a grid, community or town")]


def _window(city: TheCity, now: Now, since: Day = None, until: Day = None, shift: Shift = None) -> Window:
    return window_of(since, until, shift, today=now.astimezone(city.zone).date())


def _chosen(city: TheCity, now: Now, since: Day = None, until: Day = None, shift: Shift | Blank = None) -> Window:
    return _window(city, now, since, until, shift if isinstance(shift, int) else None)


TheWindow = Annotated[Window, Depends(_window)]
ChosenWindow = Annotated[Window, Depends(_chosen)]
"""As a form sends it: a shift that was not chosen is blank."""


@dataclass(frozen=True)
class Row:
    """A blind spot as a list tells it; `rank` is among its kind."""

    spot: BlindSpot
    rank: int
    url: str
    filed: SpotCase | None


@router.get("/maps/blind-spots", response_class=HTMLResponse)
def blind_spots_page(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    now: Now,
    window: ChosenWindow,
    area: Of | Blank = None,
) -> HTMLResponse:
    """The map of blind spots with its form: days, shift, area."""
    asked = urlencode(_asked(window, area or None))
    return page(
        request,
        "map_blind_spots.html",
        caller=caller,
        sheet_url=f"/maps/blind-spots/sheet?{asked}",
        list_url=f"/blind-spots?{asked}",
        **_choices(session, window, area or None, now=now),
    )


@router.get("/maps/blind-spots/sheet", response_class=HTMLResponse)
def blind_spots_sheet(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    window: TheWindow,
    area: Of = None,
) -> HTMLResponse:
    """The bare map of blind spots."""
    drawn: Drawn = request.app.state.sheets
    text = drawn.get(
        ("blind spots", spots_key(session, window, now=now), area, newest_spot_case(session)),
        lambda: draw_blind_spots(
            session,
            city,
            window,
            spots_in(request, session, city, window, now=now, area=area),
            now=now,
            area=area,
            spot_url=lambda spot: _url(spot, window),
        ),
    )
    return sheet(text, city=city, caller=caller)


@router.get("/blind-spots", response_class=HTMLResponse)
def blind_spot_list(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    window: ChosenWindow,
    area: Of | Blank = None,
) -> HTMLResponse:
    """The worst blind spots of each kind, and how long those that became cases took to be seen again."""
    found = spots_in(request, session, city, window, now=now, area=area or None)
    filed = filed_spots(session, now=now, area=area or None)
    return page(
        request,
        "blind_spots.html",
        caller=caller,
        kinds=KINDS,
        whats=WHATS,
        rows={kind: _rows(session, [spot for spot in found if spot.kind is kind], window) for kind in BlindKind},
        counts={kind: sum(spot.kind is kind for spot in found) for kind in BlindKind},
        figure=seen_again_figure(seen_again_of(request, session, filed, city=city, now=now)),
        filed=len(filed),
        map_url=f"/maps/blind-spots?{urlencode(_asked(window, area or None))}",
        may_file=caller.has(Permission.ACCEPT),
        synthetic=_synthetic(session, found),
        **_choices(session, window, area or None, now=now),
    )


@router.get("/blind-spots/at", response_class=HTMLResponse)
def blind_spot_page(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    kind: BlindKind,
    lon: Finite,
    lat: Finite,
    what: Code | None = None,
    window: TheWindow,
) -> HTMLResponse:
    """One blind spot, and for who may the form that makes a case of it."""
    found = [spot for spot in spots_in(request, session, city, window, now=now) if spot.kind is kind]
    spot = pick_spot(found, kind, LonLat.checked(lon, lat, bounds=None), what=what)
    return _one(request, caller, session, spot, window, among=found)


@router.post("/blind-spots/at", response_class=HTMLResponse)
def file_blind_spot(
    *,
    request: Request,
    caller: Accepter,
    by: TheActor,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    kind: BlindKind,
    lon: Finite,
    lat: Finite,
    event_type: Annotated[Code, Form()],
    urgency: Annotated[Urgency, Form()] = Urgency.NORMAL,
    what: Code | None = None,
    window: TheWindow,
) -> Response:
    """Make a case of a blind spot, accepted and filed, and go to it."""
    found = [spot for spot in spots_in(request, session, city, window, now=now) if spot.kind is kind]
    spot = pick_spot(found, kind, LonLat.checked(lon, lat, bounds=None), what=what)
    demand_filing(session, caller, spot, now=now)
    try:
        with session.begin_nested():
            case = file_spot(
                session,
                spot,
                window,
                event_type=event_type,
                urgency=urgency,
                city=city,
                snap_m=installation.settings.snap_m,
                photos=installation.photos,
                by=by,
                now=now,
            )
    except GridError as error:
        session.expire_all()
        fault = say(request, "没有立案：%(why)s", why=told(request, str(error)))
        return _one(request, caller, session, spot, window, among=found, fault=fault, status=status_of(error))
    return RedirectResponse(f"/cases/{case.name}?done=file", 303)


def _one(
    request: Request,
    caller: Caller,
    session: Session,
    spot: BlindSpot,
    window: Window,
    *,
    among: Sequence[BlindSpot],
    fault: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    asked = _asked(window, spot.answers[0] if spot.answers else None)
    return page(
        request,
        "blind_spot.html",
        caller=caller,
        status=status,
        spot=spot,
        rank=among.index(spot) + 1,
        total=len(among),
        kind=KINDS[spot.kind],
        what=WHATS[spot.what],
        window=window,
        filed=open_spot_cases(session, [spot]).get(0),
        fault=fault,
        may_file=caller.has(Permission.ACCEPT) and bool(spot.answers),
        types=[one for one in figures.event_types(session) if one.parent_code],
        names=type_names(session, request),
        usual=OTHER,
        url=_url(spot, window),
        sheet_url=f"/maps/blind-spots/sheet?{urlencode(asked)}",
        list_url=f"/blind-spots?{urlencode(_asked(window, None))}",
        synthetic=_synthetic(session, [spot]),
    )


def _synthetic(session: Session, spots: Sequence[BlindSpot]) -> list[str]:
    """What of it is made up, in words."""
    parts = {
        "patrols": has_synthetic_tracks(session),
        "managers": any(tenure.is_synthetic for spot in spots for tenure in spot.managers),
    }
    return [SYNTHETIC_PARTS[part] for part, is_synthetic in parts.items() if is_synthetic]


def _rows(session: Session, spots: Sequence[BlindSpot], window: Window) -> list[Row]:
    listed = spots[:LISTED]
    filed = open_spot_cases(session, listed)
    return [Row(spot, rank, _url(spot, window), filed.get(rank - 1)) for rank, spot in enumerate(listed, start=1)]


def _asked(window: Window, area: str | None) -> dict[str, object]:
    asked: dict[str, object] = {"since": window.first, "until": window.last}
    return asked | ({} if window.shift is None else {"shift": window.shift}) | ({"area": area} if area else {})


def _url(spot: BlindSpot, window: Window) -> str:
    at = {"kind": spot.kind.value, "what": spot.what, "lon": f"{spot.point.lon:.6f}", "lat": f"{spot.point.lat:.6f}"}
    return f"/blind-spots/at?{urlencode(at | _asked(window, None))}"


def _choices(session: Session, window: Window, area: str | None, *, now: datetime) -> dict[str, Any]:
    """What the form above a map or a list offers, and what is chosen."""
    towns = areas_frame(session, the_layer(session, now), Level.TOWN)
    named = sorted(zip(towns["code"], towns["name"], strict=True))
    return {"first": window.first, "last": window.last, "shift": window.shift, "area": area, "towns": named}
