"""The page of red cases of a period (红灯超时案件通报), by unit and person."""

from dataclasses import replace
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.deps import InSession, Now, TheCity
from api.pages.case_rows import words
from api.pages.case_words import VALUES
from api.pages.months import days_text, month_links
from api.pages.rendering import page
from api.pages.words import SYNTHETIC_PARTS
from api.routers.bulletin import Assessor, in_scope
from gis_grid.bulletin import red_cases
from gis_grid.periods import Period

router = APIRouter(prefix="/bulletin")
LISTED = 200
Day = Annotated[date | None, Query(description="a day on the city's clock")]


@router.get("", response_class=HTMLResponse)
def bulletin_page(
    *,
    request: Request,
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    since: Day = None,
    until: Day = None,
) -> HTMLResponse:
    """Cases that turned red from one day to another, those where the caller's roles count."""
    period = Period.asked(since, until, now=now, zone=city.zone)
    found = red_cases(session, period, now=now)
    bulletin = replace(found, runs=tuple(in_scope(session, caller, found)))
    return page(
        request,
        "bulletin.html",
        caller=caller,
        bulletin=bulletin,
        period=period,
        months=month_links(period, now, lambda month: f"/bulletin?{days_text(month)}"),
        by_person=bulletin.by_unit_and_person,
        runs=sorted(bulletin.runs, key=lambda run: run.red_at, reverse=True)[:LISTED],
        values=VALUES,
        download=days_text(period),
        synthetic=[SYNTHETIC_PARTS["cases"]] if any(run.is_synthetic for run in bulletin.runs) else [],
        **words(session, request),
    )
