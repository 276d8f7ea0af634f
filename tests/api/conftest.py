from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from fastapi.testclient import TestClient

from gis_grid.installation import Installation
from tests.applications import application


@pytest.fixture(scope="session")
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def client(installation: Installation, clock: Callable[[], datetime]) -> Iterator[TestClient]:
    with TestClient(application(installation, clock), raise_server_exceptions=False) as client:
        yield client
