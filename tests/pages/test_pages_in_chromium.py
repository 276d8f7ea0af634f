"""Every page in a real browser, on a phone and at a desk: nothing from outside, no complaint, nothing cut off."""

from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from playwright.sync_api import expect
from sqlalchemy.orm import Session

from api.app import create_app
from api.deps import SESSION_COOKIE
from gis_grid.database import Change
from gis_grid.installation import Installation
from tests.api.sending import report, send
from tests.browsers import DESKTOP, PHONE
from tests.builders import PASSWORD

GRID = "310112001001001"
PAGES = [
    "/",
    "/report",
    "/patrol",
    f"/grids/{GRID}",
    "/areas/310112001001",
    "/areas/310112001",
    "/maps/district?show=reports",
    "/maps/heat",
    "/maps/blind-spots",
    "/public",
    "/sign-in",
    "/staff/unplaced",
]
SIZES = {"phone": PHONE, "desktop": DESKTOP | {"is_mobile": False, "has_touch": False}}


@pytest.fixture
def reports(installation: Installation) -> None:
    with TestClient(create_app(installation)) as client:
        send(client, report())
        send(client, report(lon=121.5, lat=31.2))


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["zh-CN", "en-GB"])
def test_every_page_opens_without_outside_request_or_complaint(visiting: Any, size: str, language: str) -> None:
    with visiting(**SIZES[size], locale=language) as visit:
        visit.context.add_cookies([{"name": SESSION_COOKIE, "value": "cookie-of-admin", "url": visit.site}])
        widths = {}
        for path in PAGES:
            page = visit.open(path)
            page.wait_for_load_state("networkidle")
            widths[path] = page.evaluate("document.documentElement.scrollWidth")

    assert visit.faults == []
    assert visit.outside == []
    assert {path: width for path, width in widths.items() if width > SIZES[size]["viewport"]["width"]} == {}


def test_a_grid_on_the_map_leads_to_its_page(visiting: Any) -> None:
    with visiting(**SIZES["desktop"]) as visit:
        page = visit.open("/maps/district")
        map_ = page.frame_locator("iframe.map")
        box = page.locator("iframe.map").bounding_box()
        assert box is not None
        expect(map_.locator(".leaflet-grids-pane path").first).to_be_attached()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        map_.locator("a.gm-go").click()

        page.wait_for_url("**/grids/310112001*")


def test_a_choice_of_ground_takes_effect_at_once(visiting: Any) -> None:
    with visiting(**SIZES["desktop"]) as visit:
        page = visit.open("/")
        page.check("input[value=towns]")

        page.wait_for_url("**/?layer=*&show=towns")
        assert "show=towns" in str(page.locator("iframe.map").get_attribute("src"))


def test_staff_sign_in_place_a_report_and_sign_out(visiting: Any, reports: None) -> None:
    with visiting() as visit:
        page = visit.open("/staff/unplaced")
        page.get_by_role("main").get_by_role("link", name="登录").click()
        page.fill("#login", "admin")
        page.fill("#password", "wrong")
        page.get_by_role("button", name="登录").click()
        expect(page.get_by_role("alert")).to_contain_text("登录名或密码不对")
        page.fill("#login", "admin")
        page.fill("#password", PASSWORD)
        page.get_by_role("button", name="登录").click()
        page.fill("[name=reason]", "电话核实")
        page.get_by_role("button", name="归格").click()
        expect(page.get_by_role("status")).to_contain_text("已归格")
        page.goto(visit.site + "/sign-in")
        page.get_by_role("button", name="退出").click()
        page.wait_for_url(visit.site + "/")

        expect(page.locator(".as-staff")).to_have_count(0)
        assert visit.context.cookies() == []


def test_a_report_from_a_signed_in_phone_bears_the_patrollers_name(visiting: Any, session: Session) -> None:
    with visiting() as visit:
        visit.context.add_cookies([{"name": SESSION_COOKIE, "value": "cookie-of-admin", "url": visit.site}])
        page = visit.open("/report")
        page.evaluate(
            """async (report) => {
              const {Outbox} = await import("/static/outbox.js");
              const store = {reports: async () => [report], put: async () => {}};
              const outbox = new Outbox(store, async () => {});
              while (report.state === "unsent") await outbox.send({now: true});  // the page's own may hold the lock
            }""",
            {"id": (sent := report())["id"], "state": "unsent", "madeAt": 1, "tries": 0, "body": sent},
        )

    assert session.scalars(sa.select(Change.who).where(Change.thing == "report")).one() == "user:admin"
