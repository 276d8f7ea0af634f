"""The assessment over HTTP: who sees whose figures, and the rows behind them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.patrols import readings_of
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.reports import Source
from gis_grid.tenures import NewTenure, appoint
from tests.builders import BY, NOW, add_signed_in, bearer
from tests.patrols import add_patrol, at_m, walk
from tests.stored_cases import TEAM, WORKSTATION, Desk, by


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: NOW + timedelta(days=60)


@pytest.fixture(autouse=True)
def people(session: Session, tmp_path: Path) -> None:
    Desk(session, tmp_path).closed()
    add_signed_in(session, "supervisor", [Grant(Role.SUPERVISOR)])
    add_signed_in(session, "town", [Grant(Role.SUPERVISOR, Scope(ScopeKind.AREA, "310112001"))])


def test_the_figures_of_a_unit_and_the_rows_of_the_log_behind_them(client: TestClient) -> None:
    answer = client.get("/api/v1/assessment?month=2026-03", headers=bearer("town")).json()
    rows = client.get(f"/api/v1/assessment/rows?month=2026-03&key={TEAM}&measure=close", headers=bearer("town")).json()

    (team,) = [row for row in answer["rows"] if row["key"] == TEAM]
    assert team["indicators"]["closing_rate"] == {"numerator": 1, "denominator": 1, "share": 1.0, "percent": "100.00"}
    assert team["official"]["platform_share"] == 0.5
    assert answer["shrunk"]["method"].startswith("empirical Bayes")
    assert [(row["measure"], row["seq"], row["is_done"], row["who"]) for row in rows] == [("close", 10, True, None)]


def test_figures_of_persons_are_for_roles_that_count_everywhere(client: TestClient) -> None:
    paths = ("/api/v1/assessment?month=2026-03&by=person", "/api/v1/assessment/rows?month=2026-03&by=person&key=x")

    statuses = [client.get(path, headers=bearer(who)).status_code for path in paths for who in ("town", "supervisor")]

    assert statuses == [403, 200, 403, 200]


def test_a_town_sees_its_own_figures_and_their_place_among_all(
    client: TestClient, session: Session, tmp_path: Path
) -> None:
    add_signed_in(session, "row", [Grant(Role.GRID_MANAGER, Scope(ScopeKind.AREA, "310112001001"))])
    add_signed_in(session, "team", [Grant(Role.SUPERVISOR, Scope(ScopeKind.UNIT, TEAM))])
    seen = {
        (who, by): [row["key"] for row in client.get(f"/api/v1/assessment?month=2026-03&by={by}", headers=bearer(who)).json()["rows"]]
        for who, by in (("town", "town"), ("row", "town"), ("row", "community"), ("team", "unit"), ("team", "town"))
    }  # fmt: skip
    rows = "/api/v1/assessment/rows?month=2026-03&by=unit&key="

    statuses = [client.get(rows + key, headers=bearer("team")).status_code for key in (TEAM, WORKSTATION)]

    assert seen == {
        ("town", "town"): ["310112001"],
        ("row", "town"): [],
        ("row", "community"): ["310112001001"],
        ("team", "unit"): [TEAM],
        ("team", "town"): [],
    }
    assert statuses == [200, 403]


def test_figures_are_told_by_the_post_that_answers_for_the_ground(
    client: TestClient, session: Session, tmp_path: Path
) -> None:
    tenure = NewTenure("310112001001001", "王芳", "书记", "一居委", "0-1", None, NOW - timedelta(days=9), None)
    appoint(session, [tenure], by=BY, now=NOW)
    Desk(session, tmp_path).closed()
    path = "/api/v1/assessment?month=2026-03&by=post"

    rows = {who: client.get(path, headers=bearer(who)).json()["rows"] for who in ("supervisor", "town")}

    assert [row["key"] for row in rows["supervisor"]] == ["一居委 · 书记"]
    assert rows["town"] == rows["supervisor"]


@pytest.fixture
def patrolled(session: Session, tmp_path: Path) -> None:
    """Anna passed two things that residents then told of, and reported one herself."""
    desk = Desk(session, tmp_path)
    add_patrol(session, "anna")
    add_signed_in(session, "planner", [Grant(Role.PLANNER)])
    walk(session, "anna", (0, 200), (0, 300), since=NOW - timedelta(hours=2))
    for changes in ({}, {"source": Source.PATROL, "sender": by("anna")}):
        desk.at = NOW
        desk.filed(point=at_m(30, 250), **changes)


PATROLLER = "month=2026-03&by=patroller"


@pytest.mark.usefixtures("patrolled")
def test_figures_of_patrollers_are_for_roles_that_count_everywhere(client: TestClient) -> None:
    path = f"/api/v1/assessment?{PATROLLER}"

    statuses = [client.get(path, headers=bearer(who)).status_code for who in ("town", "anna", "planner")]
    (anna,) = client.get(path, headers=bearer("supervisor")).json()["rows"]

    assert statuses == [403, 403, 200]
    assert anna["key"] == "user:anna"
    told = {name: (one["numerator"], one["denominator"]) for name, one in anna["indicators"].items()}
    assert told["valid_report_rate"] == (1, 1)
    assert told["missing_rate"] == (2, 3)
    assert told["coverage_rate"] == (pytest.approx(5_000, rel=0.06), pytest.approx(10_000, rel=0.06))


@pytest.mark.usefixtures("patrolled")
def test_where_a_patroller_passed_is_for_who_may_read_tracks_and_the_reading_is_kept(
    client: TestClient, session: Session
) -> None:
    rows = f"/api/v1/assessment/rows?{PATROLLER}&key=user:anna"

    refused = [client.get(rows + more, headers=bearer("planner")).status_code for more in ("", "&measure=miss")]
    allowed = client.get(f"{rows}&measure=report", headers=bearer("planner"))
    before = readings_of(session, "user:anna")
    told = client.get(f"{rows}&measure=miss", headers=bearer("supervisor")).json()

    assert (refused, allowed.status_code, before) == ([403, 403], 200, [])
    assert sorted((row["is_done"], row["who"]) for row in told) == [(done, "user:anna") for done in (False, True, True)]
    assert [(one.who, one.chunks) for one in readings_of(session, "user:anna")] == [("user:supervisor", 2)]


@pytest.mark.usefixtures("patrolled")
def test_what_was_missed_in_a_town_names_no_patroller(client: TestClient, session: Session) -> None:
    path = "/api/v1/assessment/rows?month=2026-03&by=town&key=310112001&measure=miss"

    rows = {who: client.get(path, headers=bearer(who)).json() for who in ("town", "supervisor")}

    assert rows["town"] == rows["supervisor"]
    assert {(row["who"], row["unit"]) for row in rows["town"]} == {(None, None)}
    assert readings_of(session, "user:anna") == []


def test_the_figures_come_as_csv(client: TestClient) -> None:
    answer = client.get("/api/v1/assessment?month=2026-03&by=town&format=csv", headers=bearer("town"))

    assert answer.headers["content-type"].startswith("text/csv")
    assert "310112001,江川路街道,closing_rate,结案率,1,1,100.00" in answer.text


@pytest.mark.parametrize(
    "query", ["month=2026-13", "month=0000-01", "month=9999-12", "month=x", "", "month=2026-03&by=x"]
)
def test_a_month_or_a_grouping_that_is_none_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/api/v1/assessment?{query}", headers=bearer("supervisor")).status_code == 422
