"""Rows of historic reports, and how the tests load them."""

import csv
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.installation import Installation
from gis_grid.report_fields import FieldMap
from gis_grid.report_files import LoadedReports, load_report_file
from gis_grid.reports import Report
from tests.builders import BY, NOW

SHANGHAI = ZoneInfo("Asia/Shanghai")
COLUMNS = {
    "id": "no",
    "lon": "x",
    "lat": "y",
    "kind": "kind",
    "event_type": "type",
    "text": "note",
    "received_at": "opened",
    "accuracy_m": "acc",
    "source": "via",
    "reporter_name": "who",
    "reporter_phone": "tel",
}
HEADING = list(COLUMNS.values())
GOOD = {
    "no": "1",
    "x": "121.4005",
    "y": "31.1022",
    "kind": "投诉",
    "type": "E0102",
    "note": "垃圾, rubbish",
    "opened": "2011-07-01 08:00:00",
    "acc": "",
    "via": "12345",
    "who": "",
    "tel": "",
}


def row(**changes: str) -> dict[str, str]:
    return GOOD | changes


def write_csv(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADING, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def fields(**changes: Any) -> FieldMap:
    return FieldMap(**{"columns": COLUMNS, "zone": SHANGHAI} | changes)


def load(installation: Installation, path: Path, mapping: FieldMap | None = None, **options: Any) -> LoadedReports:
    with installation.sessions.begin() as session:
        return load_report_file(
            session,
            path,
            mapping or fields(),
            city=installation.city,
            snap_m=50.0,
            by=BY,
            now=NOW,
            **options,
        )


def stored(session: Session) -> list[Report]:
    return list(session.scalars(sa.select(Report).order_by(Report.received_at, Report.text)))
