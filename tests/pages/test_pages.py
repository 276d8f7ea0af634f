"""What the pages tell, to whom, in which language, and what a stranger's text can do there."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.database import Change
from gis_grid.event_types import EventType
from gis_grid.reports import Report
from gis_grid.tenures import NewTenure, appoint
from tests.api.sending import report, send
from tests.builders import BY, NOW, bearer, load_squares, squares

GRID = "310112001001001"
PAGES = [
    "/",
    "/report",
    f"/grids/{GRID}",
    "/areas/310112001001",
    "/areas/310112001",
    "/areas/310112",
    "/maps/district",
    "/maps/heat",
    "/maps/blind-spots",
    "/blind-spots",
    "/sign-in",
]
SHEETS = [
    "/maps/district/sheet",
    "/maps/district/sheet?show=reports",
    f"/maps/grids/{GRID}/sheet",
    "/maps/areas/310112001001/sheet",
    "/maps/areas/310112001/sheet",
    "/maps/heat/sheet",
    "/maps/heat/sheet?event_type=E01&since=2026-02-01&until=2026-03-02",
    "/maps/blind-spots/sheet",
    "/maps/blind-spots/sheet?shift=1&since=2026-02-01&until=2026-03-02",
    "/maps/blind-spots/sheet?area=310112001001",
]
HOSTILE = "<script>alert(1)</script>{{ 7 * 7 }}%(x)s"
OUTSIDE = {"lon": 121.5, "lat": 31.2}


def sign_in(client: TestClient) -> None:
    client.cookies.set(SESSION_COOKIE, "cookie-of-admin")


def appointed(session: Session, *, name: str = "王芳", post: str = "居委会主任") -> None:
    tenure = NewTenure(GRID, name, post, "江川分中心", "021-5555", "10000000009", NOW - timedelta(days=9), None)
    appoint(session, [tenure], by=BY, now=NOW)
    session.commit()


def token_of(page: str) -> str:
    return page.split('name="csrf" content="')[1].split('"', maxsplit=1)[0]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_page_answers_in_the_language_asked_for(client: TestClient, path: str, language: str) -> None:
    answer = client.get(path, params={"lang": language})

    assert answer.status_code == 200
    assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in answer.text
    assert "lang=" + ("en" if language == "zh" else "zh") in answer.text


@pytest.mark.parametrize("path", SHEETS)
def test_a_map_opens_with_local_assets_alone(client: TestClient, path: str) -> None:
    send(client, report())

    answer = client.get(path)

    assert answer.status_code == 200
    assert '<script src="/static/vendor/' in answer.text
    assert "https://" not in answer.headers["content-security-policy"]


def test_the_legend_of_a_grid_names_event_types_in_both_languages(client: TestClient, session: Session) -> None:
    send(client, sent := report())
    kind = session.get_one(EventType, sent["event_type"])
    sign_in(client)

    page = client.get(f"/maps/grids/{GRID}/sheet").text

    assert f"{kind.name} {kind.name_en}" in page


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("en-GB,en;q=0.9", "en"),
        ("zh-CN", "zh-CN"),
        ("de, en;q=0.4, zh;q=0.7", "zh-CN"),
        ("de", "zh-CN"),
        (";q=x,,", "zh-CN"),
        ("", "zh-CN"),
    ],
)
def test_the_browser_chooses_the_language_and_chinese_is_first(client: TestClient, header: str, language: str) -> None:
    answer = client.get("/", headers={"Accept-Language": header})

    assert f'<html lang="{language}">' in answer.text


def test_a_language_once_chosen_stays(client: TestClient) -> None:
    client.get("/", params={"lang": "en"})

    assert '<html lang="en">' in client.get("/report").text


def test_switching_the_language_keeps_the_rest_of_the_address(client: TestClient) -> None:
    page = client.get("/maps/heat?since=2026-02-01&lang=zh").text

    assert "/maps/heat?since=2026-02-01&amp;lang=en" in page


def test_the_district_tells_its_numbers(client: TestClient, session: Session) -> None:
    appointed(session)
    send(client, report())
    send(client, report(**OUTSIDE))

    page = client.get("/").text

    numbers = dict(
        part.split("</dt><dd>")
        for part in page.replace("</dd>", "\0").replace("<dt>", "\0").split("\0")
        if "</dt><dd>" in part
    )
    assert numbers == {
        "网格数": "9",
        "街镇": "1",
        "居村": "3",
        "未结案件": '<a href="/cases?whose=all">0</a>',
        "近30天上报": "2",
        "无网格长的网格": "8",
        "未归格上报": "1",
    }
    assert 'href="/areas/310112001"' in page


def test_a_made_up_layer_is_called_so_wherever_it_is_shown(client: TestClient) -> None:
    for path in ("/", f"/grids/{GRID}", "/areas/310112001001"):
        assert "合成数据" in client.get(path).text
    for path in SHEETS:
        assert "Synthetic" in client.get(path).text


def test_a_grid_tells_its_manager_without_the_name_and_staff_the_name_too(client: TestClient, session: Session) -> None:
    appointed(session)

    public = client.get(f"/grids/{GRID}").text
    sign_in(client)
    staff = client.get(f"/grids/{GRID}").text

    assert all(part in public for part in ("居委会主任", "江川分中心", 'href="tel:021-5555"'))
    assert "王芳" not in public
    assert "10000000009" not in public
    assert all(part in staff for part in ("王芳", "10000000009"))


@pytest.mark.parametrize("path", [f"/grids/{GRID}", "/areas/310112001001", f"/maps/grids/{GRID}/sheet"])
def test_the_public_never_sees_text_and_contact_of_a_report(client: TestClient, path: str) -> None:
    sent = report(lon=121.4005371, lat=31.1022173)
    id_ = send(client, sent)["id"]

    public = client.get(path).text
    sign_in(client)
    staff = client.get(path).text

    assert all(private not in public for private in (sent["text"], "李雷", "10000000001", id_, "121.400537"))
    assert sent["text"] in staff


def test_an_area_lists_its_grids_its_vacancies_and_its_newest_reports(client: TestClient, session: Session) -> None:
    appointed(session)
    send(client, report())

    page = client.get("/areas/310112001001").text

    assert [f'href="/grids/31011200100100{n}"' in page for n in (1, 2, 3)] == [True] * 3
    assert page.count("空缺") == 2
    assert "暴露垃圾" in page


def test_neighbours_are_linked(client: TestClient) -> None:
    page = client.get("/grids/310112001002002").text

    assert [page.count(f'href="/grids/{code}"') for code in squares()["grid_code"]] == [1, 1, 1, 1, 0, 1, 1, 1, 1]


def test_a_grid_without_patrol_or_manager_says_so(client: TestClient) -> None:
    page = client.get(f"/grids/{GRID}").text

    assert "没有记录" in page
    assert "此网格现无网格长" in page


def test_where_patrols_walked_is_for_the_staff_of_the_ground(client: TestClient) -> None:
    middle = squares().set_index("grid_code").geometry[GRID].centroid
    walked = {"lon": [middle.x + 1e-5 * k for k in range(6)], "lat": [middle.y] * 6, "accuracy_m": [5] * 6}
    chunk = {"track": "t", "sequence": 0, "epoch_s": [NOW.timestamp() - 60 + 10 * k for k in range(6)]} | walked
    sent = client.post("/api/v1/tracks", json={"chunks": [chunk]}, headers=bearer("admin"))
    assert sent.json()["results"][0]["status"] == 201

    of_all = client.get(f"/maps/grids/{GRID}/sheet").text
    sign_in(client)
    of_staff = client.get(f"/maps/grids/{GRID}/sheet").text

    assert ("Last patrol" in of_all, "Last patrol" in of_staff) == (False, True)


def test_a_strangers_text_is_shown_and_never_run(client: TestClient, session: Session) -> None:
    appointed(session, name=HOSTILE, post=HOSTILE)
    sent = report(text=HOSTILE, reporter={"name": HOSTILE, "phone": '"><script>'})
    send(client, sent)
    send(client, sent | {"id": None} | OUTSIDE)
    sign_in(client)

    for path in (f"/grids/{GRID}", "/areas/310112001001", "/staff/unplaced"):
        page = client.get(path).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7 * 7 }}%(x)s" in page
        assert "<script>alert" not in page
        assert '"><script>' not in page
    assert "<script>alert" not in client.get(f"/maps/grids/{GRID}/sheet").text


def test_a_page_that_is_not_there_says_so_in_both_languages(client: TestClient) -> None:
    for path in ("/nowhere", "/grids/310112999999999", "/areas/x"):
        chinese, english = (client.get(path, params={"lang": language}) for language in ("zh", "en"))
        assert (chinese.status_code, english.status_code) == (404, 404)
        assert "没有找到" in chinese.text
        assert "Not found" in english.text


@pytest.mark.parametrize(
    "path",
    [
        "/maps/heat?since=2026-03-03&until=2026-03-01",
        "/maps/heat?since=9999-12-31&until=9999-12-31",
        "/maps/heat?until=0001-01-01",
        "/maps/heat/sheet?since=tomorrow",
        "/maps/blind-spots?shift=7",
        "/maps/blind-spots/sheet?shift=",
        "/maps/district?layer=99999999999999999999",
        "/?show=everything",
        "/grids/%00",
        f"/grids/{'1' * 400}",
        "/areas/310112?level=planet",
    ],
)
def test_bad_input_is_answered_with_a_page_and_422(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 422
    assert "输入有误" in answer.text


@pytest.mark.parametrize("path", ["/?layer=77", "/maps/district/sheet?layer=77", "/maps/heat/sheet?event_type=E99"])
def test_what_does_not_exist_is_404(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_an_error_shows_a_strangers_address_harmlessly(client: TestClient) -> None:
    answer = client.get("/grids/x<script>alert(1)</script>", params={"lang": '"><script>'})

    assert "<script>alert" not in answer.text
    assert '"><script>' not in answer.text


def test_a_loaded_layer_that_waits_can_be_looked_at(client: TestClient, session: Session) -> None:
    other = load_squares(session, squares(2, 2), name="later")

    page = client.get("/", params={"layer": other.id}).text

    assert "未生效" in page
    assert "<dt>网格数</dt><dd>4</dd>" in page


def test_a_district_without_any_layer_says_what_to_do(client: TestClient, session: Session, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("update grid_layers set in_force = null"))

    for path in ("/", "/maps/district"):
        assert "gis-grid grids load FILE" in client.get(path).text
    assert client.get("/report").status_code == 200


@pytest.mark.parametrize("path", [*PAGES, "/nowhere"])
def test_pages_run_no_script_but_ours_and_stand_in_no_strangers_frame(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_a_map_may_run_what_folium_wrote_but_talk_to_nobody(client: TestClient) -> None:
    policy = client.get("/maps/district/sheet").headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "script-src 'self' 'unsafe-inline'" in policy
    assert "connect-src" not in policy


def test_a_sheet_is_drawn_anew_once_something_is_stored(client: TestClient) -> None:
    before = client.get("/maps/heat/sheet").text
    again = client.get("/maps/heat/sheet").text
    for _ in range(5):  # of fewer, the public is told nothing
        send(client, report())
    after = client.get("/maps/heat/sheet").text

    assert before == again
    assert "0 件 reports" in before
    assert "5 件 reports" in after


def test_a_page_asks_no_more_questions_when_there_are_more_reports(
    client: TestClient, session: Session, engine: sa.Engine
) -> None:
    asked: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    sign_in(client)

    def questions(path: str) -> int:
        asked.clear()
        assert client.get(path).status_code == 200
        return len(asked)

    paths = ("/", f"/grids/{GRID}", "/areas/310112001001", "/areas/310112001", "/staff/unplaced")
    send(client, report())
    send(client, report(**OUTSIDE))
    few = [questions(path) for path in paths]
    for n in range(5):
        send(client, report(text=f"{n}"))
        send(client, report(text=f"{n}", lon=121.4015, lat=31.1022))
        send(client, report(text=f"{n}", **OUTSIDE))

    assert [questions(path) for path in paths] == few


def test_what_lies_outside_is_listed_with_the_nearest_grid_and_placed_by_hand(
    client: TestClient, session: Session
) -> None:
    # 200 m east of the middle row: the nearest of the nine squares is its last one.
    id_ = send(client, report(lon=121.4053, lat=31.10135))["id"]
    sign_in(client)
    page = client.get("/staff/unplaced").text

    form = {"csrf": token_of(page), "grid_code": "310112001002 003", "reason": "电话核实"}
    answer = client.post(f"/staff/unplaced/{id_}", data=form)

    assert 'value="310112001002003"' in page
    assert "已归格" in answer.text
    assert "没有待归格的上报" in answer.text
    placed = session.scalars(sa.select(Report)).one()
    assert (placed.method, placed.placement_reason, placed.placed_by) == ("manual", "电话核实", "user:admin")
    assert session.scalars(sa.select(Change.channel).where(Change.key == id_).order_by(Change.id)).all() == [
        "api",
        "page",
    ]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"grid_code": "310112999999999"}, 422),
        ({"grid_code": ""}, 422),
        ({"reason": "  "}, 422),
        ({"reason": "x" * 1001}, 422),
        ({"reason": "\x00"}, 422),
        ({"csrf": "x"}, 403),
        ({"csrf": ""}, 403),
    ],
)
def test_a_placement_that_is_wrong_changes_nothing(
    client: TestClient, session: Session, changed: dict[str, Any], status: int
) -> None:
    id_ = send(client, report(**OUTSIDE))["id"]
    sign_in(client)
    form = {"csrf": token_of(client.get("/staff/unplaced").text), "grid_code": GRID, "reason": "核实"}

    answer = client.post(f"/staff/unplaced/{id_}", data=form | changed)

    assert answer.status_code == status
    assert session.scalars(sa.select(Report.method)).one() == "outside"


def test_staff_pages_are_never_kept_by_a_cache(client: TestClient) -> None:
    sign_in(client)

    for path in (f"/grids/{GRID}", "/staff/unplaced", f"/maps/grids/{GRID}/sheet"):
        assert client.get(path).headers["cache-control"] == "no-store"
