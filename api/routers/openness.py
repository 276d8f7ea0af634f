"""What everybody may see: progress of one's own report, counts by town and type, red cases by unit, busy squares."""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.case_shapes import lights_json
from api.deps import Address, Anyone, Filled, InSession, Json, Now, Plain, TheCity, TheInstallation
from api.shapes import place_names
from gis_grid.bulletin import red_cases
from gis_grid.city import City
from gis_grid.errors import InvalidInput
from gis_grid.geo.privacy import LEAST_SHOWN
from gis_grid.installation import Installation
from gis_grid.openness import (
    Progress,
    UnitReds,
    busy_squares,
    progress_of,
    public_counts,
    reds_by_unit,
)
from gis_grid.periods import Period
from gis_grid.rate_limits import RateLimit, spend
from gis_grid.reports import ReportFilter

router = APIRouter(prefix="/api/v1/public", tags=["openness"])
RECENT = timedelta(days=30)
MONTHS = 12
QUERIES = RateLimit("progress queries", 60, timedelta(hours=1))


class ProgressIn(BaseModel):
    """A serial number or report id, and the query code that was given for the report."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"number": "3101122026112300001", "code": "k7mf2wq9xd"}]}
    )

    number: Annotated[str, Field(max_length=60), Plain, Filled]
    code: Annotated[str, Field(max_length=40), Plain, Filled]


@router.post("/progress")
def get_progress(
    sent: ProgressIn, _: Anyone, session: InSession, installation: TheInstallation, now: Now, address: Address
) -> Json:
    """How far a report has come, for who has its query code; POST, so that no log keeps the code."""
    count_query(installation, address, now)
    return progress_json(progress_of(session, sent.number, sent.code, now=now), now)


def count_query(installation: Installation, address: str, now: datetime) -> None:
    """Count a query from an address, or raise `TooMany`; codes cannot be guessed through it."""
    with installation.sessions.begin() as session:
        refusal = spend(session, QUERIES, address, now=now)
    if refusal is not None:
        raise refusal


def progress_json(progress: Progress, now: datetime) -> Json:
    """What its reporter is told: each step and when, who has it, until when, and the answer; no person's name."""
    case, going_on = progress.case, progress.going_on
    return {
        "report_id": str(progress.report.id),
        **place_names(progress.report.grid),
        "received_at": progress.report.received_at.isoformat(),
        "serial": case.serial if case else None,
        "is_drill": progress.report.is_drill,
        "stage": going_on.stage if going_on else None,
        "unit": {"code": progress.unit.code, "name": progress.unit.name} if progress.unit else None,
        **(lights_json(going_on, now) if going_on else {"light": None}),
        "steps": [{"at": entry.at.isoformat(), "action": entry.action, "after": entry.after} for entry in progress.log],
        "answer": progress.answer,
        "merged_into": progress.merged_into,
    }


@router.get("/counts")
def get_counts(_: Anyone, session: InSession, now: Now) -> Json:
    """Cases accepted in the last 30 days, by town and event type."""
    since = now - RECENT
    return {"since": since.isoformat(), "counts": [one._asdict() for one in public_counts(session, since=since)]}


@router.get("/busy-squares")
def get_busy_squares(_: Anyone, session: InSession, now: Now) -> Json:
    """Squares of 100 m with at least five reports in the last 30 days, as GeoJSON points of their centres."""
    since = now - RECENT
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [square.lon, square.lat]},
            "properties": {"reports": square.reports},
        }
        for square in busy_squares(session, ReportFilter(since=since))
    ]
    return {"type": "FeatureCollection", "since": since.isoformat(), "least": LEAST_SHOWN, "features": features}


@dataclass(frozen=True)
class PublicBulletin:
    """Red cases of a month by unit, as they were at a time; `cases` is how many there were in all."""

    period: Period
    at: datetime
    cases: int
    units: tuple[UnitReds, ...]
    is_synthetic: bool


class Bulletins:
    """The public bulletins of the last months, each drawn up at most once in ten minutes, however many ask."""

    KEPT = timedelta(minutes=10)

    def __init__(self) -> None:
        self._drawn: dict[Period, PublicBulletin] = {}
        self._lock = threading.Lock()

    def of(self, session: Session, period: Period, *, now: datetime) -> PublicBulletin:
        """The bulletin of a period."""
        with self._lock:
            known = self._drawn.get(period)
            if known is None or not known.at <= now < known.at + self.KEPT:
                found = red_cases(session, period, now=now)
                is_synthetic = any(run.is_synthetic for run in found.runs)
                known = PublicBulletin(period, now, found.cases, tuple(reds_by_unit(found.runs)), is_synthetic)
                self._drawn = {kept: one for kept, one in self._drawn.items() if now < one.at + self.KEPT}
                self._drawn[period] = known
            return known


def open_months(city: City, now: datetime) -> list[Period]:
    """The months that the public bulletin is open for: this one and the eleven before, the latest first."""
    months = [Period.month(f"{now.astimezone(city.zone):%Y-%m}", city.zone)]
    while len(months) < MONTHS and months[-1].first.year > 1971:
        months.append(months[-1].month_before)
    return months


def open_month(city: City, month: str | None, now: datetime) -> Period:
    """The month that a text names, this one without a text.

    Raises
    ------
    InvalidInput
        No month, or not one of the last twelve.
    """
    months = open_months(city, now)
    if month is None:
        return months[0]
    period = Period.month(month, city.zone)
    if period not in months:
        raise InvalidInput(
            f"month: {month} is not one of the last {MONTHS}, {months[-1].first:%Y-%m} to {months[0].first:%Y-%m}",
            fields=("month",),
        )
    return period


@router.get("/bulletin")
def get_public_bulletin(
    request: Request,
    _: Anyone,
    session: InSession,
    city: TheCity,
    now: Now,
    month: Annotated[
        str | None, Query(description="such as 2026-03; this month up to now without it", max_length=20)
    ] = None,
) -> Json:
    """How many cases turned red in a month, by unit; no person, no single case."""
    drawn: Bulletins = request.app.state.public_bulletins
    bulletin = drawn.of(session, open_month(city, month, now), now=now)
    return {
        "since": bulletin.period.first.isoformat(),
        "until": bulletin.period.last.isoformat(),
        "at": bulletin.at.isoformat(),
        "cases": bulletin.cases,
        "by_unit": [one._asdict() for one in bulletin.units],
        "is_synthetic": bulletin.is_synthetic,
    }
