"""The pages of rewards, of emergencies and drills, and of joint operations, as those use them whose role it is."""

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect
from pydantic import SecretStr
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.cases import Case, log_of
from gis_grid.geo.datum import LonLat
from gis_grid.informants import Identity, InformantReading, Sealer, new_key
from gis_grid.installation import Installation, utc_now
from gis_grid.joint_operations import JointOperation
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.rewards import RewardStep, settle
from gis_grid.situations import SituationKind, situations, start_situation
from tests.browsers import DESKTOP, PHONE
from tests.builders import NOW, add_signed_in, as_
from tests.stored_cases import Desk, by

SIZES = {"phone": PHONE, "desktop": DESKTOP | {"is_mobile": False, "has_touch": False}}
TOWN, ELSEWHERE = "310112001", "310112002"
CHENGGUAN, POLICE = "team-chengguan-310112001", "station-police-310112001"


@pytest.fixture
def desk(installation: Installation, session: Session) -> Desk:
    """At work until a while ago: the browser's service has the real clock."""
    installation.settings.informant_keys = (SecretStr(new_key()),)
    for role in (Role.SUPERVISOR, Role.REWARD_CLERK, Role.DISPATCHER, Role.OPERATOR, Role.PLANNER):
        add_signed_in(session, role.value, [Grant(role)])
    add_signed_in(session, "elsewhere", [Grant(Role.SUPERVISOR, Scope(ScopeKind.AREA, ELSEWHERE))])
    desk = Desk(session, installation.photos)
    desk.at = utc_now() - timedelta(hours=10)
    return desk


@pytest.fixture
def verified(desk: Desk, installation: Installation) -> Case:
    """A tip-off that was checked and closed: its reward can be granted."""
    return closed(desk, installation)


def closed(desk: Desk, installation: Installation) -> Case:
    sealed = Sealer.of(installation.settings.informant_keys).seal(Identity("赵敏", "10000000009"))
    case = desk.dispatched(event_type="E0507", informant=sealed, text="消防通道被堵", at=desk.at)
    desk.step(case, "handler", action="take")
    photo = desk.after_photo(case, taken=f"{desk.at + timedelta(hours=8, minutes=30):%Y:%m:%d %H:%M:%S}")
    desk.step(case, "handler", action="handle", text="清理完毕", after_photo=photo)
    desk.step(case, "checker", action="check", result="pass", text="已整改")
    desk.step(case, "operator", action="answer", text="已告知", satisfaction="满意")
    desk.step(case, "operator", action="close", after=timedelta(minutes=1))
    return case


def sign_in(visit: Any, login: str) -> None:
    visit.context.add_cookies([{"name": SESSION_COOKIE, "value": f"cookie-of-{login}", "url": visit.site}])


def fill(page: Page, title: str, reason: str) -> Any:
    """Open a form by its title, say why, and send it."""
    form = page.locator("details", has=page.locator("summary", has_text=re.compile(f"^{title}$"))).first
    form.locator("summary").click()
    form.locator("[name=reason]").fill(reason)
    form.locator("button").click()
    return form


def test_a_reward_is_granted_by_one_and_paid_by_another_who_alone_reads_the_name(
    visiting: Any, verified: Case, session: Session
) -> None:
    with visiting(**SIZES["desktop"]) as supervisor, visiting() as clerk:
        sign_in(supervisor, "supervisor")
        sign_in(clerk, "reward_clerk")
        page = supervisor.open("/notices")
        page.get_by_role("link", name="爆料奖励").click()
        expect(page.locator("main")).not_to_contain_text("查看爆料人")
        fill(page, "准予奖励", "核实属实")
        expect(page.locator("main")).to_contain_text("这笔是您准予的，由别人发放。")
        page = clerk.open("/")
        page.get_by_role("link", name="爆料奖励").click()
        form = fill(page, "查看爆料人", "电话通知领奖")
        expect(form.get_by_role("status")).to_contain_text("赵敏 · 10000000009")
        expect(form.get_by_role("status")).to_contain_text("reward_clerk · 电话通知领奖")
        fill(page, "发放", "现金签收")
        expect(page.locator(".ledger tbody tr").first).to_contain_text("已发放")

        assert supervisor.faults == clerk.faults == []
        assert "赵敏" not in page.content() + supervisor.page.content()
    readings = session.scalars(sa.select(InformantReading)).all()
    assert [(one.who, one.reason) for one in readings] == [("user:reward_clerk", "电话通知领奖")]


def test_what_was_settled_meanwhile_is_told_beside_the_form_and_keeps_what_was_typed(
    visiting: Any, verified: Case, desk: Desk
) -> None:
    with visiting() as visit:
        sign_in(visit, "reward_clerk")
        page = visit.open("/rewards")
        settle(desk.session, verified.name, RewardStep.REFUSED, reason="重复", by=by("supervisor"), now=utc_now())
        desk.session.commit()
        form = fill(page, "准予奖励", "核实属实")

        expect(form.get_by_role("alert")).to_contain_text("奖励已决定不予，不能再准予")
        expect(form.locator("textarea")).to_have_value("核实属实")


@pytest.mark.parametrize(
    ("login", "path"), [("supervisor", "/situations"), ("operator", "/hotline"), ("operator", "/report")]
)
def test_what_was_typed_before_the_script_is_there_stays_out_of_addresses(
    visiting: Any, desk: Desk, login: str, path: str
) -> None:
    with visiting(java_script_enabled=False) as visit:
        sign_in(visit, login)
        page = visit.open(path)
        for more in page.locator("form summary").all():
            more.click()
        page.fill("#name", "王小明")
        page.press("#name", "Enter")
        page.wait_for_timeout(200)

        assert page.url == visit.site + path
        assert page.input_value("#name") == "王小明"


def test_rewards_are_shown_where_a_role_counts_and_to_no_others(client: TestClient, verified: Case) -> None:
    texts = {who: as_(client, who).get("/rewards").text for who in ("supervisor", "elsewhere", "reward_clerk")}
    refused = [as_(client, who).get("/rewards").status_code for who in ("operator", None)]

    assert {who: verified.name in text for who, text in texts.items()} == {
        "supervisor": True, "elsewhere": False, "reward_clerk": True,
    }  # fmt: skip
    assert {who: "查看爆料人" in text for who, text in texts.items()} == {
        "supervisor": False, "elsewhere": False, "reward_clerk": True,
    }  # fmt: skip
    assert refused == [403, 401]


def test_a_tip_off_waits_for_its_check(client: TestClient, desk: Desk, installation: Installation) -> None:
    sealed = Sealer.of(installation.settings.informant_keys).seal(Identity("赵敏", None))
    case = desk.dispatched(event_type="E0507", informant=sealed)
    desk.filed()

    page = as_(client, "supervisor").get("/rewards").text

    assert (page.count(case.name), "准予奖励" in page) == (2, False)


def test_an_emergency_is_begun_and_ended_on_its_page(visiting: Any, desk: Desk) -> None:
    with visiting() as visit:
        sign_in(visit, "supervisor")
        page = visit.open("/situations")
        page.fill("#begin [name=name]", "台风")
        page.fill("#begin [name=reason]", "橙色预警")
        page.locator("#begin button").click()
        expect(page.get_by_role("alert")).to_contain_text("台风")
        expect(page.locator(".queue li").first).to_contain_text("启动人 supervisor")
        page.locator("summary", has_text="启用的规则").click()
        expect(page.locator(".queue li").first).to_contain_text("0.25 小时（昼夜）")
        expect(page.locator(".rules").first).to_contain_text("各街镇的，例如江川路街道大联动分中心")
        page.fill("#begin [name=name]", "又一次")
        page.fill("#begin [name=reason]", "x")
        page.locator("#begin button").click()
        expect(page.locator("#begin .form-note")).to_contain_text("起已有应急“台风”，不能重复启动")
        fill(page, "结束", "预警解除")
        expect(page.locator("section").last).to_contain_text("结束理由 预警解除")
        expect(page.locator(".situation")).to_have_count(0)

        # The browser itself notes each refusal of the service.
        assert [fault for fault in visit.faults if "409" not in fault] == []
    assert [(one.name, one.end_reason) for one in situations(desk.session)] == [("台风", "预警解除")]


def test_everybody_sees_what_is_on_and_staff_who_began_it(client: TestClient, desk: Desk) -> None:
    for kind, name in ((SituationKind.EMERGENCY, "台风"), (SituationKind.DRILL, "防汛演练")):
        start_situation(desk.session, kind, name, TOWN, reason="x", by=by("zhang"), now=NOW)
    desk.session.commit()

    public, planner, town, other = (
        as_(client, who).get("/situations").text for who in (None, "planner", "supervisor", "elsewhere")
    )

    assert all(name in page for page in (public, planner) for name in ("台风", "防汛演练", "启用的规则"))
    assert ["zhang" in page for page in (public, planner)] == [False, True]
    assert '<span title="sub-{town}">江川路街道大联动分中心</span>' in public
    assert [page.count('/end"') for page in (public, planner, town, other)] == [0, 0, 2, 0]
    assert ['id="begin"' in page for page in (public, planner, town)] == [False, False, True]


def test_a_joint_operation_is_planned_from_a_case_with_both_leads_and_called_off(visiting: Any, desk: Desk) -> None:
    case = desk.filed()
    with visiting(timezone_id="America/New_York") as visit:
        sign_in(visit, "dispatcher")
        page = visit.open(f"/cases/{case.serial}")
        page.get_by_role("link", name="列入联动执法").click()
        page.fill("#title", "取缔夜间占道经营")
        page.fill("#reason", "屡劝不改")
        page.fill("#starts_at", "2099-11-25T20:00")
        page.uncheck(f"[value='{POLICE}']")
        page.locator("#plan button").click()
        expect(page.locator("[data-for=units]")).to_contain_text("闵行公安分局")
        page.check(f"[value='{POLICE}']")
        page.locator("#plan button").click()
        expect(page.locator(".queue li")).to_contain_text("2099-11-25 20:00")
        expect(page.locator(".queue li")).to_contain_text("待开始")
        page.locator(".queue a", has_text=str(case.serial)).click()
        page.get_by_role("link", name="取缔夜间占道经营").click()
        expect(page.locator(".queue li")).to_have_count(1)
        fill(page, "取消", "暴雨")
        expect(page.locator(".queue li")).to_contain_text("已取消")
        expect(page.locator(".queue details")).to_have_count(0)

        assert [fault for fault in visit.faults if "422" not in fault] == []
    (planned,) = desk.session.scalars(sa.select(JointOperation))
    assert {unit.unit_code for unit in planned.units} == {CHENGGUAN, POLICE}
    assert planned.starts_at.isoformat() == "2099-11-25T12:00:00+00:00"
    assert [entry.action for entry in log_of(desk.session, case)][-2:] == ["join_operation", "leave_operation"]


def test_who_may_not_dispatch_a_case_sees_operations_and_no_form(client: TestClient, desk: Desk) -> None:
    case = desk.filed()

    pages = {
        who: as_(client, who).get(f"/joint-operations?case={case.serial}").text for who in ("planner", "dispatcher")
    }
    statuses = [
        as_(client, who).get(f"/joint-operations{query}").status_code
        for who, query in ((None, ""), ("reward_clerk", ""), ("planner", "?case=9"), ("planner", "?operation=9"))
    ]

    assert {who: 'id="plan"' in page for who, page in pages.items()} == {"planner": False, "dispatcher": True}
    assert statuses == [401, 403, 404, 404]


def test_a_wall_clock_is_read_in_its_own_zone_when_clocks_change(visiting: Any, desk: Desk) -> None:
    with visiting() as visit:
        page = visit.open("/situations")
        read = [
            page.evaluate(
                "async ([reading, zone]) => (await import('/static/api_form.js')).instantOf(reading, zone)",
                [reading, zone],
            )
            for reading, zone in (
                ("2026-03-29T01:30", "Europe/Berlin"),
                ("2026-03-29T03:30", "Europe/Berlin"),
                ("2026-10-25T03:30", "Europe/Berlin"),
                ("2026-11-25T20:00", "Asia/Shanghai"),
            )
        ]

    assert read == [
        "2026-03-29T00:30:00.000Z", "2026-03-29T01:30:00.000Z", "2026-10-25T02:30:00.000Z", "2026-11-25T12:00:00.000Z",
    ]  # fmt: skip


def test_a_call_is_taken_as_part_of_a_drill_and_compared_with_nothing_real(visiting: Any, desk: Desk) -> None:
    desk.filed(point=LonLat(121.40159, 31.10134))  # where the map is clicked, and of the same type
    start_situation(desk.session, SituationKind.DRILL, "防汛演练", TOWN, reason="x", by=by("supervisor"), now=desk.at)
    desk.session.commit()
    with visiting(**SIZES["desktop"]) as visit:
        sign_in(visit, "operator")
        page = visit.open("/hotline")
        page.wait_for_selector("form[data-ready]")
        page.fill("#text", "积水到膝盖")
        page.select_option("#class", "E01")
        page.select_option("#event_type", "E0102")
        page.fill("#phone", "10000000009")
        page.locator("#map").click(position={"x": 250, "y": 170})
        expect(page.locator("#likely")).to_be_visible()
        page.select_option("#drill", label="演练 防汛演练 · 江川路街道")
        expect(page.locator("#likely")).to_be_hidden()
        page.click("#send")
        expect(page.locator("#saved .drill")).to_have_text("演练")
        expect(page.locator("#saved")).to_contain_text("已立案")
        expect(page.locator("#drill")).not_to_have_value("")

        assert visit.faults == []
    assert desk.session.scalars(sa.select(Case.stage).where(Case.drill_id.is_not(None))).all() == ["filed"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["zh-CN", "en-GB"])
def test_every_page_fits_its_screen(visiting: Any, desk: Desk, verified: Case, size: str, language: str) -> None:
    case = desk.filed()
    start_situation(desk.session, SituationKind.EMERGENCY, "台风", "310112", reason="x", by=by("x"), now=desk.at)
    desk.session.commit()
    widths = {}
    with visiting(**SIZES[size], locale=language) as visit:
        for who, path in (
            ("reward_clerk", "/rewards"),
            ("supervisor", "/situations"),
            ("dispatcher", f"/joint-operations?case={case.serial}"),
        ):
            sign_in(visit, who)
            page = visit.open(path)
            for summary in page.locator("main summary").all():
                summary.click()
            widths[path] = page.evaluate("document.documentElement.scrollWidth")

        assert visit.faults == []
        assert visit.outside == []
    assert {path: width for path, width in widths.items() if width > SIZES[size]["viewport"]["width"]} == {}
