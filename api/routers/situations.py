"""Emergencies and drills: which are on, begun and ended by those whose role it is."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from api.case_access import refuse_key
from api.deps import Anyone, Code, Filled, InSession, Json, Now, Plain, TheActor, needs
from gis_grid.permissions import Caller, Permission
from gis_grid.situations import Situation, SituationKind, end_situation, situations, start_situation, the_situation
from gis_grid.territory import ground_of, the_area

router = APIRouter(prefix="/api/v1/situations", tags=["emergencies and drills"])
Declarer = Annotated[Caller, Depends(needs(Permission.DECLARE))]
Reason = Annotated[str, Field(max_length=1000), Plain, Filled]


class SituationIn(BaseModel):
    """What begins, where and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "emergency", "name": "台风", "area": "310112", "reason": "台风橙色预警 typhoon warning"}
            ]
        },
    )

    kind: SituationKind
    name: Annotated[str, Field(max_length=100), Plain, Filled]
    area: Code
    reason: Reason
    rule_set: Code | None = None


class EndIn(BaseModel):
    """Why it ends."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


@router.get("")
def list_situations(
    _: Anyone,
    session: InSession,
    now: Now,
    past: Annotated[bool, Query(description="those that are over too")] = False,
) -> Json:
    """Emergencies and drills that are on, the latest first; who began them is not told here."""
    found = situations(session, at=None if past else now)
    return {"situations": [situation_json(one) for one in found]}


@router.post("", status_code=201)
def begin(sent: SituationIn, caller: Declarer, session: InSession, now: Now, by: TheActor) -> Json:
    """Begin an emergency or a drill over a community, a town or the district."""
    refuse_key(caller, "declare")
    caller.demand(Permission.DECLARE, area=ground_of(the_area(session, sent.area, at=now)))
    begun = start_situation(
        session, sent.kind, sent.name, sent.area, reason=sent.reason, rule_set=sent.rule_set, by=by, now=now
    )
    return situation_json(begun)


@router.post("/{situation_id}/end")
def end(
    situation_id: Annotated[int, Field(ge=1, le=2**31 - 1)],
    sent: EndIn,
    caller: Declarer,
    session: InSession,
    now: Now,
    by: TheActor,
) -> Json:
    """End an emergency or a drill."""
    refuse_key(caller, "declare")
    area = the_situation(session, situation_id).area_code
    caller.demand(Permission.DECLARE, area=ground_of(the_area(session, area, at=now)))
    return situation_json(end_situation(session, situation_id, reason=sent.reason, by=by, now=now))


def situation_json(one: Situation) -> Json:
    """An emergency or a drill as everybody may see it."""
    return {
        "id": one.id,
        "kind": one.kind,
        "name": one.name,
        "area": one.area_code,
        "reason": one.reason,
        "rule_set": one.rule_set,
        "since": one.since.isoformat(),
        "until": one.valid.upper.isoformat() if one.valid.upper else None,
        "end_reason": one.end_reason,
    }
