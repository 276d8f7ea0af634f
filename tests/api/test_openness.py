"""What everybody may see, and that nobody's name, number or exact place is in any of it."""

import json
import uuid
from collections.abc import Iterator
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


def test_no_public_answer_holds_a_name_a_number_or_an_exact_point(service: Service) -> None:
    names = ("李雷", "10000000001", "垃圾堆在小区门口")
    point = {"lon": INSIDE[0] + 0.00001234, "lat": INSIDE[1] + 0.00004321}
    exact = tuple(repr(degrees)[:10] for degrees in point.values())  # to a metre
    for _ in range(6):
        sent = send(service.client, report(**point))
    case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
    service.step(case, "grid_manager", action="take", duty="快速处置")
    paths = [
        "/public/counts", "/public/busy-squares", "/reports", f"/reports/{sent['id']}", "/cases", "/cases?state=all",
        f"/cases/{case['serial']}", "/cases/lights", "/grids", "/grids/310112001001001", "/areas/310112001", "/units",
        f"/units/{TEAM}", "/event-types",
    ]  # fmt: skip

    answers = {path: service.get(path) for path in paths}
    answers["progress"] = progress(service.client, case["serial"], sent["query_code"])
    for page in ("/", "/grids/310112001001001", "/areas/310112001", "/maps/grids/310112001001001/sheet"):
        answers[page] = service.client.get(page, headers={"accept": "text/html"})

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
