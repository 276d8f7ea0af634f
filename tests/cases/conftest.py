from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from tests.stored_cases import Desk


@pytest.fixture(scope="session")
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def desk(session: Session, tmp_path: Path) -> Desk:
    return Desk(session, tmp_path)
