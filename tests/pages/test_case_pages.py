"""The pages of cases: who is shown what, which steps are offered, and how a refusal is told."""

import io
import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from gis_grid.cases import Case, the_case
from gis_grid.installation import Installation
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from tests.applications import application
from tests.builders import NOW, add_signed_in, as_
from tests.case_builders import jpeg
from tests.pages.test_pages import GRID, HOSTILE, token_of
from tests.stored_cases import INSIDE, TEAM, Desk

COMMUNITY = "310112001001"


@pytest.fixture
def client(installation: Installation, desk: Desk) -> Any:
    """A browser whose clock is the desk's."""
    with TestClient(application(installation, lambda: desk.at), raise_server_exceptions=False) as client:
        client.headers |= {"accept": "text/html", "origin": "http://testserver"}
        yield client


def offered(page: str) -> list[str]:
    return re.findall(r'<details class="step-form" id="do-([a-z_]+)"', page)


def take(client: TestClient, case: Case, login: str, *, files: Any = None, csrf: str | None = None, **step: str) -> Any:
    as_(client, login)
    page = client.get(f"/cases/{case.name}").text
    seen = re.search(r'id="case" data-id="\d+" data-seq="(\d+)"', page)
    assert seen
    data = {"csrf": csrf or token_of(page), "expected_seq": seen[1]} | step
    return client.post(f"/cases/{case.name}/steps", data=data, files=files, follow_redirects=False)


def test_the_public_board_tells_where_cases_stand_and_no_words(client: TestClient, desk: Desk) -> None:
    case = desk.filed()

    public, staff = client.get("/cases").text, as_(client, "operator").get("/cases?whose=mine").text

    assert case.serial in public
    assert "待居村先行处置" in public
    assert "蓝灯·正常" in public
    assert "垃圾堆在小区门口" not in public
    assert "垃圾堆在小区门口" in staff


def test_a_board_opens_with_what_waits_for_the_caller(client: TestClient, desk: Desk) -> None:
    waits, other = desk.dispatched(), desk.filed()

    pages = {login: as_(client, login).get("/cases").text for login in ("handler", "grid_manager", "checker")}

    shown = {login: [case.serial in page for case in (waits, other)] for login, page in pages.items()}
    assert shown == {"handler": [True, True], "grid_manager": [True, True], "checker": [False, False]}
    assert "这里现在没有未结案件" in pages["checker"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 2),
        ("&stage=dispatched", 1),
        ("&stage=handled", 0),
        (f"&grid={GRID}", 2),
        ("&town=310112001", 2),
        ("&grid=310112001001002", 0),
        ("&event_type=E01", 2),
        ("&event_type=E0402", 0),
        (f"&unit={TEAM}", 1),
        ("&stage=&town=&grid=&event_type=&light=", 2),
    ],
)
def test_a_board_is_filtered(client: TestClient, desk: Desk, query: str, count: int) -> None:
    desk.filed()
    desk.dispatched()

    page = client.get(f"/cases?whose=all{query}&part=list")

    assert page.status_code == 200
    assert len(re.findall(r"<li data-id=", page.text)) == count
    assert "<html" not in page.text


def test_lights_are_told_by_word_and_shape(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    words = []
    for at in (case.yellow_at, case.orange_at, case.red_at):
        assert at is not None
        desk.at = at
        words += re.findall(
            r'<span class="lamp (\w+)" aria-hidden="true"></span><b>(.*?)</b>', client.get("/cases").text
        )

    assert words == [("yellow", "黄灯·过半"), ("orange", "橙灯·将到期"), ("red", "红灯·超时")]


def test_what_people_wrote_is_text_on_every_page(client: TestClient, desk: Desk) -> None:
    case = desk.accept(text=HOSTILE)
    desk.step(case, "operator", action="file")
    desk.step(case, "station", action="attempt", duty="宣传劝阻", text=HOSTILE)
    desk.report(text=HOSTILE)
    desk.session.commit()
    as_(client, "operator")

    pages = [
        client.get(path).text
        for path in (
            "/cases?whose=mine",
            f"/cases/{case.serial}",
            "/cases/waiting",
            f"/grids/{GRID}",
            f"/areas/{COMMUNITY}",
        )
    ]

    assert all("&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}%(x)s" in page for page in pages)
    assert all("<script>alert" not in page for page in pages)


def test_a_page_offers_the_steps_that_follow_and_that_the_caller_may_take(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    found = {
        login: offered(as_(client, login).get(f"/cases/{case.serial}").text) for login in ("grid_manager", "checker")
    }
    desk.step(case, "station", action="attempt", duty="宣传劝阻", text="劝阻无效")
    desk.step(case, "station", action="escalate", duty="及时报告", reason="劝阻无效")
    found["dispatcher"] = offered(as_(client, "dispatcher").get(f"/cases/{case.serial}").text)
    public = offered(as_(client, None).get(f"/cases/{case.serial}").text)

    assert found["grid_manager"] == ["take", "attempt", "merge", "ask_extension", "ask_suspension"]
    assert found["checker"] == []
    assert found["dispatcher"] == ["dispatch", "merge"]
    assert public == []


def test_the_proposed_unit_stands_in_the_form(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    desk.step(case, "station", action="attempt", duty="宣传劝阻", text="劝阻无效")
    desk.step(case, "station", action="escalate", duty="及时报告", reason="劝阻无效")

    page = as_(client, "dispatcher").get(f"/cases/{case.serial}").text
    proposed = re.search(r'data-proposed="([^"]+)"', page)
    assert proposed
    answer = take(client, case, "dispatcher", action="dispatch", unit=proposed[1])

    assert (answer.status_code, answer.headers["location"]) == (303, f"/cases/{case.serial}?done=dispatch")
    desk.session.expire_all()
    assert the_case(desk.session, case.name).unit == proposed[1].split()[-1]


def test_a_refusal_stands_above_the_form_with_what_was_typed(client: TestClient, desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")

    answer = take(client, case, "handler", action="handle", text="清理完毕 <b>")

    assert answer.status_code == 422
    assert "缺少合格的处置后照片" in answer.text
    assert "清理完毕 &lt;b&gt;</textarea>" in answer.text
    assert 'id="do-handle" open' in answer.text


def test_a_case_is_handled_with_a_photo_from_the_form_and_closed(client: TestClient, desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    desk.at = NOW + timedelta(days=4)
    photo = ("p.jpg", io.BytesIO(jpeg(lon=INSIDE.lon, lat=INSIDE.lat, taken="2026:03:05 09:00:00")), "image/jpeg")

    answers = [
        take(client, case, "handler", action="handle", text="清理完毕", files=[("photo", ("", b"")), ("photo", photo)]),
        take(client, case, "checker", action="check", result="pass", text="已整改"),
        take(client, case, "operator", action="answer", text="已告知", satisfaction="满意"),
        take(client, case, "operator", action="close"),
    ]

    assert [answer.status_code for answer in answers] == [303] * 4, answers[0].text
    page = client.get(f"/cases/{case.serial}").text
    assert "已结案" in page
    assert "照片距现场（米）" in page


def test_more_time_is_asked_for_in_the_clocks_own_unit(client: TestClient, desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")

    asked = take(
        client, case, "handler", action="ask_extension", clock="step work_hours", amount="2", reason="外调设备"
    )
    own = offered(as_(client, "handler").get(f"/cases/{case.serial}").text)
    approved = take(client, case, "dispatcher", action="approve")

    assert (asked.status_code, approved.status_code) == (303, 303), re.findall(r'role="alert">(.*?)</div>', asked.text)
    assert "ask_extension" not in own
    state = the_case(desk.session, case.name)
    desk.session.refresh(state)
    step = state.read_state().step
    assert step is not None
    assert step.extended == ("2 work_hours",)


def test_who_comes_second_is_told_in_words_who_was_first(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    page = as_(client, "grid_manager").get(f"/cases/{case.serial}").text
    desk.step(case, "station", action="attempt", duty="宣传劝阻", text="劝阻无效")

    data = {"csrf": token_of(page), "action": "attempt", "expected_seq": "2", "duty": "宣传劝阻", "text": "我也去了"}
    answer = client.post(f"/cases/{case.serial}/steps", data=data)

    assert answer.status_code == 409
    assert "station 已在" in answer.text
    assert "我也去了" in answer.text


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ({"action": "attempt", "duty": "宣传劝阻", "text": " "}, 422),
        ({"action": "attempt", "duty": "跳舞", "text": "x"}, 422),
        ({"action": "attempt", "duty": "宣传劝阻", "text": "a\0b"}, 422),
        ({"action": "attempt", "duty": "宣传劝阻", "text": "x", "expected_seq": "no"}, 422),
        ({"action": "dance"}, 422),
        ({"action": "void", "reason": "x"}, 403),
        ({"action": "escalate", "duty": "及时报告", "reason": "x"}, 409),
        ({"action": "ask_extension", "clock": "step", "amount": "1e400", "reason": "x"}, 422),
    ],
)
def test_a_step_that_cannot_be_is_refused_and_changes_nothing(
    client: TestClient, desk: Desk, step: dict[str, str], status: int
) -> None:
    case = desk.filed()

    answer = take(client, case, "grid_manager", **step)

    assert answer.status_code == status
    desk.session.expire_all()
    assert the_case(desk.session, case.name).seq == 2


def test_a_form_without_its_token_or_from_elsewhere_is_refused(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    as_(client, "grid_manager")
    page = client.get(f"/cases/{case.serial}").text
    step = {"action": "attempt", "expected_seq": "2", "duty": "宣传劝阻", "text": "x"}
    address = f"/cases/{case.serial}/steps"

    statuses = [
        client.post(address, data=step).status_code,
        client.post(address, data=step | {"csrf": "wrong"}).status_code,
        client.post(address, data=step | {"csrf": token_of(page)}, headers={"origin": "http://evil.test"}).status_code,
    ]

    assert statuses == [403, 403, 403]


def test_out_of_scope_a_page_is_the_publics(client: TestClient, desk: Desk, session: Session) -> None:
    case = desk.filed()
    add_signed_in(session, "elsewhere", [Grant(Role.GRID_MANAGER, Scope(ScopeKind.AREA, "310112001002"))])

    page = as_(client, "elsewhere").get(f"/cases/{case.serial}").text
    mine = client.get("/cases?whose=mine&part=list").text
    refused = client.post(
        f"/cases/{case.serial}/steps",
        data={"csrf": token_of(page), "action": "take", "duty": "快速处置", "expected_seq": "2"},
    )

    assert "垃圾堆在小区门口" not in page
    assert offered(page) == []
    assert case.serial not in mine
    assert refused.status_code == 403


def test_a_report_is_accepted_and_filed_from_the_list_of_those_that_wait(client: TestClient, desk: Desk) -> None:
    report, other = desk.report(), desk.report()
    desk.session.commit()
    as_(client, "operator")
    csrf = token_of(client.get("/cases/waiting").text)

    filed = client.post(f"/cases/waiting/{report.id}", data={"csrf": csrf, "urgency": "urgent"}, follow_redirects=False)
    again = client.post(f"/cases/waiting/{report.id}", data={"csrf": csrf}, follow_redirects=False)
    accepted = client.post(f"/cases/waiting/{other.id}", data={"csrf": csrf, "then": "wait"}, follow_redirects=False)

    assert [answer.status_code for answer in (filed, again, accepted)] == [303, 409, 303]
    assert f"没有受理：该上报已受理为案件{filed.headers['location'].split('=')[1]}" in again.text
    assert client.get(filed.headers["location"]).status_code == 200
    assert the_case(desk.session, filed.headers["location"].split("=")[1]).urgency == "urgent"
    assert the_case(desk.session, accepted.headers["location"].split("=")[1]).stage == "accepted"


def test_maps_and_pages_of_the_ground_tell_open_cases(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    assert case.red_at is not None
    desk.at = case.red_at

    pages = [client.get(path).text for path in (f"/grids/{GRID}", f"/areas/{COMMUNITY}")]
    paths = (
        "/maps/district/sheet?show=cases",
        f"/maps/areas/{COMMUNITY}/sheet",
        f"/maps/grids/{GRID}/sheet",
        f"/maps/cases/{case.serial}/sheet",
    )
    to_all, sheets = ([as_(client, login).get(path).text for path in paths] for login in (None, "operator"))

    assert all(case.serial in page and "红灯·超时" in page for page in pages)
    assert all("红灯·超时 Red: overdue" in sheet for sheet in sheets)
    assert "■1" in sheets[0]
    assert case.serial in sheets[3]
    # Who is not of the staff is told how many there are, not where one lies.
    assert ["红灯·超时 Red: overdue" in sheet for sheet in to_all] == [True, True, False, False]


@pytest.mark.parametrize("path", ["/hotline", "/cases/waiting"])
def test_who_takes_no_calls_is_shown_the_way(client: TestClient, desk: Desk, path: str) -> None:
    statuses = [as_(client, login).get(path).status_code for login in (None, "checker", "operator")]

    assert statuses == [401, 403, 200]
    assert ('href="/hotline"' in client.get("/").text) is True


def test_a_page_of_no_case_is_not_found(client: TestClient) -> None:
    assert [client.get(f"/cases/{name}").status_code for name in ("999", "3101122026030200009", "x")] == [404, 404, 422]


def test_a_case_is_passed_to_the_city_by_whose_role_it_is_and_the_page_tells_it(client: TestClient, desk: Desk) -> None:
    case = desk.filed()
    shown = {login: 'id="pass-up"' in as_(client, login).get(f"/cases/{case.name}").text for login in Role}
    page = as_(client, "dispatcher").get(f"/cases/{case.name}").text
    sent = {"csrf": token_of(page), "to": "12345", "reason": "市属道路"}
    empty, passed, again = (
        client.post(f"/cases/{case.name}/pass-up", data=data, follow_redirects=False)
        for data in (sent | {"reason": " "}, sent, sent)
    )
    told = client.get(passed.headers["location"]).text

    assert {login for login, is_shown in shown.items() if is_shown} == {"grid_manager", "dispatcher", "supervisor"}
    assert (empty.status_code, passed.status_code, again.status_code) == (422, 303, 409)
    assert "已经送出" in again.text
    assert all(word in told for word in ("与110、市平台往来", "已送出", "市属道路"))
