"""Accountability: what the log gives grounds for, and what a person has referred."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Annotated, TypeVar

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.case_access import refuse_key
from api.deps import Code, InSession, Json, Now, Plain, TheActor, TheCity, needs
from gis_grid.accountability import (
    EVIDENCE_MOST,
    WORDS_MOST,
    Cause,
    Evidence,
    NewReferral,
    Proposal,
    Referral,
    cases_of,
    find_referrals,
    proposals,
    refer,
)
from gis_grid.cases import Case
from gis_grid.periods import Period
from gis_grid.permissions import Caller, Permission
from gis_grid.units import find_units, units_above

router = APIRouter(prefix="/api/v1/accountability", tags=["supervision"])
Referrer = Annotated[Caller, Depends(needs(Permission.REFER))]
Day = Annotated[date, Query(description="a day on the city's clock")]
Words = Annotated[str, Field(min_length=1, max_length=WORDS_MOST), Plain]
T = TypeVar("T")


class Row(BaseModel):
    """One row of a case's log."""

    model_config = ConfigDict(extra="forbid")

    case: Annotated[str, Field(pattern="^[0-9]{1,19}$", description="the serial number")]
    seq: Annotated[int, Field(ge=1, le=2**31 - 1)]


class Stated(BaseModel):
    """What a person states who refers; each field but `person` has to be there."""

    model_config = ConfigDict(extra="forbid")

    unit: Code
    cause: Cause
    legal_duty: Words
    adverse_effect: Words
    evidence: Annotated[list[Row], Field(min_length=1, max_length=EVIDENCE_MOST)]
    person: Annotated[str, Field(min_length=1, max_length=200), Plain] | None = None


@router.get("/proposals")
def list_proposals(
    caller: Referrer,
    session: InSession,
    city: TheCity,
    now: Now,
    since: Day,
    until: Annotated[date, Query(description="the last day, included")],
) -> list[Json]:
    """What the log of a period gives grounds for, the latest first, where the caller may refer; nothing is decided."""
    found = proposals(session, Period(since, until, city.zone), now=now)
    return [_proposal_json(one) for one in proposals_in_scope(session, caller, found, now=now)]


@router.get("/referrals")
def list_referrals(
    caller: Referrer,
    session: InSession,
    now: Now,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="only those with a lower id")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Json]:
    """What was referred where the caller may refer, the latest first."""
    found = find_referrals(session, before=before, limit=limit)
    return [_referral_json(one) for one in referrals_in_scope(session, caller, found, now=now)]


@router.post("/referrals", status_code=201)
def refer_unit(caller: Referrer, session: InSession, by: TheActor, now: Now, stated: Stated) -> Json:
    """Refer a unit, or a person in it, to the supervision authority; it stays on record as it was stated."""
    new = NewReferral(
        stated.unit,
        stated.cause,
        stated.legal_duty,
        stated.adverse_effect,
        tuple(Evidence(row.case, row.seq) for row in stated.evidence),
        stated.person,
    )
    demand_refer(session, caller, new, now=now)
    return _referral_json(refer(session, new, by=by, now=now))


def demand_refer(session: Session, caller: Caller, new: NewReferral, *, now: datetime) -> None:
    """Raise `Forbidden` unless a caller may refer this unit for these cases; a key never may."""
    refuse_key(caller, "refer")
    chain = _chains(session, [new.unit], now=now).get(new.unit, ())
    for case in cases_of(session, new.evidence):
        caller.demand(Permission.REFER, area=case.ground, unit=chain)


def proposals_in_scope(session: Session, caller: Caller, found: Sequence[Proposal], *, now: datetime) -> list[Proposal]:
    """Those that rest on cases for each of which the caller may refer."""
    return _in_scope(session, caller, [(one, one.unit, one.cases) for one in found], now=now)


def referrals_in_scope(session: Session, caller: Caller, found: Sequence[Referral], *, now: datetime) -> list[Referral]:
    """Those that rest on cases for each of which the caller may refer."""
    named = [(one, one.unit_code, [str(row["case"]) for row in one.evidence]) for one in found]
    return _in_scope(session, caller, named, now=now)


def _in_scope(
    session: Session, caller: Caller, found: Sequence[tuple[T, str, Sequence[str]]], *, now: datetime
) -> list[T]:
    if caller.may(Permission.REFER):
        return [one for one, _, _ in found]
    names = {name for _, _, cases in found for name in cases}
    columns = (Case.grid_code, Case.community_code, Case.town_code, Case.district_code)
    rows = session.execute(sa.select(Case.serial, *columns).where(Case.serial.in_(names)))
    grounds = {row[0]: tuple(row[1:]) for row in rows}
    chains = _chains(session, {unit for _, unit, _ in found}, now=now)
    return [
        one
        for one, unit, cases in found
        if all(caller.may(Permission.REFER, area=grounds[name], unit=chains.get(unit, ())) for name in cases)
    ]


def _chains(session: Session, units: Iterable[str], *, now: datetime) -> dict[str, tuple[str, ...]]:
    """Each unit's code and those of the units above it."""
    return {
        code: (code, *(over.code for over in units_above(session, unit, at=now)))
        for code, unit in find_units(session, units, at=now).items()
    }


def _proposal_json(one: Proposal) -> Json:
    return {
        "ground": one.ground,
        "cause": one.cause,
        "unit": one.unit,
        "person": one.person,
        "at": one.at.isoformat(),
        "evidence": [row._asdict() for row in one.evidence],
        "is_referred": one.is_referred,
    }


def _referral_json(one: Referral) -> Json:
    return {
        "id": one.id,
        "unit": one.unit_code,
        "person": one.person,
        "cause": one.cause,
        "legal_duty": one.legal_duty,
        "adverse_effect": one.adverse_effect,
        "evidence": one.evidence,
        "referred_by": one.referred_by,
        "referred_at": one.referred_at.isoformat(),
    }
