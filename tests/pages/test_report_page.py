"""The phone page in a real browser: no report is lost and none is doubled, whatever the network does."""

import io
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from playwright.sync_api import Browser, Error, Page, Route, expect
from pydantic import SecretStr
from sqlalchemy.orm import Session

from gis_grid.informants import Informant, new_key
from gis_grid.installation import Installation
from gis_grid.photos import Photo
from gis_grid.reports import Report, Reporter
from gis_grid.tenures import NewTenure, appoint
from tests.browsers import ARGUMENTS, CHROMIUM, PHONE
from tests.builders import BY, NOW

# 150 m east, 150 m north of the south-west corner: the middle of the nine squares, 310112001002002.
MIDDLE = {"longitude": 121.401573, "latitude": 31.101353, "accuracy": 8}
GRANTED = {"geolocation": MIDDLE, "permissions": ["geolocation"]}
API = "**/api/v1/reports"


def jpeg() -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "JPEG")
    return {"name": "gate.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}


def ready(visit: Any) -> Page:
    page = visit.open("/report")
    page.wait_for_selector("form[data-ready]")
    return page


def fill(page: Page, text: str = "垃圾堆在小区门口") -> None:
    page.select_option("#class", "E01")
    page.select_option("#event_type", "E0102")
    page.fill("#text", text)


def tap_map(page: Page) -> None:
    page.locator("#map").click(position={"x": 180, "y": 180})


def states(page: Page) -> list[str]:
    return page.locator("#outbox li").evaluate_all("rows => rows.map((row) => row.dataset.state)")


def stored(session: Session) -> list[Report]:
    session.rollback()
    session.expire_all()
    return list(session.scalars(sa.select(Report).order_by(Report.received_at)))


def received(page: Page, count: int = 1) -> None:
    expect(page.locator("#outbox li[data-state=received]")).to_have_count(count, timeout=15_000)


def test_a_located_report_is_told_its_grid_and_who_answers_for_it(visiting: Any, session: Session) -> None:
    tenure = NewTenure("310112001002002", "王芳", "居委会主任", "江川分中心", "021-5555", None, NOW, None)
    appoint(session, [tenure], by=BY, now=NOW)
    session.commit()
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        expect(page.locator("#whose")).to_contain_text("居委会主任")
        expect(page.locator("#location-note")).to_contain_text("误差约8米")
        fill(page)
        page.click("#send")
        received(page)
        shown = page.locator("#outbox li").inner_text()

    (report,) = stored(session)
    assert all(part in shown for part in ("已收到", "310112001002002", "社区2", "江川路街道", "居委会主任", "021-5555"))
    assert str(report.id) in shown
    assert "王芳" not in shown
    assert (report.accuracy_m, report.method, report.source) == (8.0, "inside", "resident")
    assert visit.faults == []
    assert visit.outside == []


def test_the_receipt_shows_the_query_code_and_leads_to_progress_without_it_in_the_address(visiting: Any) -> None:
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.click("#send")
        received(page)
        code = page.locator("#outbox li b.code").inner_text()
        page.get_by_role("button", name="查进度").click()
        expect(page.get_by_role("status")).to_contain_text("已收到，等待受理")

        assert page.url == f"{visit.site}/public"
        assert len(code) == 10
        assert code not in page.content()
    assert visit.faults == []


def test_a_tip_off_is_sent_sealed_and_asks_for_a_name(
    visiting: Any, session: Session, installation: Installation
) -> None:
    installation.settings.informant_keys = (SecretStr(new_key()),)
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.locator("summary").click()
        page.check("#is_informant")
        page.click("#send")
        expect(page.locator("[data-for='reporter.phone']")).to_contain_text("才能发奖")
        page.fill("#phone", "10000000009")
        page.click("#send")
        received(page)

    session.rollback()
    assert session.scalars(sa.select(Reporter)).all() == []
    assert session.scalars(sa.select(Informant)).one().sealed


def test_a_report_written_without_network_is_sent_when_it_is_back(visiting: Any, session: Session) -> None:
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.set_input_files("#album", [jpeg()])
        page.wait_for_selector("#photos img")
        visit.context.set_offline(True)
        page.click("#send")
        expect(page.locator("#outbox li")).to_contain_text("未发送")
        expect(page.locator("#outbox li .why")).to_contain_text("自动再发")
        before = len(stored(session))
        visit.context.set_offline(False)
        received(page)
        expect(page.locator("#outbox li")).not_to_contain_text("照片还在发送", timeout=15_000)

    assert before == 0
    assert len(stored(session)) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(Photo)) == 1


def test_an_answer_lost_on_the_way_and_a_reload_make_no_second_report(visiting: Any, session: Session) -> None:
    def lose_the_answer(route: Route) -> None:
        with suppress(Error):  # the reload below may have ended the request already
            route.fetch()
            route.abort()

    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.set_input_files("#album", [jpeg()])
        page.wait_for_selector("#photos img")
        page.route(API, lose_the_answer)
        page.click("#send")
        expect(page.locator("#outbox li .why")).to_contain_text("自动再发")
        first = stored(session)
        page.reload()
        expect(page.locator("#outbox li")).to_contain_text("未发送")
        page.unroute(API)
        received(page)
        expect(page.locator("#outbox li")).not_to_contain_text("照片还在发送", timeout=15_000)

    assert [report.id for report in stored(session)] == [report.id for report in first]
    assert len(first) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(Photo)) == 1


def test_a_photo_that_did_not_get_through_is_sent_after_a_reload(visiting: Any, session: Session) -> None:
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.set_input_files("#album", [jpeg()])
        page.wait_for_selector("#photos img")
        page.route("**/photos", lambda route: route.fulfill(status=503, body="<html>busy</html>"))
        page.click("#send")
        received(page)
        expect(page.locator("#outbox li")).to_contain_text("照片还在发送：1张")
        page.unroute("**/photos")
        page.reload()
        expect(page.locator("#outbox li")).not_to_contain_text("照片还在发送", timeout=15_000)

    assert len(stored(session)) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(Photo)) == 1


def test_a_draft_with_its_photo_and_place_survives_a_reload(visiting: Any) -> None:
    with visiting() as visit:
        page = ready(visit)
        tap_map(page)
        fill(page, "写了一半")
        page.locator("summary").click()
        page.fill("#name", "李雷")
        page.set_input_files("#album", [jpeg()])
        page.wait_for_selector("#photos img")
        page.wait_for_timeout(400)
        page.reload()
        page.wait_for_selector("form[data-ready]")

        expect(page.locator("#text")).to_have_value("写了一半")
        expect(page.locator("#event_type")).to_have_value("E0102")
        expect(page.locator("#name")).to_have_value("李雷")
        expect(page.locator("#photos img")).to_have_count(1)
        expect(page.locator(".pin")).to_have_count(1)


def test_two_taps_on_send_make_one_report(visiting: Any, session: Session) -> None:
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.evaluate("() => { const send = document.getElementById('send'); send.click(); send.click(); }")
        received(page)
        page.wait_for_timeout(500)

        assert states(page) == ["received"]
    assert len(stored(session)) == 1


def test_two_tabs_with_one_draft_never_lose_what_was_written(visiting: Any, session: Session) -> None:
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page, "第一页")
        page.wait_for_timeout(400)
        other = visit.context.new_page()
        other.goto(visit.site + "/report")
        other.wait_for_selector("form[data-ready]")
        other.fill("#text", "第二页")
        page.click("#send")
        received(page)
        other.click("#send")
        expect(other.locator("#outbox li[data-state=received]")).to_have_count(2, timeout=15_000)

    assert sorted(report.text for report in stored(session)) == ["第一页", "第二页"]


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, '{"error": "internal_error"}'), (502, "<html>gateway</html>"), (200, "<html>sign in</html>")],
)
def test_what_is_no_answer_of_ours_is_tried_again(visiting: Any, session: Session, status: int, body: str) -> None:
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.route(API, lambda route: route.fulfill(status=status, body=body))
        page.click("#send")
        expect(page.locator("#outbox li .why")).to_contain_text("自动再发")
        page.unroute(API)
        page.get_by_role("button", name="现在再发").click()
        received(page)

    assert len(stored(session)) == 1


def test_a_refused_report_comes_back_into_the_form_with_what_is_wrong(visiting: Any, session: Session) -> None:
    refusal = (
        '{"error": "invalid_input", "message": "text: too rude", "fields": [{"field": "text", "message": "too rude"}]}'
    )
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.route(API, lambda route: route.fulfill(status=422, body=refusal))
        page.click("#send")
        expect(page.locator("[data-for=text]")).to_contain_text("too rude")
        expect(page.locator("#text")).to_have_value("垃圾堆在小区门口")
        page.unroute(API)
        page.fill("#text", "有垃圾")
        page.click("#send")
        received(page)

    assert [report.text for report in stored(session)] == ["有垃圾"]


def test_after_a_conflict_the_report_is_sent_under_a_new_number(visiting: Any, session: Session) -> None:
    refusal = '{"error": "conflict", "message": "already stored with other content", "fields": []}'
    sent = []
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)

        def refuse(route: Route) -> None:
            sent.append(route.request.post_data_json["id"])
            route.fulfill(status=409, body=refusal)

        page.route(API, refuse)
        page.click("#send")
        expect(page.locator("#form-note")).to_contain_text("同一编号")
        page.unroute(API)
        page.click("#send")
        received(page)

    (report,) = stored(session)
    assert str(report.id) != sent[0]


def test_a_phone_with_a_wrong_clock_can_report(visiting: Any, session: Session) -> None:
    with visiting(**GRANTED) as visit:
        visit.page.clock.install(time="2098-01-01T00:00:00Z")
        page = ready(visit)
        visit.page.clock.resume()
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.click("#send")
        received(page)

    (report,) = stored(session)
    assert report.observed_at is None


def test_a_refused_location_is_explained_and_the_pin_takes_its_place(visiting: Any, session: Session) -> None:
    with visiting() as visit:
        page = ready(visit)
        page.click("#locate")
        expect(page.locator("#location-note")).to_contain_text("定位被拒绝")
        tap_map(page)
        expect(page.locator("#whose")).to_contain_text("310112001")
        fill(page)
        page.click("#send")
        received(page)

    (report,) = stored(session)
    assert report.accuracy_m is None
    assert report.method in {"inside", "edge"}


def test_over_plain_http_the_page_says_why_there_is_no_location_and_still_sends(
    browser: Browser, site: str, session: Session
) -> None:
    # Only localhost counts as safe without https; any other name is what an office network looks like.
    named = site.replace("localhost", "grid.test")
    rule = "--host-resolver-rules=MAP grid.test 127.0.0.1"
    chromium = browser.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rule])
    try:
        page = chromium.new_context(**PHONE, locale="zh-CN").new_page()
        page.goto(f"{named}/report")
        expect(page.locator("#location-note")).to_contain_text("不是 https")
        assert page.evaluate("() => [isSecureContext, typeof crypto.randomUUID]") == [False, "undefined"]
        tap_map(page)
        fill(page)
        page.click("#send")
        received(page)
    finally:
        chromium.close()

    assert len(stored(session)) == 1


def test_a_location_that_is_too_uncertain_asks_for_the_pin(visiting: Any) -> None:
    with visiting(geolocation=MIDDLE | {"accuracy": 90}, permissions=["geolocation"]) as visit:
        page = ready(visit)
        expect(page.locator("#whose .doubt")).to_contain_text("请把图钉拖到准确的地方")
        tap_map(page)

        expect(page.locator("#whose .doubt")).to_have_count(0)


def test_a_place_outside_is_said_to_be_outside_and_still_taken(visiting: Any, session: Session) -> None:
    far = {"longitude": 121.5, "latitude": 31.2, "accuracy": 5}
    with visiting(geolocation=far, permissions=["geolocation"]) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("网格之外")
        fill(page)
        page.click("#send")
        received(page)

    (report,) = stored(session)
    assert (report.method, report.grid_id) == ("outside", None)


def test_the_pin_can_be_dragged_into_the_next_grid(visiting: Any) -> None:
    with visiting(**DRAGGING) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        box = page.locator(".pin").bounding_box()
        assert box is not None
        x, y = box["x"] + 22, box["y"] + 20
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=6)
        page.mouse.up()

        expect(page.locator("#location-note")).to_contain_text("由您在地图上选定")
        expect(page.locator("#whose")).to_contain_text("310112001002003")


DRAGGING = GRANTED | {"is_mobile": False, "has_touch": False}


def test_what_is_missing_is_said_beside_its_field_and_nothing_is_sent(visiting: Any, session: Session) -> None:
    with visiting() as visit:
        page = ready(visit)
        page.click("#send")

        for field in ("lon", "event_type", "text"):
            expect(page.locator(f"[data-for={field}]")).to_be_visible()
    assert stored(session) == []


def test_a_file_that_is_no_photo_is_refused_before_it_is_sent(visiting: Any) -> None:
    with visiting() as visit:
        page = ready(visit)
        page.set_input_files("#album", [{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo"}])

        expect(page.locator("[data-for=photo]")).to_contain_text("a.jpg")
        expect(page.locator("#photos img")).to_have_count(0)


def test_a_photo_too_large_for_the_service_is_made_smaller(visiting: Any, session: Session) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8000, 6000), "green").save(file, "JPEG")
    large = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.set_input_files("#album", [large])
        page.wait_for_selector("#photos img")
        page.click("#send")
        received(page)
        expect(page.locator("#outbox li")).not_to_contain_text("照片还在发送", timeout=15_000)

    photo = session.scalars(sa.select(Photo)).one()
    assert (photo.width_px, photo.height_px) == (4000, 3000)


def test_a_contact_reaches_staff_and_stays_on_the_phone_for_the_next_report(visiting: Any, session: Session) -> None:
    with visiting(**GRANTED) as visit:
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.locator("summary").click()
        page.fill("#phone", "10000000001")
        page.click("#send")
        received(page)

        expect(page.locator("#phone")).to_have_value("10000000001")
        expect(page.locator("#text")).to_have_value("")
    assert session.scalars(sa.select(Reporter)).one().phone == "10000000001"


def test_where_the_browser_keeps_nothing_the_page_says_so_and_still_sends(visiting: Any, session: Session) -> None:
    with visiting(**GRANTED) as visit:
        visit.page.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined})")
        page = ready(visit)
        expect(page.locator("#storage-note")).to_be_visible()
        expect(page.locator("#whose")).to_contain_text("310112001002002")
        fill(page)
        page.click("#send")
        received(page)

    assert len(stored(session)) == 1


def test_text_from_the_service_never_becomes_html(visiting: Any) -> None:
    hostile = "<img src=x onerror=\"document.title='run'\">"
    found = {
        "grid_code": "310112001002002",
        "community": hostile,
        "town": hostile,
        "method": "inside",
        "distance_m": 0,
        "is_uncertain": False,
        "shares": None,
        "manager": {"post": hostile, "unit": hostile, "duty_phone": hostile},
    }
    with visiting(**GRANTED) as visit:
        visit.page.route("**/api/v1/locate**", lambda route: route.fulfill(json=found))
        page = ready(visit)
        expect(page.locator("#whose")).to_contain_text("<img")

        assert page.locator("#whose img").count() == 0
        assert page.title() != "run"
