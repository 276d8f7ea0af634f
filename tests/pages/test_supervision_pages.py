"""The pages of supervision: notices, the bulletin and the assessment; what they tell whom, and how they look."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.installation import Installation
from gis_grid.patrols import readings_of
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.supervision import sweep
from tests.browsers import DESKTOP, PHONE
from tests.builders import NOW, add_signed_in, as_
from tests.patrols import add_patrol, at_m, walk
from tests.stored_cases import CITY, TEAM, WORKSTATION, Desk

SIZES = {"phone": PHONE, "desktop": DESKTOP | {"is_mobile": False, "has_touch": False}}
TOWN, OTHER = "310112001", "310112002"


@pytest.fixture
def clock() -> Callable[[], datetime]:
    return lambda: NOW + timedelta(days=60)


@pytest.fixture
def desk(installation: Installation, session: Session, tmp_path: Path) -> Desk:
    """One case closed and one eight acts late, and people to look at them."""
    desk = Desk(session, tmp_path)
    desk.closed()
    desk.at = NOW
    desk.filed()
    sweep(session, city=CITY, now=NOW + timedelta(days=40))
    session.commit()
    add_signed_in(session, "supervisor", [Grant(Role.SUPERVISOR)])
    add_signed_in(session, "town", [Grant(Role.SUPERVISOR, Scope(ScopeKind.AREA, TOWN))])
    add_signed_in(session, "other", [Grant(Role.SUPERVISOR, Scope(ScopeKind.AREA, OTHER))])
    add_signed_in(session, "station", [Grant(Role.HANDLER, Scope(ScopeKind.UNIT, WORKSTATION))])
    return desk


def unread(text: str) -> str | None:
    found = re.search(r'class="count">(\d+\+?)', text)
    return found[1] if found else None


def test_the_header_counts_what_a_unit_has_not_read_until_it_has(client: TestClient, desk: Desk) -> None:
    page = as_(client, "station").get("/notices").text
    csrf = re.findall(r'name="csrf" (?:content|value)="(\w+)"', page)[0]
    ids = sorted(set(re.findall(r'name="notice" value="(\d+)"', page)))
    one = client.post("/notices/read", data={"csrf": csrf, "notice": ids[:1]}, follow_redirects=False)
    after_one = client.get("/").text
    client.post("/notices/read", data={"csrf": csrf, "notice": ids[1:]})

    assert unread(page) == str(len(ids))
    assert (one.status_code, one.headers["location"]) == (303, "/notices?show=unread&whose=mine")
    assert unread(after_one) == str(len(ids) - 1)
    assert unread(client.get("/").text) is None
    assert "没有未读的通知" in client.get("/notices").text
    assert "已读" in client.get("/notices?show=all").text


def test_whoever_was_told_nothing_sees_nothing(client: TestClient, desk: Desk) -> None:
    page = as_(client, "other").get("/notices?show=all&whose=scope").text

    assert unread(page) is None
    assert "没有通知" in page
    assert client.post("/notices/read", data={"notice": "1", "csrf": csrf_of(page)}).status_code == 404


def csrf_of(page: str) -> str:
    return re.findall(r'name="csrf" content="(\w+)"', page)[0]


def test_only_the_centre_is_meant_by_what_is_told_to_all(client: TestClient, desk: Desk) -> None:
    mine, all_ = (as_(client, "supervisor").get(f"/notices?whose={whose}").text for whose in ("mine", "scope"))

    assert "没有未读的通知" in mine
    assert all_.count('class="unread"') > 5


def test_a_towns_bulletin_has_its_own_cases_and_another_towns_none(client: TestClient, desk: Desk) -> None:
    query = "/bulletin?since=2026-03-01&until=2026-03-31"

    town, other = (as_(client, who).get(query).text for who in ("town", "other"))

    assert "format=csv" in town
    assert re.search(r"#step-\d+", town)
    assert "江川路街道" in town
    assert "这段时间没有案件变红" in other


@pytest.mark.parametrize("path", ["/bulletin", "/assessment", "/evaluations", "/accountability"])
def test_on_the_first_of_may_a_page_of_months_tells_of_april_and_leads_to_those_beside_it(
    client: TestClient, desk: Desk, path: str
) -> None:
    page = as_(client, "supervisor").get(path).text
    before, after = re.findall(rf'<a href="({path}[^"]+)">(?:‹ 2026-03|2026-05 ›)</a>', page)

    assert re.search(r'value="2026-04(-01)?"', page)
    assert "2026-03" in before
    assert "2026-05" in after
    assert [client.get(unescape(address)).status_code for address in (before, after)] == [200, 200]


def test_a_unit_finds_how_its_score_came_about_down_to_the_log(client: TestClient, desk: Desk) -> None:
    ranking = as_(client, "town").get("/assessment?month=2026-03&by=unit").text
    detail = client.get(f"/assessment/of?month=2026-03&by=unit&key={TEAM}&measure=close").text

    assert f"key={TEAM}&amp;measure=close" in ranking
    assert "收缩排名" in ranking
    assert re.search(r"× 0\.5", ranking)
    assert re.search(r"[\d.]+ × 0\.5 = <b>[\d.]+</b>", detail)
    assert re.search(r"/cases/\d+#step-10", detail)
    assert "经办人" not in detail


def test_a_town_is_shown_its_own_rows_and_refused_anothers(client: TestClient, desk: Desk) -> None:
    page = as_(client, "other").get("/assessment?month=2026-03&by=town").text
    refused = client.get(f"/assessment/of?month=2026-03&by=town&key={TOWN}")
    person = client.get("/assessment?month=2026-03&by=person")

    assert "这个月没有可考核的内容" in page
    assert (refused.status_code, person.status_code) == (403, 403)


def test_a_patrollers_page_tells_figures_to_planners_and_passes_to_who_may_read_tracks(
    client: TestClient, desk: Desk
) -> None:
    add_patrol(desk.session, "anna")
    add_signed_in(desk.session, "planner", [Grant(Role.PLANNER)])
    walk(desk.session, "anna", (0, 200), (0, 300), since=NOW - timedelta(hours=2))
    desk.at = NOW
    missed = desk.filed(point=at_m(30, 250))
    path = "/assessment/of?month=2026-03&by=patroller&key=user:anna"

    ranking = as_(client, "planner").get("/assessment?month=2026-03&by=patroller").text
    detail = client.get(path)
    refused = client.get(f"{path}&measure=miss")
    shown = as_(client, "supervisor").get(f"{path}&measure=miss").text
    (reading,) = readings_of(desk.session, "user:anna")

    assert re.search(r">anna</a>", ranking)
    assert "漏报率" in ranking
    assert "measure=miss" not in ranking + detail.text
    assert "收缩排名" not in ranking
    assert (detail.status_code, refused.status_code) == (200, 403)
    assert re.search(rf"/cases/{missed.serial}#step-2", shown)
    assert reading.who == "user:supervisor"


def test_reporters_are_named_by_their_class(client: TestClient, desk: Desk) -> None:
    page = as_(client, "supervisor").get("/assessment?month=2026-03&by=reporter_class").text

    assert "居民" in page


@pytest.mark.parametrize(
    "path", ["/assessment?month=x", "/bulletin?since=2026-03-02&until=2026-03-01", "/notices?show=x"]
)
def test_what_makes_no_sense_is_a_page_that_says_so(client: TestClient, desk: Desk, path: str) -> None:
    assert as_(client, "supervisor").get(path).status_code == 422


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["zh-CN", "en-GB"])
def test_every_page_of_supervision_fits_its_screen(visiting: Any, desk: Desk, size: str, language: str) -> None:
    paths = (
        "/notices?show=all&whose=scope",
        "/bulletin?since=2026-03-01&until=2026-03-31",
        "/assessment?month=2026-03&by=unit",
        f"/assessment/of?month=2026-03&by=unit&key={TEAM}&measure=close",
        "/maps/assessment?month=2026-03&by=grid",
        "/evaluations?month=2026-03",
        "/accountability?since=2026-03-01&until=2026-03-31",
    )
    with visiting(**SIZES[size], locale=language) as visit:
        # Of the town, so that the header has something to count.
        visit.context.add_cookies([{"name": SESSION_COOKIE, "value": "cookie-of-town", "url": visit.site}])
        widths = {}
        for path in paths:
            page = visit.open(path)
            widths[path] = page.evaluate("document.documentElement.scrollWidth")

    assert visit.faults == []
    assert {path: width for path, width in widths.items() if width > SIZES[size]["viewport"]["width"]} == {}
