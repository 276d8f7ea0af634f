from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from gis_grid.installation import Installation


@pytest.fixture(scope="session")
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def client(installation: Installation, clock: Callable[[], datetime]) -> Iterator[TestClient]:
    with TestClient(create_app(installation, clock=clock), raise_server_exceptions=False) as client:
        yield client
