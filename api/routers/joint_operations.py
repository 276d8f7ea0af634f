"""Joint operations over cases: two bodies lead, others join."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.case_access import refuse_key, unit_chain
from api.case_shapes import operation_json
from api.deps import Code, Filled, InSession, Instant, Json, Now, Plain, TheActor, TheCity, TheInstallation, needs
from api.routers.cases import Staff
from gis_grid.cases import Case, lock_cases
from gis_grid.joint_operations import (
    MOST_CASES,
    MOST_UNITS,
    NewOperation,
    cancel_operation,
    operations,
    plan_operation,
    the_operation,
)
from gis_grid.permissions import Caller, Permission

router = APIRouter(prefix="/api/v1/joint-operations", tags=["joint operations"])
Dispatcher = Annotated[Caller, Depends(needs(Permission.DISPATCH))]
OperationId = Annotated[int, Field(ge=1, le=2**31 - 1)]
Name = Annotated[str, Field(pattern="^[0-9]{1,19}$")]


class OperationIn(BaseModel):
    """An operation to plan; both leads (城管, 派出所) take part."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "title": "取缔夜间占道经营",
                    "reason": "屡劝不改",
                    "cases": ["3101122026112300001"],
                    "units": ["team-chengguan-310112101", "station-police-310112101", "station-food-310112101"],
                    "starts_at": "2026-11-25T20:00:00+08:00",
                }
            ]
        },
    )

    title: Annotated[str, Field(max_length=200), Plain, Filled]
    reason: Annotated[str, Field(max_length=1000), Plain, Filled]
    cases: Annotated[list[Name], Field(min_length=1, max_length=MOST_CASES)]
    units: Annotated[list[Code], Field(min_length=1, max_length=MOST_UNITS)]
    starts_at: Instant


class CancellationIn(BaseModel):
    """Why an operation is called off."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=1000), Plain, Filled]


@router.post("", status_code=201)
def plan(
    sent: OperationIn,
    caller: Dispatcher,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Plan an operation; refused without both leads. Each case has it in its log."""
    refuse_key(caller, "plan")
    cases = lock_cases(session, sent.cases)
    demand_dispatch(session, caller, cases, now=now)
    new = NewOperation(title=sent.title, reason=sent.reason, units=sent.units, starts_at=sent.starts_at)
    operation = plan_operation(session, cases, new, city=city, photos=installation.photos, by=by, now=now)
    return operation_json(operation)


@router.get("")
def list_operations(_: Staff, session: InSession, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Json]:
    """Operations, the latest beginning first."""
    return [operation_json(operation) for operation in operations(session, limit=limit)]


@router.get("/{operation_id}")
def get_operation(operation_id: OperationId, _: Staff, session: InSession) -> Json:
    """One operation."""
    return operation_json(the_operation(session, operation_id))


@router.post("/{operation_id}/cancel")
def cancel(
    operation_id: OperationId,
    sent: CancellationIn,
    caller: Dispatcher,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Call off an operation that has not begun; each of its cases has it in its log."""
    refuse_key(caller, "cancel")
    operation = the_operation(session, operation_id)
    cases = lock_cases(session, [one.case.name for one in operation.cases])
    demand_dispatch(session, caller, cases, now=now)
    cancel_operation(
        session, operation, cases, reason=sent.reason, city=city, photos=installation.photos, by=by, now=now
    )
    return operation_json(operation)


def demand_dispatch(session: Session, caller: Caller, cases: Iterable[Case], *, now: datetime) -> None:
    """Raise unless a caller may dispatch each of some cases."""
    for case in cases:
        caller.demand(Permission.DISPATCH, area=case.ground, unit=unit_chain(session, case, now=now))
