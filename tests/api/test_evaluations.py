"""Two-way evaluation and the theme of the year, over HTTP and on the page."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.accounts import add_key
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.units import UnitKind, units_at
from tests.builders import BY, NOW, add_signed_in, bearer
from tests.stored_cases import SUB_CENTRE, TEAM, WORKSTATION, Desk

PATH = "/api/v1/evaluations"


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: NOW + timedelta(days=60)


@pytest.fixture(autouse=True)
def people(session: Session) -> None:
    add_signed_in(session, "supervisor", [Grant(Role.SUPERVISOR)])
    for login, code in (("town", "310112001"), ("other", "310112002")):
        add_signed_in(session, login, [Grant(Role.SUPERVISOR, Scope(ScopeKind.AREA, code))])


@pytest.fixture
def centre(session: Session) -> str:
    (unit,) = units_at(session, at=NOW, kinds=[UnitKind.CENTRE])
    return unit.code


def stated(by: str, of: str, direction: str, criterion: str, points: Any, **changes: Any) -> dict[str, Any]:
    words = {"direction": direction, "month": "2026-03", "by_unit": by, "of_unit": of}
    return words | {"criterion": criterion, "points": points} | changes


def down(centre: str, points: Any = 80, criterion: str = "组织领导", **changes: Any) -> dict[str, Any]:
    return stated(centre, SUB_CENTRE, "district_to_town", criterion, points, **changes)


def across(points: Any = 60, of: str = TEAM, criterion: str = "服从调度") -> dict[str, Any]:
    return stated(SUB_CENTRE, of, "town_to_stationed", criterion, points)


def matrix(client: TestClient, direction: str, who: str = "supervisor") -> list[dict[str, Any]]:
    query = f"{PATH}?month=2026-03&direction={direction}"
    return client.get(query, headers=bearer(who)).json()["evaluations"]


def test_both_matrices_are_stored_and_weighted_and_the_last_word_counts(client: TestClient, centre: str) -> None:
    for body, who in (
        (down(centre, 50), "supervisor"),
        (down(centre, 80), "supervisor"),
        (down(centre, 90, "处置质量"), "supervisor"),
        (across(60), "town"),
        (across(100, criterion="处置质量"), "town"),
    ):
        assert client.post(PATH, json=body, headers=bearer(who)).status_code == 201

    (town,), (team,) = matrix(client, "district_to_town"), matrix(client, "town_to_stationed")
    assert town["criteria"] == {"组织领导": 80, "处置质量": 90}
    assert town["points"] == pytest.approx((0.3 * 80 + 0.4 * 90) / 0.7)
    assert (team["by_unit"], team["of_unit"], team["points"]) == (SUB_CENTRE, TEAM, pytest.approx(84))


def test_a_town_speaks_for_itself_alone(client: TestClient, session: Session, centre: str) -> None:
    key = add_key(session, "city", grants=[Grant(Role.SUPERVISOR)], by=BY, now=NOW)
    session.commit()

    statuses = [
        client.post(PATH, json=body, headers=headers).status_code
        for body, headers in (
            (across(), bearer("other")),
            (down(centre), bearer("town")),
            (across(), {"Authorization": f"Bearer {key}"}),
        )
    ]

    assert statuses == [403, 403, 403]
    client.post(PATH, json=across(), headers=bearer("town"))
    assert (len(matrix(client, "town_to_stationed", "town")), matrix(client, "town_to_stationed", "other")) == (1, [])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"points": 100.5}, "points"),
        ({"points": "NaN"}, "points"),
        ({"month": "2026-13"}, "month"),
        ({"month": "2027-01"}, "month"),
        ({"criterion": "外貌"}, "criterion"),
        ({"of_unit": TEAM}, "of_unit"),
        ({"of_unit": WORKSTATION}, "of_unit"),
    ],
)
def test_what_cannot_be_is_named_and_not_stored(
    client: TestClient, centre: str, changes: dict[str, Any], field: str
) -> None:
    answer = client.post(PATH, json=down(centre) | changes, headers=bearer("supervisor"))

    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field)
    assert matrix(client, "district_to_town") == []


def test_an_evaluation_stands_beside_the_score_and_changes_it_not(
    client: TestClient, session: Session, tmp_path: Path, centre: str
) -> None:
    Desk(session, tmp_path).closed()
    client.cookies.set(SESSION_COOKIE, "cookie-of-supervisor")
    client.headers |= {"accept": "text/html", "origin": "http://testserver"}
    detail = "/assessment/of?month=2026-03&by=town&key=310112001"
    before = client.get(detail).text
    page = client.get("/evaluations?month=2026-03").text
    csrf = re.findall(r'name="csrf" content="(\w+)"', page)[0]

    refused = client.post("/evaluations", data=down(centre, "many") | {"csrf": csrf})
    made = client.post("/evaluations", data=down(centre, "87.5") | {"csrf": csrf}, follow_redirects=False)

    after = client.get(detail).text
    assert (refused.status_code, made.status_code) == (422, 303)
    assert "没有记下" in refused.text
    assert "87.50" in client.get(made.headers["location"]).text
    assert "87.50" in after
    assert "87.50" not in before
    assert re.findall(r"[\d.]+ × 0\.5", before) == re.findall(r"[\d.]+ × 0\.5", after)


def test_a_year_tells_what_became_of_its_theme(client: TestClient, session: Session, tmp_path: Path) -> None:
    desk = Desk(session, tmp_path)
    desk.closed()
    desk.at = NOW
    desk.filed()
    desk.filed(event_type="C0101")

    theme = client.get("/api/v1/yearly-themes/2026", headers=bearer("supervisor")).json()
    statuses = [
        client.get(f"/api/v1/yearly-themes/{year}", headers=bearer("supervisor")).status_code for year in (2025, 9999)
    ]

    assert (theme["is_example"], theme["whole"]) == (True, {"accepted": 2, "closed": 1})
    assert theme["by_town"] == {"310112001": {"accepted": 2, "closed": 1}}
    assert statuses == [404, 422]
