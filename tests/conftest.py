"""Real parts for the tests: one throw-away PostGIS cluster a worker, a migrated copy of a template a test."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from gis_grid.city import load_city
from gis_grid.cli import app
from gis_grid.database import connect, sessions
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import Unavailable
from gis_grid.event_types import load_event_types
from gis_grid.installation import Installation
from gis_grid.migrating import migrate
from gis_grid.permissions import Grant, Role
from gis_grid.settings import Settings
from gis_grid.territory import layer_in_force
from tests.browsers import ARGUMENTS, CHROMIUM
from tests.builders import CHEAP_PASSWORDS, NOW, add_signed_in, load_squares
from tests.case_builders import load_city_rules

settings.register_profile("shared machine", deadline=None)  # timings are measured in benchmarks/
settings.load_profile("shared machine")

MEMORY = Path("/dev/shm")  # noqa: S108 -- a folder of our own is made in it
ENOUGH_BYTES = 3 << 30


# Files that take long go to the workers first, so that none is left with one at the end (`--no-loadscope-reorder`).
LONG_FIRST = (
    "test_commands.py",
    "test_roles.py",
    "test_offline.py",
    "test_notebooks.py",
    "test_pages_in_chromium.py",
    "test_patrol_page.py",
    "test_report_page.py",
    "test_embedded.py",
    "test_boston.py",
    "test_placing_agrees.py",
    "test_schema.py",
    "test_cases_in_chromium.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgis]:
    # A database is some 1500 files, which a disk copies many times slower than memory does.
    is_roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES
    folder = Path(tempfile.mkdtemp(prefix="gg-", dir=MEMORY if is_roomy else None))
    server = EmbeddedPostgis(folder / "data", fast_unsafe=True)
    try:
        server.start()
    except Unavailable as error:
        shutil.rmtree(folder)
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PostGIS here: {error}")
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated(cluster: EmbeddedPostgis) -> str:
    """A migrated database to copy, with nothing in it but the event types."""
    cluster.ensure_database("template_migrated")
    owner = connect(cluster.url("template_migrated"), role=None)
    migrate(owner)
    with sessions(owner).begin() as session:
        load_event_types(session, load_city().event_types)
    owner.dispose()
    return "template_migrated"


@pytest.fixture(scope="session")
def template(migrated: str) -> str:
    """The database that each test gets a copy of."""
    return migrated


@pytest.fixture(scope="session")
def furnished(cluster: EmbeddedPostgis, migrated: str) -> str:
    """A database to copy with nine squares and Minhang's rules; a module of tests takes it as its `template`."""
    cluster.create_database_from(migrated, "template_furnished")
    owner = connect(cluster.url("template_furnished"), role=None)
    with sessions(owner)() as session:
        load_squares(session)
        load_city_rules(session)
    owner.dispose()
    return "template_furnished"


@pytest.fixture
def database(cluster: EmbeddedPostgis, template: str) -> Iterator[str]:
    cluster.create_database_from(template, "trial")
    yield "trial"
    cluster.drop_database("trial")


@pytest.fixture
def engine(cluster: EmbeddedPostgis, database: str) -> Iterator[sa.Engine]:
    engine = connect(cluster.url(database, role="gis_grid_app"))
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    with sessions(engine)() as session:
        yield session


@pytest.fixture
def owner(cluster: EmbeddedPostgis, database: str) -> Iterator[Session]:
    """As the owner of the tables, who may drop what the service may not."""
    engine = connect(cluster.url(database), role=None)
    with sessions(engine)() as session:
        yield session
    engine.dispose()


@pytest.fixture
def installation(
    cluster: EmbeddedPostgis, database: str, engine: sa.Engine, session: Session, tmp_path: Path
) -> Installation:
    """A Minhang of nine squares of 100 m, with an administrator who is signed in."""
    if layer_in_force(session, NOW) is None:
        load_squares(session)
    add_signed_in(session, "admin", [Grant(Role.ADMINISTRATOR)])
    settings = Settings(data=tmp_path, anonymous_reports_per_hour=10_000)
    return Installation(
        settings, load_city(), engine, cluster.url(database), sessions(engine), b"secret", CHEAP_PASSWORDS
    )


@pytest.fixture
def run(
    cluster: EmbeddedPostgis, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Types a `gis-grid` command on the test's database; `typed` is what its questions are answered with."""
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url(database, role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url(database))
    monkeypatch.setenv("GIS_GRID_DATA", str(tmp_path / "data"))
    return lambda *words, typed=None: CliRunner().invoke(app, [str(word) for word in words], input=typed)


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: NOW


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip(f"no {CHROMIUM} here")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()
