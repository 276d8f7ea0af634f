"""Steps of cases as server-sent events: a real server over loopback, with many readers and a database that fails."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from fastapi.testclient import TestClient

from api.app import create_app
from api.serving import Server
from gis_grid.installation import Installation
from tests.api.sending import report, send
from tests.stored_cases import Desk

GRID, COMMUNITY = "310112001001001", "310112001001"
READERS = 300
Event = tuple[str, Any]
KILL_LISTENER = sa.text(
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and query ilike 'listen %'"
)


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def running(installation: Installation) -> Iterator[tuple[Server, threading.Thread, int]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = Server(uvicorn.Config(create_app(installation), log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield server, thread, listener.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def port(running: tuple[Server, threading.Thread, int]) -> int:
    return running[2]


@pytest.fixture
def desk(installation: Installation, session: Any) -> Desk:
    return Desk(session, installation.photos)


class Stream:
    """An open stream, read line by line."""

    def __init__(self, port: int, query: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.connection.request("GET", f"/api/v1/events{query}")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200

    def next(self) -> Event | None:
        """The next event; None at the end of the stream."""
        name = ""
        while line := self.answer.readline():
            text = line.decode().strip()
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: "):
                return name, json.loads(text.removeprefix("data: "))
        return None

    def listening(self) -> "Stream":
        """The stream, once it has been told to load anew: from then on it hears of all that happens."""
        assert self.next() == ("reload", {})
        return self

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_a_step_arrives_as_an_event_without_words_or_people(port: int, desk: Desk) -> None:
    stream = Stream(port).listening()

    case = desk.accept()
    event = stream.next()
    stream.close()

    assert event is not None
    name, told = event
    assert (name, told["id"], told["seq"], told["stage"]) == ("case", case.id, 1, "accepted")
    assert told["ground"] == [GRID, COMMUNITY, "310112001", "310112"]
    assert not {"who", "text", "said"} & told.keys()


def test_a_stream_of_one_place_tells_of_that_place_alone(port: int, desk: Desk) -> None:
    own, other = Stream(port, f"?place={COMMUNITY}").listening(), Stream(port, "?place=310112001002")

    first, second = desk.accept(), desk.accept()
    told = [own.next(), own.next()]
    other.connection.sock.settimeout(0.5)
    try:
        heard = other.next()
    except TimeoutError:
        heard = None
    own.close()
    other.close()

    assert [event[1]["id"] for event in told if event] == [first.id, second.id]
    assert heard in {None, ("reload", None)} or heard == ("reload", {})


def test_a_listener_that_the_database_lost_says_reload_and_goes_on(port: int, desk: Desk) -> None:
    stream = Stream(port).listening()
    killed = desk.session.scalars(KILL_LISTENER).all()
    desk.session.commit()
    assert killed == [True]
    after_loss = stream.next()
    case = desk.accept()
    event = stream.next()
    stream.close()

    assert after_loss == ("reload", {})
    assert event is not None
    assert event[1]["id"] == case.id


def test_with_many_streams_open_requests_go_on_being_answered(port: int, desk: Desk) -> None:
    streams = [Stream(port) for _ in range(READERS)]
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    statuses = []
    for _ in range(20):
        asked.request("GET", "/api/v1/cases")
        answer = asked.getresponse()
        answer.read()
        statuses.append(answer.status)
    asked.close()
    streams[0].listening()
    case = desk.accept()
    told = []
    for stream in streams:
        while (event := stream.next()) is not None and event[0] == "reload":
            pass
        told.append(event)
        stream.close()

    assert statuses == [200] * 20
    assert {event[1]["id"] for event in told if event} == {case.id}
    assert None not in told


def test_a_server_that_stops_ends_its_streams_at_once(running: tuple[Server, threading.Thread, int]) -> None:
    server, thread, port = running
    streams = [Stream(port).listening(), Stream(port)]

    began = time.monotonic()
    server.should_exit = True
    thread.join(timeout=10)
    took_s = time.monotonic() - began

    assert not thread.is_alive()
    assert took_s < 8  # uvicorn would wait for the streams for ever
    assert all(_ends(stream) for stream in streams)


def _ends(stream: Stream) -> bool:
    while stream.next() is not None:
        pass
    stream.close()
    return True


def test_reports_alone_make_no_event(installation: Installation, port: int, desk: Desk) -> None:
    stream = Stream(port).listening()
    with TestClient(create_app(installation)) as client:
        send(client, report())
    case = desk.accept()
    event = stream.next()
    stream.close()

    assert event is not None
    assert (event[0], event[1]["id"]) == ("case", case.id)
