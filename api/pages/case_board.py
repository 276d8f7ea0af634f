"""The board of cases: what is open, worst first, what waits for whom, and reports that are no case yet."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlencode

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from api.deps import Anyone, Code, InSession, Now, Plain, TheActor, TheCity, TheInstallation, needs
from api.errors import status_of
from api.pages.case_rows import counted, rows_of, words
from api.pages.refusals import told
from api.pages.rendering import page, say
from api.pages.words import SYNTHETIC_PARTS
from api.paging import bad_token, page_token, read_token
from gis_grid.case_deciding import ANY_STEP
from gis_grid.case_queues import (
    CaseFilter,
    find_cases,
    has_a_move,
    in_scope,
    waiting_reports,
    waits_for,
)
from gis_grid.case_state import Stage
from gis_grid.cases import accept_report, lock_cases, take_step
from gis_grid.clocks import Light
from gis_grid.errors import Forbidden, GridError
from gis_grid.permissions import Caller, Permission
from gis_grid.reports import the_report
from gis_grid.routing import Urgency
from gis_grid.territory import Area, Level, ground_of, layer_in_force

router = APIRouter(prefix="/cases")
LISTED, WAITING_LISTED = 50, 60
RECENT = timedelta(days=30)
Accepter = Annotated[Caller, Depends(needs(Permission.ACCEPT))]
Field = Annotated[str, Form(max_length=100), Plain]
Empty = Annotated[str, Query(max_length=0)]


class Whose(StrEnum):
    """Which part of the open cases a board shows."""

    QUEUE = "queue"  # what waits for the caller's own next move
    MINE = "mine"  # where the caller's roles count
    ALL = "all"


@router.get("", response_class=HTMLResponse)
def board(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    now: Now,
    whose: Whose | Empty | None = None,
    light: Light | Empty | None = None,
    stage: Stage | Empty | None = None,
    town: Code | Empty | None = None,
    grid: Code | Empty | None = None,
    unit: Code | Empty | None = None,
    event_type: Code | Empty | None = None,
    after: Annotated[str | None, Query(max_length=200)] = None,
    part: Annotated[
        str | None, Query(pattern="^list$", description="the list alone, to put in place of the old one")
    ] = None,
) -> HTMLResponse:
    """Open cases, those due first before the others."""
    chosen = Whose(whose) if whose else _first_view(caller)
    scope = _scope(caller, chosen, now=now)
    wide = CaseFilter(
        grid=grid or None, area=town or None, unit=unit or None, stage=stage or None, event_type=event_type or None
    )
    which = CaseFilter(**(vars(wide) | {"light": Light(light) if light else None}))
    found = find_cases(session, which, now=now, limit=LISTED + 1, scope=scope, after=_cursor(after))
    cases = found[:LISTED]
    last = cases[-1] if len(found) > LISTED else None
    asked = {
        "whose": chosen.value,
        "stage": stage or "",
        "town": town or "",
        "grid": grid or "",
        "unit": unit or "",
        "event_type": event_type or "",
    }
    return page(
        request,
        "case_list.html" if part else "cases.html",
        caller=caller,
        rows=rows_of(session, caller, cases, now=now),
        synthetic=[SYNTHETIC_PARTS["cases"]] if any(case.is_synthetic for case in cases) else [],
        now=now,
        lights=counted(session, wide, now=now, scope=scope),
        light=light or "",
        asked=asked,
        query=lambda **changes: urlencode(
            {key: value for key, value in (asked | {"light": light or ""} | changes).items() if value}
        ),
        next_token=page_token(last.due_at, str(last.id)) if last else None,
        after=after,
        **words(session, request),
        **({} if part else _choices(session, caller, now=now)),
    )


def _first_view(caller: Caller) -> Whose:
    """What opens first: what waits for the caller, else their ground, else, for the public, all."""
    if has_a_move(caller):
        return Whose.QUEUE
    return Whose.MINE if caller.has(Permission.SEE_REPORT_DETAILS) else Whose.ALL


def _scope(caller: Caller, whose: Whose, *, now: datetime) -> sa.ColumnElement[bool] | None:
    if whose is Whose.QUEUE:
        return waits_for(caller, now=now)
    return in_scope(caller, Permission.SEE_REPORT_DETAILS, now=now) if whose is Whose.MINE else None


def _cursor(token: str | None) -> tuple[datetime, int] | None:
    if not token:
        return None
    at, key = read_token(token)
    if not key.isascii() or not key.isdigit() or len(key) > 18:
        raise bad_token()
    return at, int(key)


def _choices(session: Session, caller: Caller, *, now: datetime) -> dict[str, Any]:
    """What the filters offer."""
    layer = layer_in_force(session, now)
    towns: Sequence[Any] = ()
    if layer is not None:
        query = sa.select(Area.code, Area.name).where(Area.layer_id == layer.id, Area.level == Level.TOWN.value)
        towns = session.execute(query.order_by(Area.code)).all()
    return {
        "towns": towns,
        "has_queue": has_a_move(caller),
        "has_scope": caller.has(Permission.SEE_REPORT_DETAILS),
        "may_accept": caller.has(Permission.ACCEPT),
    }


@router.get("/waiting", response_class=HTMLResponse)
def waiting(
    *,
    request: Request,
    caller: Accepter,
    session: InSession,
    now: Now,
    accepted: Annotated[str | None, Query(pattern="^[0-9]{1,19}$")] = None,
) -> HTMLResponse:
    """Reports that are no case yet, for who may accept them."""
    return _waiting(request, caller, session, now=now, accepted=accepted)


def _waiting(
    request: Request,
    caller: Caller,
    session: Session,
    *,
    now: datetime,
    accepted: str | None = None,
    fault: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    reports = waiting_reports(session, caller, since=now - RECENT, limit=WAITING_LISTED + 1)
    return page(
        request,
        "waiting.html",
        caller=caller,
        status=status,
        reports=reports[:WAITING_LISTED],
        has_more=len(reports) > WAITING_LISTED,
        accepted=accepted,
        fault=fault,
        **words(session, request),
        **_choices(session, caller, now=now),
    )


@router.post("/waiting/{report_id}", response_class=HTMLResponse)
def accept_waiting(
    *,
    report_id: uuid.UUID,
    request: Request,
    caller: Accepter,
    by: TheActor,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    urgency: Annotated[Urgency, Form()] = Urgency.NORMAL,
    then: Field = "file",
) -> Response:
    """Accept a report (受理), and file its case (立案) unless it is to wait."""
    ground = ground_of(the_report(session, report_id).grid)
    caller.demand(Permission.ACCEPT, area=ground)
    if then == "file":
        caller.demand(Permission.FILE, area=ground)
    try:
        with session.begin_nested():
            case = accept_report(session, report_id, urgency=urgency, by=by, now=now)
            if then == "file":
                cases = lock_cases(session, [case.name])
                step = ANY_STEP.validate_python({"action": "file"})
                take_step(session, cases, step, city=city, photos=installation.photos, by=by, now=now)
    except Forbidden:
        raise
    except GridError as error:
        fault = say(request, "没有受理：%(why)s", why=told(request, str(error)))
        return _waiting(request, caller, session, now=now, fault=fault, status=status_of(error))
    return RedirectResponse(f"/cases/waiting?{urlencode({'accepted': case.name})}", 303)
