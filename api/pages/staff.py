"""What staff do in a browser: place by hand what lies outside."""

import uuid
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from api.deps import InSession, Now, Placer, Plain, TheActor
from api.pages import figures
from api.pages.figures import type_names
from api.pages.refusals import told
from api.pages.rendering import page, say
from api.routers.reports import demand_placing
from gis_grid.errors import Forbidden, GridError
from gis_grid.permissions import Caller, Permission
from gis_grid.reports import ReportFilter, find_reports, place_by_hand
from gis_grid.territory import layer_in_force

router = APIRouter(prefix="/staff")
LISTED = 100
Field = Annotated[str, Form(max_length=1000), Plain]


@router.get("/unplaced", response_class=HTMLResponse)
def unplaced(
    *,
    request: Request,
    caller: Placer,
    session: InSession,
    now: Now,
    placed: Annotated[str | None, Query(max_length=40)] = None,
) -> HTMLResponse:
    """What lies in no grid, with the nearest grids and the means to place it."""
    # It lies in nobody's area: for those whose role counts everywhere.
    caller.demand(Permission.PLACE_REPORT)
    return _queue(request, caller, session, now=now, placed=placed)


def _queue(
    request: Request,
    caller: Caller,
    session: Session,
    *,
    now: datetime,
    placed: str | None = None,
    fault: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    outside = ReportFilter(method="outside")
    reports = find_reports(session, outside, limit=LISTED)
    layer = layer_in_force(session, now)
    return page(
        request,
        "unplaced.html",
        caller=caller,
        status=status,
        reports=reports,
        total=figures.count_reports(session, outside).total,
        types=type_names(session, request),
        contacts=figures.contacts_of(session, reports) if caller.may(Permission.SEE_CONTACTS) else {},
        photos=figures.photos_by_report(session, reports) if caller.may(Permission.SEE_PHOTOS) else {},
        near=figures.nearest_grids(session, reports, layer) if layer and reports else {},
        placed=placed,
        fault=fault,
    )


@router.post("/unplaced/{report_id}", response_class=HTMLResponse)
def place(
    *,
    report_id: uuid.UUID,
    request: Request,
    caller: Placer,
    by: TheActor,
    session: InSession,
    now: Now,
    grid_code: Field = "",
    reason: Field = "",
) -> Response:
    """Put a report into a grid by hand."""
    caller.demand(Permission.PLACE_REPORT)
    if not reason.strip():
        return _queue(request, caller, session, now=now, fault=say(request, "请写明归格理由。"), status=422)
    try:
        with session.begin_nested():
            demand_placing(session, caller, report_id, _digits(grid_code))
            place_by_hand(session, report_id, _digits(grid_code), reason=reason.strip(), by=by, now=now)
    except Forbidden:
        raise
    except GridError as error:
        fault = say(request, "没有归格：%(why)s", why=told(request, str(error)))
        return _queue(request, caller, session, now=now, fault=fault, status=422)
    return RedirectResponse(f"/staff/unplaced?{urlencode({'placed': str(report_id)})}", 303)


def _digits(code: str) -> str:
    """A code as people paste it: with blanks between its parts."""
    return "".join(code.split())
