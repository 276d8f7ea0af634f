"""Notices over HTTP: who is shown which, and that they were read."""

from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.accounts import add_key
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.supervision import sweep
from tests.builders import BY, NOW, add_signed_in, bearer
from tests.stored_cases import CITY, WORKSTATION, Desk


@pytest.fixture
def case(session: Session, tmp_path: Path) -> str:
    """A case in the workstation's queue, eight acts late."""
    case = Desk(session, tmp_path).filed()
    sweep(session, city=CITY, now=NOW + timedelta(days=40))
    session.commit()
    add_signed_in(session, "station", [Grant(Role.HANDLER, Scope(ScopeKind.UNIT, WORKSTATION))])
    add_signed_in(session, "other", [Grant(Role.HANDLER, Scope(ScopeKind.UNIT, "ws-310112001002"))])
    return case.name


def test_a_unit_reads_what_it_was_told_page_by_page(client: TestClient, case: str) -> None:
    first = client.get("/api/v1/notices?limit=5", headers=bearer("station")).json()
    rest = client.get(f"/api/v1/notices?before={first['next']}", headers=bearer("station")).json()

    notices = first["notices"] + rest["notices"]
    assert [one["id"] for one in notices] == sorted((one["id"] for one in notices), reverse=True)
    assert {(one["case"], one["unit"]) for one in notices} == {(case, WORKSTATION)}
    assert {one["act"] for one in notices} == {"提醒", "催办", "督办", "问效"}
    assert rest["next"] is None


def test_a_notice_stays_read_from_the_first_time_on(client: TestClient, case: str) -> None:
    (notice, *others) = client.get("/api/v1/notices", headers=bearer("station")).json()["notices"]

    marks = [client.post(f"/api/v1/notices/{notice['id']}/read", headers=bearer("station")) for _ in range(2)]

    unread = client.get("/api/v1/notices?unread=true", headers=bearer("station")).json()["notices"]
    assert [mark.json() for mark in marks] == [{"id": notice["id"], "read_at": NOW.isoformat()}] * 2
    assert unread == others


def test_what_others_were_told_is_not_there(client: TestClient, session: Session, case: str) -> None:
    (notice, *_) = client.get("/api/v1/notices", headers=bearer("station")).json()["notices"]

    assert client.get("/api/v1/notices", headers=bearer("other")).json()["notices"] == []
    assert client.post(f"/api/v1/notices/{notice['id']}/read", headers=bearer("other")).status_code == 404
    assert client.get("/api/v1/notices").status_code == 401


def test_a_systems_key_reads_for_nobody(client: TestClient, session: Session, case: str) -> None:
    key = add_key(session, "city", grants=[Grant(Role.SUPERVISOR)], by=BY, now=NOW)
    session.commit()

    answer = client.post("/api/v1/notices/1/read", headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 403


@pytest.mark.parametrize("query", ["before=0", "before=x", "before=9223372036854775808", "limit=0", "unread=maybe"])
def test_a_question_that_makes_no_sense_is_named(client: TestClient, case: str, query: str) -> None:
    answer = client.get(f"/api/v1/notices?{query}", headers=bearer("station"))

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == query.split("=", maxsplit=1)[0]
