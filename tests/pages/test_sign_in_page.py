"""Signing in and out in a browser, and what a cookie may do."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.app import create_app
from api.deps import SESSION_COOKIE
from gis_grid.installation import Installation
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.reports import Report
from gis_grid.sign_in import AccountSession
from tests.api.sending import report, send
from tests.builders import NOW, PASSWORD, add_signed_in
from tests.pages.test_pages import GRID, OUTSIDE, sign_in, token_of

FORM = {"login": "admin", "password": PASSWORD}


def enter(client: TestClient, headers: dict[str, str] | None = None, **changed: str) -> Any:
    return client.post("/sign-in", data=FORM | changed, headers=headers, follow_redirects=False)


def test_the_right_password_signs_in_with_a_cookie_that_scripts_and_other_sites_cannot_use(client: TestClient) -> None:
    answer = enter(client, after="/grids/x")

    cookie = answer.headers["set-cookie"].lower()
    assert (answer.status_code, answer.headers["location"]) == (303, "/grids/x")
    assert all(part in cookie for part in ("httponly", "samesite=lax", "path=/"))
    assert "secure" not in cookie
    assert client.get("/staff/unplaced").status_code == 200


def test_over_https_the_cookie_never_travels_in_the_open(client: TestClient) -> None:
    client.base_url = "https://testserver"

    answer = enter(client, {"Origin": "https://testserver"})

    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + "-", "é", "x" * 201])
def test_a_wrong_password_is_told_and_signs_nobody_in(client: TestClient, password: str) -> None:
    answer = enter(client, password=password)

    assert answer.status_code == 401
    assert "登录名或密码不对" in answer.text
    assert "set-cookie" not in answer.headers
    assert client.get("/staff/unplaced").status_code == 401


def test_a_lock_says_how_long(client: TestClient) -> None:
    for _ in range(5):
        enter(client, password="wrong")

    answer = enter(client)

    assert (answer.status_code, answer.headers["retry-after"], "请15分钟后再试" in answer.text) == (429, "900", True)


@pytest.mark.parametrize(
    "after", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/x\r\ny"]
)
def test_signing_in_never_leads_elsewhere(client: TestClient, after: str) -> None:
    assert enter(client, after=after).headers["location"] == "/"


def test_who_has_not_signed_in_is_shown_the_way(client: TestClient) -> None:
    answer = client.get("/staff/unplaced")

    assert answer.status_code == 401
    assert 'href="/sign-in?after=/staff/unplaced"' in answer.text


def test_the_old_address_leads_to_the_new_one(client: TestClient) -> None:
    answer = client.get("/staff", params={"after": "/grids/x"}, follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?after=%2Fgrids%2Fx")


def test_signing_out_needs_our_form_and_ends_the_session_in_the_database(client: TestClient, session: Session) -> None:
    sign_in(client)
    forged = client.post("/sign-out", data={"csrf": "x"}, follow_redirects=False)
    meant = client.post("/sign-out", data={"csrf": token_of(client.get("/sign-in").text)}, follow_redirects=False)
    ended = session.scalars(sa.select(AccountSession.ended_at).where(AccountSession.kind == "browser")).one()
    sign_in(client)

    assert (forged.status_code, meant.status_code, ended) == (403, 303, NOW)
    assert "max-age=0" in meant.headers["set-cookie"].lower()
    assert client.get("/staff/unplaced").status_code == 401


def test_a_session_ends_when_it_lies_idle_and_in_any_case_after_twelve_hours(installation: Installation) -> None:
    now = NOW
    client = TestClient(create_app(installation, clock=lambda: now), headers={"Origin": "http://testserver"})

    def is_in() -> bool:
        return client.get("/staff/unplaced").status_code == 200

    enter(client)
    seen = []
    for pause in (timedelta(minutes=119), timedelta(minutes=119), timedelta(hours=2)):
        now += pause
        seen.append(is_in())
    enter(client)
    for _ in range(12):
        now += timedelta(hours=1)
        seen.append(is_in())

    assert seen == [True, True, False] + [True] * 11 + [False]


@pytest.mark.parametrize(
    ("headers", "csrf", "status"),
    [
        ({}, "right", 303),
        ({"Origin": "http://testserver:80"}, "right", 303),
        ({"Origin": "", "Referer": "http://testserver/staff/unplaced"}, "right", 303),
        ({}, None, 403),
        ({}, "", 403),
        ({}, "x" * 48, 403),
        ({}, "of another session", 403),
        ({"Origin": "http://evil.test"}, "right", 403),
        ({"Origin": "http://testserver.evil.test"}, "right", 403),
        ({"Origin": "http://testserver:8000"}, "right", 403),
        ({"Origin": "http://testserver@evil.test"}, "right", 403),
        ({"Origin": "null"}, "right", 403),
        ({"Origin": "http://[x"}, "right", 403),
        ({"Origin": ""}, "right", 403),
        ({"Origin": "", "Referer": "http://evil.test/http://testserver/"}, "right", 403),
    ],
)
def test_a_cookie_acts_only_from_our_page_with_its_token(
    client: TestClient, session: Session, headers: dict[str, str], csrf: str | None, status: int
) -> None:
    id_ = send(client, report(**OUTSIDE))["id"]
    add_signed_in(session, "other", [Grant(Role.ADMINISTRATOR)])
    client.cookies.set(SESSION_COOKIE, "cookie-of-other")
    foreign = token_of(client.get("/").text)
    client.cookies.clear()
    sign_in(client)
    given = {"right": token_of(client.get("/").text), "of another session": foreign}.get(csrf or "", csrf)
    form = {"grid_code": GRID, "reason": "核实"} | ({"csrf": given} if given is not None else {})

    answer = client.post(f"/staff/unplaced/{id_}", data=form, headers=headers, follow_redirects=False)

    assert answer.status_code == status
    assert session.scalars(sa.select(Report.method)).one() == ("manual" if status == 303 else "outside")


def test_the_token_may_come_in_a_header_for_the_api(client: TestClient) -> None:
    id_ = send(client, report(**OUTSIDE))["id"]
    sign_in(client)
    headers = {"X-CSRF-Token": token_of(client.get("/").text)}
    path, body = f"/api/v1/reports/{id_}/placement", {"grid_code": GRID, "reason": "核实"}

    assert client.post(path, json=body, headers=headers | {"Origin": "http://evil.test"}).status_code == 403
    assert client.post(path, json=body, headers=headers).status_code == 200


def test_a_form_without_the_cookie_is_refused(client: TestClient) -> None:
    sign_in(client)
    token = token_of(client.get("/").text)
    client.cookies.clear()

    answer = client.post("/staff/unplaced/" + "0" * 32, data={"csrf": token, "grid_code": GRID, "reason": "x"})

    assert answer.status_code == 401


@pytest.mark.parametrize("origin", ["http://evil.test", "null", ""])
def test_no_other_site_signs_anybody_in(client: TestClient, origin: str) -> None:
    answer = enter(client, {"Origin": origin})

    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_a_report_sent_with_an_old_page_is_taken_as_anybodys(client: TestClient) -> None:
    sign_in(client)

    answer = client.post("/api/v1/reports", json=report(), headers={"X-CSRF-Token": "of yesterday"})

    assert answer.status_code == 201


def test_the_queue_is_for_who_may_place_everywhere(client: TestClient, session: Session) -> None:
    add_signed_in(session, "town", [Grant(Role.DISPATCHER, Scope(ScopeKind.AREA, "310112001"))])
    client.cookies.set(SESSION_COOKIE, "cookie-of-town")

    page = client.get("/").text

    assert client.get("/staff/unplaced").status_code == 403
    assert "/staff/unplaced" not in page
    assert "/sign-in" in page


def test_a_cookie_of_nobodys_shows_the_public_view(client: TestClient) -> None:
    client.cookies.set(SESSION_COOKIE, "nobody's")

    assert 'name="csrf"' not in client.get("/").text
