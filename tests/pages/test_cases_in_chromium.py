"""The pages of cases in a real browser: two people at once, a phone, a call, a server that goes away."""

import io
import re
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.cases import Case
from gis_grid.installation import Installation, utc_now
from gis_grid.permissions import Grant, Role
from tests.browsers import DESKTOP, PHONE
from tests.builders import add_signed_in
from tests.stored_cases import Desk

SIZES = {"phone": PHONE, "desktop": DESKTOP | {"is_mobile": False, "has_touch": False}}


@pytest.fixture
def desk(installation: Installation, session: Session) -> Desk:
    """At work until a while ago: the browser's service has the real clock."""
    for role in (Role.OPERATOR, Role.GRID_MANAGER, Role.HANDLER, Role.DISPATCHER):
        add_signed_in(session, role.value, [Grant(role)])
    desk = Desk(session, installation.photos)
    desk.at = utc_now() - timedelta(hours=10)
    return desk


def sign_in(visit: Any, login: str) -> None:
    visit.context.add_cookies([{"name": SESSION_COOKIE, "value": f"cookie-of-{login}", "url": visit.site}])


def row(page: Page, case: Case) -> Any:
    return page.locator(f"#list li[data-id='{case.id}']")


def test_a_step_on_one_screen_changes_the_others_board_without_reloading(visiting: Any, desk: Desk) -> None:
    case = desk.filed()
    with visiting(**SIZES["desktop"]) as dispatcher, visiting() as manager:
        sign_in(dispatcher, "dispatcher")
        sign_in(manager, "grid_manager")
        board = dispatcher.open("/cases?whose=all")
        board.evaluate("window.isTheSame = true")
        expect(row(board, case)).to_contain_text("待居村先行处置")
        board.wait_for_timeout(500)
        page = manager.open(f"/cases/{case.serial}")
        page.locator("#do-take summary").wait_for()
        page.get_by_role("button", name="接单").click()
        expect(page.get_by_role("status").filter(has_text="已办")).to_be_visible()

        expect(row(board, case)).to_contain_text("待处置")
        expect(row(board, case)).to_have_class(re.compile("changed"))
        new = desk.filed()
        expect(row(board, new)).to_be_visible()
        assert board.evaluate("window.isTheSame") is True
        assert dispatcher.faults == manager.faults == []
        assert dispatcher.outside == manager.outside == []


def test_a_light_goes_on_by_itself(visiting: Any, desk: Desk) -> None:
    case = desk.filed()
    with visiting() as visit:
        page = visit.open("/cases?whose=all")
        page.wait_for_timeout(1000)  # the first connection to the stream loads the board anew
        page.evaluate(
            """async () => {
              const light = document.querySelector("#list .light");
              const after = (ms) => new Date(Date.now() + ms).toISOString();
              Object.assign(light.dataset, {yellow: after(900), orange: after(90000), red: after(90000)});
              (await import("/static/lights.js")).keepTime();
            }"""
        )

        expect(row(page, case).locator(".light")).to_contain_text("黄灯·过半")
        expect(row(page, case).locator(".lamp")).to_have_class("lamp yellow")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["zh-CN", "en-GB"])
def test_every_page_of_cases_fits_its_screen_without_complaint(
    visiting: Any, desk: Desk, size: str, language: str
) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    with visiting(**SIZES[size], locale=language) as visit:
        sign_in(visit, "operator")
        widths = {}
        for path in ("/cases?whose=all", f"/cases/{case.serial}", "/cases/waiting", "/hotline"):
            page = visit.open(path)
            page.wait_for_load_state("load")
            widths[path] = page.evaluate("document.documentElement.scrollWidth")

    assert visit.faults == []
    assert visit.outside == []
    assert {path: width for path, width in widths.items() if width > SIZES[size]["viewport"]["width"]} == {}


def test_a_photo_from_the_phone_ends_up_with_the_case(visiting: Any, desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    file = io.BytesIO()
    Image.new("RGB", (400, 300), "green").save(file, "JPEG")
    with visiting() as visit:
        sign_in(visit, "handler")
        page = visit.open(f"/cases/{case.serial}")
        page.fill("#handle-text", "清理完毕")
        album = page.locator("#do-handle input[type=file]:not([capture])")
        album.set_input_files({"name": "after.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()})
        expect(page.locator("#do-handle .chosen")).to_contain_text("after.jpg")
        page.get_by_role("button", name="处置").click()

        expect(page.locator(".standing")).to_contain_text("待核查")
        assert (
            page.locator(".case-photos img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 400
        )
        assert visit.faults == []


def test_a_call_is_taken_and_the_next_one_is_found_to_be_the_same(visiting: Any, desk: Desk) -> None:
    with visiting(**SIZES["desktop"]) as visit:
        sign_in(visit, "operator")
        page = visit.open("/hotline")
        page.wait_for_selector("form[data-ready]")
        for text in ("垃圾堆了两天", "还是那堆垃圾"):
            page.fill("#text", text)
            page.select_option("#class", "E01")
            page.select_option("#event_type", "E0102")
            page.fill("#phone", "10000000009")
            page.locator("#map").click(position={"x": 250, "y": 170})
            expect(page.locator("#whose")).to_contain_text("310112001002002")
            if text == "还是那堆垃圾":
                page.click("#send")
                expect(page.locator("#likely .field-error")).to_be_visible()
                page.locator("#likely input").first.check()
            page.click("#send")
            expect(page.locator("#saved")).to_contain_text("已立案" if text == "垃圾堆了两天" else "已并入")

        assert visit.faults == []
        assert visit.outside == []
