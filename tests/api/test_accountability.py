"""Accountability over HTTP, on its page and at the terminal: who may refer what, and nothing without each field."""

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
from tests.builders import BY, NOW, add_signed_in, bearer
from tests.stored_cases import TEAM, Desk

PATH = "/api/v1/accountability/referrals"
PERIOD = "?since=2026-03-01&until=2026-03-31"


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: NOW + timedelta(days=60)


@pytest.fixture
def case(session: Session, tmp_path: Path) -> str:
    """Taken by a team's handler and left until it was red."""
    desk = Desk(session, tmp_path)
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    for login, scope in (("town", "310112001"), ("other", "310112002")):
        add_signed_in(session, login, [Grant(Role.SUPERVISOR, Scope(ScopeKind.AREA, scope))])
    add_signed_in(session, "handler", [Grant(Role.SUPERVISOR)])
    return case.name


def stated(case: str, **changes: Any) -> dict[str, Any]:
    words = {"cause": "红灯超时", "legal_duty": "市容条例第九条", "adverse_effect": "居民投诉"}
    return {"unit": TEAM, **words, "evidence": [{"case": case, "seq": 6}], **changes}


def test_a_supervisor_refers_what_is_proposed_in_their_town(client: TestClient, case: str) -> None:
    path = f"/api/v1/accountability/proposals{PERIOD}"
    proposed = [one for one in client.get(path, headers=bearer("town")).json() if one["unit"] == TEAM]
    body = stated(case, evidence=proposed[0]["evidence"], person=proposed[0]["person"])

    made = client.post(PATH, json=body, headers=bearer("town"))
    again = client.post(PATH, json=body, headers=bearer("town"))

    assert (proposed[0]["cause"], proposed[0]["person"]) == ("红灯超时", "user:handler")
    assert (made.status_code, made.json()["referred_by"], again.status_code) == (201, "user:town", 409)
    assert [one["id"] for one in client.get(PATH, headers=bearer("town")).json()] == [made.json()["id"]]
    assert [one["is_referred"] for one in client.get(path, headers=bearer("town")).json() if one["unit"] == TEAM] == [
        True
    ]


def test_another_town_neither_sees_nor_refers_it(client: TestClient, case: str) -> None:
    client.post(PATH, json=stated(case), headers=bearer("town"))
    lists = [
        client.get(path, headers=bearer("other")).json() for path in (PATH, f"/api/v1/accountability/proposals{PERIOD}")
    ]

    assert lists == [[], []]
    assert client.post(PATH, json=stated(case), headers=bearer("other")).status_code == 403


@pytest.mark.parametrize("field", ["unit", "cause", "legal_duty", "adverse_effect", "evidence"])
def test_no_referral_without_each_field(client: TestClient, case: str, field: str) -> None:
    body = stated(case)
    del body[field]

    refused = client.post(PATH, json=body, headers=bearer("town"))
    empty = client.post(PATH, json=stated(case) | {field: [] if field == "evidence" else ""}, headers=bearer("town"))

    assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, field)
    assert (empty.status_code, empty.json()["fields"][0]["field"]) == (422, field)
    assert client.get(PATH, headers=bearer("town")).json() == []


def test_neither_who_had_it_nor_a_key_refers(client: TestClient, session: Session, case: str) -> None:
    key = add_key(session, "city", grants=[Grant(Role.SUPERVISOR)], by=BY, now=NOW)
    session.commit()

    statuses = [
        client.post(PATH, json=stated(case), headers=headers).status_code
        for headers in (bearer("handler"), {"Authorization": f"Bearer {key}"}, {})
    ]

    assert statuses == [403, 403, 401]


def test_on_the_page_a_refusal_keeps_what_was_typed(client: TestClient, case: str) -> None:
    client.cookies.set(SESSION_COOKIE, "cookie-of-town")
    client.headers |= {"accept": "text/html", "origin": "http://testserver"}
    page = client.get(f"/accountability{PERIOD}").text
    csrf = re.findall(r'name="csrf" content="(\w+)"', page)[0]
    own = next(item for item in page.split("<li>") if f'name="unit" value="{TEAM}"' in item)
    rows = re.findall(r'name="evidence" value="([\d#]+)"', own)
    form = {"csrf": csrf, "unit": TEAM, "cause": "红灯超时", "evidence": rows, "legal_duty": "市容条例第九条"}
    form |= {"since": "2026-03-01", "until": "2026-03-31"}

    refused = client.post("/accountability", data=form | {"adverse_effect": " "})
    made = client.post("/accountability", data=form | {"adverse_effect": "居民投诉"}, follow_redirects=False)

    assert refused.status_code == 422
    assert "没有移送" in refused.text
    assert refused.text.count("市容条例第九条") == 1
    assert made.status_code == 303
    after = client.get(made.headers["location"]).text
    assert "已移送，编号" in after
    assert "居民投诉" in after


def test_the_terminal_lists_both(run: Callable[..., Any], client: TestClient, case: str) -> None:
    client.post(PATH, json=stated(case), headers=bearer("town"))

    proposed = run("accountability", "proposals", "--since", "2026-03-01", "--until", "2026-03-31")
    referred = run("accountability", "referrals")

    assert f"红灯超时 red_overrun {TEAM} user:handler: {case}#" in proposed.output
    assert f"红灯超时 {TEAM}" in referred.output
    assert "duty: 市容条例第九条; effect: 居民投诉" in referred.output
