"""The phone's pages opened in a real browser while the service cannot be reached."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from api.pages import static_files
from gis_grid.database import Change
from gis_grid.permissions import Grant, Role
from gis_grid.reports import Report
from tests.builders import PASSWORD, add_signed_in
from tests.pages.walks import Walk, stored

# The files of two releases are there, and no worker is on its way. The files are asked for first: a worker opens its
# cache once it is on its way, and who asks in the other order may miss both.
REPLACED = """async () => {
  const releases = (await caches.keys()).filter((name) => name.includes("/patrol"));
  const {active, installing, waiting} = await navigator.serviceWorker.ready;
  return releases.length === 2 && active.state === "activated" && !installing && !waiting;
}"""
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def enter(page: Page, site: str, login: str, after: str) -> None:
    page.context.clear_cookies(name=SESSION_COOKIE)
    page.goto(f"{site}/sign-in?after={after}")
    page.fill("#login", login)
    page.fill("#password", PASSWORD)
    page.get_by_role("main").get_by_role("button").click()
    page.wait_for_url(site + after)


def kept(page: Page) -> None:
    """Wait until the page says that it can be opened without a network."""
    expect(page.locator("#offline-note")).to_have_text("没有网络时也能打开本页。", timeout=15_000)


def replaced(page: Page) -> None:
    """Wait until the next release's worker has taken over; `wait_for_function` waits for no promise."""
    for _ in range(300):
        if page.evaluate(REPLACED):
            return
        page.wait_for_timeout(50)
    raise AssertionError("the worker of the next release did not come")


def tab(visit: Any) -> Page:
    """A new tab in the place of those that the phone has killed."""
    page = visit.context.new_page()
    for other in visit.context.pages[:-1]:
        other.close()
    page.on("dialog", lambda dialog: dialog.accept())
    visit.watch(page)
    return page


@contextmanager
def answering(port: int, answer: bytes) -> Iterator[None]:
    """Something else in the place of the service, that says this and no more; with nothing to say it never answers."""
    listener = socket.create_server(("127.0.0.1", port))
    held = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            if answer:
                connection.recv(4096)
                connection.sendall(answer)
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in held:
        connection.close()


def test_an_outing_goes_on_in_a_page_opened_anew_without_the_service(
    walking: Any, service: Any, session: Session
) -> None:
    with walking() as walk:
        enter(walk.page, service.url, "walker", "/patrol")
        kept(walk.open())
        walk.start()
        walk.walk(3)
        service.stop()
        page = walk.reopen(tab(walk.visit))
        expect(page.locator("#offline-note")).to_contain_text("没有网络时打开的")
        expect(page.locator("#outing-note")).to_contain_text("被中断了")
        expect(page.locator("#team-lines")).to_contain_text("社区2 310112001002002")
        expect(page.locator("#map")).to_have_attribute("data-own", "1")
        walk.start("#resume")
        walk.walk(2)
        page.click("#pause")
        walk.unacknowledged(7)
        service.start()
        walk.unacknowledged(0)
        walk.start("#resume")
        walk.stop()

    fixes = stored(session)
    assert fixes == list(walk.told)
    assert len(fixes) == walk.fixes == 8
    assert [fault for fault in walk.visit.faults if "ERR_" not in fault and "403" not in fault] == []


def sign_out(page: Page, service: Any, _: Session) -> None:
    page.goto(service.url + "/sign-in")
    page.get_by_role("button", name="退出").click()
    page.wait_for_url(service.url + "/")


def sign_in_as_another(page: Page, service: Any, session: Session) -> None:
    add_signed_in(session, "other", [Grant(Role.PATROLLER)])
    enter(page, service.url, "other", "/")


@pytest.mark.parametrize("leave", [sign_out, sign_in_as_another])
def test_who_left_the_phone_is_not_shown_on_it_without_the_service(
    walking: Any, service: Any, session: Session, leave: Callable[[Page, Any, Session], None]
) -> None:
    with walking() as walk:
        enter(walk.page, service.url, "walker", "/patrol")
        kept(walk.open())
        walk.start()
        service.stop()
        walk.page.click("#pause")
        expect(walk.page.locator("#resume")).to_be_visible()
        walk.page.close()
        service.start()
        leave(tab(walk.visit), service, session)
        service.stop()
        page = walk.reopen(tab(walk.visit))
        expect(page.locator("#sending-note")).to_contain_text("没有人在这部手机上登录")
        expect(page.locator("#sending-note")).to_contain_text("1次没有发完的巡查")
        expect(page.locator("#begin")).to_be_disabled()
        expect(page.locator("#team")).to_be_hidden()
        content, left = page.content(), page.evaluate("localStorage.getItem('gis-grid-patrol')")
        service.start()

    assert "walker" not in content
    assert "街面队" not in content
    assert left is None


def test_a_page_of_no_known_sign_in_says_that_it_cannot_be_opened_without_a_network(walking: Any) -> None:
    with walking() as walk:  # with the session's cookie alone, as before there was another
        page = walk.open()

        expect(page.locator("#offline-note")).to_contain_text("没有网络时打不开本页")


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Makes the release to come, whose pages of outings name it."""

    def change() -> None:
        shutil.copytree(static_files.STATIC, tmp_path / "static")
        monkeypatch.setattr(static_files, "STATIC", tmp_path / "static")
        monkeypatch.setattr("api.pages.offline.STATIC", tmp_path / "static")
        words = tmp_path / "static" / "words.js"
        words.write_text(words.read_text("utf-8") + '\ndocument.body.dataset.release = "next";\n', "utf-8")
        forget()

    def forget() -> None:
        static_files.static_files.cache_clear()
        static_files.static_mark.cache_clear()

    yield change
    monkeypatch.undo()
    forget()


def test_a_new_release_takes_the_place_of_the_kept_page_at_once_and_whole(
    walking: Any, service: Any, next_release: Callable[[], None]
) -> None:
    opened = []

    def look(walk: Walk) -> None:
        page = walk.reopen(tab(walk.visit))
        script = page.locator("script[type=module]").get_attribute("src")
        opened.append((script, page.locator("body").get_attribute("data-release")))

    with walking() as walk:
        enter(walk.page, service.url, "walker", "/patrol")
        kept(walk.open())
        service.stop()
        look(walk)
        next_release()
        with answering(service.port, BAD_GATEWAY):
            look(walk)
        service.start()
        look(walk)
        replaced(walk.page)
        service.stop()
        look(walk)
        service.start()

    (before, is_before), still, online, offline = opened
    assert still == (before, is_before) == (before, None)
    assert online == offline == (online[0], "next")
    assert online[0] != before


@pytest.mark.parametrize("instead", [None, BAD_GATEWAY, b""], ids=["nothing", "gateway", "silence"])
def test_a_report_written_in_a_page_opened_without_the_service_is_sent_once_by_its_writer(
    visiting: Any, service: Any, session: Session, instead: bytes | None
) -> None:
    with visiting() as visit:
        enter(visit.page, service.url, "admin", "/report")
        kept(visit.page)
        service.stop()
        page = tab(visit)
        if instead is None:
            page.goto(service.url + "/report")
        else:
            with answering(service.port, instead):
                page.goto(service.url + "/report")
        page.wait_for_selector("form[data-ready]")
        page.select_option("#class", "E01")
        page.select_option("#event_type", "E0102")
        page.fill("#text", "垃圾堆在小区门口")
        page.locator("#map").click(position={"x": 180, "y": 180})
        page.click("#send")
        expect(page.locator("#outbox li")).to_contain_text("未发送")
        page = tab(visit)
        page.goto(service.url + "/report")
        expect(page.locator("#outbox li")).to_contain_text("未发送")
        service.start()
        expect(page.locator("#outbox li[data-state=received]")).to_have_count(1, timeout=20_000)

    assert session.scalar(sa.select(sa.func.count()).select_from(Report)) == 1
    assert session.scalars(sa.select(Change.who).where(Change.thing == "report")).one() == "user:admin"


def test_the_report_page_opens_within_an_outing_without_the_service(walking: Any, service: Any) -> None:
    with walking() as walk:
        enter(walk.page, service.url, "walker", "/patrol")
        kept(walk.open())
        service.stop()
        page = walk.reopen(tab(walk.visit))
        page.click("#go-report")
        expect(page.frame_locator("#report-sheet iframe").locator("form[data-ready]")).to_be_visible()
        service.start()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_a_phone_keeps_is_the_same_whoever_asks(client: TestClient, language: str) -> None:
    of_anybody = client.get("/worker.js", params={"lang": language})
    client.cookies.set(SESSION_COOKIE, "cookie-of-admin")
    of_admin = client.get("/worker.js", params={"lang": language})

    assert of_anybody.status_code == 200
    assert of_admin.text == of_anybody.text
    assert "csrf" not in of_anybody.text
    assert f'lang=\\"{"zh-CN" if language == "zh" else "en"}\\"' in of_anybody.text
    assert of_anybody.headers["content-type"].startswith("text/javascript")
    assert of_anybody.headers["content-security-policy"] == "default-src 'none'; connect-src 'self'"
    assert "no-cache" in of_anybody.headers["cache-control"]


def test_another_releases_files_are_not_served_under_its_address(client: TestClient) -> None:
    ours = static_files.static_url("patrol.js")
    mark = static_files.static_mark()

    assert client.get(ours).status_code == 200
    assert client.get(static_files.static_url("vendor/leaflet/dist/leaflet.js")).status_code == 200
    assert client.get(ours.replace(mark, "0" * len(mark))).status_code == 404
