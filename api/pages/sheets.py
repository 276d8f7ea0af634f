"""Maps: pages with a form above them, and the bare sheets that stand in their frames."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import date, datetime
from typing import Annotated
from urllib.parse import urlencode

import folium
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.days import days_asked
from api.deps import Anyone, Code, InSession, Now, TheCity, view_of
from api.pages import drawing, figures
from api.pages.figures import type_names
from api.pages.rendering import page, sheet
from api.pages.territory import LayerId, chosen_layer
from api.routers.cases import CaseName
from gis_grid.case_queues import CaseFilter, Lights, find_cases, light_of, lights_by_grid
from gis_grid.cases import the_case
from gis_grid.database import Change
from gis_grid.event_types import the_event_type
from gis_grid.patrols import TrackChunk
from gis_grid.territory import GridLayer, Level, ground_of, the_area, the_grid, the_layer
from maps.assets import Served, render

router = APIRouter(prefix="/maps")
KEPT_SHEETS = 64
Show = Annotated[str, Query(pattern="^(towns|reports|cases)$")]
Day = Annotated[date | None, Query(description="a day on the city's clock")]


class Drawn:
    """Sheets drawn lately, kept as long as nothing was stored since."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, draw: Callable[[], folium.Map]) -> str:
        """The sheet's HTML; `key` names all that it shows."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        text = render(draw(), assets=Served())
        with self._lock:
            self._kept[key] = text
            while len(self._kept) > KEPT_SHEETS:
                self._kept.popitem(last=False)
        return text


ALL = (Change, TrackChunk)  # what grows with all that a sheet shows


def _latest(session: Session, tables: Iterable[type[Change | TrackChunk | GridLayer]]) -> tuple[int | None, ...]:
    """The newest row of each table."""
    newest = [sa.select(sa.func.max(table.id)).scalar_subquery() for table in tables]
    return tuple(session.execute(sa.select(*newest)).one())


@router.get("/district", response_class=HTMLResponse)
def district_page(
    *, request: Request, caller: Anyone, session: InSession, now: Now, layer: LayerId = None, show: Show = "towns"
) -> HTMLResponse:
    """The district's map, as large as the window."""
    chosen = chosen_layer(session, layer, at=now)
    if chosen is None:
        return page(request, "empty.html", caller=caller)
    return page(request, "map_district.html", caller=caller, layer=chosen, layers=figures.layers(session), show=show)


@router.get("/district/sheet", response_class=HTMLResponse)
def district_sheet(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    layer: LayerId = None,
    show: Show = "towns",
) -> HTMLResponse:
    """The bare map of the district."""
    chosen = chosen_layer(session, layer, at=now) or the_layer(session, now)
    lights = lights_by_grid(session, now=now) if show == "cases" else None
    text = _drawn(
        request,
        session,
        ("district", chosen.id, show, now.date(), _key_of(lights)),
        lambda: drawing.draw_district(session, city, chosen, now=now, with_counts=show == "reports", lights=lights),
    )
    return sheet(text, city=city, caller=caller)


@router.get("/areas/{code}/sheet", response_class=HTMLResponse)
def area_sheet(
    *,
    code: Code,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    level: Level | None = None,
    show: Annotated[str, Query(pattern="^(reports|cases)$")] = "cases",
) -> HTMLResponse:
    """The bare map of a town or a community."""
    area = the_area(session, code, at=now, level=level)
    lights = lights_by_grid(session, now=now, which=CaseFilter(area=code)) if show == "cases" else None
    text = _drawn(
        request,
        session,
        ("area", area.id, now.date(), _key_of(lights)),
        lambda: drawing.draw_area(session, city, area, now=now, lights=lights),
    )
    return sheet(text, city=city, caller=caller)


def _key_of(lights: Mapping[str, Lights] | None) -> Hashable:
    """All that a map shows of cases: it is drawn anew when a light changes, and only then."""
    return None if lights is None else tuple(sorted(lights.items()))


@router.get("/grids/{code}/sheet", response_class=HTMLResponse)
def grid_sheet(
    *, code: Code, request: Request, caller: Anyone, session: InSession, city: TheCity, now: Now
) -> HTMLResponse:
    """The bare map of a grid; the public sees no single report or case on it."""
    grid = the_grid(session, code, at=now)
    view = view_of(caller, ground_of(grid))
    text = _drawn(
        request,
        session,
        ("grid", grid.id, view, now.date(), _cases_shown(session, CaseFilter(grid=code), now=now)),
        lambda: drawing.draw_grid(session, city, grid, now=now, is_public=view.is_public),
    )
    return sheet(text, city=city, caller=caller)


def _cases_shown(session: Session, which: CaseFilter, *, now: datetime) -> Hashable:
    """What a grid's map shows of its open cases."""
    found = find_cases(session, which, now=now, limit=drawing.SHOWN_REPORTS)
    return tuple((case.id, case.seq, light_of(case, now)) for case in found)


@router.get("/cases/{case}/sheet", response_class=HTMLResponse)
def case_sheet(
    *, case: CaseName, request: Request, caller: Anyone, session: InSession, city: TheCity, now: Now
) -> HTMLResponse:
    """The bare map of where one case lies; the public sees its grid alone."""
    found = the_case(session, case)
    view = view_of(caller, found.ground)
    text = _drawn(
        request,
        session,
        ("case", found.id, found.seq, light_of(found, now), view),
        lambda: drawing.draw_case(session, city, found, now=now, is_public=view.is_public),
        shows=(GridLayer,),
    )
    return sheet(text, city=city, caller=caller)


@router.get("/heat", response_class=HTMLResponse)
def heat_page(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    since: Day = None,
    until: Day = None,
    event_type: Code | Annotated[str, Query(max_length=0)] | None = None,
) -> HTMLResponse:
    """How thickly reports lie, for a time window and a type."""
    first, last = days_asked(since, until, today=now.astimezone(city.zone).date(), days=30)
    kinds = figures.event_types(session)
    asked = {"since": first, "until": last} | ({"event_type": event_type} if event_type else {})
    return page(
        request,
        "map_heat.html",
        caller=caller,
        first=first,
        last=last,
        event_type=event_type,
        kinds=kinds,
        names=type_names(session, request),
        sheet_url=f"/maps/heat/sheet?{urlencode(asked)}",
    )


@router.get("/heat/sheet", response_class=HTMLResponse)
def heat_sheet(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    since: Day = None,
    until: Day = None,
    event_type: Code | None = None,
) -> HTMLResponse:
    """The bare heat map."""
    first, last = days_asked(since, until, today=now.astimezone(city.zone).date(), days=30)
    if event_type:
        the_event_type(session, event_type)
    text = _drawn(
        request,
        session,
        ("heat", first, last, event_type, view_of(caller), now.date()),
        lambda: drawing.draw_heat(
            session, city, first=first, last=last, event_type=event_type, is_public=view_of(caller).is_public, now=now
        ),
    )
    return sheet(text, city=city, caller=caller)


@router.get("/busy-squares/sheet", response_class=HTMLResponse)
def busy_squares_sheet(
    *, request: Request, caller: Anyone, session: InSession, city: TheCity, now: Now
) -> HTMLResponse:
    """The bare map of where reports pile up; everybody sees the same."""
    text = _drawn(
        request,
        session,
        ("busy squares", now.date()),
        lambda: drawing.draw_busy_squares(session, city, now=now),
    )
    return sheet(text, city=city, caller=caller)


def _drawn(
    request: Request,
    session: Session,
    key: Hashable,
    draw: Callable[[], folium.Map],
    *,
    shows: Iterable[type[Change | TrackChunk | GridLayer]] = ALL,
) -> str:
    drawn: Drawn = request.app.state.sheets
    return drawn.get((key, _latest(session, shows)), draw)
