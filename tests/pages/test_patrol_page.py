"""Recording an outing in a real browser: each fix is stored once, whatever network, tab or session do."""

from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.accounts import the_account
from gis_grid.installation import utc_now
from gis_grid.permissions import Grant, Role
from gis_grid.sign_in import SessionKind, open_session
from tests.browsers import ARGUMENTS, CHROMIUM, PHONE
from tests.builders import add_signed_in
from tests.pages.walks import chunks, sign_in, stored

API = "**/api/v1/tracks"


class Losing:
    """A network that takes what is sent and loses the answers."""

    def __init__(self) -> None:
        self.lost = 0

    def __call__(self, route: Route) -> None:
        with suppress(Error):  # a reload may have ended the request already
            route.fetch()
            self.lost += 1
            route.abort()

    def wait(self, page: Page) -> None:
        for _ in range(300):
            if self.lost:
                return
            page.wait_for_timeout(50)
        raise AssertionError("nothing was sent")


def test_what_was_recorded_is_stored_once_whatever_network_and_tab_do(walking: Any, session: Session) -> None:
    with walking() as walk:
        page = walk.open()
        walk.start()
        walk.walk(3)
        page.click("#pause")
        walk.unacknowledged(0)

        walk.visit.context.set_offline(True)
        walk.start("#resume")
        walk.walk(3)
        page.click("#pause")
        walk.unacknowledged(4)

        page.route(API, losing := Losing())
        walk.visit.context.set_offline(False)
        losing.wait(page)
        before = len(stored(session))
        walk.start("#resume")
        walk.walk(2)
        walk.reload()  # while it records: the last chunk is open
        expect(page.locator("#outing-note")).to_contain_text("被中断了")
        walk.unacknowledged(7)
        walk.start("#resume")
        walk.walk(2)
        page.unroute(API)
        walk.stop()
        left = page.evaluate(
            """async () => {
              const {openTracks} = await import("/static/track_store.js");
              const store = await openTracks();
              return (await store.chunks((await store.outings())[0].id)).length;
            }"""
        )

    fixes = stored(session)
    assert before == 8  # four of them are not acknowledged
    assert fixes == list(walk.told)
    assert len(fixes) == walk.fixes == 14
    assert [chunk.sequence for chunk in chunks(session)] == [0, 1, 2, 3]
    assert {(chunk.walker, chunk.team) for chunk in chunks(session)} == {("user:walker", "s")}
    assert left == 0
    assert [fault for fault in walk.visit.faults if "ERR_" not in fault] == []


def test_a_full_chunk_is_sent_while_the_outing_goes_on_and_the_next_begins_with_its_last_fix(
    walking: Any, session: Session
) -> None:
    with walking() as walk:
        walk.open()
        walk.start()
        walk.walk(61)
        walk.unacknowledged(2)
        walk.stop()

    first, second = chunks(session)
    assert len(first.accuracy_m) == 60
    assert len(second.accuracy_m) == 3
    assert stored(session) == list(walk.told)


def test_the_distance_is_that_of_ways_walked_and_not_of_jitter_gaps_or_jumps(walking: Any) -> None:
    with walking() as walk:
        metres = walk.open().evaluate(
            """async () => {
              const {Recorder} = await import("/static/recorder.js");
              const counts = {accuracy_m: 50, gap_s: 60, step_m: 200, speed_mps: 50}, nothing = () => {};
              const store = {keep: async () => {}};
              const recorder = new Recorder(store, counts, {onFix: nothing, onChange: nothing, onTrouble: nothing});
              recorder.outing = {id: "t", state: "going", metres: 0, fixes: 0, next: 0};
              const walk = async (at_s, north_m, accuracy_m = 8) =>
                recorder.take({at: at_s * 1000, lon: 121.4, lat: 31.1 + north_m / 110800, accuracy_m});
              const ways = [[0, 0], [10, 20], [20, 24], [30, 40], [40, 500, 90], [50, 60], [51, 160], [52, 60], [122, 80], [132, 100]];
              for (const way of ways) await walk(...way);
              return recorder.outing.metres;
            }"""
        )

    # 20 + 20 + 20, a jump there and back, a gap of 70 s, 20.
    assert metres == pytest.approx(80, abs=0.1)


def test_a_refused_chunk_is_shown_with_the_reason_and_kept(walking: Any, session: Session) -> None:
    refusal = {"results": [{"status": 422, "error": "invalid_input", "message": "fixes of another world"}]}
    with walking() as walk:
        page = walk.open()
        page.route(API, lambda route: route.fulfill(json=refusal))
        walk.start()
        page.click("#stop")
        why = page.locator("#outbox li.refused .why")
        expect(why).to_contain_text("fixes of another world")
        walk.reload()
        expect(why).to_contain_text("1个定位点没有被接受，仍留在本机")
        with page.expect_download() as saved:
            page.get_by_role("button", name="存成文件").click()
        page.unroute(API)
        page.get_by_role("button", name="再发一次").click()
        expect(page.locator("#outbox li[data-done=true]")).to_have_count(1, timeout=15_000)

    assert saved.value.suggested_filename.endswith(".json")
    assert stored(session) == list(walk.told)


def test_who_is_signed_out_meanwhile_loses_nothing_and_need_not_leave_the_page(walking: Any, session: Session) -> None:
    again = open_session(
        session, the_account(session, "walker"), kind=SessionKind.BROWSER, address="test", now=utc_now()
    )
    session.commit()
    with walking() as walk:
        page = walk.open()
        walk.start()
        walk.visit.context.clear_cookies()
        page.click("#pause")
        expect(page.locator("#sending-note")).to_contain_text("登录已过期")
        expect(page.locator("#sending-note a")).to_have_attribute("target", "_blank")
        before = len(chunks(session))
        sign_in(walk.visit, again.secret)
        walk.stop()
        expect(page.locator("#sending-note")).to_be_hidden()

    assert before == 0
    assert stored(session) == list(walk.told)


def test_an_outing_of_one_account_is_not_sent_in_the_name_of_another(walking: Any, session: Session) -> None:
    add_signed_in(session, "other", [Grant(Role.PATROLLER)])
    with walking() as walk:
        page = walk.open()
        page.route(API, lambda route: route.abort())
        walk.start()
        page.click("#pause")
        walk.unacknowledged(1)
        sign_in(walk.visit, "cookie-of-other")
        page.unroute(API)
        walk.reload()
        expect(page.locator("#outbox li .why")).to_contain_text("这是walker的巡查")
        expect(page.locator("#begin")).to_be_enabled()

    assert chunks(session) == []


def test_of_two_tabs_one_records_and_the_other_takes_over_when_it_is_closed(walking: Any, session: Session) -> None:
    with walking() as walk:
        first = walk.open()
        walk.start()
        second = walk.visit.context.new_page()
        second.on("dialog", lambda dialog: dialog.accept())
        second.goto(walk.visit.site + "/patrol")
        expect(second.locator("#tab-note")).to_contain_text("另一个页面")
        expect(second.locator("#begin")).to_be_disabled()
        first.close()
        second.wait_for_selector("body[data-ready]")
        expect(second.locator("#outing-note")).to_contain_text("被中断了")
        second.click("#stop")
        expect(second.locator("#outbox li[data-done=true]")).to_have_count(1, timeout=15_000)

    assert stored(session) == list(walk.told)


def test_an_outing_whose_location_is_taken_away_is_interrupted_and_goes_on_once_it_is_back(
    walking: Any, session: Session
) -> None:
    with walking() as walk:
        page = walk.open()
        walk.start()
        walk.visit.context.clear_permissions()
        expect(page.locator("#location-note")).to_contain_text("定位被拒绝")
        expect(page.locator("#resume")).to_be_visible()
        walk.reload()
        expect(page.locator("#outing-note")).to_contain_text("被中断了")
        walk.visit.context.grant_permissions(["geolocation"])
        walk.start("#resume")
        expect(page.locator("#outing-note")).to_be_hidden()
        walk.stop()

    assert stored(session) == list(walk.told)


def test_team_shift_and_privacy_are_told_and_what_does_not_count_is_said(walking: Any, session: Session) -> None:
    with walking(locale="en-GB") as walk:
        page = walk.open()
        told = page.locator("main").inner_text()
        walk.start(accuracy=300)
        expect(page.locator("#location-note")).to_contain_text("worse than 50 m are kept but do not count")
        page.click("#go-report")
        expect(page.frame_locator("#report-sheet iframe").locator("form[data-ready]")).to_be_visible()
        page.get_by_role("button", name="Back to the outing").click()
        walk.stop()
        expect(page.locator("#outbox li .why")).to_have_text("1 fixes received but not counted: worse than 50 m")

    (chunk,) = chunks(session)
    assert "On duty: day shift 00:00–00:00 · first duty: street appearance, second: security" in told
    assert "Today’s ground: 社区2 310112001002002" in told
    assert list(chunk.uncounted or {}) == ["accuracy"]
    assert walk.visit.faults == []
    assert walk.visit.outside == []


def test_a_refused_location_is_explained_and_leaves_no_empty_outing(walking: Any) -> None:
    with walking(permissions=[]) as walk:
        page = walk.open()
        page.click("#begin")
        expect(page.locator("#location-note")).to_contain_text("定位被拒绝，没有在记录")
        expect(page.locator("#begin")).to_be_visible()
        expect(page.locator("#outbox")).to_be_hidden()


def test_over_plain_http_the_page_says_why_nothing_can_be_recorded(
    browser: Browser, site: str, session: Session
) -> None:
    named = site.replace("localhost", "grid.test")
    add_signed_in(session, "walker", [Grant(Role.VOLUNTEER)])
    rule = "--host-resolver-rules=MAP grid.test 127.0.0.1"
    chromium = browser.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rule])
    try:
        context = chromium.new_context(**PHONE, locale="zh-CN")
        context.add_cookies([{"name": SESSION_COOKIE, "value": "cookie-of-walker", "url": named}])
        page = context.new_page()
        page.goto(f"{named}/patrol")
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#location-note")).to_contain_text("不是 https")
        expect(page.locator("#offline-note")).to_contain_text("没有网络时打不开本页")
        expect(page.locator("#begin")).to_be_disabled()
    finally:
        chromium.close()
