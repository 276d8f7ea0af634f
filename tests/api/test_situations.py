"""Emergencies and drills over HTTP: begun by those whose role it is, told on every page, drills marked as such."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.exchange import ExchangeMessage
from gis_grid.installation import Installation
from gis_grid.reports import Report
from tests.api.sending import CALL, report
from tests.api.test_cases import Service
from tests.builders import bearer
from tests.case_builders import count

DRILL = {"kind": "drill", "name": "防汛演练", "area": "310112", "reason": "季度演练"}


@pytest.fixture
def service(installation: Installation, session: Session) -> Iterator[Service]:
    service = Service(installation, session)
    with service.client:
        yield service


def test_an_emergency_is_told_on_every_page_until_it_is_ended(service: Service) -> None:
    begun = service.post("/situations", DRILL | {"kind": "emergency", "name": "台风"}, who="supervisor")
    again = service.post("/situations", DRILL | {"kind": "emergency"}, who="supervisor")
    pages = [service.client.get(path, headers={"accept": "text/html"}).text for path in ("/", "/cases", "/public")]
    service.now += timedelta(hours=1)
    ended = service.post(f"/situations/{begun.json()['id']}/end", {"reason": "解除"}, who="supervisor")
    after = service.client.get("/public", headers={"accept": "text/html"}).text

    assert (begun.status_code, begun.json()["rule_set"], again.status_code) == (201, "emergency", 409)
    assert ["台风" in page for page in [*pages, after]] == [True, True, True, False]
    assert (ended.status_code, ended.json()["end_reason"]) == (200, "解除")
    assert service.get("/situations").json() == {"situations": []}
    assert [one["name"] for one in service.get("/situations", past="true").json()["situations"]] == ["台风"]


def test_a_drill_is_marked_wherever_it_is_seen(service: Service) -> None:
    drill = service.post("/situations", DRILL, who="supervisor").json()["id"]
    sent = service.post("/reports", report(drill=drill), who="patroller").json()
    case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()
    marks = {
        "receipt": sent["is_drill"],
        "case": case["is_drill"],
        "list": service.get("/cases").json()["cases"][0]["is_drill"],
        "report": service.get(f"/reports/{sent['id']}").json()["properties"]["is_drill"],
    }
    staff = bearer("supervisor") | {"accept": "text/html"}
    grid = "310112001001001"
    pages = {
        path: "演练" in service.client.get(path, headers=staff).text.replace("防汛演练", "").replace("演练案件不计入统计", "")
        for path in (
            "/cases?whose=all", f"/cases/{case['serial']}", f"/grids/{grid}", f"/maps/grids/{grid}/sheet",
            f"/maps/cases/{case['serial']}/sheet",
        )
    }  # fmt: skip

    assert marks == dict.fromkeys(marks, True)
    assert pages == dict.fromkeys(pages, True)
    assert "310112001001001" not in service.get("/cases/lights").text
    assert service.get("/public/counts").json()["counts"] == []


@pytest.mark.parametrize(("who", "status"), [(None, 403), ("resident", 403), ("volunteer", 201), ("patroller", 201)])
def test_who_takes_part_in_drills_may_mark_a_report(service: Service, who: str | None, status: int) -> None:
    drill = service.post("/situations", DRILL, who="supervisor").json()["id"]

    assert service.post("/reports", report(drill=drill), who=who).status_code == status


def test_a_drill_is_not_passed_up(service: Service) -> None:
    drill = service.post("/situations", DRILL, who="supervisor").json()["id"]
    sent = service.post("/reports", report(drill=drill), who="patroller").json()
    case = service.post("/cases", {"report_id": sent["id"], "file": True}, who="operator").json()

    answer = service.post(f"/cases/{case['serial']}/pass-up", {"reason": "x"}, who="dispatcher")

    assert (answer.status_code, "drill" in answer.json()["message"]) == (409, True)


def test_a_call_of_a_drill_is_marked_counted_nowhere_and_the_same_as_nothing_real(
    service: Service, session: Session
) -> None:
    real = service.post("/hotline/calls", CALL, who="operator").json()
    counts = [service.get(path).text for path in ("/public/counts", "/reports/counts", "/cases/lights")]
    drill = service.post("/situations", DRILL, who="supervisor").json()["id"]
    taken = service.post("/hotline/calls", CALL | {"drill": drill}, who="operator")
    merged = service.post("/hotline/calls", CALL | {"drill": drill, "same_as": real["case"]["serial"]}, who="operator")
    after = [service.get(path).text for path in ("/public/counts", "/reports/counts", "/cases/lights")]

    assert (real["is_drill"], taken.status_code, taken.json()["is_drill"]) == (False, 201, True)
    assert (taken.json()["case"]["is_drill"], taken.json()["case"]["stage"]) == (True, "filed")
    assert (merged.status_code, counts) == (409, after)
    assert count(session, Report) == 2


def test_a_call_of_a_drill_that_is_for_110_stays_here(service: Service, session: Session) -> None:
    drill = service.post("/situations", DRILL, who="supervisor").json()["id"]
    sent = [
        service.post("/hotline/calls", CALL | {"alarm": "security"} | part, who="operator").json()["desk"]
        for part in ({"drill": drill}, {})
    ]

    assert sent == ["110", "110"]
    told = session.scalars(sa.select(Report.drill_id).join(ExchangeMessage, ExchangeMessage.report_id == Report.id))
    assert told.all() == [None]


@pytest.mark.parametrize("drill", [99, 0, "1", True])
def test_a_call_of_no_such_drill_is_refused_and_nothing_of_it_is_stored(
    service: Service, session: Session, drill: object
) -> None:
    answer = service.post("/hotline/calls", CALL | {"drill": drill}, who="operator")

    assert (answer.status_code, "drill" in answer.json()["message"]) == (422, True)
    assert count(session, Report) == 0


def test_a_bad_drill_refuses_its_own_row_of_a_batch_and_no_other(service: Service, session: Session) -> None:
    drill = service.post("/situations", DRILL | {"area": "310112001001"}, who="supervisor").json()["id"]
    rows = [report(), report(drill=99), report(drill=drill), report(drill=drill, lat=31.1004), report(lat=31.1004)]

    results = service.post("/reports/batch", rows, who="patroller").json()["results"]
    again = service.post("/reports/batch", rows, who="patroller").json()["results"]

    assert [one["status"] for one in results] == [201, 422, 201, 422, 201]
    assert [one["status"] for one in again] == [200, 422, 200, 422, 200]
    assert [one["message"] for one in results if one["status"] == 422] == [
        "drill: no drill 99 is on", f"drill: drill {drill} is in 310112001001, the report is not",
    ]  # fmt: skip
    assert count(session, Report) == 3
