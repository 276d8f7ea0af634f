import pytest
from fastapi.testclient import TestClient

from gis_grid.database import sessions
from gis_grid.installation import Installation
from gis_grid.rules import load_rules
from gis_grid.units import NewHolder, appoint_holders
from tests.builders import BY, NOW, STAFF

TEAM = "team-chengguan-310112001"


@pytest.fixture
def units_client(client: TestClient, installation: Installation) -> TestClient:
    with sessions(installation.engine).begin() as session:
        load_rules(session, installation.city, now=NOW, by=BY)
        appoint_holders(session, [NewHolder(TEAM, "队(所)长", "王芳", None, NOW, None)], by=BY, now=NOW)
    return client


def test_the_units_of_a_town_are_its_sub_centre_teams_and_stations(units_client: TestClient) -> None:
    codes = [unit["code"] for unit in units_client.get("/api/v1/units", params={"area": "310112001"}).json()]

    assert [code.removesuffix("-310112001") for code in codes] == [
        "station-food",
        "station-market",
        "station-police",
        "sub",
        "team-chengguan",
        "team-health",
        "team-housing",
        "team-land",
        "team-water",
    ]


def test_kinds_can_be_asked_for_together(units_client: TestClient) -> None:
    listed = units_client.get("/api/v1/units", params={"kind": ["centre", "sub_centre"]}).json()

    assert [unit["code"] for unit in listed] == ["centre-310112", "sub-310112001"]


def test_a_unit_says_who_runs_it_and_in_whose_name_it_enforces(units_client: TestClient) -> None:
    unit = units_client.get(f"/api/v1/units/{TEAM}").json()

    assert [above["code"] for above in unit["above"]] == ["sub-310112001", "centre-310112"]
    assert (unit["enforcement_body"]["code"], unit["placement_model"]) == ("dept-chengguan", "sunk")


def test_a_unit_is_shown_as_it_was_before_the_reform(units_client: TestClient) -> None:
    unit = units_client.get(f"/api/v1/units/{TEAM}", params={"at": "2013-06-01T00:00:00+08:00"}).json()

    assert (unit["parent_code"], unit["placement_model"]) == ("dept-chengguan", "line")


def test_who_holds_a_post_is_for_staff(units_client: TestClient) -> None:
    public = units_client.get(f"/api/v1/units/{TEAM}")
    staff = units_client.get(f"/api/v1/units/{TEAM}", headers=STAFF).json()

    assert public.json()["posts"] == [{"title": "队(所)长", "is_first_responsible": True, "is_held": True}]
    assert "王芳" not in public.text
    assert staff["posts"][0]["name"] == "王芳"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/units/nobody", 404),
        ("/api/v1/units/%00", 422),
        ("/api/v1/units?kind=bureau", 422),
        ("/api/v1/units?at=2013-06-01T00:00:00", 422),
        ("/api/v1/units?at=0001-01-01T00:00:00Z", 422),
        ("/api/v1/units?area=%ED%A0%80", 422),
        (f"/api/v1/units/{'x' * 41}", 422),
    ],
)
def test_bad_questions_are_named(units_client: TestClient, path: str, status: int) -> None:
    assert units_client.get(path).status_code == status
