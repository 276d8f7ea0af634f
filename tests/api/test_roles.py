"""Every route, called by every role, in scope and out of scope; the tables here are what is meant."""

import io
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import SecretStr
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE, asked_permission
from gis_grid.cases import accept_report
from gis_grid.informants import new_key
from gis_grid.installation import Installation
from gis_grid.joint_operations import JointCase, JointOperation
from gis_grid.permissions import EVERYWHERE, Grant, Permission, Role, Scope, ScopeKind
from gis_grid.situations import SituationKind, start_situation
from gis_grid.tenures import NewTenure, appoint
from tests.api.sending import CALL, report, send
from tests.api.test_access import functions
from tests.builders import BY, NOW, STAFF, add_signed_in, bearer

GRID, COMMUNITY, TOWN = "310112001001001", "310112001001", "310112001"
HERE = [Scope(ScopeKind.AREA, code) for code in (GRID, COMMUNITY, TOWN, "310112")]
ELSEWHERE = [
    Scope(ScopeKind.AREA, "310112001002"),
    Scope(ScopeKind.AREA, "310112001001002"),
    Scope(ScopeKind.AREA, "3101120010"),
    Scope(ScopeKind.UNIT, COMMUNITY),
]
P = Permission

ROUTES: dict[tuple[str, str], Permission] = {
    ("GET", "/"): P.SEE_PUBLIC,
    ("GET", "/accountability"): P.REFER,
    ("GET", "/areas/{code}"): P.SEE_PUBLIC,
    ("GET", "/assessment"): P.SEE_ASSESSMENT,
    ("GET", "/assessment/of"): P.SEE_ASSESSMENT,
    ("GET", "/bulletin"): P.SEE_ASSESSMENT,
    ("GET", "/blind-spots"): P.SEE_PUBLIC,
    ("GET", "/blind-spots/at"): P.SEE_PUBLIC,
    ("GET", "/cases"): P.SEE_PUBLIC,
    ("GET", "/cases/waiting"): P.ACCEPT,
    ("GET", "/cases/{case}"): P.SEE_PUBLIC,
    ("GET", "/grids/{code}"): P.SEE_PUBLIC,
    ("GET", "/healthz"): P.SEE_PUBLIC,
    ("GET", "/hotline"): P.ACCEPT,
    ("GET", "/joint-operations"): P.SEE_REPORT_DETAILS,
    ("GET", "/maps/areas/{code}/sheet"): P.SEE_PUBLIC,
    ("GET", "/maps/assessment"): P.SEE_ASSESSMENT,
    ("GET", "/maps/assessment/sheet"): P.SEE_ASSESSMENT,
    ("GET", "/maps/blind-spots"): P.SEE_PUBLIC,
    ("GET", "/maps/blind-spots/sheet"): P.SEE_PUBLIC,
    ("GET", "/maps/busy-squares/sheet"): P.SEE_PUBLIC,
    ("GET", "/maps/cases/{case}/sheet"): P.SEE_PUBLIC,
    ("GET", "/maps/district"): P.SEE_PUBLIC,
    ("GET", "/maps/district/sheet"): P.SEE_PUBLIC,
    ("GET", "/maps/grids/{code}/sheet"): P.SEE_PUBLIC,
    ("GET", "/maps/heat"): P.SEE_PUBLIC,
    ("GET", "/maps/heat/sheet"): P.SEE_PUBLIC,
    ("GET", "/notices"): P.SEE_REPORT_DETAILS,
    ("GET", "/public"): P.SEE_PUBLIC,
    ("GET", "/patrol"): P.SEND_TRACK,
    ("GET", "/report"): P.SEE_PUBLIC,
    ("GET", "/rewards"): P.SETTLE_REWARD,
    ("GET", "/sign-in"): P.SEE_PUBLIC,
    ("GET", "/situations"): P.SEE_PUBLIC,
    ("GET", "/staff"): P.SEE_PUBLIC,
    ("GET", "/staff/unplaced"): P.PLACE_REPORT,
    ("GET", "/worker.js"): P.SEE_PUBLIC,
    ("GET", "/api/v1/accountability/proposals"): P.REFER,
    ("GET", "/api/v1/accountability/referrals"): P.REFER,
    ("GET", "/api/v1/areas/{code}"): P.SEE_PUBLIC,
    ("GET", "/api/v1/assessment"): P.SEE_ASSESSMENT,
    ("GET", "/api/v1/assessment/rows"): P.SEE_ASSESSMENT,
    ("GET", "/api/v1/bulletin"): P.SEE_ASSESSMENT,
    ("GET", "/api/v1/cases"): P.SEE_PUBLIC,
    ("GET", "/api/v1/cases/duplicates"): P.ACCEPT,
    ("GET", "/api/v1/cases/lights"): P.SEE_PUBLIC,
    ("GET", "/api/v1/cases/waiting"): P.ACCEPT,
    ("GET", "/api/v1/cases/{case}"): P.SEE_PUBLIC,
    ("GET", "/api/v1/cases/{case}/proposal"): P.SEE_REPORT_DETAILS,
    ("GET", "/api/v1/blind-spots"): P.SEE_PUBLIC,
    ("GET", "/api/v1/blind-spots/cases"): P.SEE_PUBLIC,
    ("GET", "/api/v1/evaluations"): P.SEE_ASSESSMENT,
    ("GET", "/api/v1/event-types"): P.SEE_PUBLIC,
    ("GET", "/api/v1/exchange/{peer}/balance"): P.ACCEPT,
    ("GET", "/api/v1/exchange/{peer}/differences"): P.ACCEPT,
    ("GET", "/api/v1/events"): P.SEE_PUBLIC,
    ("GET", "/api/v1/grids"): P.SEE_PUBLIC,
    ("GET", "/api/v1/grids/{code}"): P.SEE_PUBLIC,
    ("GET", "/api/v1/joint-operations"): P.SEE_REPORT_DETAILS,
    ("GET", "/api/v1/joint-operations/{operation_id}"): P.SEE_REPORT_DETAILS,
    ("GET", "/api/v1/locate"): P.SEE_PUBLIC,
    ("GET", "/api/v1/public/bulletin"): P.SEE_PUBLIC,
    ("GET", "/api/v1/public/busy-squares"): P.SEE_PUBLIC,
    ("GET", "/api/v1/public/counts"): P.SEE_PUBLIC,
    ("GET", "/api/v1/notices"): P.SEE_REPORT_DETAILS,
    ("GET", "/api/v1/reports"): P.SEE_PUBLIC,
    ("GET", "/api/v1/reports/counts"): P.SEE_PUBLIC,
    ("GET", "/api/v1/reports/{report_id}"): P.SEE_PUBLIC,
    ("GET", "/api/v1/reports/{report_id}/photos/{sha256}"): P.SEE_PHOTOS,
    ("GET", "/api/v1/rewards"): P.SETTLE_REWARD,
    ("GET", "/api/v1/seen-shares"): P.SEE_PUBLIC,
    ("GET", "/api/v1/situations"): P.SEE_PUBLIC,
    ("GET", "/api/v1/tracks"): P.READ_TRACKS,
    ("GET", "/api/v1/units"): P.SEE_PUBLIC,
    ("GET", "/api/v1/units/{code}"): P.SEE_PUBLIC,
    ("GET", "/api/v1/yearly-themes/{year}"): P.SEE_ASSESSMENT,
    ("GET", "/evaluations"): P.SEE_ASSESSMENT,
    ("POST", "/accountability"): P.REFER,
    ("POST", "/api/v1/accountability/referrals"): P.REFER,
    ("POST", "/evaluations"): P.EVALUATE,
    ("POST", "/api/v1/evaluations"): P.EVALUATE,
    ("POST", "/cases/waiting/{report_id}"): P.ACCEPT,
    ("POST", "/cases/{case}/pass-up"): P.TRANSFER,
    ("POST", "/cases/{case}/steps"): P.SEE_REPORT_DETAILS,
    ("POST", "/api/v1/cases"): P.ACCEPT,
    ("POST", "/api/v1/cases/{case}/pass-up"): P.TRANSFER,
    ("POST", "/api/v1/blind-spots/cases"): P.ACCEPT,
    ("POST", "/blind-spots/at"): P.ACCEPT,
    ("POST", "/api/v1/cases/{case}/steps"): P.SEE_REPORT_DETAILS,
    ("POST", "/api/v1/exchange/{peer}/messages"): P.ACCEPT,
    ("POST", "/api/v1/hotline/calls"): P.ACCEPT,
    ("POST", "/api/v1/joint-operations"): P.DISPATCH,
    ("POST", "/api/v1/joint-operations/{operation_id}/cancel"): P.DISPATCH,
    ("POST", "/api/v1/public/progress"): P.SEE_PUBLIC,
    ("POST", "/api/v1/notices/{notice_id}/read"): P.SEE_REPORT_DETAILS,
    ("POST", "/api/v1/reports"): P.SEND_REPORT,
    ("POST", "/api/v1/reports/batch"): P.SEND_REPORT,
    ("POST", "/api/v1/reports/{report_id}/photos"): P.SEE_PHOTOS,
    ("POST", "/api/v1/reports/{report_id}/placement"): P.PLACE_REPORT,
    ("POST", "/api/v1/rewards/{case}/informant"): P.READ_INFORMANT,
    ("POST", "/api/v1/rewards/{case}/steps"): P.SETTLE_REWARD,
    ("POST", "/api/v1/situations"): P.DECLARE,
    ("POST", "/api/v1/situations/{situation_id}/end"): P.DECLARE,
    ("POST", "/api/v1/sign-in"): P.SEE_PUBLIC,
    ("POST", "/api/v1/sign-out"): P.SEE_PUBLIC,
    ("POST", "/api/v1/tracks"): P.SEND_TRACK,
    ("POST", "/notices/read"): P.SEE_REPORT_DETAILS,
    ("POST", "/sign-in"): P.SEE_PUBLIC,
    ("POST", "/sign-out"): P.SEE_PUBLIC,
    ("POST", "/public"): P.SEE_PUBLIC,
    ("POST", "/staff/unplaced/{report_id}"): P.PLACE_REPORT,
}
# Who governs themselves, and who pays rewards, see what the public sees.
OUTSIDE = {Role.RESIDENT, Role.VOLUNTEER, Role.STAIRWELL_HEAD, Role.COMMITTEE, Role.REWARD_CLERK}
# Who may do what is not open to all, written out once more: a slip in the table of powers shows here.
ALLOWED: dict[Permission, set[Role]] = {
    P.SEE_REPORT_DETAILS: set(Role) - OUTSIDE,
    P.SEE_CONTACTS: set(Role) - OUTSIDE - {Role.PATROLLER, Role.PLANNER},
    P.SEE_PHOTOS: set(Role) - OUTSIDE - {Role.PLANNER},
    P.DECLARE: {Role.SUPERVISOR},
    P.SETTLE_REWARD: {Role.SUPERVISOR, Role.REWARD_CLERK},
    P.READ_INFORMANT: {Role.REWARD_CLERK},
    P.SEND_TRACK: {
        Role.VOLUNTEER,
        Role.STAIRWELL_HEAD,
        Role.COMMITTEE,
        Role.PATROLLER,
        Role.GRID_MANAGER,
        Role.ADMINISTRATOR,
    },
    P.READ_TRACKS: {Role.SUPERVISOR, Role.ADMINISTRATOR},
    P.PLACE_REPORT: {Role.OPERATOR, Role.DISPATCHER, Role.SUPERVISOR, Role.ADMINISTRATOR},
    P.SEE_ASSESSMENT: {Role.GRID_MANAGER, Role.SUPERVISOR, Role.PLANNER, Role.ADMINISTRATOR},
    P.ACCEPT: {Role.OPERATOR, Role.GRID_MANAGER},
    P.DISPATCH: {Role.DISPATCHER},
    P.TAKE: {Role.PATROLLER, Role.GRID_MANAGER, Role.HANDLER},
    P.REFER: {Role.SUPERVISOR},
    P.EVALUATE: {Role.SUPERVISOR},
    P.TRANSFER: {Role.GRID_MANAGER, Role.DISPATCHER, Role.SUPERVISOR},
}
# Open to who holds the permission anywhere; what is out of their scope is left out of the answer or shown as the public.
LISTS = {
    ("GET", "/cases/waiting"),
    ("GET", "/hotline"),
    ("GET", "/joint-operations"),
    ("GET", "/api/v1/cases/waiting"),
    ("GET", "/api/v1/cases/duplicates"),
    ("GET", "/api/v1/joint-operations"),
    ("GET", "/api/v1/joint-operations/{operation_id}"),
    ("GET", "/api/v1/notices"),
    ("POST", "/api/v1/notices/{notice_id}/read"),
    ("GET", "/api/v1/bulletin"),
    ("GET", "/api/v1/assessment"),
    ("GET", "/notices"),
    ("POST", "/notices/read"),
    ("GET", "/bulletin"),
    ("GET", "/assessment"),
    ("GET", "/maps/assessment"),
    ("GET", "/maps/assessment/sheet"),
    ("GET", "/evaluations"),
    ("POST", "/evaluations"),
    ("GET", "/api/v1/evaluations"),
    ("POST", "/api/v1/evaluations"),
    ("GET", "/api/v1/yearly-themes/{year}"),
    ("GET", "/accountability"),
    ("POST", "/accountability"),
    ("GET", "/api/v1/accountability/proposals"),
    ("GET", "/api/v1/accountability/referrals"),
    ("POST", "/api/v1/accountability/referrals"),
    ("GET", "/api/v1/rewards"),
    ("GET", "/rewards"),
}
# For those whose role counts everywhere: what lies in no grid, and what other systems send for the whole district.
WHOLE = ("/staff/unplaced", "/api/v1/exchange/")
# What the step of `call` needs; every step by every role is in tests/api/test_cases.py.
STEPS = {("POST", "/api/v1/cases/{case}/steps"): P.TAKE, ("POST", "/cases/{case}/steps"): P.TAKE}
# A stream never ends; tests/api/test_case_stream.py reads it.
NOT_WALKED = {("POST", "/api/v1/sign-out"), ("POST", "/sign-out"), ("GET", "/api/v1/events")}
SCOPED = {P.SEE_PHOTOS, P.PLACE_REPORT, P.SEE_REPORT_DETAILS, P.ACCEPT, P.DISPATCH, P.TAKE, P.TRANSFER}
SCOPED |= {
    P.SEND_TRACK,
    P.READ_TRACKS,
    P.SEE_ASSESSMENT,
    P.REFER,
    P.EVALUATE,
    P.DECLARE,
    P.SETTLE_REWARD,
    P.READ_INFORMANT,
}
POINT = {"lon": 121.4005, "lat": 31.1022}
SPAN = {"walker": "user:x", "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
SPOT = POINT | {"kind": "unseen"}
QUERIES: dict[str, dict[str, Any]] = {
    "/blind-spots/at": SPOT,
    "/api/v1/locate": POINT,
    "/api/v1/cases/duplicates": POINT | {"event_type": "E0102"},
    "/api/v1/tracks": SPAN,
    "/api/v1/assessment": {"month": "2026-03"},
    "/api/v1/assessment/rows": {"month": "2026-03", "by": "grid", "key": GRID},
    "/assessment/of": {"month": "2026-03", "by": "grid", "key": GRID},
    "/api/v1/evaluations": {"month": "2026-03", "direction": "district_to_town"},
    "/api/v1/accountability/proposals": {"since": "2026-03-01", "until": "2026-03-31"},
    "/api/v1/bulletin": {"since": "2026-03-01", "until": "2026-03-31"},
}
QUERIES |= {f"/api/v1/exchange/{{peer}}/{what}": {"day": "2026-03-02"} for what in ("balance", "differences")}
TEAMS = ["team-chengguan-310112001", "station-police-310112001"]
REFERRED = {"unit": "x", "cause": "红灯超时", "legal_duty": "x", "adverse_effect": "x"}
# In the name of no unit that there is: 404 for who may evaluate at all.
EVALUATION = {"direction": "district_to_town", "month": "2026-03", "by_unit": "x", "of_unit": "y", "criterion": "x"}
EVALUATION |= {"points": "1"}
ANYWHERE = {P.SEND_TRACK}  # wherever the role counts
CHUNK = {"track": "t", "sequence": 0, "epoch_s": [NOW.timestamp()], "lon": [121.4005], "lat": [31.1022]}


def routes(client: TestClient) -> Iterator[tuple[str, str, Any]]:
    for route in iter_route_contexts(client.app.routes):
        if getattr(route, "dependant", None) is not None:
            yield from ((method, route.path, route.dependant) for method in route.methods - {"HEAD"})


def photo() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "JPEG")
    return data.getvalue()


@pytest.fixture
def there(client: TestClient, session: Session, installation: Installation) -> dict[str, str]:
    """A report in the first square with a photo, and who answers for it."""
    installation.settings.informant_keys = (SecretStr(new_key()),)
    appoint(session, [NewTenure(GRID, "王芳", "书记", "居委会", "0-1", "10009", NOW, None)], by=BY, now=NOW)
    session.commit()
    sent = send(client, report())
    token = {"X-Upload-Token": sent["upload_token"]}
    client.post(f"/api/v1/reports/{sent['id']}/photos", files={"photo": ("p.jpg", photo())}, headers=token)
    stored = client.get(f"/api/v1/reports/{sent['id']}", headers=STAFF).json()["properties"]["photos"][0]
    case = accept_report(session, uuid.UUID(sent["id"]), by=BY, now=NOW)
    drill = start_situation(session, SituationKind.DRILL, "x", COMMUNITY, reason="x", by=BY, now=NOW)
    words = {"title": "x", "reason": "x", "planned_by": "x"}
    operation = JointOperation(**words, planned_at=NOW, starts_at=NOW + timedelta(days=1))
    operation.cases = [JointCase(case_id=case.id)]
    session.add(operation)
    session.commit()
    return {
        "report_id": sent["id"],
        "sha256": stored["sha256"],
        "code": GRID,
        "case": case.name,
        "operation_id": str(operation.id),
        "notice_id": "1",
        "peer": "110",
        "year": "2026",
        "situation_id": str(drill.id),
    }


def call(client: TestClient, method: str, path: str, there: dict[str, str], headers: dict[str, str]) -> int:
    code = COMMUNITY if "areas" in path else GRID
    address = path.format(**there | {"code": code})
    bodies: dict[str, dict[str, Any]] = {
        "/api/v1/reports": {"json": report()},
        "/api/v1/reports/batch": {"json": [report()]},
        "/api/v1/reports/{report_id}/photos": {"files": {"photo": ("p.jpg", photo())}},
        "/api/v1/reports/{report_id}/placement": {"json": {"grid_code": GRID, "reason": "x"}},
        "/api/v1/cases": {"json": {"report_id": there["report_id"]}},
        "/api/v1/blind-spots/cases": {"json": SPOT | {"event_type": "E0601"}},
        "/blind-spots/at": {"params": SPOT, "data": {"event_type": "E0601"}},
        "/api/v1/cases/{case}/steps": {"json": {"action": "take", "expected_seq": 1}},
        "/cases/{case}/steps": {"data": {"action": "take", "expected_seq": "1"}},
        "/cases/{case}/pass-up": {"data": {"reason": "x"}},
        "/api/v1/cases/{case}/pass-up": {"json": {"reason": "x"}},
        "/api/v1/exchange/{peer}/messages": {"content": b"{}"},
        "/api/v1/hotline/calls": {"json": CALL | {"is_other": True}},
        "/api/v1/joint-operations": {
            "json": {
                "title": "x",
                "reason": "x",
                "cases": [there["case"]],
                "units": TEAMS,
                "starts_at": "2026-03-03T00:00Z",
            }
        },
        "/api/v1/joint-operations/{operation_id}/cancel": {"json": {"reason": "x"}},
        "/api/v1/rewards/{case}/informant": {"json": {"reason": "x"}},
        "/api/v1/rewards/{case}/steps": {"json": {"step": "granted", "reason": "x"}},
        "/api/v1/situations": {"json": {"kind": "drill", "name": "x", "area": COMMUNITY, "reason": "x"}},
        "/api/v1/situations/{situation_id}/end": {"json": {"reason": "x"}},
        "/api/v1/sign-in": {"json": {"login": "nobody", "password": "wrong"}},
        "/api/v1/tracks": {"json": {"chunks": [CHUNK]}},
        "/evaluations": {"data": EVALUATION},
        "/api/v1/evaluations": {"json": EVALUATION},
        "/accountability": {"data": REFERRED | {"evidence": "9#1"}},
        "/api/v1/accountability/referrals": {"json": REFERRED | {"evidence": [{"case": "9", "seq": 1}]}},
        "/notices/read": {"data": {"notice": "1"}},
        "/staff/unplaced/{report_id}": {"data": {"grid_code": GRID, "reason": "x"}},
    }
    body = bodies.get(path, {}) if method == "POST" else {"params": QUERIES.get(path)}
    return client.request(method, address, headers=headers, follow_redirects=False, **body).status_code


def test_the_table_has_every_route_with_the_permission_it_asks_for(client: TestClient) -> None:
    declared = {
        (method, path): next(asked for one in functions(dependant) if (asked := asked_permission(one)))
        for method, path, dependant in routes(client)
    }

    assert declared == ROUTES


@pytest.mark.parametrize("where", ["everywhere", "here", "elsewhere"])
def test_each_role_may_call_what_the_table_says_and_nothing_else(
    client: TestClient, session: Session, there: dict[str, str], where: str
) -> None:
    scopes = {"everywhere": [EVERYWHERE], "here": HERE, "elsewhere": ELSEWHERE}[where]
    holders = [({role}, scope, f"{role}-{scope.code}") for role in Role for scope in scopes]
    # Roles add to each other: where nobody may, or everybody, it is enough to ask once with all of them.
    holders_of_all = [(set(Role), scope, f"all-{scope.code}") for scope in scopes]
    for roles, scope, login in holders + holders_of_all:
        add_signed_in(session, login, [Grant(role, scope) for role in roles])
    wrong = []
    # Route by route, those that change nothing first: what is kept of maps need not be drawn anew for each role.
    for (method, path), asked in sorted((ROUTES | STEPS).items(), key=lambda route: route[0][0]):
        if (method, path) in NOT_WALKED or path.endswith("sign-in"):
            continue
        is_everywhere_only = path.startswith(WHOLE) or asked is P.READ_TRACKS
        is_anywhere = asked in ANYWHERE or (method, path) in LISTS
        is_in_scope = where == "everywhere" or is_anywhere or (where == "here" and not is_everywhere_only)
        depends_on_role = where == "everywhere" or (asked in SCOPED and is_in_scope)
        for roles, scope, login in holders if depends_on_role else holders_of_all:
            if scope != scopes[0] and asked not in SCOPED:
                continue
            if asked is P.DECLARE and scope.code == GRID:
                continue  # nothing is declared over less than a community
            may = asked not in SCOPED or bool(is_in_scope and roles & set(ALLOWED[asked]))
            status = call(client, method, path, there, bearer(login))
            if (status not in {401, 403}) != may or status >= 500:
                wrong.append((login, method, path, status))

    assert wrong == []


def test_nobody_in_particular_may_call_what_is_open_to_all(client: TestClient, there: dict[str, str]) -> None:
    statuses = {key: call(client, *key, there, {}) for key in ROUTES if key not in NOT_WALKED}

    refused = {key for key, status in statuses.items() if status in {401, 403}}
    wrong_password, no_origin = ("POST", "/api/v1/sign-in"), ("POST", "/sign-in")
    assert refused == {key for key, asked in ROUTES.items() if asked in SCOPED} | {wrong_password, no_origin}


@pytest.mark.parametrize("role", Role)
def test_each_role_sees_of_a_report_what_it_may_in_its_scope_and_the_public_view_outside(
    client: TestClient, session: Session, there: dict[str, str], role: Role
) -> None:
    path = f"/api/v1/reports/{there['report_id']}"
    public = client.get(path).json()
    add_signed_in(session, "everywhere", [Grant(role)])
    for number, scope in enumerate(HERE):
        add_signed_in(session, f"in-{number}", [Grant(role, scope)])
    for number, scope in enumerate(ELSEWHERE):
        add_signed_in(session, f"out-{number}", [Grant(role, scope)])

    within = [
        client.get(path, headers=bearer(login)).json() for login in ("everywhere", "in-0", "in-1", "in-2", "in-3")
    ]
    outside = [client.get(path, headers=bearer(f"out-{n}")).json() for n in range(len(ELSEWHERE))]

    seen = {(key in one["properties"]) for one in within for key in ["text"]}
    assert seen == {role in ALLOWED[P.SEE_REPORT_DETAILS]}
    assert {"reporter" in one["properties"] for one in within} == {role in ALLOWED[P.SEE_CONTACTS]}
    assert {"photos" in one["properties"] for one in within} == {role in ALLOWED[P.SEE_PHOTOS]}
    assert {one["geometry"] == public["geometry"] for one in within} == {role not in ALLOWED[P.SEE_REPORT_DETAILS]}
    assert outside == [public] * len(ELSEWHERE)


@pytest.mark.parametrize("role", Role)
def test_who_answers_for_a_grid_is_named_to_who_may_see_contacts_there(
    client: TestClient, session: Session, there: dict[str, str], role: Role
) -> None:
    add_signed_in(session, "within", [Grant(role, HERE[1])])
    add_signed_in(session, "outside", [Grant(role, ELSEWHERE[0])])
    paths = (f"/api/v1/grids/{GRID}", f"/api/v1/areas/{TOWN}", "/api/v1/locate?lon=121.4005&lat=31.1022")

    named = {
        login: {"王芳" in client.get(path, headers=bearer(login)).text for path in paths}
        for login in ("within", "outside")
    }

    assert named == {"within": {role in ALLOWED[P.SEE_CONTACTS]}, "outside": {False}}


def test_a_role_that_sees_only_some_points_asks_by_box_only_where_it_does(
    client: TestClient, session: Session, there: dict[str, str]
) -> None:
    add_signed_in(session, "operator", [Grant(Role.OPERATOR, HERE[1])])
    box = {"bbox": "121.40049,31.10219,121.40051,31.10221"}

    answers = [
        client.get("/api/v1/reports", params=box | asked, headers=bearer("operator"))
        for asked in ({}, {"town": TOWN}, {"town": COMMUNITY})
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 200]
    assert [feature["id"] for feature in answers[2].json()["features"]] == [there["report_id"]]


def test_a_town_may_not_take_a_report_out_of_anothers_ground(
    client: TestClient, session: Session, there: dict[str, str]
) -> None:
    add_signed_in(session, "second-row", [Grant(Role.DISPATCHER, Scope(ScopeKind.AREA, "310112001002"))])

    statuses = [
        client.post(
            f"/api/v1/reports/{there['report_id']}/placement",
            json={"grid_code": code, "reason": "x"},
            headers=bearer("second-row"),
        ).status_code
        for code in ("310112001002001", GRID)
    ]

    assert statuses == [403, 403]


def test_a_role_counts_only_while_it_is_held(client: TestClient, installation: Installation, session: Session) -> None:
    from gis_grid.accounts import add_grant, end_grant

    account = add_signed_in(session, "checker", [])
    id_ = send(client)["id"]
    seen = []
    for change in (None, add_grant, end_grant):
        if change is not None:
            change(session, account, Grant(Role.CHECKER), by=BY, now=NOW)
            session.commit()
        seen.append("text" in client.get(f"/api/v1/reports/{id_}", headers=bearer("checker")).json()["properties"])

    assert seen == [False, True, False]


def test_a_page_shows_a_patroller_texts_and_no_contacts(
    client: TestClient, session: Session, there: dict[str, str]
) -> None:
    add_signed_in(session, "patroller", [Grant(Role.PATROLLER, HERE[2])])
    client.cookies.set(SESSION_COOKIE, "cookie-of-patroller")

    pages = [client.get(path).text for path in (f"/grids/{GRID}", f"/areas/{COMMUNITY}")]

    assert all("垃圾堆在小区门口" in page for page in pages)
    assert not any(private in page for page in pages for private in ("李雷", "王芳", "10009"))
