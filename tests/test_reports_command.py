"""`gis-grid reports` as a user types it, on a real database."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from typer.testing import Result

from gis_grid.errors import NotFound
from gis_grid.report_files import UnreadableRows
from gis_grid.reports import PastPlacement, Report
from tests.builders import load_squares

Run = Callable[..., Result]
CALLS = """\
number,X,Y,category,note,opened
1,121.4005,31.1022,Exposed rubbish,one,2011-07-01 08:00
2,121.5,31.1022,Exposed rubbish,two,2011-07-02 08:00
3,east,31.1022,Exposed rubbish,three,2011-07-03 08:00
"""
OPTIONS = (
    *("--map", "id=number", "--map", "lon=X", "--map", "lat=Y", "--map", "event_type=category"),
    *("--map", "text=note", "--map", "received_at=opened", "--set", "kind=投诉", "--set", "source=12345"),
)


@pytest.fixture(autouse=True)
def grids(session: Session) -> None:
    load_squares(session)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    path = tmp_path / "calls.csv"
    path.write_text(CALLS, encoding="utf-8")
    return path


def test_calls_are_loaded_corrected_and_loaded_again(run: Run, calls: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"

    loaded = run("reports", "load", calls, *OPTIONS, "--rejects", bad)
    bad.write_text(bad.read_text(encoding="utf-8").replace("east", "121.4005"), encoding="utf-8")
    corrected = run("reports", "load", bad, *OPTIONS)
    again = run("reports", "load", bad, *OPTIONS)

    assert loaded.exit_code == 0, loaded.output
    assert "3 rows: 2 stored (1 inside, 1 outside)" in loaded.output
    assert "1 rejected, see" in loaded.output
    assert "cannot tell the datum from 2 distinct points" in loaded.output
    assert "1 rows: 1 stored (1 inside)" in corrected.output
    assert "1 were stored before" in again.output


def test_a_bad_row_without_a_rejects_file_stores_nothing(run: Run, calls: Path, session: Session) -> None:
    result = run("reports", "load", calls, *OPTIONS)

    assert isinstance(result.exception, UnreadableRows)
    assert "--rejects" in str(result.exception)
    assert session.query(Report).count() == 0


@pytest.mark.parametrize("words", [("--map", "lon"), ("--map", "colour=X"), ("--set", "lon=1", "--set", "lon=2")])
def test_a_wrong_option_names_the_fields(run: Run, calls: Path, words: tuple[str, ...]) -> None:
    result = run("reports", "load", calls, *words)

    assert "the fields are lon, lat, kind" in str(result.exception)


def test_what_lies_outside_is_placed_by_hand(run: Run, calls: Path, session: Session, tmp_path: Path) -> None:
    run("reports", "load", calls, *OPTIONS, "--rejects", tmp_path / "bad.csv")
    outside = session.query(Report).filter_by(method="outside").one()

    result = run("reports", "place", outside.id, "310112001001002", "--reason", "seen on site")

    session.refresh(outside)
    assert result.exit_code == 0, result.output
    assert outside.grid is not None
    assert (outside.grid.code, outside.method, outside.placement_reason) == (
        "310112001001002",
        "manual",
        "seen on site",
    )
    assert session.query(PastPlacement).one().method == "outside"


def test_an_unknown_report_or_grid_is_named(run: Run, calls: Path, session: Session, tmp_path: Path) -> None:
    run("reports", "load", calls, *OPTIONS, "--rejects", tmp_path / "bad.csv")
    known = session.query(Report).first()
    assert known is not None

    no_report = run("reports", "place", "00000000-0000-0000-0000-000000000001", "310112001001002", "--reason", "x")
    no_grid = run("reports", "place", known.id, "999", "--reason", "x")

    assert isinstance(no_report.exception, NotFound)
    assert isinstance(no_grid.exception, NotFound)
    assert "999" in str(no_grid.exception)


def test_placing_by_hand_needs_a_reason(run: Run) -> None:
    words = ("reports", "place", "00000000-0000-0000-0000-000000000001", "310112001001002")

    assert run(*words).exit_code == 2
    assert "--reason" in str(run(*words, "--reason", " ").exception)


def test_an_export_is_public_unless_staff_is_asked_for(run: Run, calls: Path, tmp_path: Path) -> None:
    run("reports", "load", calls, *OPTIONS, "--rejects", tmp_path / "bad.csv")

    public = run("reports", "export", tmp_path / "public.csv", "--since", "2011-07-02")
    staff = run("reports", "export", tmp_path / "staff.csv", "--staff", "--town", "310112001")

    assert (public.exit_code, staff.exit_code) == (0, 0), public.output + staff.output
    assert "1 reports written" in public.output
    assert [(row["method"], row.get("text")) for row in _rows(tmp_path / "public.csv")] == [("outside", None)]
    assert [(row["lon"], row["text"]) for row in _rows(tmp_path / "staff.csv")] == [("121.4005", "one")]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
