"""The notebooks run from top to bottom as a planner opens them."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from gis_grid.city import load_city
from gis_grid.database import connect, sessions
from gis_grid.demo import fill_with_demo
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.installation import utc_now
from gis_grid.layers import load_layer_file
from tests.builders import BY

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the demo, with its photos."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def template(cluster: EmbeddedPostgis, template: str, folder: Path) -> str:
    """A database with the demo, made once and copied for each notebook."""
    city, now = load_city(), utc_now()
    assert city.grids is not None
    cluster.create_database_from(template, "template_demo")
    engine = connect(cluster.url("template_demo", role="gis_grid_app"))
    with sessions(engine).begin() as session:
        load_layer_file(session, city.grids, city=city, by=BY, now=now)
        fill_with_demo(session, city, snap_m=50.0, photos=folder / "photos", now=now)
    engine.dispose()
    return "template_demo"


@pytest.fixture
def demo(cluster: EmbeddedPostgis, database: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url(database, role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url(database))
    monkeypatch.setenv("GIS_GRID_DATA", str(folder))


def run(path: Path, folder: Path) -> str:
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return "\n".join(str(output) for cell in book.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1-incident-heat", "grid_code"),
        ("2-blind-spots", "km² seen"),
        ("3-quality-of-a-grid-file", "1002 grids, no fault found"),
        ("5-assessment", "grids assessed; synthetic cases"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning:zmq", "ignore:.*migrated to use.*")
def test_a_notebook_runs_and_tells_what_it_promises(demo: None, name: str, said: str) -> None:
    told = run(NOTEBOOKS / f"{name}.ipynb", NOTEBOOKS)

    assert said in told
    assert "iframe" in told


def test_the_blind_spot_notebook_runs_on_demo_tracks_where_there_are_no_real_ones(demo: None, tmp_path: Path) -> None:
    told = run(NOTEBOOKS / "2-blind-spots.ipynb", tmp_path)

    assert "own tracks" in told
    assert "km² seen" in told


@pytest.fixture
def nine_squares(cluster: EmbeddedPostgis, furnished: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.create_database_from(furnished, "planner")
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url("planner", role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url("planner"))
    monkeypatch.setenv("GIS_GRID_DATA", str(tmp_path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning:zmq", "ignore:.*migrated to use.*")
def test_the_planners_notebook_finds_what_it_planted(nine_squares: None) -> None:
    told = run(NOTEBOOKS / "4-four-kinds-of-blind-spot.ipynb", NOTEBOOKS)

    assert re.search(
        r"alley in 310112001001001: (9\d|100)% found; strip by night in 310112001001003: (9\d|100)% found", told
    )
    assert "no_manager" in told
    assert "iframe" in told
    assert "stops, " in told


def test_notebooks_are_stored_without_outputs() -> None:
    books = [nbformat.read(path, as_version=4) for path in NOTEBOOKS.glob("*.ipynb")]

    assert len(books) == 5
    assert not [cell for book in books for cell in book.cells if cell.get("outputs") or cell.get("execution_count")]
