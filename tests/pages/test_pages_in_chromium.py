"""Every page in a real browser, on a phone and at a desk: nothing from outside, no complaint, nothing cut off."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import expect

from api.app import create_app
from api.deps import STAFF_COOKIE
from gis_grid.installation import Installation
from tests.api.sending import report, send
from tests.browsers import DESKTOP, PHONE

GRID = "310112001001001"
PAGES = [
    "/",
    "/report",
    f"/grids/{GRID}",
    "/areas/310112001001",
    "/areas/310112001",
    "/maps/district?show=reports",
    "/maps/heat",
    "/maps/blind-spots",
    "/staff",
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
        visit.context.add_cookies([{"name": STAFF_COOKIE, "value": "staff-token", "url": visit.site}])
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
        page.get_by_role("link", name="登录").click()
        page.fill("#token", "wrong")
        page.get_by_role("button", name="登录").click()
        expect(page.get_by_role("alert")).to_contain_text("口令不对")
        page.fill("#token", "staff-token")
        page.get_by_role("button", name="登录").click()
        page.fill("[name=reason]", "电话核实")
        page.get_by_role("button", name="归格").click()
        expect(page.get_by_role("status")).to_contain_text("已归格")
        page.goto(visit.site + "/staff")
        page.get_by_role("button", name="退出").click()
        page.wait_for_url(visit.site + "/")

        expect(page.locator(".as-staff")).to_have_count(0)
        assert visit.context.cookies() == []
