"""The bulletin of red cases, as JSON, CSV or a page to print."""

from dataclasses import replace
from datetime import date
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sqlalchemy.orm import Session

from api.deps import InSession, Json, Now, TheCity, needs
from api.documents import bulletin_html
from gis_grid.bulletin import Bulletin, RedRun, bulletin_csv, red_cases
from gis_grid.periods import Period
from gis_grid.permissions import EVERYWHERE, POWERS, Caller, Permission
from gis_grid.units import find_units, units_above

router = APIRouter(prefix="/api/v1/bulletin", tags=["supervision"])
Assessor = Annotated[Caller, Depends(needs(Permission.SEE_ASSESSMENT))]
Day = Annotated[date, Query(description="a day on the city's clock")]


class Form(StrEnum):
    """How a table is sent."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


@router.get("", response_class=JSONResponse)
def get_bulletin(
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    since: Day,
    until: Annotated[date, Query(description="the last day, included")],
    form: Annotated[Form, Query(alias="format")] = Form.JSON,
) -> Response:
    """Cases that turned red in a period, by unit and person; those where the caller's roles count."""
    bulletin = red_cases(session, Period(since, until, city.zone), now=now)
    seen = replace(bulletin, runs=tuple(in_scope(session, caller, bulletin)))
    match form:
        case Form.CSV:
            headers = {"Content-Disposition": f'attachment; filename="red-{since}-{until}.csv"'}
            return Response(bulletin_csv(seen, zone=city.zone), media_type="text/csv; charset=utf-8", headers=headers)
        case Form.HTML:
            policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
            return HTMLResponse(bulletin_html(seen, city), headers=policy)
    return JSONResponse(_bulletin_json(seen))


def in_scope(session: Session, caller: Caller, bulletin: Bulletin) -> list[RedRun]:
    """The runs on the caller's ground, or that their units had."""
    scopes = [grant.scope for grant in caller.grants if Permission.SEE_ASSESSMENT in POWERS[grant.role]]
    if EVERYWHERE in scopes:
        return list(bulletin.runs)
    known = find_units(session, {run.unit for run in bulletin.runs if run.unit}, at=bulletin.at)
    chains = {
        code: (code, *(over.code for over in units_above(session, unit, at=bulletin.at)))
        for code, unit in known.items()
    }
    return [
        run
        for run in bulletin.runs
        if caller.may(Permission.SEE_ASSESSMENT, area=run.ground, unit=chains.get(run.unit or "", ()))
    ]


def _bulletin_json(bulletin: Bulletin) -> Json:
    return {
        "since": bulletin.period.first.isoformat(),
        "until": bulletin.period.last.isoformat(),
        "at": bulletin.at.isoformat(),
        "cases": bulletin.cases,
        "by_unit_and_person": [
            {"unit": unit, "person": person, "cases": count} for unit, person, count in bulletin.by_unit_and_person
        ],
        "runs": [_run_json(run, bulletin) for run in bulletin.runs],
    }


def _run_json(run: RedRun, bulletin: Bulletin) -> Json:
    return {
        "case": run.serial,
        "clock": run.clock,
        "limit": run.limit_text,
        "extended": list(run.extended),
        "started_at": run.started_at.isoformat(),
        "red_at": run.red_at.isoformat(),
        "over_at": run.over_at.isoformat() if run.over_at else None,
        "over_by": run.over_by,
        "overdue_h": run.overdue_h(bulletin.at),
        "stage": run.stage,
        "unit": run.unit,
        "unit_name": run.unit_name,
        "person": run.person,
        "post": run.post,
        "holder_id": run.holder_id,
        "grid_code": run.grid_code,
        "event_type": run.event_type,
        "log_rows": [run.due_seq, run.had_seq],
        "is_synthetic": run.is_synthetic,
    }
