"""Tip-offs over HTTP: sealed or not stored at all, read by the reward clerk alone, never told with an account's name."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.orm import Session

from gis_grid.database import Change
from gis_grid.informants import InformantReading, new_key
from gis_grid.installation import Installation
from gis_grid.reports import Report
from tests.api.sending import report
from tests.api.test_cases import Service
from tests.builders import bearer
from tests.case_builders import count

TIP = {"event_type": "E0507", "reporter": None, "informant": {"name": "赵敏", "phone": "10000000009"}}


@pytest.fixture
def service(installation: Installation, session: Session) -> Iterator[Service]:
    service = Service(installation, session)
    with service.client:
        yield service


def test_without_a_key_a_tip_off_is_refused_and_nothing_of_it_is_stored(service: Service, session: Session) -> None:
    answer = service.post("/reports", report(**TIP))

    assert answer.status_code == 503
    assert "GIS_GRID_INFORMANT_KEYS" in answer.json()["message"]
    assert count(session, Report) == 0


def test_a_tip_off_is_sealed_and_read_by_the_clerk_alone_with_a_reason(
    service: Service, session: Session, installation: Installation
) -> None:
    installation.settings.informant_keys = (SecretStr(new_key()),)
    sent = report(**TIP)
    answers = [service.post("/reports", sent, who="resident") for _ in range(2)]
    case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
    path = f"/rewards/{case['serial']}/informant"
    refused = [service.post(path, {"reason": "x"}, who=who).status_code for who in ("supervisor", "administrator")]
    unsaid = service.post(path, {"reason": " "}, who="reward_clerk").status_code
    read = service.post(path, {"reason": "发奖"}, who="reward_clerk")

    assert [answer.status_code for answer in answers] == [201, 200]
    assert (refused, unsaid) == ([403, 403], 422)
    assert (read.json()["name"], read.json()["phone"]) == ("赵敏", "10000000009")
    assert read.headers["cache-control"] == "no-store"
    assert [one.who for one in session.scalars(sa.select(InformantReading))] == ["user:reward_clerk"]
    by = session.scalars(sa.select(Change.who).where(Change.thing == "report")).all()
    assert (by, session.scalars(sa.select(Report.placed_by)).one()) == (["informant"], "informant")
    seen = service.get(f"/cases/{case['serial']}", who="operator").text + service.get("/rewards", who="supervisor").text
    assert not any(private in seen for private in ("赵敏", "10000000009", "user:resident"))


def test_a_tip_off_is_sent_by_itself_and_names_one(service: Service, installation: Installation) -> None:
    installation.settings.informant_keys = (SecretStr(new_key()),)
    batch = service.post("/reports/batch", [report(**TIP)]).json()["results"][0]
    both = service.post("/reports", report(**TIP | {"reporter": {"name": "李雷"}}))
    nobody = service.post("/reports", report(**TIP | {"informant": {}}))

    assert [batch["status"], both.status_code, nobody.status_code] == [422] * 3


def test_a_reward_that_does_not_follow_is_a_conflict_that_says_why(service: Service) -> None:
    case = service.case()

    answer = service.post(f"/rewards/{case['serial']}/steps", {"step": "granted", "reason": "x"}, who="supervisor")

    assert (answer.status_code, "closed" in answer.json()["message"]) == (409, True)
    assert service.get("/rewards", who="reward_clerk").json() == {
        "candidates": [], "unpaid": [], "entries": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("who", "named", "expected"),
    [
        (None, None, "resident"),
        (None, "resident", "resident"),
        (None, "volunteer", 403),
        (None, "staff", 403),
        ("volunteer", None, "volunteer"),
        ("stairwell_head", None, "stairwell_head"),
        ("committee", "committee", "committee"),
        ("committee", "staff", 403),
        ("patroller", None, "staff"),
        ("patroller", "committee", 403),
        ("operator", "committee", "committee"),
    ],
)
def test_a_reporters_class_is_their_accounts_or_what_intake_staff_name(
    service: Service, who: str | None, named: str | None, expected: str | int
) -> None:
    sent = report() | ({"reporter_class": named} if named else {})

    answer = service.client.post("/api/v1/reports", json=sent, headers=bearer(who) if who else {})

    if isinstance(expected, int):
        assert answer.status_code == expected
        return
    stored = service.get(f"/reports/{answer.json()['id']}").json()["properties"]["reporter_class"]
    assert stored == expected
    assert service.get("/reports/counts").json()["counts"] == [
        {"source": "resident", "reporter_class": expected, "reports": 1}
    ]
