"""Cases: boards and queues, one case with its log, and the steps of its life."""

import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from api.case_access import demand_step
from api.case_shapes import case_json, grid_lights_json, spot_case_json, unit_names, waiting_json, whole_case_json
from api.deps import (
    Anyone,
    Code,
    Finite,
    InSession,
    Instant,
    Json,
    Now,
    TheActor,
    TheCity,
    TheInstallation,
    needs,
)
from api.paging import bad_token, next_links, page_token, read_token
from gis_grid.case_deciding import ANY_STEP, AnyStep
from gis_grid.case_facts import propose_for
from gis_grid.case_queues import CaseFilter, find_cases, in_scope, lights_by_grid, waiting_reports
from gis_grid.case_state import Stage
from gis_grid.cases import accept_report, lock_cases, log_of, needed_cases, take_step, the_case
from gis_grid.clocks import Light
from gis_grid.duplicates import likely_duplicates
from gis_grid.errors import InvalidInput
from gis_grid.event_types import the_event_type
from gis_grid.geo.datum import Datum
from gis_grid.intake import wgs84_point
from gis_grid.permissions import Caller, Permission
from gis_grid.photos import photos_of
from gis_grid.reports import the_report
from gis_grid.routing import Urgency
from gis_grid.spot_cases import seen_again, spot_of_case
from gis_grid.territory import ground_of

router = APIRouter(prefix="/api/v1/cases", tags=["cases"])
RECENT = timedelta(days=30)
CaseName = Annotated[str, Path(pattern="^[0-9]{1,19}$", description="the serial number, or the id before there is one")]
Accepter = Annotated[Caller, Depends(needs(Permission.ACCEPT))]
Staff = Annotated[Caller, Depends(needs(Permission.SEE_REPORT_DETAILS))]

EXAMPLES: dict[str, Any] = {
    "file": {"value": {"action": "file", "expected_seq": 1}},
    "attempt": {"value": {"action": "attempt", "duty": "宣传劝阻", "text": "上门劝阻,未果", "expected_seq": 2}},
    "escalate": {"value": {"action": "escalate", "duty": "及时报告", "reason": "劝阻无效", "expected_seq": 3}},
    "dispatch": {"value": {"action": "dispatch", "unit": "team-chengguan-310112101", "expected_seq": 4}},
    "take": {"value": {"action": "take", "expected_seq": 5}},
    "return": {
        "value": {"action": "return", "reason_code": "属地不符", "text": "不在本辖区", "expected_seq": 5},
    },
    "handle": {"value": {"action": "handle", "text": "清理完毕", "after_photo": "a" * 64, "expected_seq": 6}},
    "check": {"value": {"action": "check", "result": "pass", "text": "已整改", "expected_seq": 7}},
    "answer": {"value": {"action": "answer", "text": "已电话告知", "satisfaction": "满意", "expected_seq": 8}},
    "close": {"value": {"action": "close", "expected_seq": 9}},
}


class CaseIn(BaseModel):
    """A report that becomes a case; with `file` it gets its serial number at once."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"report_id": "0b9f6f5e-6f0e-4d0e-9d5e-0d9b8f3f1c11", "urgency": "normal", "file": True}]
        },
    )

    report_id: uuid.UUID
    urgency: Urgency = Urgency.NORMAL
    file: bool = False


@router.get("")
def list_cases(
    caller: Anyone,
    session: InSession,
    request: Request,
    now: Now,
    grid: Code | None = None,
    area: Annotated[Code | None, Query(description="code of a community, town or district")] = None,
    unit: Annotated[Code | None, Query(description="code of the unit in whose own queue they are")] = None,
    stage: Stage | None = None,
    light: Light | None = None,
    event_type: Annotated[Code | None, Query(description="a type, or a class with all its types")] = None,
    state: Annotated[Literal["open", "ended", "all"], Query(description="open ones come by due time")] = "open",
    scope: Annotated[Literal["all", "mine"], Query(description="mine: where the caller's roles count")] = "all",
    after: Annotated[str | None, Query(description="`next` of the page before", max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Cases, those due first before the others; with `state` ended or all, the latest accepted first."""
    if event_type is not None:
        the_event_type(session, event_type)
    which = CaseFilter(
        grid=grid,
        area=area,
        unit=unit,
        stage=stage.value if stage else None,
        light=light,
        event_type=event_type,
        is_open={"open": True, "ended": False, "all": None}[state],
    )
    mine = in_scope(caller, Permission.SEE_REPORT_DETAILS, now=now) if scope == "mine" else None
    found = find_cases(
        session, which, now=now, limit=limit + 1, scope=mine, after=_cursor(after) if after is not None else None
    )
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    at = (last.due_at if which.is_open else last.accepted_at) if last else now
    return {
        "cases": [case_json(case, caller, now=now) for case in page],
        **next_links(request, page_token(at, str(last.id)) if last else None),
    }


def _cursor(token: str) -> tuple[datetime, int]:
    at, key = read_token(token)
    if not key.isascii() or not key.isdigit() or len(key) > 18:
        raise bad_token()
    return at, int(key)


@router.post("", status_code=201)
def open_case(
    sent: CaseIn,
    caller: Accepter,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Accept a report (受理), and with `file` give it its serial number (立案), which starts both clocks."""
    ground = ground_of(the_report(session, sent.report_id).grid)
    caller.demand(Permission.ACCEPT, area=ground)
    case = accept_report(session, sent.report_id, urgency=sent.urgency, by=by, now=now)
    if sent.file:
        caller.demand(Permission.FILE, area=ground)
        step = ANY_STEP.validate_python({"action": "file"})
        cases = lock_cases(session, [case.name])
        take_step(session, cases, step, city=city, photos=installation.photos, by=by, now=now)
    return case_json(case, caller, now=now)


@router.get("/lights")
def list_lights(
    _: Anyone,
    session: InSession,
    now: Now,
    area: Annotated[Code | None, Query(description="code of a community, town or district")] = None,
) -> Json:
    """How many open cases of each grid show which light; grids without any are left out."""
    lights = lights_by_grid(session, now=now, which=CaseFilter(area=area))
    return {"at": now.isoformat(), "grids": {code: grid_lights_json(each) for code, each in lights.items()}}


@router.get("/waiting")
def list_waiting(caller: Accepter, session: InSession, now: Now) -> Json:
    """Reports of the last 30 days that are no case yet, where the caller may accept them; the newest first."""
    reports = waiting_reports(session, caller, since=now - RECENT, limit=100)
    return {"reports": [waiting_json(report) for report in reports]}


@router.get("/duplicates")
def list_duplicates(
    caller: Accepter,
    session: InSession,
    now: Now,
    lon: Finite,
    lat: Finite,
    event_type: Code,
    datum: Datum = Datum.WGS84,
    observed_at: Instant | None = None,
) -> Json:
    """Cases that are likely the same thing, the nearest first: to be looked at before anything is saved."""
    point = wgs84_point(session, lon, lat, datum, at=now)
    likely = likely_duplicates(session, point, event_type, observed_at=observed_at or now, now=now)
    return {"likely": [{"distance_m": one.distance_m, "case": case_json(one.case, caller, now=now)} for one in likely]}


@router.get("/{case}")
def get_case(case: CaseName, caller: Anyone, session: InSession, city: TheCity, now: Now) -> Json:
    """One case with its log, and the blind spot that it was filed for."""
    found = the_case(session, case)
    photos = photos_of(session, found.report_id) if caller.has(Permission.SEE_PHOTOS) else []
    spot = spot_of_case(session, found)
    told = spot_case_json(spot, seen_again(session, spot, city=city, now=now)) if spot else None
    return whole_case_json(found, caller, log=log_of(session, found), photos=photos, now=now) | {"blind_spot": told}


@router.get("/{case}/proposal")
def get_proposal(case: CaseName, caller: Staff, session: InSession, now: Now) -> Json:
    """The unit that the routing proposes for a case where it stands, whom one might name instead, and why."""
    found = the_case(session, case)
    caller.demand(Permission.SEE_REPORT_DETAILS, area=found.ground)
    proposal = propose_for(session, found.read_state(), found.report, found.grid, now=now)
    return {
        "unit": unit_names([proposal.unit])[0],
        "alternatives": unit_names(proposal.alternatives),
        "is_fallback": proposal.is_fallback,
        "evidence": proposal.evidence,
    }


@router.post("/{case}/steps", status_code=201)
def act(
    case: CaseName,
    step: Annotated[AnyStep, Body(openapi_examples=EXAMPLES)],
    caller: Staff,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Take a step on a case; `expected_seq` is the number of the last step you have seen, and it is needed.

    Of several who act on one case at once exactly one wins; the others get 409 and who was first.
    """
    require_seen(step.expected_seq)
    cases = lock_cases(session, needed_cases(case, step))
    demand_step(session, caller, cases, step, now=now)
    take_step(session, cases, step, city=city, photos=installation.photos, by=by, now=now)
    return case_json(cases[0], caller, now=now)


def require_seen(expected_seq: int | None) -> None:
    """Raise `InvalidInput` for a step that does not say what its asker has seen."""
    if expected_seq is None:
        raise InvalidInput(
            "expected_seq: the number of the last step you have seen is missing", fields=("expected_seq",)
        )
