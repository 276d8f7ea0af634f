"""The page of joint operations (“2+X”联动执法): what is planned, what has begun, the form to plan one."""

from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.case_access import may_dispatch
from api.deps import InSession, Now, TheCity
from api.pages.case_rows import words
from api.pages.rendering import page
from api.pages.words import SYNTHETIC_PARTS
from api.routers.cases import CaseName, Staff
from gis_grid.case_queues import has_a_move
from gis_grid.cases import Case, the_case
from gis_grid.joint_operations import Choice, JointOperation, operations, the_operation, units_to_choose
from gis_grid.permissions import Caller, Permission
from gis_grid.units import find_units

router = APIRouter()
LISTED = 50


class Told(NamedTuple):
    """An operation in the words of the page."""

    operation: JointOperation
    has_begun: bool
    lead_h: float
    is_theirs: bool  # to call off, as things stand


@router.get("/joint-operations", response_class=HTMLResponse)
def joint_operations_page(
    *,
    request: Request,
    caller: Staff,
    session: InSession,
    city: TheCity,
    now: Now,
    case: CaseName | Annotated[str, Query(max_length=0)] | None = None,
    operation: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="this one alone")] = None,
) -> HTMLResponse:
    """Operations, the latest beginning first; with a case, the form to plan one over it."""
    found = operations(session, limit=LISTED) if operation is None else [the_operation(session, operation)]
    told = [
        Told(one, one.starts_at <= now, one.lead_time.total_seconds() / 3600, _is_theirs(session, caller, one, now=now))
        for one in found
    ]
    chosen = the_case(session, case) if case else None
    codes = {unit.unit_code for one in found for unit in one.units} | {
        unit.leads_for for one in found for unit in one.units if unit.leads_for
    }
    return page(
        request,
        "joint_operations.html",
        caller=caller,
        tab="joint",
        told=told,
        operation=operation,
        units=find_units(session, codes, at=now),
        plans=caller.has(Permission.DISPATCH) and not caller.is_key,
        chosen=chosen,
        choices=_choices(session, caller, chosen, now=now),
        zone=city.time_zone,
        now=now,
        has_queue=has_a_move(caller),
        has_scope=True,
        may_accept=caller.has(Permission.ACCEPT),
        synthetic=_synthetic(found, chosen),
        **words(session, request),
    )


def _choices(session: Session, caller: Caller, case: Case | None, *, now: datetime) -> list[Choice]:
    """Who can take part over a case; nobody where the caller may not plan one there."""
    if case is None or not may_dispatch(session, caller, case, now=now):
        return []
    return units_to_choose(session, case.town_code, at=now)


def _is_theirs(session: Session, caller: Caller, one: JointOperation, *, now: datetime) -> bool:
    """Whether a caller may call an operation off now."""
    if one.cancellation is not None or one.starts_at <= now:
        return False
    return all(may_dispatch(session, caller, member.case, now=now) for member in one.cases)


def _synthetic(found: list[JointOperation], chosen: Case | None) -> list[Any]:
    cases = [one.case for operation in found for one in operation.cases] + ([chosen] if chosen else [])
    return [SYNTHETIC_PARTS["cases"]] if any(case.is_synthetic for case in cases) else []
