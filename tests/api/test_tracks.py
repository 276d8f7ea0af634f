from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.accounts import add_key
from gis_grid.patrols import TrackChunk, readings_of
from gis_grid.permissions import Grant, Role
from gis_grid.seen import seen_in_window
from tests.builders import BY, NOW, STAFF, add_signed_in, bearer

T = NOW.timestamp()
SPAN = {"since": "2026-03-01T00:00:00Z", "until": "2026-03-03T00:00:00Z"}


def chunk(sequence: int = 0, **more: Any) -> dict[str, Any]:
    """Two minutes along a street in the squares, ending a minute ago."""
    n = 13
    return {
        "track": "t1",
        "sequence": sequence,
        "epoch_s": [T - 180 + 10 * k for k in range(n)],
        "lon": [121.4 + 0.0001 * k for k in range(n)],
        "lat": [31.1] * n,
        "accuracy_m": [5] * n,
    } | more


def send(client: TestClient, *chunks: Any, login: str = "admin", **more: Any) -> Any:
    answer = client.post("/api/v1/tracks", json={"chunks": list(chunks)} | more, headers=bearer(login))
    return answer.json() if answer.status_code == 200 else answer


def seen_m2(session: Session) -> float:
    return seen_in_window(session, first=date(2026, 3, 1), last=date(2026, 3, 3)).area_m2


def test_a_chunk_is_acknowledged_once_it_is_stored_and_seen(client: TestClient, session: Session) -> None:
    first, again = send(client, chunk())["results"], send(client, chunk())["results"]

    assert first == [{"status": 201, "track": "t1", "sequence": 0, "counted": 13, "uncounted": {}}]
    assert again[0]["status"] == 200
    # 114 m of line seen 50 m to both sides, and a disc at the ends.
    assert seen_m2(session) == pytest.approx(114.5 * 100 + 7854, rel=0.01)


def test_a_bad_chunk_is_refused_and_the_others_are_stored(client: TestClient, session: Session) -> None:
    bad = [chunk(lon=[121.4]), chunk(epoch_s="now"), {"track": "x"}, 7, chunk(lat=[999] * 13), chunk(track="a\0b")]

    results = send(client, *bad, chunk())["results"]

    assert [result["status"] for result in results] == [422] * 6 + [201]
    assert "one length" in results[0]["message"]
    assert session.scalar(sa.select(sa.func.count()).select_from(TrackChunk)) == 1


@pytest.mark.parametrize("body", [{}, {"chunks": []}, {"chunks": [1] * 101}, {"chunks": [1], "sent_at": 5}, [], "x"])
def test_an_upload_of_another_form_is_refused(client: TestClient, body: Any) -> None:
    assert client.post("/api/v1/tracks", json=body, headers=STAFF).status_code == 422


@pytest.mark.parametrize(
    "text", ['{"chunks": [{"track": "t", "sequence": 0, "epoch_s": [NaN], "lon": [1e400], "lat": [1]}]}']
)
def test_numbers_that_are_none_are_refused(client: TestClient, text: str) -> None:
    answer = client.post("/api/v1/tracks", content=text, headers=STAFF | {"Content-Type": "application/json"})

    assert answer.status_code == 422 or answer.json()["results"][0]["status"] == 422


def test_what_does_not_count_is_told_with_its_reason(client: TestClient, session: Session) -> None:
    poor = chunk(track="p", accuracy_m=[500] * 12 + [None])
    future = chunk(track="f", epoch_s=[T + 3600 + k for k in range(13)])
    far = chunk(track="r", lon=[-70.0] * 13)

    results = send(client, poor, future, far)["results"]

    assert [result["uncounted"] for result in results] == [{"accuracy": 12}, {"clock": 13}, {"far": 13}]
    assert seen_m2(session) == 0


def test_a_chunk_of_which_nothing_counts_is_stored_once_however_often_it_comes(
    client: TestClient, session: Session
) -> None:
    poor = chunk(accuracy_m=[500] * 13)

    statuses = [send(client, poor)["results"][0]["status"]]
    client.app.state.clock = lambda: NOW + timedelta(seconds=30)  # type: ignore[attr-defined]
    statuses += [result["status"] for result in send(client, poor, chunk(track="t2"))["results"]]

    assert statuses == [201, 200, 201]
    assert session.scalar(sa.select(sa.func.count()).select_from(TrackChunk)) == 2


def test_a_senders_clock_that_is_off_makes_nothing_count(client: TestClient) -> None:
    (result,) = send(client, chunk(), sent_at="2026-03-02T03:30:00Z")["results"]

    assert result["uncounted"] == {"clock": 13}


def test_a_datum_that_cannot_be_is_told_and_kept_without_counting(client: TestClient, session: Session) -> None:
    # In the middle square, had it been read on GCJ-02.
    n = 120
    lon, lat = [121.4015 + 0.0045 + 1e-6 * k for k in range(n)], [31.1015 - 0.0019 + 1e-6 * k for k in range(n)]
    columns = {"epoch_s": [T - n + k for k in range(n)], "lon": lon, "lat": lat, "accuracy_m": None}

    as_wgs84, again = (send(client, chunk(**columns))["results"][0] for _ in range(2))
    seen_before = seen_m2(session)
    (as_gcj02,) = send(client, chunk(**columns, datum="gcj02"))["results"]

    assert as_wgs84["uncounted"] == {"datum": n}
    assert (as_wgs84["likely_datum"], as_wgs84["status"], again["status"]) == ("gcj02", 201, 200)
    assert seen_before == 0
    assert (as_gcj02["counted"], as_gcj02["uncounted"]) == (n, {})
    assert seen_m2(session) > 0
    kept = session.scalars(sa.select(TrackChunk).where(TrackChunk.geom.is_(None))).one()
    assert kept.uncounted is not None
    assert len(kept.uncounted["datum"]) == n


def test_only_another_systems_key_names_whose_outing_it_is(client: TestClient, session: Session) -> None:
    key = add_key(session, "radios", grants=[Grant(Role.ADMINISTRATOR)], by=BY, now=NOW)
    session.commit()
    body = {"chunks": [chunk()], "walker": "4711"}

    by_key = client.post("/api/v1/tracks", json=body, headers={"Authorization": f"Bearer {key}"})
    by_user = client.post("/api/v1/tracks", json=body, headers=STAFF)

    assert (by_key.status_code, by_user.status_code) == (200, 422)
    assert session.scalars(sa.select(TrackChunk.walker)).all() == ["key:radios/4711"]


def test_a_persons_outings_are_read_by_few_and_each_reading_is_kept(client: TestClient, session: Session) -> None:
    add_signed_in(session, "walker", [Grant(Role.PATROLLER)])
    add_signed_in(session, "chief", [Grant(Role.SUPERVISOR)])
    send(client, chunk(), login="walker")
    asked = {"walker": "user:walker", **SPAN}

    by_self = client.get("/api/v1/tracks", params=asked, headers=bearer("walker"))
    by_chief = client.get("/api/v1/tracks", params=asked, headers=bearer("chief"))

    assert by_self.status_code == 403
    (line,) = by_chief.json()["features"]
    assert line["geometry"]["coordinates"][0] == [121.4, 31.1]
    assert [reading.who for reading in readings_of(session, "user:walker")] == ["user:chief"]


def test_a_span_turned_round_is_refused(client: TestClient) -> None:
    asked = {"walker": "user:x", "since": SPAN["until"], "until": SPAN["since"]}

    assert client.get("/api/v1/tracks", params=asked, headers=STAFF).status_code == 422
