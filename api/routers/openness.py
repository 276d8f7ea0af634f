"""What everybody may see: the progress of one's own report, counts by town and type, busy squares."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.case_shapes import lights_json
from api.deps import Address, Anyone, Filled, InSession, Json, Now, Plain, TheInstallation
from api.shapes import place_names
from gis_grid.installation import Installation
from gis_grid.openness import LEAST_SHOWN, Progress, busy_squares, progress_of, public_counts
from gis_grid.rate_limits import RateLimit, spend

router = APIRouter(prefix="/api/v1/public", tags=["openness"])
RECENT = timedelta(days=30)
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
    case = progress.case
    return {
        "report_id": str(progress.report.id),
        **place_names(progress.report.grid),
        "received_at": progress.report.received_at.isoformat(),
        "serial": case.serial if case else None,
        "stage": case.stage if case else None,
        "unit": {"code": progress.unit.code, "name": progress.unit.name} if progress.unit else None,
        **(lights_json(case, now) if case else {"light": None}),
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
        for square in busy_squares(session, since=since)
    ]
    return {"type": "FeatureCollection", "since": since.isoformat(), "least": LEAST_SHOWN, "features": features}
