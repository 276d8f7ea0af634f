"""`gis-grid assess`, as a person runs it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from typer.testing import Result

from tests.builders import NOW
from tests.patrols import add_patrol, walk


@pytest.fixture(scope="session")
def template(furnished: str) -> str:
    return furnished


def test_patrollers_are_assessed_by_name(run: Callable[..., Result], session: Session, tmp_path: Path) -> None:
    add_patrol(session, "anna")
    walk(session, "anna", (50, 200), (50, 300), since=NOW + timedelta(hours=1))

    shown = run("assess", "2026-03", "--by", "patroller")
    written = run("assess", "2026-03", "--by", "patroller", "-o", tmp_path / "march.csv")

    assert shown.exit_code == 0, shown.output
    assert "区域覆盖率" in shown.output
    assert "100.00" in shown.output
    assert "1 assessed" in " ".join(written.output.split())
    text = (tmp_path / "march.csv").read_text("utf-8")
    assert "user:anna,user:anna,coverage_rate,区域覆盖率," in text
