"""Rewards for tip-offs: what can be granted, the ledger, and the sealed identity for the one role that reads it."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.case_access import refuse_key
from api.deps import Filled, InSession, Json, Now, Plain, TheActor, TheInstallation, needs
from api.routers.cases import CaseName
from gis_grid.cases import Case, the_case
from gis_grid.informants import Sealer, read_informant, readings_of
from gis_grid.permissions import Caller, Permission
from gis_grid.rewards import RewardEntry, RewardStep, candidates, entries_of, ledger, settle, unpaid

router = APIRouter(prefix="/api/v1/rewards", tags=["rewards"])
Settler = Annotated[Caller, Depends(needs(Permission.SETTLE_REWARD))]
Reader = Annotated[Caller, Depends(needs(Permission.READ_INFORMANT))]


class RewardStepIn(BaseModel):
    """What becomes of a reward, and why."""

    model_config = ConfigDict(extra="forbid")

    step: RewardStep
    reason: Annotated[str, Field(max_length=1000), Plain, Filled]


class ReadingIn(BaseModel):
    """Why an identity is read."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=1000), Plain, Filled]


@router.get("")
def list_rewards(caller: Settler, session: InSession) -> Json:
    """What can be granted, what is to be paid, and the ledger, where the caller's role counts; never who tipped off."""
    is_theirs = settled_by(caller)
    return {
        "candidates": [
            {
                "case": one.case.name,
                "event_type": one.case.event_type,
                "amount_yuan": str(one.rule.amount_yuan),
                "is_example": one.rule.is_example,
                "closed_at": one.case.closed_at.isoformat() if one.case.closed_at else None,
            }
            for one in candidates(session)
            if is_theirs(one.case)
        ],
        "unpaid": [_entry_json(entry, case) for entry, case in unpaid(session) if is_theirs(case)],
        "entries": [_entry_json(entry, case) for entry, case in ledger(session) if is_theirs(case)],
    }


def settled_by(caller: Caller) -> Callable[[Case], bool]:
    """Whether a case's reward is a caller's to settle."""
    return lambda case: caller.may(Permission.SETTLE_REWARD, area=case.ground)


@router.post("/{case}/steps", status_code=201)
def take_reward_step(
    case: CaseName, sent: RewardStepIn, caller: Settler, session: InSession, now: Now, by: TheActor
) -> Json:
    """Grant, pay or refuse a case's reward; who grants does not pay."""
    refuse_key(caller, "settle_reward")
    found = the_case(session, case)
    caller.demand(Permission.SETTLE_REWARD, area=found.ground)
    return _entry_json(settle(session, case, sent.step, reason=sent.reason, by=by, now=now), found)


@router.post("/{case}/informant")
def read_identity(
    case: CaseName,
    sent: ReadingIn,
    caller: Reader,
    session: InSession,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> JSONResponse:
    """Who tipped off; that it was read, by whom and why is stored before it is told."""
    refuse_key(caller, "read_informant")
    found = the_case(session, case)
    caller.demand(Permission.READ_INFORMANT, area=found.ground)
    known = entries_of(session, found)
    report_id = known[0].report_id if known else found.report_id
    sealer = Sealer.of(installation.settings.informant_keys)
    identity = read_informant(session, report_id, sealer, reason=sent.reason, by=by, now=now)
    readings = [
        {"who": one.who, "at": one.at.isoformat(), "reason": one.reason} for one in readings_of(session, [report_id])
    ]
    body = {"case": found.name, "name": identity.name, "phone": identity.phone, "readings": readings}
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _entry_json(entry: RewardEntry, case: Case) -> Json:
    return {
        "case": case.name,
        "seq": entry.seq,
        "step": entry.step,
        "amount_yuan": str(entry.amount_yuan),
        "at": entry.at.isoformat(),
        "who": entry.who,
        "reason": entry.reason,
        "is_synthetic": case.is_synthetic,
    }
