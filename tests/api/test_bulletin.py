"""The bulletin over HTTP: its three forms, and what is in whose scope."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from tests.builders import NOW, add_signed_in, bearer
from tests.stored_cases import TEAM, WORKSTATION, Desk

PERIOD = "since=2026-03-01&until=2026-03-31"


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: NOW + timedelta(days=60)


@pytest.fixture
def case(session: Session, tmp_path: Path) -> str:
    return Desk(session, tmp_path).filed().name


def test_the_bulletin_comes_as_json_csv_and_a_page(client: TestClient, session: Session, case: str) -> None:
    add_signed_in(session, "supervisor", [Grant(Role.SUPERVISOR)])

    answers = [
        client.get(f"/api/v1/bulletin?{PERIOD}&format={form}", headers=bearer("supervisor"))
        for form in ("json", "csv", "html")
    ]

    assert [answer.headers["content-type"].split(";")[0] for answer in answers] == [
        "application/json", "text/csv", "text/html",
    ]  # fmt: skip
    assert all(case in answer.text for answer in answers)
    assert answers[0].json()["by_unit_and_person"][0]["cases"] == 1


@pytest.mark.parametrize(
    ("scope", "runs"),
    [
        (Scope(ScopeKind.AREA, "310112001001"), 2),
        (Scope(ScopeKind.AREA, "310112001002"), 0),
        (Scope(ScopeKind.UNIT, WORKSTATION), 2),
        (Scope(ScopeKind.UNIT, "sub-310112001"), 2),
        (Scope(ScopeKind.UNIT, TEAM), 0),
    ],
)
def test_a_bulletin_has_what_lies_where_the_role_counts(
    client: TestClient, session: Session, case: str, scope: Scope, runs: int
) -> None:
    add_signed_in(session, "supervisor", [Grant(Role.SUPERVISOR, scope)])

    answer = client.get(f"/api/v1/bulletin?{PERIOD}", headers=bearer("supervisor"))

    assert len(answer.json()["runs"]) == runs


@pytest.mark.parametrize(
    "query",
    ["since=2026-03-02&until=2026-03-01", "since=0001-01-01&until=2026-03-01", "since=2026-03-01&until=9999-12-31", "since=x", ""],
)  # fmt: skip
def test_a_period_that_is_none_is_refused(client: TestClient, session: Session, query: str) -> None:
    add_signed_in(session, "supervisor", [Grant(Role.SUPERVISOR)])

    assert client.get(f"/api/v1/bulletin?{query}", headers=bearer("supervisor")).status_code == 422
