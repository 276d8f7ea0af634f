"""Bad input of every kind: a 4xx that names the field, never a 500, nothing half-stored."""

import base64
import json
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.database import Change
from gis_grid.reports import Report, Reporter
from tests.api.sending import report
from tests.builders import STAFF

FIELDS = [
    ("lon", None),
    ("lon", "121.4"),
    ("lon", True),
    ("lon", [121.4]),
    ("lat", 91),
    ("lat", -1e300),
    ("datum", "WGS 84"),
    ("accuracy_m", 0),
    ("accuracy_m", -5),
    ("accuracy_m", 1e9),
    ("kind", "complaint"),
    ("kind", None),
    ("event_type", "E9999"),
    ("event_type", "E01\0"),
    ("event_type", "'; drop table reports; --"),
    ("text", ""),
    ("text", "a\0b"),
    ("text", "x" * 4001),
    ("text", 7),
    ("text", "  \n "),
    ("observed_at", 123456),
    ("observed_at", "2026-03-02T04:00:00"),
    ("observed_at", "yesterday"),
    ("observed_at", "0001-01-01T00:00:00+14:00"),
    ("observed_at", "9999-12-31T23:59:59-12:00"),
    ("observed_at", "2026-03-02T04:00:00+99:00"),
    ("observed_at", "2027-01-01T00:00:00Z"),
    ("observed_at", 1e400),
    ("source", "telepathy"),
    ("id", "not-a-uuid"),
    ("reporter", {"name": "x" * 101}),
    ("reporter", {"phone": "1\0"}),
    ("reporter", {"email": "a@b"}),
    ("colour", "red"),
]


def forged(at: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([at, str(uuid.uuid4())]).encode()).decode().rstrip("=")


def stored(session: Session) -> int:
    tables = (Report, Reporter, sa.select(Change).where(Change.thing == "report").subquery())
    return sum(session.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in tables)


def post(client: TestClient, body: str | bytes) -> Any:
    return client.post("/api/v1/reports", content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_wrong_field_is_named_and_nothing_is_stored(
    client: TestClient, session: Session, field: str, value: Any
) -> None:
    answer = post(client, json.dumps(report(**{field: value})))

    assert answer.status_code == 422, answer.text
    assert field in answer.text or (field == "lat" and "latitude" in answer.text.lower())
    assert stored(session) == 0


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
@pytest.mark.parametrize("field", ["lon", "lat", "accuracy_m"])
def test_numbers_that_are_none_are_refused(client: TestClient, session: Session, field: str, number: str) -> None:
    body = json.dumps(report(**{field: "#"})).replace('"#"', number)

    answer = post(client, body)

    assert answer.status_code == 422, answer.text
    assert field in answer.text
    assert stored(session) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"text": "\\ud800"}',
        b"{" * 5000,
        b'{"lon": ' + b"9" * 5000 + b"}",
        b"lon=121&lat=31",
    ],
)
def test_a_body_that_is_no_report_is_refused(client: TestClient, session: Session, body: bytes) -> None:
    answer = post(client, body)

    assert 400 <= answer.status_code < 500, answer.text
    assert stored(session) == 0


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"event_type": "E9999"}, ["event_type"]),
        ({"lat": 91}, ["lon", "lat"]),
        ({"lon": 31.1022, "lat": 121.4005}, ["lon", "lat"]),
        ({"text": " "}, ["text"]),
        ({"reporter": {"phone": "1\0"}}, ["reporter.phone"]),
        ({"observed_at": "2027-01-01T00:00:00Z"}, ["observed_at"]),
    ],
)
def test_the_fields_at_fault_are_listed(client: TestClient, changes: dict[str, Any], fields: list[str]) -> None:
    alone = client.post("/api/v1/reports", json=report(**changes)).json()
    (in_batch,) = client.post("/api/v1/reports/batch", json=[report(**changes)]).json()["results"]

    assert [fault["field"] for fault in alone["fields"]] == fields
    assert [fault["field"] for fault in in_batch["fields"]] == fields


def test_what_is_no_json_is_said_of_the_body(client: TestClient) -> None:
    answer = post(client, "{")
    (in_batch,) = client.post("/api/v1/reports/batch", json=[7]).json()["results"]

    assert [fault["field"] for fault in answer.json()["fields"]] == ["body"]
    assert in_batch["fields"] == [{"field": "body", "message": "expected a JSON object"}]


def test_half_a_surrogate_pair_in_a_text_is_refused_by_name(client: TestClient, session: Session) -> None:
    answer = post(client, json.dumps(report()).replace(json.dumps("垃圾堆在小区门口"), '"\\ud800"'))

    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "text")
    assert stored(session) == 0


def test_swapped_axes_are_named_as_such(client: TestClient) -> None:
    answer = client.post("/api/v1/reports", json=report(lon=31.1022, lat=121.4005))

    assert (answer.status_code, "swapped" in answer.text or "turned" in answer.text) == (422, True)


@pytest.mark.parametrize("offset", ["+16:00", "-16:00", "+08:00", "Z"])
def test_any_offset_that_names_an_instant_is_understood(client: TestClient, offset: str) -> None:
    answer = client.post("/api/v1/reports", json=report(observed_at=f"2026-03-01T12:00:00{offset}"))

    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/reports?limit=0",
        "/api/v1/reports?limit=1e9",
        "/api/v1/reports?after=xyz",
        "/api/v1/reports?after=%00",
        "/api/v1/reports?after=WzEsMl0",
        f"/api/v1/reports?after={forged('9999-12-31T23:59:59-16:00')}",
        f"/api/v1/reports?after={forged('0001-01-01T00:00:00+16:00')}",
        "/api/v1/reports?event_type=zz",
        "/api/v1/reports?bbox=1,2,3",
        "/api/v1/reports?bbox=nan,0,1,1",
        "/api/v1/reports?bbox=2,2,1,1",
        "/api/v1/reports?bbox=%00",
        "/api/v1/reports?grid=%00",
        "/api/v1/reports?town=%27",
        "/api/v1/reports?since=2026-01-01",
        "/api/v1/reports?since=0001-01-01T00:00:00Z",
        "/api/v1/reports?method=guessed",
        "/api/v1/reports/%00",
        "/api/v1/reports/1",
        "/api/v1/grids/%00",
        "/api/v1/grids/%ED%A0%80",
        "/api/v1/grids/310112999999999",
        "/api/v1/grids?at=1969-12-31T23:59:59Z",
        "/api/v1/areas/310112?level=planet",
        "/api/v1/areas/999",
        "/api/v1/locate",
        "/api/v1/locate?lon=nan&lat=31",
        "/api/v1/locate?lon=121.4&lat=inf",
        "/api/v1/locate?lon=31.1&lat=121.4",
        "/api/v1/locate?lon=121.4&lat=31.1&accuracy=-1",
        "/api/v1/locate?lon=121.4&lat=31.1&at=9999-12-31T23:59:59-12:00",
        "/api/v1/locate?lon=121.4&lat=31.1&datum=epsg",
    ],
)
def test_a_wrong_question_gets_a_4xx(client: TestClient, path: str) -> None:
    answer = client.get(path, headers=STAFF)

    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["message"]


@pytest.mark.parametrize(("path", "size"), [("/api/v1/reports", 70_000), ("/api/v1/reports/batch", 9_000_000)])
@pytest.mark.parametrize("is_announced", [True, False])
def test_a_body_over_the_limit_is_refused(client: TestClient, path: str, size: int, is_announced: bool) -> None:
    body = b"x" * size
    content = body if is_announced else iter([body[: size // 2], body[size // 2 :]])

    answer = client.post(path, content=content, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_a_database_that_does_not_answer_is_a_503(client: TestClient, session: Session) -> None:
    database = session.scalar(sa.text("select current_database()"))
    client.app.state.installation.engine.dispose()
    url = client.app.state.installation.engine.url.set(database=f"{database}_gone")
    client.app.state.installation.sessions.configure(bind=sa.create_engine(url))

    answer = client.get("/api/v1/reports")

    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
