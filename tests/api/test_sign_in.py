"""Signing in with a password: tokens, locks, limits, keys, and who a request really comes from."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.app import create_app
from gis_grid import accounts, sign_in
from gis_grid.database import Change
from gis_grid.installation import Installation
from gis_grid.permissions import Grant, Role
from gis_grid.settings import Settings
from tests.api.sending import report, send
from tests.builders import BY, CHEAP_PASSWORDS, NOW, PASSWORD, STAFF, add_signed_in


def try_password(client: TestClient, password: str = PASSWORD, *, login: str = "admin") -> Any:
    return client.post("/api/v1/sign-in", json={"login": login, "password": password})


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return Clock()


def asking(installation: Installation, address: str = "10.0.0.1", **settings: Any) -> TestClient:
    changed = replace(installation, settings=installation.settings.model_copy(update=settings))
    return TestClient(create_app(changed, clock=lambda: NOW), client=(address, 50_000))


def test_a_token_lets_in_until_it_expires_or_is_ended(client: TestClient, clock: Clock) -> None:
    tokens = [try_password(client).json()["token"] for _ in range(2)]
    one, other = ({"Authorization": f"Bearer {token}"} for token in tokens)

    before = [client.get("/api/v1/reports", headers=headers).status_code for headers in (one, other)]
    ended = client.post("/api/v1/sign-out", headers=one).status_code
    after = [client.get("/api/v1/reports", headers=headers).status_code for headers in (one, other)]
    clock.now += timedelta(hours=12)
    late = client.get("/api/v1/reports", headers=other).status_code

    assert (before, ended, after, late) == ([200, 200], 204, [401, 200], 401)


def test_what_is_stored_lets_nobody_in(client: TestClient, session: Session) -> None:
    token = try_password(client).json()["token"]
    key = accounts.add_key(session, "other", grants=[], by=BY, now=NOW)
    session.commit()

    tables = ("accounts", "account_sessions", "api_keys", "sign_in_attempts", "changes")
    stored = "".join(str(session.execute(sa.text(f"select * from {table}")).all()) for table in tables)  # noqa: S608
    assert not any(secret in stored for secret in (token, key, PASSWORD))


@pytest.mark.parametrize(("login", "password"), [("admin", "wrong password"), ("nobody", PASSWORD), ("admin", "é")])
def test_a_wrong_login_and_a_wrong_password_are_told_alike(client: TestClient, login: str, password: str) -> None:
    answer = try_password(client, password, login=login)

    assert (answer.status_code, answer.json()["message"]) == (401, "no account has this login and password")


def test_an_unknown_login_costs_the_same_work(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    verify = type(CHEAP_PASSWORDS._hasher).verify

    def counting(self: Any, hash_: str, password: str) -> bool:
        verified.append(hash_)
        return verify(self, hash_, password)

    monkeypatch.setattr(type(CHEAP_PASSWORDS._hasher), "verify", counting)
    for login in ("admin", "nobody"):
        try_password(client, "wrong password", login=login)

    assert [hash_.rsplit("$", 2)[0] for hash_ in verified] == ["$argon2id$v=19$m=8,t=1,p=1"] * 2


@pytest.mark.parametrize("login", ["ADMIN", " admin ", "ａｄｍｉｎ"])
def test_a_login_is_known_however_it_is_typed(client: TestClient, login: str) -> None:
    assert try_password(client, login=login).status_code == 200


@pytest.mark.parametrize("login", ["admin", "nobody"])
def test_five_failures_lock_a_login_for_fifteen_minutes(client: TestClient, clock: Clock, login: str) -> None:
    failures = [try_password(client, "wrong", login=login).status_code for _ in range(5)]
    locked = try_password(client, login=login)
    clock.now += timedelta(minutes=14, seconds=59)
    still = try_password(client, login=login)
    clock.now += timedelta(seconds=1)
    again = try_password(client, login=login)

    assert failures == [401] * 5
    assert (locked.status_code, locked.headers["retry-after"]) == (429, "900")
    assert (still.status_code, still.headers["retry-after"]) == (429, "1")
    assert again.status_code == (200 if login == "admin" else 401)


def test_failures_far_apart_or_before_a_success_do_not_lock(client: TestClient, clock: Clock) -> None:
    statuses = []
    for password in ["wrong"] * 4 + [PASSWORD] + ["wrong"] * 4 + [PASSWORD]:
        statuses.append(try_password(client, password).status_code)
        clock.now += timedelta(minutes=3)
    for _ in range(6):
        clock.now += timedelta(minutes=4)
        statuses.append(try_password(client, "wrong").status_code)

    assert statuses == [401, 401, 401, 401, 200, 401, 401, 401, 401, 200] + [401] * 6


def test_many_guesses_at_once_are_no_more_than_five(installation: Installation, session: Session) -> None:
    statuses: list[int] = []
    clients = [asking(installation, f"10.0.0.{n}") for n in range(12)]
    for one in clients:
        # FastAPI builds its routes at the first request, muting warnings in a way that threads undo for one another.
        one.get("/healthz")  # the last route, so that all before it are built
    threads = [
        threading.Thread(target=lambda one=one: statuses.append(try_password(one, "wrong").status_code))
        for one in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [401] * 5 + [429] * 7


def test_an_address_is_locked_after_failures_for_many_logins(installation: Installation) -> None:
    bad, good = asking(installation, "10.0.0.1"), asking(installation, "10.0.0.2")

    failures = [try_password(bad, "wrong", login=f"login{n}").status_code for n in range(15)]

    assert failures == [401] * 15
    assert (try_password(bad).status_code, try_password(good).status_code) == (429, 200)


def test_a_sign_in_that_is_refused_is_still_counted(client: TestClient, session: Session) -> None:
    try_password(client, "wrong")
    try_password(client)

    attempts = session.scalars(sa.select(sign_in.SignInAttempt).order_by(sign_in.SignInAttempt.id)).all()
    assert [(one.login, one.is_success) for one in attempts] == [("admin", False), ("admin", True)]


@pytest.mark.parametrize(
    "body",
    [
        {"login": "admin"},
        {"login": "", "password": "x"},
        {"login": "a\0b", "password": "x"},
        {"login": "admin", "password": "x\0"},
        {"login": "admin", "password": "x" * 201},
        {"login": "x" * 101, "password": "x"},
        {"login": ["admin"], "password": "x"},
        {"login": "admin", "password": "x", "role": "administrator"},
    ],
)
def test_a_sign_in_that_cannot_be_one_is_named(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/api/v1/sign-in", json=body)

    assert (answer.status_code, len(answer.json()["fields"]) > 0) == (422, True)


def test_half_a_surrogate_pair_as_a_password_is_refused(client: TestClient) -> None:
    body = json.dumps({"login": "admin", "password": "x"}).replace('"x"', '"\\ud800"')

    answer = client.post("/api/v1/sign-in", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422


def test_a_disabled_account_is_out_at_once(client: TestClient, session: Session) -> None:
    before = client.get("/api/v1/reports", headers=STAFF).status_code
    accounts.disable(session, accounts.the_account(session, "admin"), by=BY, now=NOW)
    session.commit()

    after = client.get("/api/v1/reports", headers=STAFF).status_code

    assert (before, after, try_password(client).status_code) == (200, 401, 401)


def test_a_key_lets_a_system_in_until_it_is_revoked(client: TestClient, session: Session) -> None:
    key = accounts.add_key(session, "hotline", grants=[Grant(Role.OPERATOR)], by=BY, now=NOW)
    session.commit()
    headers = {"Authorization": f"Bearer {key}"}
    id_ = client.post("/api/v1/reports", json=report(), headers=headers).json()["id"]
    seen = client.get(f"/api/v1/reports/{id_}", headers=headers).json()["properties"]
    accounts.revoke_key(session, "hotline", by=BY, now=NOW)
    session.commit()

    assert "text" in seen
    assert session.scalars(sa.select(Change.who).where(Change.key == id_)).one() == "key:hotline"
    assert client.get("/api/v1/reports", headers=headers).status_code == 401


def test_anonymous_reports_are_limited_by_address_and_hour_and_signed_in_ones_are_not(
    installation: Installation, session: Session
) -> None:
    few = {"anonymous_reports_per_hour": 3}
    one, other = asking(installation, "10.0.0.1", **few), asking(installation, "10.0.0.2", **few)

    statuses = [one.post("/api/v1/reports", json=report()).status_code for _ in range(4)]
    refused = one.post("/api/v1/reports/batch", json=[report()])
    others = other.post("/api/v1/reports/batch", json=[report()] * 3).status_code
    staff = [one.post("/api/v1/reports", json=report(), headers=STAFF).status_code for _ in range(5)]

    assert statuses == [201, 201, 201, 429]
    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (
        429,
        "too_many_requests",
        "3600",
    )
    assert (others, staff) == (200, [201] * 5)


def test_the_next_hour_begins_anew(client: TestClient, installation: Installation, clock: Clock) -> None:
    strict = replace(installation, settings=installation.settings.model_copy(update={"anonymous_reports_per_hour": 1}))
    client = TestClient(create_app(strict, clock=clock))
    first = [client.post("/api/v1/reports", json=report()).status_code for _ in range(2)]
    clock.now += timedelta(hours=1)

    assert [*first, client.post("/api/v1/reports", json=report()).status_code] == [201, 429, 201]


def test_passwords_from_one_address_are_limited(installation: Installation) -> None:
    client = asking(installation, sign_ins_per_quarter_hour=2)

    assert [try_password(client).status_code for _ in range(3)] == [200, 200, 429]


HOPS = [
    ("10.0.0.9", "10.0.0.9", {"X-Forwarded-For": "1.1.1.1"}, "1.1.1.1"),
    ("10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": "6.6.6.6, 1.1.1.1"}, "1.1.1.1"),
    ("10.0.0.9", "10.0.0.0/24,2.2.2.2", {"X-Forwarded-For": "6.6.6.6, 1.1.1.1, 2.2.2.2"}, "1.1.1.1"),
    ("10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": "1.1.1.1, 10.0.0.7"}, "1.1.1.1"),
    ("10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": "nonsense, 1.1.1.1"}, "1.1.1.1"),
    ("10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": "1.1.1.1, nonsense"}, "10.0.0.9"),
    ("10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": ""}, "10.0.0.9"),
    ("10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": "2001:db8:1:2:3::4"}, "2001:db8:1:2::/64"),
    ("::ffff:10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": "1.1.1.1"}, "1.1.1.1"),
    ("10.0.0.9", "10.0.0.0/24", {"X-Forwarded-For": "::ffff:1.1.1.1"}, "1.1.1.1"),
    ("10.0.0.9", "", {"X-Forwarded-For": "1.1.1.1"}, "10.0.0.9"),
    ("5.5.5.5", "10.0.0.0/24", {"X-Forwarded-For": "1.1.1.1"}, "5.5.5.5"),
    ("5.5.5.5", "10.0.0.0/24", {"Forwarded": "for=1.1.1.1", "X-Real-IP": "1.1.1.1"}, "5.5.5.5"),
]


@pytest.mark.parametrize("hop", HOPS, ids=str)
def test_a_forwarded_address_is_believed_from_trusted_proxies_alone(
    installation: Installation, session: Session, monkeypatch: pytest.MonkeyPatch, hop: Any
) -> None:
    peer, trusted, headers, address = hop
    monkeypatch.setenv("GIS_GRID_TRUSTED_PROXIES", trusted)
    client = asking(installation, peer, trusted_proxies=Settings().trusted_proxies)

    client.post("/api/v1/sign-in", json={"login": "admin", "password": "wrong"}, headers=headers)

    assert session.scalars(sa.select(sign_in.SignInAttempt.address)).one() == address


@pytest.mark.parametrize(
    ("trusted", "said", "is_secure"),
    [("10.0.0.9", "https", True), ("", "https", False), ("10.0.0.9", "http", False), ("10.0.0.9", "gopher", False)],
)
def test_a_forwarded_scheme_is_believed_from_trusted_proxies_alone(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, trusted: str, said: str, is_secure: bool
) -> None:
    monkeypatch.setenv("GIS_GRID_TRUSTED_PROXIES", trusted)
    client = asking(installation, "10.0.0.9", trusted_proxies=Settings().trusted_proxies)
    form = {"login": "admin", "password": PASSWORD}
    headers = {"X-Forwarded-Proto": said, "Origin": "https://testserver", "Host": "testserver:443"}

    cookie = client.post("/sign-in", data=form, headers=headers, follow_redirects=False).headers["set-cookie"].lower()

    assert ("secure" in cookie) == is_secure


def test_a_password_hashed_with_other_costs_is_hashed_anew(client: TestClient, session: Session) -> None:
    from gis_grid.passwords import Passwords

    account = add_signed_in(session, "old", [])
    account.password_hash = Passwords(time_cost=2, memory_kib=16).hash(PASSWORD)
    session.commit()

    try_password(client, login="old")

    session.refresh(account)
    assert "m=8,t=1" in account.password_hash
    assert try_password(client, login="old").status_code == 200


def test_reports_of_who_has_signed_in_bear_the_name(client: TestClient, session: Session) -> None:
    id_ = client.post("/api/v1/reports", json=report(), headers=STAFF).json()["id"]
    other = send(client)["id"]

    who = dict(session.execute(sa.select(Change.key, Change.who).where(Change.key.in_([id_, other]))).all())
    assert who == {id_: "user:admin", other: "anonymous"}
