import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.database import Change
from gis_grid.installation import Installation
from gis_grid.reports import PastPlacement, Report
from gis_grid.tenures import NewTenure, appoint
from tests.api.sending import INSIDE, report, send
from tests.builders import BY, NOW, STAFF

FIRST_SQUARE = "310112001001001"


def test_a_report_is_placed_and_answered_with_its_grid(client: TestClient) -> None:
    sent = report()

    body = send(client, sent)

    assert (body["id"], body["grid_code"], body["method"], body["distance_m"]) == (
        sent["id"],
        FIRST_SQUARE,
        "inside",
        0,
    )
    assert (body["community"], body["town"], body["is_uncertain"]) == ("社区1", "江川路街道", False)


def test_the_answer_names_post_unit_and_duty_phone_of_who_answers_for_the_grid(
    client: TestClient, session: Session
) -> None:
    tenure = NewTenure(FIRST_SQUARE, "王芳", "书记", "好第坊居委会", "000-1", "1000", NOW - timedelta(days=1), None)
    appoint(session, [tenure], by=BY, now=NOW)
    session.commit()

    body = send(client)

    assert body["manager"] == {"post": "书记", "unit": "好第坊居委会", "duty_phone": "000-1", "is_synthetic": False}


def test_sending_again_answers_with_the_same_report_and_token(client: TestClient, session: Session) -> None:
    sent = report()

    first, again = (client.post("/api/v1/reports", json=sent) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert session.scalar(sa.select(sa.func.count()).select_from(Report)) == 1


def test_the_same_id_with_other_content_is_a_conflict(client: TestClient) -> None:
    sent = report()
    send(client, sent)

    answer = client.post("/api/v1/reports", json=sent | {"text": "别的"})

    assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
    assert sent["id"] in answer.json()["message"]


def test_of_many_senders_of_one_id_at_once_one_stores_it_and_all_are_answered_alike(
    client: TestClient, session: Session
) -> None:
    sent, answers = report(), []

    def post() -> None:
        answers.append(client.post("/api/v1/reports", json=sent))

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(Report)) == 1


def test_an_acknowledged_report_is_committed(client: TestClient, installation: Installation) -> None:
    id_ = send(client)["id"]

    with installation.sessions() as other:
        assert other.get(Report, uuid.UUID(id_)) is not None


def test_a_report_far_outside_is_kept_without_a_grid(client: TestClient) -> None:
    body = send(client, report(lon=121.5, lat=31.2))

    listed = client.get("/api/v1/reports", params={"method": "outside"}).json()["features"]
    assert (body["grid_code"], body["method"], body["distance_m"]) == (None, "outside", None)
    assert [feature["id"] for feature in listed] == [body["id"]]


def test_a_gcj02_point_is_converted_before_it_is_placed(client: TestClient) -> None:
    body = send(client, report(lon=INSIDE[0] + 0.0046289, lat=INSIDE[1] - 0.0019071, datum="gcj02"))

    assert (body["grid_code"], body["method"]) == (FIRST_SQUARE, "inside")


def test_an_accuracy_circle_over_two_grids_makes_the_placement_uncertain(client: TestClient) -> None:
    answers = [send(client, report(accuracy_m=radius)) for radius in (5, 200)]

    assert [answer["is_uncertain"] for answer in answers] == [False, True]


def test_a_report_is_placed_by_hand_and_the_old_placement_kept(client: TestClient, session: Session) -> None:
    id_ = send(client, report(lon=121.5, lat=31.2))["id"]

    answer = client.post(
        f"/api/v1/reports/{id_}/placement", json={"grid_code": FIRST_SQUARE, "reason": "打电话问过"}, headers=STAFF
    )

    past = session.scalars(sa.select(PastPlacement)).one()
    assert answer.json()["properties"]["grid_code"] == FIRST_SQUARE
    assert answer.json()["properties"]["method"] == "manual"
    assert (past.method, past.grid_id, past.superseded_at) == ("outside", None, NOW)


def test_placing_by_hand_needs_a_grid_that_exists(client: TestClient) -> None:
    id_ = send(client)["id"]

    answer = client.post(
        f"/api/v1/reports/{id_}/placement", json={"grid_code": "310112999999999", "reason": "x"}, headers=STAFF
    )

    assert (answer.status_code, "310112999999999" in answer.json()["message"]) == (404, True)


def test_each_change_says_who_by_which_channel_in_which_request(client: TestClient, session: Session) -> None:
    answer = client.post("/api/v1/reports", json=report())
    id_ = answer.json()["id"]
    client.post(f"/api/v1/reports/{id_}/placement", json={"grid_code": FIRST_SQUARE, "reason": "x"}, headers=STAFF)

    changes = session.scalars(sa.select(Change).where(Change.key == id_).order_by(Change.id)).all()
    assert [(change.who, change.channel) for change in changes] == [("anonymous", "api"), ("user:admin", "api")]
    assert changes[0].request_id == answer.headers["x-request-id"]
    assert changes[1].before == {"grid_code": FIRST_SQUARE, "method": "inside"}
    assert "李雷" not in str([change.after for change in changes])


def test_a_batch_answers_each_item_for_itself(client: TestClient, session: Session) -> None:
    known = report()
    send(client, known)
    twice = report()
    items: list[Any] = [report(), known, known | {"text": "别的"}, report(lon=None), twice, twice, 7, report(kind="夸")]

    results = client.post("/api/v1/reports/batch", json=items).json()["results"]

    assert [result["status"] for result in results] == [201, 200, 409, 422, 201, 200, 422, 422]
    assert results[3]["fields"][0]["field"] == "lon"
    assert results[7]["fields"][0]["field"] == "kind"
    assert session.scalar(sa.select(sa.func.count()).select_from(Report)) == 3


@pytest.mark.parametrize("items", [[], [report()] * 1001, {"lon": 1}, None])
def test_a_batch_is_a_list_of_one_to_a_thousand(client: TestClient, items: Any) -> None:
    assert client.post("/api/v1/reports/batch", json=items).status_code == 422


def test_pages_follow_each_other_without_gap_or_repeat_while_reports_come_in(client: TestClient) -> None:
    ids = {send(client)["id"] for _ in range(7)}

    first = client.get("/api/v1/reports", params={"limit": 3}).json()
    late = send(client)["id"]
    seen, next_ = [feature["id"] for feature in first["features"]], first["next"]
    while next_:
        page = client.get("/api/v1/reports", params={"limit": 3, "after": next_}).json()
        seen, next_ = seen + [feature["id"] for feature in page["features"]], page["next"]

    assert len(seen) == len(set(seen))
    assert ids <= set(seen) <= ids | {late}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"grid": FIRST_SQUARE}, 1),
        ({"town": "310112001"}, 2),
        ({"town": "310112001001"}, 1),
        ({"town": "310112"}, 2),
        ({"event_type": "E01"}, 2),
        ({"event_type": "E0301"}, 1),
        ({"method": "outside"}, 1),
        ({"since": "2026-03-02T04:00:00Z"}, 3),
        ({"until": "2026-03-02T04:00:00Z"}, 0),
        ({"bbox": "121.39,31.09,121.41,31.11"}, 2),
    ],
)
def test_filters_keep_what_they_name(client: TestClient, query: dict[str, str], count: int) -> None:
    send(client, report())
    send(client, report(lat=31.1004, event_type="E0301"))
    send(client, report(lon=121.5, lat=31.2))

    found = client.get("/api/v1/reports", params=query, headers=STAFF).json()["features"]

    assert len(found) == count
