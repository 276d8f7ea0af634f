import pytest
from fastapi.testclient import TestClient

from tests.api.sending import send


def test_all_grids_come_as_geojson_in_code_order(client: TestClient) -> None:
    body = client.get("/api/v1/grids").json()

    codes = [feature["id"] for feature in body["features"]]
    assert (len(codes), codes == sorted(codes), body["layer"]["grid_count"]) == (9, True, 9)


def test_grids_are_not_sent_again_to_who_has_them(client: TestClient) -> None:
    first = client.get("/api/v1/grids")

    again = client.get("/api/v1/grids", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_the_grids_of_one_community_are_its_three_squares(client: TestClient) -> None:
    features = client.get("/api/v1/grids", params={"area": "310112001002", "geometry": False}).json()["features"]

    assert [feature["id"][-3:] for feature in features] == ["001", "002", "003"]


def test_the_middle_square_touches_the_eight_others(client: TestClient) -> None:
    send(client)

    grid = client.get("/api/v1/grids/310112001002002").json()["properties"]

    assert (len(grid["neighbours"]), grid["manager"], grid["report_count"]) == (8, None, 0)
    assert grid["area_m2"] == pytest.approx(10_000, rel=0.01)


def test_a_town_lists_its_communities_and_grids_with_their_counts(client: TestClient) -> None:
    send(client)

    town = client.get("/api/v1/areas/310112001").json()["properties"]

    counts = {grid["grid_code"]: grid["report_count"] for grid in town["grids"]}
    assert [child["code"] for child in town["children"]] == ["310112001001", "310112001002", "310112001003"]
    assert (len(counts), counts["310112001001001"], sum(counts.values())) == (9, 1, 1)


def test_locate_names_the_grid_and_how_it_was_decided(client: TestClient) -> None:
    answer = client.get("/api/v1/locate", params={"lon": 121.4005, "lat": 31.1022, "accuracy": 10}).json()

    assert (answer["grid_code"], answer["method"], answer["is_uncertain"]) == ("310112001001001", "inside", False)
    assert answer["shares"] == {"310112001001001": pytest.approx(1.0)}


def test_event_types_come_with_their_classes(client: TestClient) -> None:
    types = {type_["code"]: type_ for type_ in client.get("/api/v1/event-types").json()}

    assert (types["E01"]["name"], types["E01"]["is_example"], types["E0102"]["parent_code"]) == (
        "市容环境",
        False,
        "E01",
    )


def test_health_names_the_layer(client: TestClient) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()["layer"]) == (200, "squares, 9 grids")
