"""A new layer from the command line: previewed, loaded, activated."""

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pytest
from sqlalchemy.orm import Session
from typer.testing import Result

from gis_grid.geo.layer_files import write_grids
from tests.builders import squares
from tests.stored_cases import Desk

Run = Callable[..., Result]


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


def swapped(path: Path) -> Path:
    """A file of the nine squares, the first two of which have changed codes."""
    grids: gpd.GeoDataFrame = squares()
    codes = grids["grid_code"].tolist()
    codes[0], codes[1] = codes[1], codes[0]
    write_grids(grids.assign(grid_code=codes), path)
    return path


def test_a_layer_is_previewed_loaded_and_activated(run: Run, session: Session, tmp_path: Path) -> None:
    case = Desk(session, tmp_path).filed()
    file = swapped(tmp_path / "new.geojson")
    shown, tables = tmp_path / "moves.html", tmp_path / "moves"

    preview = run("grids", "preview", file, "--effective", "2026-03-01", "-o", shown, "--tables", tables)
    loaded = run("grids", "load", file, "--effective", "2026-03-01", "--accept-faults")
    activated = run("grids", "activate", 2)
    again = run("grids", "activate", 2)

    assert "1 reports compared: 1 lie in another grid; 1 were observed since" in preview.output
    assert f"{case.serial}: 310112001001001 → 310112001001002" in preview.output
    assert "改变网格的上报" in shown.read_text(encoding="utf-8")
    names = ["blocks.csv", "cases.csv", "lineage.csv", "moves.csv", "tenures.csv"]
    assert sorted(path.name for path in tables.iterdir()) == names
    assert "0 grids and communities whose blocks do not tile them any more" in preview.output
    assert "loaded, not in force" in loaded.output
    assert activated.exit_code == 0, activated.output
    assert "layer 2 is in force since 2026-02-28T16:00:00+00:00" in activated.output
    assert "in force already" in str(again.exception)
    session.expire_all()
    assert case.grid_code == "310112001001002"


def test_a_preview_stores_nothing_and_names_what_is_wrong(run: Run, session: Session, tmp_path: Path) -> None:
    file = swapped(tmp_path / "new.geojson")

    missing = run("grids", "preview", tmp_path / "none.geojson", "--effective", "2026-03-01")
    undated = run("grids", "preview", file, "--effective", "soon")
    run("grids", "preview", file, "--effective", "2026-03-01")
    exported = run("grids", "export", tmp_path / "out.geojson")

    assert "none.geojson" in str(missing.exception)
    assert "'soon' is not an ISO 8601 time" in str(undated.exception)
    assert "9 grids written" in exported.output
    assert (tmp_path / "out.geojson").read_text().count("310112001001001") >= 1
