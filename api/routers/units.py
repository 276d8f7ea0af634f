"""Units: who is organised how, and who answers for what."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.deps import Anyone, Code, InSession, Instant, Json, Now, View, view_of
from gis_grid.units import Unit, UnitKind, enforcement_body, posts_of, the_unit, units_above, units_at

router = APIRouter(prefix="/api/v1", tags=["units"])
At = Annotated[Instant | None, Query(description="the units that were there then; now without it")]


@router.get("/units")
def list_units(
    _: Anyone,
    session: InSession,
    now: Now,
    at: At = None,
    kind: Annotated[list[UnitKind] | None, Query(description="may be repeated")] = None,
    area: Annotated[Code | None, Query(description="code of the district, town or community they work in")] = None,
    parent: Annotated[Code | None, Query(description="code of the unit right above them")] = None,
) -> list[Json]:
    """The units that are there at a time, by code."""
    units = units_at(session, at=at or now, kinds=kind or (), area_code=area, parent_code=parent)
    return [_unit_json(unit) for unit in units]


@router.get("/units/{code}")
def get_unit(code: Code, caller: Anyone, session: InSession, now: Now, at: At = None) -> Json:
    """One unit: what is above and below it, in whose name it enforces, its posts, and for staff who holds them."""
    at = at or now
    unit = the_unit(session, code, at=at)
    body = enforcement_body(session, unit, at=at)
    above = units_above(session, unit, at=at)
    ground = [over.area_code for over in (unit, *above) if over.area_code]
    return {
        **_unit_json(unit),
        "enforcement_body": {"code": body.code, "name": body.name},
        "above": [{"code": over.code, "name": over.name} for over in above],
        "below": [_unit_json(below) for below in units_at(session, at=at, parent_code=code)],
        "posts": _posts_json(session, code, view=view_of(caller, ground), at=at),
    }


def _unit_json(unit: Unit) -> Json:
    return {
        "code": unit.code,
        "name": unit.name,
        "name_en": unit.name_en,
        "kind": unit.kind,
        "parent_code": unit.parent_code,
        "area_level": unit.area_level,
        "area_code": unit.area_code,
        "enforces_as": unit.enforces_as,
        "placement_model": unit.placement_model,
        "since": unit.valid.lower.isoformat() if unit.valid.lower else None,
        "until": unit.valid.upper.isoformat() if unit.valid.upper else None,
        "is_example": unit.is_example,
    }


def _posts_json(session: Session, code: str, *, view: View, at: datetime) -> list[Json]:
    return [
        {
            "title": post.title,
            "is_first_responsible": post.is_first_responsible,
            "is_held": holder is not None,
            # A name is for staff, as a grid manager's is.
            **({} if view.is_public else {"name": holder.person.name if holder else None}),
        }
        for post, holder in posts_of(session, code, at=at)
    ]
