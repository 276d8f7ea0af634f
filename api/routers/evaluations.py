"""Two-way evaluation and the theme of the year."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.case_access import refuse_key
from api.deps import Code, InSession, Json, Now, Plain, TheActor, TheCity, needs
from api.routers.bulletin import Assessor
from gis_grid.city import City
from gis_grid.evaluations import Direction, Evaluated, NewEvaluation, criteria_at, evaluate, matrix
from gis_grid.periods import Period
from gis_grid.permissions import Caller, Permission
from gis_grid.territory import Level, ground_of, the_area
from gis_grid.theme_reports import theme_report
from gis_grid.units import Unit, find_units, the_unit, units_above

router = APIRouter(prefix="/api/v1", tags=["assessment"])
Evaluator = Annotated[Caller, Depends(needs(Permission.EVALUATE))]
Month = Annotated[str, Query(description="such as 2026-03", max_length=20)]


class Stated(BaseModel):
    """What somebody states in the name of a unit."""

    model_config = ConfigDict(extra="forbid")

    direction: Direction
    month: Annotated[str, Field(max_length=20)]
    by_unit: Code
    of_unit: Code
    criterion: Annotated[str, Field(min_length=1, max_length=100), Plain]
    points: Annotated[Decimal, Field(ge=0, le=100, max_digits=6, decimal_places=2)]
    reason: Annotated[str, Field(max_length=1000), Plain] = ""


@router.get("/evaluations")
def list_evaluations(
    caller: Assessor, session: InSession, city: TheCity, now: Now, month: Month, direction: Direction
) -> Json:
    """What each unit thinks of each other in a month, the last word of each; those of the caller's scope."""
    at = min(Period.month(month, city.zone).until, now)
    found = matrix(session, month, direction, at=at)
    return {
        "month": month,
        "direction": direction,
        "criteria": criteria_at(session, at=at)[direction],
        "evaluations": [
            {"by_unit": by, "of_unit": of, "points": one.points, "criteria": one.criteria}
            for (by, of), one in evaluations_in_scope(session, caller, found, city=city, now=now).items()
        ],
    }


@router.post("/evaluations", status_code=201)
def add_evaluation(
    caller: Evaluator, session: InSession, city: TheCity, by: TheActor, now: Now, stated: Stated
) -> Json:
    """Evaluate a unit in the name of another; said again, the last word counts and the first stays on record."""
    new = NewEvaluation(**stated.model_dump())
    demand_evaluate(session, caller, new.by_unit, city=city, now=now)
    row = evaluate(session, new, zone=city.zone, by=by, now=now)
    return {"id": row.id, **stated.model_dump(mode="json"), "who": row.who, "at": row.at.isoformat()}


@router.get("/yearly-themes/{year}")
def get_theme(_: Assessor, session: InSession, city: TheCity, now: Now, year: int) -> Json:
    """The theme of a year and what became of its cases, by town."""
    report = theme_report(session, year, zone=city.zone, now=now)
    return {
        "year": year,
        "name": report.theme.name,
        "event_types": report.theme.event_types,
        "is_example": report.theme.is_example,
        "by_town": {town: counts._asdict() for town, counts in report.by_town.items()},
        "whole": report.whole._asdict(),
    }


def demand_evaluate(session: Session, caller: Caller, by_unit: str, *, city: City, now: datetime) -> None:
    """Raise `Forbidden` unless a caller may evaluate in the name of a unit; a key never may."""
    refuse_key(caller, "evaluate")
    unit = the_unit(session, by_unit, at=now)
    area, chain = scope_of(session, unit, city=city, now=now)
    caller.demand(Permission.EVALUATE, area=area, unit=chain)


def scope_of(session: Session, unit: Unit, *, city: City, now: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Codes of a unit's ground and those above, the district's where it has none of its own; of it and units above."""
    chain = (unit.code, *(over.code for over in units_above(session, unit, at=now)))
    if unit.area_code is None:
        return (city.adcode,), chain
    level = Level(unit.area_level) if unit.area_level else None
    return ground_of(the_area(session, unit.area_code, at=now, level=level)), chain


def evaluations_in_scope(
    session: Session, caller: Caller, found: dict[tuple[str, str], Evaluated], *, city: City, now: datetime
) -> dict[tuple[str, str], Evaluated]:
    """Those that a unit of the caller's made or is the subject of."""
    if caller.may(Permission.SEE_ASSESSMENT):
        return found
    units = find_units(session, {code for pair in found for code in pair}, at=now)
    may_see = {}
    for code, unit in units.items():
        area, chain = scope_of(session, unit, city=city, now=now)
        may_see[code] = caller.may(Permission.SEE_ASSESSMENT, area=area, unit=chain)
    return {pair: one for pair, one in found.items() if any(may_see.get(code, False) for code in pair)}
