"""The page for everybody: how far one's report has come, counts, red cases by unit, where reports pile up."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.deps import Address, Anyone, Code, InSession, Now, Plain, TheCity, TheInstallation
from api.errors import status_of
from api.pages.case_words import ACTIONS, LIGHTS, NO_LIGHT, STAGES
from api.pages.figures import count_reports, town_names, type_names
from api.pages.months import month_text
from api.pages.rendering import page, say
from api.pages.words import SYNTHETIC_PARTS
from api.routers.openness import RECENT, Bulletins, count_query, open_month, open_months
from gis_grid.case_queues import light_of
from gis_grid.cases import Case
from gis_grid.city import City
from gis_grid.geo.privacy import LEAST_SHOWN
from gis_grid.openness import NoSuchProgress, Progress, PublicCount, progress_of, public_counts
from gis_grid.periods import Period
from gis_grid.rate_limits import TooMany
from gis_grid.reports import ReportFilter

router = APIRouter()
Town = Annotated[Code | Annotated[str, Query(max_length=0)] | None, Query(description="only this town's types")]
Month = Annotated[str | None, Query(max_length=20, description="of the bulletin, such as 2026-03")]


@router.get("/public", response_class=HTMLResponse)
def public_page(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    town: Town = None,
    month: Month = None,
) -> HTMLResponse:
    """What everybody may see of the work."""
    shown = _shown(request, session, city, now=now, town=town or None, month=month)
    return page(request, "public.html", caller=caller, progress=None, fault=None, **shown)


@router.post("/public", response_class=HTMLResponse)
def public_progress(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    address: Address,
    number: Annotated[str, Form(max_length=60), Plain] = "",
    code: Annotated[str, Form(max_length=40), Plain] = "",
) -> HTMLResponse:
    """The same page with how far one report has come; number and code are sent so that no address or log holds them."""
    progress, error = None, None
    try:
        count_query(installation, address, now)
        progress = progress_of(session, number, code, now=now)
    except (NoSuchProgress, TooMany) as refused:
        error = refused
    shown = _shown(request, session, city, now=now, town=None, month=None)
    answer = page(
        request,
        "public.html",
        caller=caller,
        status=200 if error is None else status_of(error),
        progress=None if progress is None else _progress(progress, now),
        fault=None if error is None else _fault(request, error),
        **shown,
    )
    answer.headers["Cache-Control"] = "no-store"
    if isinstance(error, TooMany):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _fault(request: Request, error: NoSuchProgress | TooMany) -> str:
    if isinstance(error, TooMany):
        return say(request, "查询次数太多，请%(minutes)s分钟后再试。", minutes=math.ceil(error.retry_after_s / 60))
    return say(request, "没有这样的上报：编号和查询码不相符。")


def _progress(progress: Progress, now: datetime) -> dict[str, Any]:
    """A report's progress in words."""
    case = progress.going_on
    light = light_of(case, now) if case else None
    return {
        "report": progress.report,
        "is_drill": progress.report.is_drill,
        "serial": progress.case.serial if progress.case else None,
        "merged_into": progress.merged_into,
        "stage": STAGES[case.read_state().stage] if case else None,
        "light": light.value if light else "",
        "light_word": LIGHTS[light] if light else NO_LIGHT,
        "due_at": case.due_at if case and light and case.red_at else None,
        "unit": progress.unit.name if progress.unit else None,
        "answer": progress.answer,
        "steps": [(entry.at, ACTIONS.get(entry.action, entry.action)) for entry in progress.log],
    }


def _shown(
    request: Request, session: Session, city: City, *, now: datetime, town: str | None, month: str | None
) -> dict[str, Any]:
    """What the page shows to everybody alike."""
    counts = public_counts(session, since=now - RECENT)
    towns, types = town_names(session, at=now), type_names(session, request)
    drawn: Bulletins = request.app.state.public_bulletins
    bulletin = drawn.of(session, open_month(city, month or month_text(Period.at_hand(now, city.zone)), now), now=now)
    recent = count_reports(session, ReportFilter(since=now - RECENT))
    made_up = {"reports": recent.has_synthetic, "cases": bulletin.is_synthetic or _has_synthetic(session, now)}
    return {
        "now": now,
        "reports": recent.total,
        "total": [sum(numbers) for numbers in zip(*(one[2:] for one in counts), strict=True)] or [0, 0, 0],
        "by_town": _summed((towns.get(one.town_code, one.town_code), one) for one in counts),
        "by_type": _summed(
            (types.get(one.event_type, one.event_type), one) for one in counts if town in {None, one.town_code}
        ),
        "town": town,
        "towns": towns,
        "bulletin": bulletin,
        "month": month_text(bulletin.period),
        "months": [month_text(period) for period in open_months(city, now)],
        "least": LEAST_SHOWN,
        "synthetic": [SYNTHETIC_PARTS[part] for part, is_made_up in made_up.items() if is_made_up],
    }


def _summed(named: Iterable[tuple[str, PublicCount]]) -> list[tuple[str, int, int, int]]:
    """Accepted, open and ended cases by name, the most accepted first."""
    found: dict[str, tuple[int, int, int]] = {}
    for name, one in named:
        accepted, is_open, ended = found.get(name, (0, 0, 0))
        found[name] = (accepted + one.accepted, is_open + one.open, ended + one.ended)
    rows = [(name, *numbers) for name, numbers in found.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _has_synthetic(session: Session, now: datetime) -> bool:
    query = sa.select(sa.exists().where(Case.accepted_at >= now - RECENT, Case.is_synthetic))
    return bool(session.scalar(query))
