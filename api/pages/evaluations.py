"""The page of the two-way evaluation (双向评价), with the theme of the year beside it."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from api.deps import Code, InSession, Now, Plain, TheActor, TheCity
from api.errors import status_of
from api.pages.months import Month, month_links, month_text, period_of
from api.pages.refusals import told
from api.pages.rendering import page, say
from api.pages.supervision_words import DIRECTIONS
from api.routers.bulletin import Assessor
from api.routers.evaluations import Evaluator, demand_evaluate, evaluations_in_scope, scope_of
from gis_grid.city import City
from gis_grid.errors import Forbidden, GridError, InvalidInput, NotFound
from gis_grid.evaluations import Direction, NewEvaluation, criteria_at, evaluate, matrix, may_evaluate
from gis_grid.permissions import Caller, Permission
from gis_grid.theme_reports import ThemeReport, theme_report
from gis_grid.units import Unit, UnitKind, find_units, units_at

router = APIRouter(prefix="/evaluations")
Field = Annotated[str, Form(max_length=1000), Plain]


@router.get("", response_class=HTMLResponse)
def evaluations_page(
    *,
    request: Request,
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    month: Month = "",
    direction: Direction = Direction.DISTRICT_TO_TOWN,
    by_unit: Code | Annotated[str, Query(max_length=0)] | None = None,
) -> HTMLResponse:
    """What each unit thinks of each other in a month, and a form for whoever may evaluate in a unit's name."""
    return _page(request, caller, session, city, now=now, asked=(month, direction, by_unit or None))


def _page(
    request: Request,
    caller: Caller,
    session: Session,
    city: City,
    *,
    now: datetime,
    asked: tuple[str, Direction, str | None],
    fault: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    month, direction, by_unit = asked
    period = period_of(month, city, now)
    text, at = month_text(period), min(period.until, now)
    found = evaluations_in_scope(session, caller, matrix(session, text, direction, at=at), city=city, now=now)
    kind = UnitKind.CENTRE if direction is Direction.DISTRICT_TO_TOWN else UnitKind.SUB_CENTRE
    speakers = [unit for unit in units_at(session, at=now, kinds=[kind]) if _may(session, caller, unit, city, now)]
    speaker = next((unit for unit in speakers if unit.code == by_unit), speakers[0] if speakers else None)
    subjects = [unit for unit in units_at(session, at=now) if speaker and may_evaluate(speaker, unit, direction)]
    return page(
        request,
        "evaluations.html",
        caller=caller,
        status=status,
        month=text,
        months=month_links(period, now, lambda month: _address(month_text(month), direction, by_unit or "")),
        direction=direction,
        directions=DIRECTIONS,
        found=sorted(found.items(), key=lambda item: (item[0][0], -item[1].points)),
        units=find_units(session, {code for pair in found for code in pair}, at=now),
        criteria=criteria_at(session, at=at)[direction],
        speakers=speakers,
        speaker=speaker,
        subjects=subjects,
        fault=fault,
        theme=_theme(session, period.first.year, city, now),
        towns={unit.area_code: unit.name for unit in units_at(session, at=now, kinds=[UnitKind.SUB_CENTRE])},
        year=period.first.year,
    )


def _may(session: Session, caller: Caller, unit: Unit, city: City, now: datetime) -> bool:
    area, chain = scope_of(session, unit, city=city, now=now)
    return not caller.is_key and caller.may(Permission.EVALUATE, area=area, unit=chain)


def _theme(session: Session, year: int, city: City, now: datetime) -> ThemeReport | None:
    try:
        return theme_report(session, year, zone=city.zone, now=now)
    except NotFound:
        return None


@router.post("", response_class=HTMLResponse)
def evaluate_here(
    *,
    request: Request,
    caller: Evaluator,
    session: InSession,
    city: TheCity,
    by: TheActor,
    now: Now,
    direction: Annotated[Direction, Form()],
    month: Annotated[str, Form(max_length=20)],
    by_unit: Annotated[Code, Form()],
    of_unit: Annotated[Code, Form()],
    criterion: Field = "",
    points: Field = "",
    reason: Field = "",
) -> Response:
    """Evaluate a unit in the name of another."""
    try:
        demand_evaluate(session, caller, by_unit, city=city, now=now)
        new = NewEvaluation(direction, month, by_unit, of_unit, criterion, _points(points), reason)
        evaluate(session, new, zone=city.zone, by=by, now=now)
    except Forbidden:
        raise
    except GridError as error:
        fault = say(request, "没有记下：%(why)s", why=told(request, str(error)))
        known = (month, direction, by_unit)
        return _page(request, caller, session, city, now=now, asked=known, fault=fault, status=status_of(error))
    return RedirectResponse(_address(month, direction, by_unit), 303)


def _address(month: str, direction: Direction, by_unit: str) -> str:
    return f"/evaluations?{urlencode({'month': month, 'direction': direction.value, 'by_unit': by_unit})}"


def _points(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise InvalidInput(f"points: {text[:20]!r} is not a number from 0 to 100", fields=("points",)) from None
