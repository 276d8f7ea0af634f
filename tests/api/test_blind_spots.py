import json
from datetime import timedelta

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.spots import spots_key
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.reports import Report
from gis_grid.seen import Window
from gis_grid.tenures import NewTenure, appoint
from tests.builders import BY, NOW, STAFF, add_signed_in, bearer
from tests.db.test_blindspots import DAY, alley, see
from tests.db.test_track_intake import chunk, take, walk

CASES = "/api/v1/blind-spots/cases"

ASKED = {"kind": "unseen", "since": "2026-02-23", "until": "2026-03-01"}


def test_a_blind_spot_is_told_with_its_place_its_reason_and_who_answers(client: TestClient, session: Session) -> None:
    appoint(
        session, [NewTenure("310112001002002", "王芳", "书记", "居委会", "0-1", "10009", NOW, None)], by=BY, now=NOW
    )
    for shift in (0, 1):
        see(session, but=alley(), shift=shift)
    session.commit()

    by_all, by_staff = (client.get("/api/v1/blind-spots", params=ASKED, headers=who) for who in ({}, STAFF))

    (feature,) = by_all.json()["features"]
    told = feature["properties"]
    assert feature["geometry"]["type"] == "Polygon"
    assert (told["kind"], told["what"], told["code"], told["answers"]) == (
        *("unseen", "unseen", "310112001002002"),
        ["310112001002002"],
    )
    assert told["managers"][0]["duty_phone"] == "0-1"
    assert "王芳" not in by_all.text
    assert "王芳" in by_staff.text
    assert by_all.json()["counts"]["unseen"] == 1


def test_a_patrol_of_the_last_minutes_does_not_make_kept_spots_found_again(session: Session) -> None:
    window = Window(DAY, DAY)
    before = [spots_key(session, window, now=NOW + timedelta(minutes=minutes)) for minutes in (1, 6)]
    take(session, [chunk(walk())])  # received at NOW

    after = [spots_key(session, window, now=NOW + timedelta(minutes=minutes)) for minutes in (1, 6)]

    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_an_area_and_a_kind_narrow_it(client: TestClient, session: Session) -> None:
    def codes(**asked: str) -> set[str]:
        answer = client.get("/api/v1/blind-spots", params={"kind": "unmanned", **asked}).json()
        return {feature["properties"]["code"] for feature in answer["features"]}

    assert len(codes()) == 9
    assert codes(area="310112001002") == {f"31011200100200{n}" for n in (1, 2, 3)}
    assert codes(area="310112001002002") == {"310112001002002"}


@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "moon"},
        {"since": "2026-03-02", "until": "2026-03-01"},
        {"until": "9999-12-31"},
        {"limit": 0},
        {"shift": 3},
    ],
)
def test_what_cannot_be_asked_is_refused(client: TestClient, asked: dict[str, str]) -> None:
    assert client.get("/api/v1/blind-spots", params=asked).status_code == 422


def filing(**changes: object) -> dict[str, object]:
    at = alley().representative_point()
    return {"kind": "unseen", "lon": at.x, "lat": at.y, "event_type": "E0601", "until": "2026-03-01"} | changes


def test_a_blind_spot_is_filed_once_and_tells_when_it_was_seen_again(client: TestClient, session: Session) -> None:
    add_signed_in(session, "operator", [Grant(Role.OPERATOR)])
    for shift in (0, 1):
        see(session, but=alley(), shift=shift)
    session.commit()

    first, again = (client.post(CASES, json=filing(), headers=bearer("operator")) for _ in range(2))
    see(session, day=DAY + timedelta(days=1))
    session.commit()
    (feature,) = client.get("/api/v1/blind-spots", params=ASKED).json()["features"] or [None]
    listed = client.get(CASES).json()
    case = client.get(f"/api/v1/cases/{first.json()['serial']}").json()

    assert (first.status_code, first.json()["stage"], first.json()["grid_code"]) == (201, "filed", "310112001002002")
    assert (again.status_code, first.json()["serial"] in again.text) == (409, True)
    assert feature["properties"]["case"] == first.json()["serial"]
    assert listed["seen_again"] == {"cases": 1, "not_yet": 0, "median_days": 1.0}
    assert case["blind_spot"]["seen_again"] == {"on": "2026-03-02", "days": 1}


def test_who_may_file_there_files_and_nobody_else(client: TestClient, session: Session) -> None:
    add_signed_in(session, "manager", [Grant(Role.GRID_MANAGER, Scope(ScopeKind.AREA, "310112001001"))])
    add_signed_in(session, "planner", [Grant(Role.PLANNER)])
    for shift in (0, 1):
        see(session, but=alley(), shift=shift)
    session.commit()

    answers = [client.post(CASES, json=filing(), headers=bearer(who)).status_code for who in ("manager", "planner")]

    assert answers == [403, 403]
    assert client.get(CASES).json()["cases"] == []
    assert session.scalar(sa.select(sa.func.count()).select_from(Report)) == 0


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"lon": 121.5, "lat": 31.2}, 404),
        ({"event_type": "X1"}, 422),
        ({"kind": "moon"}, 422),
        ({"until": "2026-02-01"}, 422),
        ({"lon": float("inf")}, 422),
    ],
)
def test_what_cannot_be_filed_is_refused(
    client: TestClient, session: Session, changes: dict[str, object], status: int
) -> None:
    add_signed_in(session, "operator", [Grant(Role.OPERATOR)])

    sent = json.dumps(filing(kind="unmanned") | changes)
    headers = bearer("operator") | {"Content-Type": "application/json"}

    assert client.post(CASES, content=sent, headers=headers).status_code == status
