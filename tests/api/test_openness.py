"""What everybody may see, and that nobody's name, number or exact place is in any of it."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.installation import Installation
from gis_grid.openness import CODE_LETTERS
from tests.api.sending import INSIDE, report, send
from tests.api.test_cases import TEAM, Service
from tests.builders import STAFF


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


def test_no_public_answer_holds_a_name_a_number_or_an_exact_point(service: Service) -> None:
    names = ("李雷", "10000000001", "垃圾堆在小区门口")
    point = {"lon": INSIDE[0] + 0.00001234, "lat": INSIDE[1] + 0.00004321}
    exact = tuple(repr(degrees)[:10] for degrees in point.values())  # to a metre
    for _ in range(6):
        sent = send(service.client, report(**point))
    case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
    service.step(case, "grid_manager", action="take", duty="快速处置")
    paths = [
        "/public/counts", "/public/busy-squares", "/public/bulletin?month=2026-03", "/reports", f"/reports/{sent['id']}", "/cases", "/cases?state=all",
        f"/cases/{case['serial']}", "/cases/lights", "/grids", "/grids/310112001001001", "/areas/310112001", "/units",
        f"/units/{TEAM}", "/event-types",
    ]  # fmt: skip

    answers = {path: service.get(path) for path in paths}
    answers["progress"] = progress(service.client, case["serial"], sent["query_code"])
    for page in (
        "/", "/grids/310112001001001", "/areas/310112001", "/maps/grids/310112001001001/sheet", "/public",
        "/maps/busy-squares/sheet", "/maps/heat/sheet",
    ):  # fmt: skip
        answers[page] = service.client.get(page, headers={"accept": "text/html"})
    answers["asked"] = service.client.post("/public", data={"number": sent["id"], "code": sent["query_code"]})

    assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 200} == {}
    leaks = [
        (path, private)
        for path, answer in answers.items()
        for private in (*names, "user:", *exact)
        if private in answer.text
    ]
    assert leaks == []
    staff = service.client.get(f"/api/v1/reports/{sent['id']}", headers=STAFF).text
    assert all(private in staff for private in (*names, *exact))
