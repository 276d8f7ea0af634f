"""Cases over HTTP: boards, steps, the hotline, joint operations; refusals are 4xx and change nothing."""

import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.accounts import add_key
from gis_grid.case_deciding import ACTIONS
from gis_grid.installation import Installation
from gis_grid.permissions import POWERS, Grant, Permission, Role, Scope, ScopeKind
from tests.api.sending import CALL, INSIDE, report, send
from tests.applications import application
from tests.builders import BY, NOW, add_signed_in, bearer
from tests.case_builders import jpeg

GRID, COMMUNITY, TOWN = "310112001001001", "310112001001", "310112001"
TEAM = "team-chengguan-310112001"


class Service:
    """A client with one account for each role, and a clock that can be put forward."""

    def __init__(self, installation: Installation, session: Session) -> None:
        for role in Role:
            add_signed_in(session, role.value, [Grant(role)])
        self.now: datetime = NOW
        self.client = TestClient(application(installation, lambda: self.now), raise_server_exceptions=False)

    def get(self, path: str, *, who: str | None = None, **params: Any) -> Any:
        return self.client.get(f"/api/v1{path}", params=params or None, headers=bearer(who) if who else {})

    def post(self, path: str, body: Any, *, who: str | None = None) -> Any:
        return self.client.post(f"/api/v1{path}", json=body, headers=bearer(who) if who else {})

    def case(self, **changes: Any) -> dict[str, Any]:
        sent = send(self.client, report(**changes))
        answer = self.post("/cases", {"report_id": sent["id"], "file": True}, who="operator")
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json() | {"upload_token": sent["upload_token"]}
        return body

    def step(self, case: dict[str, Any], who: str, **step: Any) -> Any:
        self.now += timedelta(hours=1)
        seen = self.get(f"/cases/{case['serial']}").json()["seq"]
        return self.post(f"/cases/{case['serial']}/steps", {"expected_seq": seen, **step}, who=who)

    def after_photo(self, case: dict[str, Any], who: str) -> str:
        data = jpeg(lon=INSIDE[0], lat=INSIDE[1], taken="2026:03:05 09:00:00")
        report_id = self.get(f"/cases/{case['serial']}", who="operator").json()["report_id"]
        files = {"photo": ("p.jpg", io.BytesIO(data))}
        answer = self.client.post(f"/api/v1/reports/{report_id}/photos", files=files, headers=bearer(who))
        assert answer.status_code == 201, answer.text
        sha256: str = answer.json()["sha256"]
        return sha256


@pytest.fixture
def service(installation: Installation, session: Session) -> Iterator[Service]:
    service = Service(installation, session)
    with service.client:
        yield service


def test_a_case_from_the_call_to_the_answer(service: Service) -> None:
    taken = service.post("/hotline/calls", CALL, who="operator").json()
    case = taken["case"]
    steps: list[tuple[str, dict[str, Any]]] = [
        ("grid_manager", {"action": "attempt", "duty": "宣传劝阻", "text": "劝阻无效"}),
        ("grid_manager", {"action": "escalate", "duty": "及时报告", "reason": "劝阻无效"}),
        ("dispatcher", {"action": "dispatch", "unit": TEAM}),
        ("handler", {"action": "take"}),
    ]
    for who, step in steps:
        assert service.step(case, who, **step).status_code == 201
    service.now = NOW + timedelta(days=4)
    photo = service.after_photo(case, "handler")
    later: list[tuple[str, dict[str, Any]]] = [
        ("handler", {"action": "handle", "text": "清理完毕", "after_photo": photo}),
        ("checker", {"action": "check", "result": "pass", "text": "已整改"}),
        ("operator", {"action": "answer", "text": "已告知", "satisfaction": "满意"}),
        ("operator", {"action": "close"}),
    ]
    answers = [service.step(case, who, **step) for who, step in later]

    assert [answer.status_code for answer in answers] == [201] * 4, answers[0].text
    ended = service.get(f"/cases/{case['serial']}", who="operator").json()
    assert (ended["stage"], ended["light"], ended["satisfaction"]) == ("closed", None, "满意")
    assert [step["who"] for step in ended["log"]][-4:] == [
        "user:handler", "user:checker", "user:operator", "user:operator",
    ]  # fmt: skip


def test_the_public_sees_where_a_case_stands_and_neither_words_nor_people(service: Service) -> None:
    case = service.case()

    public, staff = (service.get(f"/cases/{case['serial']}", who=who).json() for who in (None, "operator"))

    assert public["stage"] == "filed"
    assert not {"text", "point", "responsible", "reporter", "photos", "handlers"} & public.keys()
    assert all("who" not in step and "said" not in step for step in public["log"])
    assert (staff["text"], staff["reporter"]["name"]) == ("垃圾堆在小区门口", "李雷")


def test_a_board_shows_what_is_due_first_before_the_others_page_by_page(service: Service) -> None:
    slow, fast = service.case(event_type="E0101"), service.case(event_type="E0402")

    first = service.get("/cases", limit=1).json()
    second = service.get("/cases", limit=1, after=first["next"]).json()

    assert [page["cases"][0]["serial"] for page in (first, second)] == [fast["serial"], slow["serial"]]
    assert second["next"] is None


def test_a_light_filter_finds_what_shows_that_light_now(service: Service) -> None:
    case = service.case()
    lights = [case["yellow_at"], case["orange_at"], case["red_at"]]

    found = []
    for at in [None, *lights]:
        service.now = datetime.fromisoformat(at) if at else service.now
        shown = [
            light for light in ("blue", "yellow", "orange", "red") if service.get("/cases", light=light).json()["cases"]
        ]
        found.append(shown)

    assert found == [["blue"], ["yellow"], ["orange"], ["red"]]


def test_the_lights_of_a_grid_are_counted(service: Service) -> None:
    first, _ = service.case(), service.case()
    service.now = datetime.fromisoformat(first["red_at"])

    lights = service.get("/cases/lights").json()["grids"]

    assert lights == {GRID: {"waiting": 0, "blue": 0, "yellow": 0, "orange": 0, "red": 2, "total": 2, "worst": "red"}}


def test_a_step_that_does_not_say_what_was_seen_is_refused(service: Service) -> None:
    case = service.case()

    answer = service.post(f"/cases/{case['serial']}/steps", {"action": "take", "duty": "快速处置"}, who="grid_manager")

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "expected_seq"


def test_who_comes_second_is_told_who_was_first(service: Service) -> None:
    case = service.case()
    step = {"action": "take", "duty": "快速处置", "expected_seq": case["seq"]}

    first, second = (
        service.post(f"/cases/{case['serial']}/steps", step, who=who) for who in ("handler", "grid_manager")
    )

    assert (first.status_code, second.status_code) == (201, 409)
    assert "take by user:handler" in second.json()["message"]


@pytest.mark.parametrize(
    ("step", "status", "named"),
    [
        ({"action": "dance"}, 422, "action"),
        ({"action": "attempt", "duty": "跳舞", "text": "x"}, 422, "duty"),
        ({"action": "attempt", "duty": "宣传劝阻", "text": " "}, 422, "text"),
        ({"action": "attempt", "duty": "宣传劝阻", "text": "a\0b"}, 422, "text"),
        ({"action": "take", "duty": "快速处置", "why": "x"}, 422, "why"),
        ({"action": "close"}, 403, "close"),
        ({"action": "escalate", "duty": "及时报告", "reason": "x"}, 409, "records an attempt"),
        ({"action": "take"}, 422, "duty"),
    ],
)
def test_a_step_that_cannot_be_is_refused_by_name_and_changes_nothing(
    service: Service, step: dict[str, Any], status: int, named: str
) -> None:
    case = service.case()

    answer = service.step(case, "grid_manager", **step)

    assert answer.status_code == status
    assert named in answer.text
    assert service.get(f"/cases/{case['serial']}").json()["seq"] == case["seq"]


def test_each_role_may_take_the_steps_of_its_powers_in_its_scope_and_no_others(
    service: Service, session: Session
) -> None:
    # Refused for want of a power (403) or not: whether the step follows from where the case stands comes after.
    case = service.case()
    scopes = {
        "here": Scope(ScopeKind.AREA, COMMUNITY),
        "unit": Scope(ScopeKind.UNIT, f"sub-{TOWN}"),
        "elsewhere": Scope(ScopeKind.AREA, "310112001002"),
        "other-unit": Scope(ScopeKind.UNIT, "dept-water"),
    }
    wrong = []
    for role in Role:
        for name, scope in scopes.items():
            login = f"{role}-{name}"
            add_signed_in(session, login, [Grant(role, scope)])
            for action, needed in ACTIONS.items():
                if action == "accept":
                    continue
                body = {"action": action, "expected_seq": 1} | BODIES.get(action, {})
                status = service.post(f"/cases/{case['serial']}/steps", body, who=login).status_code
                may = Permission(needed) in POWERS[role] and name in {"here", "unit"}
                if (status != 403) != may or status >= 500 or (may and status != 409):
                    wrong.append((login, action, status))

    assert wrong == []


BODIES: dict[str, dict[str, Any]] = {
    "attempt": {"duty": "宣传劝阻", "text": "x"},
    "escalate": {"duty": "及时报告", "reason": "x"},
    "dispatch": {"unit": TEAM},
    "return": {"reason_code": "属地不符", "text": "x"},
    "rule_finally": {"reason": "x"},
    "transfer": {"unit": TEAM, "reason": "x"},
    "handle": {"text": "x"},
    "check": {"result": "pass", "text": "x"},
    "answer": {"text": "x", "satisfaction": "满意"},
    "reopen": {"reason": "x"},
    "merge": {"into": "1"},
    "ask_extension": {"clock": "whole", "more": "1 work_days", "reason": "x"},
    "ask_suspension": {"reason": "x"},
    "deny": {"text": "x"},
    "resume": {"reason": "x"},
    "void": {"reason": "x"},
    "hand_over": {"reason": "x"},
    "supervise": {"act": "提醒", "text": "x"},
}


def test_a_systems_key_may_hand_cases_in_and_do_nothing_that_a_person_does(service: Service, session: Session) -> None:
    key = add_key(session, "city", grants=[Grant(Role.OPERATOR)], by=BY, now=NOW)
    session.commit()
    headers = {"Authorization": f"Bearer {key}"}
    sent = send(service.client)

    opened = service.client.post("/api/v1/cases", json={"report_id": sent["id"], "file": True}, headers=headers)
    path = f"/api/v1/cases/{opened.json()['serial']}/steps"
    acted = service.client.post(path, json={"action": "close", "expected_seq": 2}, headers=headers)

    assert (opened.status_code, acted.status_code) == (201, 403)
    assert "a step that a person takes" in acted.json()["message"]


def test_a_report_outside_a_roles_scope_is_not_accepted(service: Service, session: Session) -> None:
    add_signed_in(session, "second-row", [Grant(Role.OPERATOR, Scope(ScopeKind.AREA, "310112001002"))])
    sent = send(service.client)

    answer = service.post("/cases", {"report_id": sent["id"]}, who="second-row")

    assert answer.status_code == 403
    assert [one["report_id"] for one in service.get("/cases/waiting", who="operator").json()["reports"]] == [sent["id"]]
    assert service.get("/cases/waiting", who="second-row").json()["reports"] == []


@pytest.mark.parametrize("missing", ["number", "text", "event_type", "kind", "caller", "lon"])
def test_a_call_without_one_of_its_elements_is_refused_by_name(service: Service, missing: str) -> None:
    record = {name: value for name, value in CALL.items() if name != missing}

    answer = service.post("/hotline/calls", record, who="operator")

    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"].startswith(missing)
    assert service.get("/reports").json()["features"] == []


def test_each_of_the_numbers_lands_in_the_one_intake_with_its_source_kept(service: Service) -> None:
    import csv

    from gis_grid.city import CITIES

    with (CITIES / "minhang" / "hotlines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [(row["number"], row["unit_code"]) for row in rows]
    answers = [
        service.post("/hotline/calls", CALL | {"number": number, "is_other": True}, who="operator").json()
        for number, _ in numbers
    ]

    assert [row["role"] for row in rows].count("merged") == 34
    assert [(one["number"], one["unit"]) for one in answers] == numbers
    assert [one["source"] for one in answers[:3]] == ["962000", "12345", "110"]
    assert {one["source"] for one in answers[3:]} == {"962000"}
    assert len({one["case"]["serial"] for one in answers}) == len(rows)


def test_the_town_is_filled_from_the_point_and_a_contradiction_is_refused(service: Service) -> None:
    filled = service.post("/hotline/calls", CALL, who="operator").json()
    wrong = service.post("/hotline/calls", CALL | {"town": "310112101", "is_other": True}, who="operator")

    assert (filled["town_code"], filled["town"]) == (TOWN, "江川路街道")
    assert wrong.status_code == 422
    assert "the point lies in 310112001, not in 310112101" in wrong.json()["message"]


def test_a_call_from_outside_every_grid_needs_its_town_and_waits_to_be_placed(service: Service) -> None:
    outside = CALL | {"lon": 121.3, "lat": 31.0}

    refused = service.post("/hotline/calls", outside, who="operator")
    taken = service.post("/hotline/calls", outside | {"town": TOWN}, who="operator")

    assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "town")
    assert (taken.status_code, taken.json()["case"], taken.json()["town_code"]) == (201, None, TOWN)


@pytest.mark.parametrize(
    ("is_police", "alarm", "desk"),
    [(True, "none", "110"), (True, "security", "110"), (False, "security", "110"), (False, "none", "centre")],
)
def test_what_is_polices_business_or_urgent_security_is_for_110_and_no_case_here(
    service: Service, is_police: bool, alarm: str, desk: str
) -> None:
    taken = service.post("/hotline/calls", CALL | {"is_police": is_police, "alarm": alarm}, who="operator").json()

    assert taken["desk"] == desk
    assert (taken["case"] is None) == (desk == "110")


def test_a_call_sent_again_is_answered_with_what_is_stored(service: Service) -> None:
    record = CALL | {"id": "0b9f6f5e-6f0e-4d0e-9d5e-0d9b8f3f1c11"}

    first, second = (service.post("/hotline/calls", record, who="operator").json() for _ in range(2))

    assert (first["is_new"], second["is_new"]) == (True, False)
    assert first["case"]["serial"] == second["case"]["serial"]


def test_likely_duplicates_are_offered_before_anything_is_saved(service: Service) -> None:
    near = CALL | {"lat": INSIDE[1] + 0.0005, "event_type": "E0104"}  # 55 m off, of the same class
    first = service.post("/hotline/calls", CALL, who="operator").json()["case"]

    offered = service.post("/hotline/calls", near, who="operator")
    stored = len(service.get("/reports").json()["features"])
    same = service.post("/hotline/calls", near | {"same_as": first["serial"]}, who="operator").json()

    assert offered.status_code == 409
    assert [one["case"] for one in offered.json()["likely"]] == [first["serial"]]
    assert stored == 1
    assert (same["case"]["stage"], same["case"]["serial"]) == ("merged", None)


def test_duplicates_are_found_across_the_edge_of_a_grid_and_not_of_another_class(service: Service) -> None:
    service.post("/hotline/calls", CALL, who="operator")
    across = {"lon": INSIDE[0] + 0.0008, "lat": INSIDE[1]}  # 76 m east, in the next square
    asked = {"other": "E0502", "same": "E0104", "far": "E0104"}

    found = {
        name: len(
            service.get(
                "/cases/duplicates",
                who="operator",
                event_type=type_,
                **(across | ({"lon": 121.4025} if name == "far" else {})),
            ).json()["likely"]
        )
        for name, type_ in asked.items()
    }

    assert found == {"other": 0, "same": 1, "far": 0}


def test_the_operator_takes_in_and_cannot_dispatch(service: Service) -> None:
    case = service.case()

    answer = service.step(case, "operator", action="dispatch", unit=TEAM)

    assert answer.status_code == 403


def operation(case: dict[str, Any], *units: str) -> dict[str, Any]:
    starts = (NOW + timedelta(days=1)).isoformat()
    return {
        "title": "夜间联合整治",
        "reason": "屡劝不改",
        "cases": [case["serial"]],
        "units": list(units),
        "starts_at": starts,
    }


@pytest.mark.parametrize("units", [(TEAM,), (f"station-police-{TOWN}",), (f"station-food-{TOWN}", TEAM)])
def test_a_joint_operation_without_both_leads_is_refused(service: Service, units: tuple[str, ...]) -> None:
    case = service.case()

    answer = service.post("/joint-operations", operation(case, *units), who="dispatcher")

    assert answer.status_code == 422
    assert "is led together" in answer.json()["message"]
    assert service.get("/joint-operations", who="dispatcher").json() == []


def test_a_joint_operation_stands_in_the_log_of_its_cases_and_tells_its_lead_time(service: Service) -> None:
    case = service.case()
    units = (TEAM, f"station-police-{TOWN}", f"station-food-{TOWN}")

    planned = service.post("/joint-operations", operation(case, *units), who="dispatcher").json()

    assert {one["code"]: one["leads_for"] for one in planned["units"]} == {
        TEAM: "dept-chengguan", f"station-police-{TOWN}": "dept-police", f"station-food-{TOWN}": None,
    }  # fmt: skip
    assert planned["lead_time_h"] == 24
    log = service.get(f"/cases/{case['serial']}", who="dispatcher").json()["log"]
    assert (log[-1]["action"], log[-1]["said"]["operation"]) == ("join_operation", planned["id"])
    assert service.get(f"/joint-operations/{planned['id']}", who="dispatcher").json() == planned


def test_a_planned_operation_is_called_off_once_with_a_reason_and_its_cases_say_so(service: Service) -> None:
    case = service.case()
    planned = service.post(
        "/joint-operations", operation(case, TEAM, f"station-police-{TOWN}"), who="dispatcher"
    ).json()
    path = f"/joint-operations/{planned['id']}/cancel"

    refused = [service.post(path, {"reason": reason}, who="dispatcher").status_code for reason in ("", " ")]
    done = service.post(path, {"reason": "暴雨"}, who="dispatcher")
    again = service.post(path, {"reason": "暴雨"}, who="dispatcher")

    assert (planned["cancelled"], refused, again.status_code) == (None, [422, 422], 409)
    assert (done.status_code, done.json()["cancelled"]["by"], done.json()["cancelled"]["reason"]) == (
        200, "user:dispatcher", "暴雨",
    )  # fmt: skip
    log = service.get(f"/cases/{case['serial']}", who="dispatcher").json()["log"]
    assert [(step["action"], step["said"]["reason"]) for step in log[-1:]] == [("leave_operation", "暴雨")]


def test_an_operation_that_has_begun_is_not_called_off_even_if_its_case_has_ended(service: Service) -> None:
    case, ended = service.case(), service.case(kind="咨询")
    both = operation(case, TEAM, f"station-police-{TOWN}") | {"cases": [case["serial"], ended["serial"]]}
    first, second = (service.post("/joint-operations", both, who="dispatcher").json()["id"] for _ in range(2))
    service.step(ended, "operator", action="answer", text="周一至周五办理", satisfaction="满意")
    service.step(ended, "operator", action="close")
    early = service.post(f"/joint-operations/{first}/cancel", {"reason": "x"}, who="dispatcher")
    service.now += timedelta(days=9)
    late = service.post(f"/joint-operations/{second}/cancel", {"reason": "x"}, who="dispatcher")

    assert (early.status_code, late.status_code) == (200, 409)
    assert "began at" in late.json()["message"]


def test_the_proposal_says_which_rule_named_the_unit(service: Service) -> None:
    case = service.case()

    proposal = service.get(f"/cases/{case['serial']}/proposal", who="dispatcher").json()

    assert proposal["unit"]["code"] == f"ws-{COMMUNITY}"
    assert TEAM in {unit["code"] for unit in proposal["alternatives"]}
    assert proposal["evidence"]["considered"][0]["rule"] == "* normal"


@pytest.mark.parametrize("path", ["/cases/99999", "/cases/3101122026030299999", "/joint-operations/77"])
def test_what_is_not_there_is_a_404(service: Service, path: str) -> None:
    assert service.get(path, who="dispatcher").status_code == 404


@pytest.mark.parametrize("after", ["x", "WyJhIiwgImIiXQ", "bnVsbA", "WzEsIDJd"])
def test_a_forged_page_is_refused(service: Service, after: str) -> None:
    assert service.get("/cases", after=after).status_code == 422
