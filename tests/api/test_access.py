"""Who may call what, and what the public never sees."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from api.deps import SESSION_COOKIE, asked_permission
from api.errors import STATUS
from gis_grid import errors
from tests.api.sending import report, send
from tests.builders import STAFF

DOCUMENTATION = {"/openapi.json"}
FILES = {"static", "vendor"}


def functions(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for below in dependant.dependencies:
        yield from functions(below)


def test_every_route_says_which_permission_it_asks_for(client: TestClient) -> None:
    undeclared = [
        route.path
        for route in iter_route_contexts(client.app.routes)
        if (dependant := getattr(route, "dependant", None)) is not None
        and len({asked for call in functions(dependant) if (asked := asked_permission(call))}) != 1
    ]
    bare = {route.path for route in iter_route_contexts(client.app.routes) if getattr(route, "dependant", None) is None}

    assert undeclared == []
    assert {path for path in bare - DOCUMENTATION if not path.startswith("/static")} == set()


def test_every_kind_of_error_has_its_status() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__base__ is errors.GridError}

    assert set(STATUS) == kinds


def test_a_public_report_has_no_text_no_contact_and_no_exact_point(client: TestClient) -> None:
    sent = report(lon=121.4005371, lat=31.1022173, reporter={"name": "韩梅梅", "phone": "10000000002"})
    id_ = send(client, sent)["id"]

    answers = [client.get(path).text for path in (f"/api/v1/reports/{id_}", "/api/v1/reports", "/api/v1/grids")]

    for private in (sent["text"], "韩梅梅", "10000000002", str(sent["lon"]), str(sent["lat"])):
        assert all(private not in answer for answer in answers)


def test_staff_see_text_contact_and_the_exact_point(client: TestClient) -> None:
    sent = report()
    id_ = send(client, sent)["id"]

    feature = client.get(f"/api/v1/reports/{id_}", headers=STAFF).json()

    assert feature["geometry"]["coordinates"] == [sent["lon"], sent["lat"]]
    assert feature["properties"]["text"] == sent["text"]
    assert feature["properties"]["reporter"] == sent["reporter"]


def test_a_public_report_is_told_by_its_grid_and_has_no_point(client: TestClient) -> None:
    id_ = send(client, report())["id"]

    features = [client.get(f"/api/v1/reports/{id_}").json(), *client.get("/api/v1/reports").json()["features"]]

    assert [feature["geometry"] for feature in features] == [None, None]
    assert {feature["properties"]["grid_code"] for feature in features} == {"310112001001001"}


def test_a_box_would_tell_a_place_and_is_for_who_may_see_exact_points(client: TestClient) -> None:
    send(client, report(lon=121.4005, lat=31.1022))
    box = "121.40049,31.10219,121.40051,31.10221"

    public = client.get("/api/v1/reports", params={"bbox": box})
    staff = client.get("/api/v1/reports", params={"bbox": box}, headers=STAFF).json()

    assert (public.status_code, public.json()["error"]) == (403, "forbidden")
    assert len(staff["features"]) == 1


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "Basic c3RhZmY=", "token-of-admin", "Bearer token-of-admin-", "Bearer ggk_x"]
)
def test_a_wrong_token_is_refused_even_where_none_is_needed(client: TestClient, header: str) -> None:
    answer = client.get("/api/v1/reports", headers={"Authorization": header})

    assert (answer.status_code, answer.json()["error"]) == (401, "sign_in_needed")


def test_a_cookie_alone_is_for_looking_only(client: TestClient) -> None:
    id_ = send(client, report())["id"]
    client.cookies.set(SESSION_COOKIE, "cookie-of-admin")

    seen = client.get(f"/api/v1/reports/{id_}").json()["properties"]
    placed = client.post(f"/api/v1/reports/{id_}/placement", json={"grid_code": "310112001001001", "reason": "x"})

    assert "text" in seen
    assert placed.status_code == 403


def test_a_browsers_cookie_is_no_bearer_token_and_a_token_no_cookie(client: TestClient) -> None:
    as_token = client.get("/api/v1/reports", headers={"Authorization": "Bearer cookie-of-admin"})
    id_ = send(client, report())["id"]
    client.cookies.set(SESSION_COOKIE, "token-of-admin")
    as_cookie = client.get(f"/api/v1/reports/{id_}").json()["properties"]

    assert as_token.status_code == 401
    assert "text" not in as_cookie
