"""Many at once: nobody waits for what another one cannot finish."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.admission import AT_ONCE
from api.app import create_app
from api.case_stream import BEHIND, CaseStream
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


class Asked:
    """A GET request to an application, without any server between."""

    def __init__(self, app: FastAPI, path: str) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._is_read = False
        self.task = asyncio.create_task(app(self._scope(path), self._receive, self._send))

    @staticmethod
    def _scope(path: str) -> dict[str, Any]:
        return {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [], "client": ("127.0.0.1", 1), "scheme": "http", "http_version": "1.1", "root_path": "",
        }  # fmt: skip

    async def _receive(self) -> dict[str, Any]:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Future()  # never hangs up
        raise AssertionError

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status.set_result(message["status"])


def test_open_streams_hold_no_place(installation: Installation) -> None:
    async def ask() -> list[int]:
        app = create_app(installation, clock=lambda: NOW)
        streams = [Asked(app, "/api/v1/events") for _ in range(AT_ONCE + 5)]
        statuses = [await asyncio.wait_for(stream.status, 20) for stream in streams]
        statuses.append(await asyncio.wait_for(Asked(app, "/api/v1/cases").status, 20))
        app.state.case_stream.close()
        await asyncio.gather(*(stream.task for stream in streams))
        return statuses

    # In a thread of its own: a browser that other tests share leaves a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        statuses = pool.submit(lambda: asyncio.run(ask())).result()

    assert set(statuses) == {200}


def test_one_reader_that_lags_does_not_make_the_others_load_anew(installation: Installation) -> None:
    stream = CaseStream(installation.engine)
    readers: list[asyncio.Queue[Any]] = [asyncio.Queue(BEHIND) for _ in range(10)]
    for _ in range(BEHIND):
        readers[0].put_nowait({"id": 1})
    stream._readers.update(readers)

    stream._tell_all({"id": 2})

    assert [reader.get_nowait() for reader in readers] == [None, *[{"id": 2}] * 9]
