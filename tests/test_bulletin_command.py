"""`gis-grid bulletin` and `gis-grid supervise sweep`, as a person runs them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gis_grid.cli import app
from gis_grid.embedded import EmbeddedPostgis


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


@pytest.fixture(autouse=True)
def here(cluster: EmbeddedPostgis, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url(database, role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url(database))
    monkeypatch.setenv("GIS_GRID_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.parametrize("suffix", ["html", "csv"])
def test_a_bulletin_without_red_cases_is_written_and_says_so(here: Path, suffix: str) -> None:
    file = here / f"red.{suffix}"

    done = CliRunner().invoke(app, ["bulletin", "--since", "2026-03-01", "--until", "2026-03-31", "-o", str(file)])

    assert done.exit_code == 0, done.output
    assert "0 cases turned red" in done.output
    assert file.stat().st_mode & 0o077 == 0
    assert "2026-03-01" in file.read_text("utf-8") or suffix == "csv"


def test_another_form_is_refused_before_anything_is_read(here: Path) -> None:
    from gis_grid.errors import InvalidInput

    done = CliRunner().invoke(app, ["bulletin", "--since", "2026-03-01", "--until", "2026-03-31", "-o", "red.pdf"])

    assert isinstance(done.exception, InvalidInput)


def test_a_sweep_says_how_many_acts_it_issued() -> None:
    done = CliRunner().invoke(app, ["supervise", "sweep"])

    assert (done.exit_code, done.output.strip()) == (0, "0 acts issued")
