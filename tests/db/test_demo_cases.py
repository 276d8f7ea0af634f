"""Synthetic cases are made by the rules: logs, clocks and stages are those of a real city."""

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.case_queues import light_of
from gis_grid.case_state import Stage
from gis_grid.cases import Case, CaseLogEntry, is_rebuilt_by_its_log
from gis_grid.clocks import Light
from gis_grid.demo_cases import make_cases
from gis_grid.intake import Intake
from gis_grid.reports import Kind, Source, file_reports
from tests.builders import BY, NOW
from tests.stored_cases import CITY, INSIDE

# The layer of the squares is in force from NOW on; the demo looks back over 30 days.
LATER = NOW + timedelta(days=31)


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def cases(session: Session, tmp_path: Path) -> list[Case]:
    intake = Intake(metric_crs=CITY.metric_crs, bounds=None)
    reports = [
        intake.report(
            id_=uuid.UUID(int=number),
            lon=INSIDE.lon,
            lat=INSIDE.lat,
            kind=Kind.COMPLAINT,
            event_type="E0102",
            text="(合成)",
            source=Source.RESIDENT,
            received_at=NOW + timedelta(hours=1 + 3 * number),
            is_synthetic=True,
        )
        for number in range(245)
    ]
    file_reports(session, reports, snap_m=50.0, by=BY, now=LATER)
    assert make_cases(session, CITY, photos=tmp_path, now=LATER) > 100
    return list(session.scalars(sa.select(Case)))


def test_made_up_cases_stand_everywhere_in_a_life_and_are_rebuilt_by_their_logs(
    session: Session, cases: list[Case]
) -> None:
    broken = [case.name for case in cases if not is_rebuilt_by_its_log(session, case)]
    last = session.scalar(sa.select(sa.func.max(CaseLogEntry.at)))

    assert {case.stage for case in cases} == {stage.value for stage in Stage} - {Stage.MERGED, Stage.VOID}
    assert {light_of(case, LATER) for case in cases} == {None, *Light}
    assert all(case.is_synthetic for case in cases)
    assert broken == []
    assert last is not None
    assert last <= LATER
