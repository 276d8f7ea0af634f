"""Which cases are likely the same thing: near in space and time, of the same type group, open or lately ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from gis_grid.case_numbers import numbers_at
from gis_grid.cases import Case
from gis_grid.database import sql
from gis_grid.event_types import the_event_type
from gis_grid.geo.datum import LonLat
from gis_grid.geo.placing import metres_per_degree

OFFERED = 10


@dataclass(frozen=True)
class Likely:
    """A case that is likely the same thing, and how far its report lies from the point asked about, metres."""

    case: Case
    distance_m: float


def likely_duplicates(
    session: Session, point: LonLat, event_type: str, *, observed_at: datetime, now: datetime
) -> list[Likely]:
    """Cases that may be what somebody reports, the nearest first; at most ten.

    How near, in metres and days, is data (`case_numbers`); the edges of grids are of no account.

    Parameters
    ----------
    point
        WGS84.
    observed_at
        When the problem was seen or reported.

    Raises
    ------
    NotFound
        No such event type.
    """
    numbers = numbers_at(session, at=now)
    kind = the_event_type(session, event_type)
    mx, my = metres_per_degree(point.lat)
    span = timedelta(days=numbers.duplicate_days)
    rows = session.execute(
        sql("likely_duplicates"),
        {
            "lon": point.lon,
            "lat": point.lat,
            "mx": float(mx),
            "my": float(my),
            "within_m": numbers.duplicate_m,
            "since": observed_at - span,
            "until": observed_at + span,
            "ended_since": now - timedelta(days=numbers.duplicate_closed_days),
            "event_class": kind.parent_code or kind.code,
            "most": OFFERED,
        },
    ).all()
    return [Likely(session.get_one(Case, row.id), row.distance_m) for row in rows]
