import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.tenures import NewTenure, appoint
from tests.builders import BY, NOW, STAFF
from tests.db.test_blindspots import alley, see

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
