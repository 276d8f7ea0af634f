"""The worked example of docs/assessment.md is what the program works out."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from gis_grid.assessment import KeptCounts, assess
from gis_grid.counted_steps import By, log_rows
from gis_grid.indicators import INDICATORS, parts
from gis_grid.periods import Period
from tests.builders import NOW
from tests.stored_cases import CITY, TEAM, Desk

DOCS = Path(__file__).parents[2] / "docs" / "assessment.md"
MARCH = Period.month("2026-03", CITY.zone)
LATER = NOW + timedelta(days=60)


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def desk(session: Session, tmp_path: Path) -> Desk:
    """A team's month: one case closed in time, one left lying, one returned."""
    desk = Desk(session, tmp_path)
    desk.closed(event_type="E0107")
    desk.at = NOW
    desk.step(desk.dispatched(), "handler", action="take")
    desk.at = NOW
    desk.step(desk.dispatched(), "handler", action="return", reason_code="属地不符", text="不在辖区")
    return desk


def told(name: str) -> list[list[str]]:
    """The rows of the example's table under a heading."""
    part = DOCS.read_text(encoding="utf-8").split(name)[1].split("\n\n")
    table = next(block for block in part if block.startswith("|"))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def test_the_score_of_the_example_comes_out(desk: Desk) -> None:
    row = next(
        row for row in assess(desk.session, MARCH, By.UNIT, now=LATER, kept=KeptCounts(CITY)).rows if row.key == TEAM
    )
    assert row.score is not None

    worked = [
        [
            f"`{name}`",
            "{} / {}".format(*parts(row.counts, INDICATORS[name])),
            f"{weight:g}",
            f"{value:.4f}",
            f"{100 * weight * value / row.score.weight:.2f}",
        ]
        for name in INDICATORS
        if name in row.score.terms
        for weight, value in [row.score.terms[name]]
    ]

    assert told("the score of one team") == worked
    (said,) = re.findall(r"Together ([\d.]+) points; × ([\d.]+) = \*\*([\d.]+)\*\*", DOCS.read_text(encoding="utf-8"))
    assert said == (f"{row.score.points:.2f}", "0.5", f"{row.score.contribution:.2f}")


def test_the_rows_of_the_example_are_those_of_the_log(desk: Desk) -> None:
    rows = log_rows(desk.session, MARCH, By.UNIT, TEAM, now=LATER, limit=100)

    serials = sorted({row.case for row in rows})
    letters = dict(zip(serials, "ABC", strict=False))
    found = [
        [
            row.measure,
            letters[row.case],
            str(row.seq),
            *("yes" if one else "no" for one in (row.is_done, row.is_in_time)),
        ]
        for row in rows
        if row.measure in {"close", "return"}
    ]

    assert told("the rows behind it") == found
