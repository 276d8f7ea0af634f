"""The list of blind spots, one of them, and the button that makes a case of it."""

from datetime import timedelta

import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.permissions import Grant, Role, Scope, ScopeKind
from gis_grid.spot_cases import SpotCase
from tests.builders import add_signed_in
from tests.db.test_blindspots import DAY, alley, see

HERE = "310112001002"


def at_alley() -> str:
    point = alley().representative_point()
    return f"/blind-spots/at?kind=unseen&lon={point.x}&lat={point.y}&until={DAY}"


def come_in(client: TestClient, session: Session, role: Role, area: str) -> None:
    for shift in (0, 1):
        see(session, but=alley(), shift=shift)
    add_signed_in(session, "somebody", [Grant(role, Scope(ScopeKind.AREA, area))])
    client.cookies.set(SESSION_COOKIE, "cookie-of-somebody")


def post(client: TestClient, event_type: str = "E0601") -> tuple[int, str]:
    page = client.get(at_alley()).text
    token = page.split('name="csrf" content="')[1].split('"', maxsplit=1)[0]
    sent = {"csrf": token, "event_type": event_type}
    answer = client.post(at_alley(), data=sent, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", answer.text)


def test_a_grid_manager_files_a_blind_spot_by_its_button(client: TestClient, session: Session) -> None:
    come_in(client, session, Role.GRID_MANAGER, HERE)

    before = client.get(at_alley()).text
    status, case = post(client)
    case_page, after, listed = (client.get(path).text for path in (case, at_alley(), f"/blind-spots?until={DAY}"))
    see(session, day=DAY + timedelta(days=1))
    session.commit()
    seen = client.get(case).text

    assert ">立案<" in before
    assert (status, case.startswith("/cases/31011220260302")) == (303, True)
    assert "还没有再次看到" in case_page
    assert "盲区发现" in case_page
    assert "同一盲区已有未结案件" in after
    assert case.removeprefix("/cases/").removesuffix("?done=file") in listed
    assert "1 天后再次看到（2026-03-02）" in seen


def test_what_is_wrong_is_said_and_nothing_is_filed(client: TestClient, session: Session) -> None:
    come_in(client, session, Role.OPERATOR, "310112")

    status, page = post(client, event_type="X9")

    assert (status, "没有立案" in page) == (422, True)
    assert session.scalar(sa.select(sa.func.count()).select_from(SpotCase)) == 0


def test_who_counts_elsewhere_may_not_file(client: TestClient, session: Session) -> None:
    come_in(client, session, Role.OPERATOR, "310112001001")

    assert post(client)[0] == 403


def test_who_may_not_file_sees_the_spot_without_a_button(client: TestClient, session: Session) -> None:
    come_in(client, session, Role.PLANNER, "310112")

    page = client.get(at_alley()).text

    assert "夜间" not in page
    assert "2026-02-23 至 2026-03-01 有" in page
    assert ">立案<" not in page


def test_a_list_without_unseen_ground_says_so(client: TestClient, session: Session) -> None:
    for shift in (0, 1):
        see(session, shift=shift)
    session.commit()

    page = client.get(f"/blind-spots?until={DAY}&lang=en").text

    # The nine squares have no manager, and are not all of the district.
    assert page.count("None of this kind now.") == 2
    assert client.get(f"{at_alley()}&lang=en").status_code == 404
