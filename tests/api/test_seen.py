import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from tests.db.test_seen_shares import burn, strip

MARCH = {"since": "2026-03-01", "until": "2026-03-31"}


def test_shares_are_told_by_level_and_window(client: TestClient, session: Session) -> None:
    burn(session, strip(2))
    session.commit()

    town = client.get("/api/v1/seen-shares", params=MARCH).json()
    night = client.get("/api/v1/seen-shares", params=MARCH | {"shift": 1, "level": "district"}).json()
    grid = client.get("/api/v1/seen-shares", params={**MARCH, "level": "grid", "code": "310112001001002"}).json()

    assert [(place["code"], place["name"]) for place in town["places"]] == [("310112001", "江川路街道")]
    assert town["places"][0]["seen_share"] == pytest.approx(1 / 3, abs=0.01)
    assert night["places"][0]["seen_share"] == 0
    assert grid["places"][0]["seen_share"] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"since": "2026-03-31", "until": "2026-03-01"}, 422),
        ({"since": "0001-01-01", "until": "9999-12-31"}, 422),
        ({"until": "1969-01-01"}, 422),
        ({"shift": 2}, 422),
        ({"level": "moon"}, 422),
        ({"level": "grid", "code": "1"}, 404),
        ({"level": "block"}, 200),
    ],
)
def test_what_cannot_be_asked_is_refused(client: TestClient, asked: dict[str, str], status: int) -> None:
    assert client.get("/api/v1/seen-shares", params=asked).status_code == status
