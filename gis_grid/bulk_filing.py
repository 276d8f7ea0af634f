"""Filing many reports at once: what `file_reports` does, by COPY and some ten times faster.

For loads that nobody answers one by one. A report that another transaction stores at the same time fails the load.
"""

import io
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import psycopg2.errors
import shapely
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from gis_grid.database import By, Change, change
from gis_grid.errors import Conflict
from gis_grid.geo.datum import LonLat
from gis_grid.geo.placing import Method
from gis_grid.locating import Located, locate
from gis_grid.reports import NewReport, Report, ReportConflict, Reporter

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class FiledMeanwhile(Conflict):
    """Another transaction stored the same reports at the same time."""


@dataclass(frozen=True)
class BulkFiled:
    """Where a report was placed; None where the very same one was stored before."""

    method: Method | None


def file_in_bulk(
    session: Session, new: Sequence[NewReport], *, snap_m: float, by: By, now: datetime
) -> list[BulkFiled | ReportConflict]:
    """Place and store reports; for each, in order, how it was placed or why it was not stored.

    Parameters
    ----------
    new
        Their event types are in the city's list.

    Raises
    ------
    FiledMeanwhile
        Nothing is stored then.
    """
    known = _stored_content(session, [item.id for item in new])
    content: dict[uuid.UUID, str] = {}
    answers: list[BulkFiled | ReportConflict] = []
    fresh: dict[int, tuple[NewReport, str]] = {}
    for i, item in enumerate(new):
        is_first = item.id not in known and item.id not in content
        sha256 = item.content_sha256
        if content.setdefault(item.id, known.get(item.id, sha256)) != sha256:
            answers.append(ReportConflict(f"report {item.id} is already stored with other content"))
            continue
        answers.append(BulkFiled(None))
        if is_first:
            fresh[i] = (item, sha256)
    for i, place in zip(fresh, _insert(session, list(fresh.values()), snap_m=snap_m, by=by, now=now), strict=True):
        answers[i] = BulkFiled(place.method)
    return answers


def _stored_content(session: Session, ids: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    asked = sa.any_(sa.literal(ids, ARRAY(sa.Uuid)))
    return dict(session.execute(sa.select(Report.id, Report.content_sha256).where(Report.id == asked)).all())


def _insert(
    session: Session, hashed: list[tuple[NewReport, str]], *, snap_m: float, by: By, now: datetime
) -> list[Located]:
    if not hashed:
        return []
    fresh = [item for item, _ in hashed]
    located = locate(
        session,
        [item.point for item in fresh],
        at=[item.observed_at or item.received_at or now for item in fresh],
        accuracy_m=[item.accuracy_m for item in fresh],
        snap_m=snap_m,
    )
    points = _ewkb([item.point for item in fresh]), _ewkb([item.public_point for item in fresh])
    rows = (_row(*parts, by=by, now=now) for parts in zip(hashed, located, *points, strict=True))
    contacts = (
        {"report_id": item.id, "name": item.reporter_name, "phone": item.reporter_phone}
        for item in fresh
        if item.reporter_name or item.reporter_phone
    )
    changes = (
        change("report", str(item.id), by=by, at=now, after={"grid_code": place.grid_code, "method": place.method})
        for item, place in zip(fresh, located, strict=True)
    )
    try:
        _copy(session, Report, rows)
        _copy(session, Reporter, contacts)
        _copy(session, Change, changes)
    except psycopg2.errors.UniqueViolation as error:
        raise FiledMeanwhile("another program stores the same reports at the same time; try again") from error
    return located


def _row(
    hashed: tuple[NewReport, str], place: Located, geom: str, public_geom: str, *, by: By, now: datetime
) -> dict[str, Any]:
    item, sha256 = hashed
    return {
        "id": item.id,
        "content_sha256": sha256,
        "received_at": item.received_at or now,
        "observed_at": item.observed_at,
        "kind": item.kind,
        "event_type": item.event_type,
        "text": item.text,
        "source": item.source,
        "sent_lon": item.sent.lon,
        "sent_lat": item.sent.lat,
        "datum": item.datum,
        "accuracy_m": item.accuracy_m,
        "geom": geom,
        "public_geom": public_geom,
        "is_synthetic": item.is_synthetic,
        "layer_id": place.layer_id,
        "grid_id": place.grid_id,
        "method": place.method,
        "distance_m": place.distance_m,
        "shares": place.shares,
        "is_uncertain": place.is_uncertain,
        "placed_at": now,
        "placed_by": by.who,
    }


def _ewkb(points: Sequence[LonLat]) -> list[str]:
    shapes = shapely.set_srid(shapely.points(np.array(points, dtype=np.float64)), 4326)
    return list(shapely.to_wkb(shapes, hex=True, include_srid=True))


def _copy(session: Session, table: type[Report | Reporter | Change], rows: Iterable[dict[str, Any]]) -> None:
    """Append rows, which all have the keys of the first, by COPY."""
    lines = _lines(rows)
    columns = next(lines, None)
    if columns is None:
        return
    cursor = session.connection().connection.cursor()
    target = table.__tablename__
    cursor.copy_expert(f"copy {target} ({columns}) from stdin", io.StringIO("".join(lines)))


def _lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The columns, then a line a row."""
    for i, row in enumerate(rows):
        if i == 0:
            yield ", ".join(f'"{name}"' for name in row)
        yield "\t".join(_cell(value) for value in row.values()) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, dict):
        value = json.dumps(value)
    # Numbers, times, ids and enumerations have nothing to escape.
    return value.translate(ESCAPES) if type(value) is str else str(value)
