"""Many at once: nobody waits for what another one cannot finish."""

from threading import Barrier, Thread

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.app import create_app
from gis_grid.installation import Installation
from gis_grid.permissions import Grant, Role
from tests.api.sending import report, send
from tests.builders import NOW, add_signed_in, bearer

CLIENTS = 60  # more than a process has threads, and than it has connections


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


def test_more_people_than_threads_may_file_at_once(installation: Installation, session: Session) -> None:
    # Each takes the next serial number of one day, and keeps the others from it until it is committed.
    add_signed_in(session, "operator", [Grant(Role.OPERATOR)])
    start = Barrier(CLIENTS)
    answers = []
    with TestClient(create_app(installation, clock=lambda: NOW), raise_server_exceptions=False) as client:
        sent = [send(client, report())["id"] for _ in range(CLIENTS)]

        def file(report_id: str) -> None:
            start.wait()
            answers.append(
                client.post("/api/v1/cases", json={"report_id": report_id, "file": True}, headers=bearer("operator"))
            )

        threads = [Thread(target=file, args=(report_id,)) for report_id in sent]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [answer.status_code for answer in answers] == [201] * CLIENTS
    assert {answer.json()["serial"][-5:] for answer in answers} == {f"{n:05d}" for n in range(1, CLIENTS + 1)}
