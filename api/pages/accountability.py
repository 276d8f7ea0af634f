"""The page of accountability: what the log gives grounds for, a form to refer it, and what was referred."""

from datetime import date, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from api.deps import InSession, Now, Plain, TheActor, TheCity
from api.errors import status_of
from api.pages.months import days_text, month_links
from api.pages.refusals import told
from api.pages.rendering import page, say
from api.pages.supervision_words import CAUSES, GROUNDS
from api.pages.words import SYNTHETIC_PARTS
from api.routers.accountability import Referrer, demand_refer, proposals_in_scope, referrals_in_scope
from gis_grid.accountability import (
    EVIDENCE_MOST,
    WORDS_MOST,
    Cause,
    Evidence,
    NewReferral,
    find_referrals,
    proposals,
    refer,
)
from gis_grid.assessment import has_synthetic
from gis_grid.city import City
from gis_grid.errors import Forbidden, GridError
from gis_grid.periods import Period
from gis_grid.permissions import Caller
from gis_grid.units import find_units

router = APIRouter(prefix="/accountability")
LISTED, REFERRED_LISTED = 60, 30
Day = Annotated[date | None, Query(description="a day on the city's clock")]
FormDay = Annotated[date | None, Form()]
Words = Annotated[str, Form(max_length=WORDS_MOST), Plain]


@router.get("", response_class=HTMLResponse)
def accountability_page(
    *,
    request: Request,
    caller: Referrer,
    session: InSession,
    city: TheCity,
    now: Now,
    since: Day = None,
    until: Day = None,
    done: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> HTMLResponse:
    """Proposals of a period, and the referrals made."""
    return _page(request, caller, session, city, now=now, days=(since, until), done=done)


def _page(
    request: Request,
    caller: Caller,
    session: Session,
    city: City,
    *,
    now: datetime,
    days: tuple[date | None, date | None],
    done: int | None = None,
    fault: str | None = None,
    typed: NewReferral | None = None,
    status: int = 200,
) -> HTMLResponse:
    period = Period.asked(*days, now=now, zone=city.zone)
    found = proposals_in_scope(session, caller, proposals(session, period, now=now), now=now)
    open_ones = [one for one in found if not one.is_referred]
    referred = referrals_in_scope(session, caller, find_referrals(session, limit=REFERRED_LISTED), now=now)
    units = {one.unit for one in open_ones[:LISTED]} | {one.unit_code for one in referred}
    return page(
        request,
        "accountability.html",
        caller=caller,
        status=status,
        synthetic=[SYNTHETIC_PARTS["cases"]] if has_synthetic(session, period, now=now) else [],
        period=period,
        months=month_links(period, now, lambda month: f"/accountability?{days_text(month)}"),
        proposals=open_ones[:LISTED],
        total=len(open_ones),
        referred=referred,
        units=find_units(session, units, at=now),
        grounds=GROUNDS,
        causes=CAUSES,
        done=done,
        fault=fault,
        typed=typed,
    )


@router.post("", response_class=HTMLResponse)
def refer_here(
    *,
    request: Request,
    caller: Referrer,
    session: InSession,
    city: TheCity,
    by: TheActor,
    now: Now,
    unit: Annotated[str, Form(max_length=40), Plain],
    cause: Annotated[Cause, Form()],
    evidence: Annotated[list[Annotated[str, Form(pattern="^[0-9]{1,19}#[0-9]{1,9}$")]], Form(max_length=EVIDENCE_MOST)],
    legal_duty: Words = "",
    adverse_effect: Words = "",
    person: Annotated[str, Form(max_length=200), Plain] = "",
    since: FormDay = None,
    until: FormDay = None,
) -> Response:
    """Refer a proposal, naming the duty and the effect."""
    rows = tuple(Evidence(case, int(seq)) for case, _, seq in (text.partition("#") for text in evidence))
    new = NewReferral(unit, cause, legal_duty, adverse_effect, rows, person.strip() or None)
    try:
        demand_refer(session, caller, new, now=now)
        referral = refer(session, new, by=by, now=now)
    except Forbidden:
        raise
    except GridError as error:
        fault = say(request, "没有移送：%(why)s", why=told(request, str(error)))
        return _page(
            request,
            caller,
            session,
            city,
            now=now,
            days=(since, until),
            fault=fault,
            typed=new,
            status=status_of(error),
        )
    days = {name: day for name, day in (("since", since), ("until", until)) if day}
    return RedirectResponse(f"/accountability?{urlencode(days | {'done': referral.id})}", 303)
