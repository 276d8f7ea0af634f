"""What everybody may see, and that nobody's name, number or exact place is in any of it."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from geoalchemy2.shape import to_shape
from sqlalchemy.orm import Session

from gis_grid.installation import Installation
from gis_grid.openness import CODE_LETTERS
from gis_grid.permissions import Permission
from gis_grid.reports import Report
from tests.api.sending import report, send
from tests.api.test_cases import TEAM, Service
from tests.api.test_roles import NOT_WALKED, QUERIES, ROUTES
from tests.builders import STAFF, bearer


@pytest.fixture
def service(installation: Installation, session: Session) -> Iterator[Service]:
    service = Service(installation, session)
    with service.client:
        yield service


def progress(client: TestClient, number: str, code: str) -> Any:
    return client.post("/api/v1/public/progress", json={"number": number, "code": code})


def test_a_reporter_follows_their_report_with_its_number_and_code(service: Service) -> None:
    sent = send(service.client)
    before = progress(service.client, sent["id"], sent["query_code"]).json()
    case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
    service.step(case, "grid_manager", action="attempt", duty="宣传劝阻", text="王芳上门")

    after = progress(service.client, case["serial"], sent["query_code"].upper()).json()

    assert (before["serial"], before["stage"], before["steps"]) == (None, None, [])
    assert (after["stage"], after["unit"]["code"], after["light"]) == ("filed", "ws-310112001001", "blue")
    assert [step["action"] for step in after["steps"]] == ["accept", "file", "attempt"]
    assert "王芳" not in json.dumps(after, ensure_ascii=False)


def test_the_reporter_is_told_the_answer(service: Service) -> None:
    sent = send(service.client, report(kind="咨询"))
    case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
    service.step(case, "operator", action="answer", text="周一至周五办理", satisfaction="满意")

    told = progress(service.client, case["serial"], sent["query_code"]).json()

    assert (told["stage"], told["answer"]) == ("answered", "周一至周五办理")


def test_the_same_report_sent_again_gets_the_same_code(service: Service) -> None:
    sent = report()

    first, second = send(service.client, sent), send(service.client, sent)

    assert first["query_code"] == second["query_code"]
    assert len(first["query_code"]) == 10
    assert set(first["query_code"]) <= set(CODE_LETTERS)


def test_after_a_merge_a_reporter_follows_the_case_that_goes_on(service: Service) -> None:
    first, second = send(service.client), send(service.client)
    going_on, merged = (
        service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
        for sent in (first, second)
    )
    service.step(merged, "operator", action="merge", into=going_on["serial"])
    service.step(going_on, "grid_manager", action="take", duty="快速处置")

    told = progress(service.client, merged["serial"], second["query_code"]).json()

    assert (told["serial"], told["merged_into"], told["stage"]) == (merged["serial"], going_on["serial"], "taken")
    assert [step["action"] for step in told["steps"]] == ["accept", "file", "merge", "take"]


@pytest.mark.parametrize("wrong", ["code", "number", "nonsense"])
def test_a_wrong_number_or_code_is_told_in_one_way(service: Service, wrong: str) -> None:
    sent, other = send(service.client), send(service.client)
    number = {"number": str(uuid.uuid4()), "nonsense": "x' or 1=1"}.get(wrong, sent["id"])
    code = other["query_code"] if wrong == "code" else sent["query_code"]

    answer = progress(service.client, number, code)

    assert answer.status_code == 404
    assert answer.json()["message"] == "no report has this number and query code together"


def test_codes_cannot_be_guessed_at_will(service: Service) -> None:
    statuses = [progress(service.client, str(uuid.uuid4()), "k7mf2wq9xd").status_code for _ in range(61)]

    assert statuses == [404] * 60 + [429]


def test_cases_are_counted_by_town_and_type(service: Service) -> None:
    service.case(), service.case()
    service.case(event_type="E0402")

    counts = service.get("/public/counts").json()["counts"]

    assert [(one["town_code"], one["event_type"], one["accepted"], one["open"]) for one in counts] == [
        ("310112001", "E0102", 2, 2), ("310112001", "E0402", 1, 1),
    ]  # fmt: skip


def test_a_square_with_fewer_than_five_reports_is_told_to_nobody(service: Service) -> None:
    shown = []
    for _ in range(5):
        send(service.client)
        shown.append([one["properties"]["reports"] for one in service.get("/public/busy-squares").json()["features"]])

    assert shown == [[], [], [], [], [5]]


def test_the_public_bulletin_counts_red_cases_by_unit_and_names_nobody(service: Service) -> None:
    case = service.case()
    service.step(case, "grid_manager", action="take", duty="快速处置")
    service.now += timedelta(days=40)

    first, other = (service.get(f"/public/bulletin{query}").json() for query in ("?month=2026-03", "?month=2026-02"))
    refused = service.get("/public/bulletin?month=2020-01")

    assert first["by_unit"] == [
        {"unit": "ws-310112001001", "unit_name": first["by_unit"][0]["unit_name"], "cases": 1, "limits": 2}
    ]
    assert (first["cases"], other["cases"], refused.status_code) == (1, 0, 422)
    assert not any(private in json.dumps(first, ensure_ascii=False) for private in ("user:", case["serial"]))


def test_the_page_tells_progress_and_keeps_the_code_out_of_addresses(service: Service) -> None:
    sent = send(service.client)
    service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator")

    good, wrong, unknown = (
        service.client.post("/public", data={"number": number, "code": code})
        for number, code in [
            (sent["id"], sent["query_code"]),
            (sent["id"], "k7mf2wq9xd"),
            ("31011220260302", "k7mf2wq9xd"),
        ]
    )

    assert (good.status_code, wrong.status_code, unknown.status_code) == (200, 404, 404)
    assert "已立案" in good.text
    assert wrong.text == unknown.text
    assert "没有这样的上报" in wrong.text
    assert good.headers["cache-control"] == "no-store"
    assert sent["query_code"] not in good.text


def written(lon: float, lat: float) -> list[str]:
    """A point as answers may write it: in degrees, to a metre, and packed for a map, in microdegrees."""
    degrees = [f"{each:.6f}"[:-1] for each in (lon, lat)]
    return [*degrees, f"{round(lon * 1e6)},{round(lat * 1e6)}"]


def public_paths(there: dict[str, str]) -> list[str]:
    """Every address that everybody may look at, with some of its ways to be asked."""
    asked = [
        (path, QUERIES.get(path, {}))
        for (method, path), permission in ROUTES.items()
        if method == "GET" and permission is Permission.SEE_PUBLIC and (method, path) not in NOT_WALKED
    ]
    asked += [
        ("/api/v1/cases", {"state": "all"}),
        ("/maps/heat/sheet", {"event_type": "E0102"}),
        ("/maps/district/sheet", {"show": "cases"}),
        ("/maps/district/sheet", {"show": "reports"}),
        ("/api/v1/units/{unit}", {}),
    ]
    return [
        f"{path.format(**there | ({'code': there['town']} if 'areas' in path else {}))}?{urlencode(query)}"
        for path, query in asked
        if path != "/api/v1/units/{code}"
    ]


def test_no_public_answer_holds_a_name_a_number_or_the_point_of_a_report(service: Service, session: Session) -> None:
    names = ("李雷", "10000000001", "垃圾堆在小区门口")
    piled, lone = (121.40073234, 31.10247321), (121.40251234, 31.10061234)
    answers = {}
    for (lon, lat), grid, reports in ((piled, "310112001001001", 6), (lone, "310112001003003", 4)):
        for _ in range(reports):
            sent = send(service.client, report(lon=lon, lat=lat))
        case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
        service.step(case, "grid_manager", action="take", duty="快速处置")
        there = {"report_id": sent["id"], "case": case["serial"], "code": grid, "town": "310112001", "unit": TEAM}
        for path in public_paths(there):
            answers[path] = service.client.get(path, headers={"accept": "text/html"})
        answers[f"progress {grid}"] = progress(service.client, case["serial"], sent["query_code"])
        asked = {"number": sent["id"], "code": sent["query_code"]}
        answers[f"page {grid}"] = service.client.post("/public", data=asked)
    square = session.scalars(sa.select(Report.public_geom).where(Report.id == uuid.UUID(sent["id"]))).one()
    private = [*names, "user:", *written(*piled), *written(*lone), *written(to_shape(square).x, to_shape(square).y)]

    refused = {path: answer.status_code for path, answer in answers.items() if answer.status_code != 200}
    assert refused == {}
    assert [(path, each) for path, answer in answers.items() for each in private if each in answer.text] == []
    staff = service.client.get(f"/api/v1/reports/{sent['id']}", headers=STAFF).text
    sheet = service.client.get("/maps/grids/310112001003003/sheet", headers=STAFF).text
    assert all(each in staff for each in (*names, *written(*lone)[:2]))
    assert written(*lone)[2] in sheet


def test_the_public_heat_map_shows_squares_of_five_and_nothing_of_four(service: Service) -> None:
    shown = []
    for _ in range(5):
        send(service.client)
        sheets = [service.client.get("/maps/heat/sheet", headers=headers).text for headers in ({}, bearer("planner"))]
        shown.append([("没有上报 No reports" in sheet, "少于5件的不计" in sheet) for sheet in sheets])

    assert shown == [[(True, True), (False, False)]] * 4 + [[(False, True), (False, False)]]
