"""Sending reports, finding them, placing by hand what lies outside."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from api.deps import (
    Address,
    Anyone,
    Code,
    Filled,
    Finite,
    InSession,
    Instant,
    Json,
    Now,
    Placer,
    Plain,
    Sender,
    TheActor,
    TheCity,
    TheInstallation,
    view_of,
)
from api.errors import refusal_of
from api.paging import bad_token, next_links, page_token, read_token
from api.shapes import manager_json, place_names, report_feature
from gis_grid.errors import Forbidden, GridError, InvalidInput
from gis_grid.event_types import the_event_type
from gis_grid.geo.datum import Datum
from gis_grid.informants import Identity, Sealed, Sealer
from gis_grid.installation import Installation
from gis_grid.intake import Intake, district_bounds
from gis_grid.locating import MAX_ACCURACY_M, MIN_ACCURACY_M
from gis_grid.openness import query_codes
from gis_grid.permissions import Caller, Permission, ReporterClass, reporter_class_of
from gis_grid.photos import photos_of
from gis_grid.rate_limits import RateLimit, spend
from gis_grid.reports import (
    Filed,
    Kind,
    NewReport,
    Report,
    ReportFilter,
    Source,
    count_by_sender,
    file_reports,
    find_reports,
    place_by_hand,
    the_report,
)
from gis_grid.tenures import managers_at
from gis_grid.territory import ground_of, the_grid

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])
MAX_BATCH = 1000
# Whoever sends these has found it; the others are taken down from somebody.
FOUND_ONESELF = {Source.PATROL, Source.RESIDENT}


DrillId = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1, description="a drill that is on there")]


class ReporterIn(BaseModel):
    """How to reach who reports."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100), Plain] | None = None
    phone: Annotated[str, Field(max_length=40), Plain] | None = None


class ReportIn(BaseModel):
    """A report as it is sent; `id` is made by the sender, so that sending again is safe."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "lon": 121.3817,
                    "lat": 31.1128,
                    "accuracy_m": 12,
                    "kind": "投诉",
                    "event_type": "E0102",
                    "text": "垃圾堆在小区门口 / rubbish at the gate",
                    "source": "resident",
                }
            ]
        },
    )

    id: uuid.UUID | None = None
    lon: Annotated[Finite, Field(strict=True)]
    lat: Annotated[Finite, Field(strict=True)]
    datum: Datum = Datum.WGS84
    accuracy_m: Annotated[Finite, Field(strict=True, ge=MIN_ACCURACY_M, le=MAX_ACCURACY_M)] | None = None
    kind: Kind
    event_type: Code
    text: Annotated[str, Field(max_length=4000), Plain, Filled]
    observed_at: Instant | None = None
    source: Source = Source.RESIDENT
    reporter: ReporterIn | None = None
    reporter_class: ReporterClass | None = None
    informant: Annotated[
        ReporterIn | None,
        Field(description="in place of `reporter`: whoever tips off about a hazard; sealed"),
    ] = None
    drill: DrillId | None = None

    def taken_in(self, intake: Intake, caller: Caller, *, sealer: Callable[[], Sealer] | None) -> NewReport:
        """The report, ready to be filed; whom it comes from is what the sender may say.

        Without a `sealer`, no informant is taken in.
        """
        demand_drill(caller, self.drill)
        reporter = self.reporter or ReporterIn()
        return intake.report(
            id_=self.id,
            lon=float(self.lon),
            lat=float(self.lat),
            datum=self.datum,
            accuracy_m=self.accuracy_m,
            kind=self.kind,
            event_type=self.event_type,
            text=self.text,
            observed_at=self.observed_at,
            source=self.source,
            reporter_name=reporter.name,
            reporter_phone=reporter.phone,
            drill_id=self.drill,
            informant=self._sealed(sealer),
            reporter_class=reporter_class_of(caller, self.reporter_class, is_own=self.source in FOUND_ONESELF),
        )

    def _sealed(self, sealer: Callable[[], Sealer] | None) -> Sealed | None:
        if self.informant is None:
            return None
        if self.reporter is not None:
            raise InvalidInput("informant: a report names its reporter or an informant", fields=("informant",))
        if sealer is None:
            raise InvalidInput("informant: such a report is sent by itself", fields=("informant",))
        return sealer().seal(Identity(self.informant.name, self.informant.phone))


def demand_drill(caller: Caller, drill: int | None) -> None:
    """Raise unless a caller may make a report part of a drill, and so take it out of the counts."""
    if drill is not None and not caller.has(Permission.JOIN_DRILL):
        raise Forbidden(f"drill: {caller.who} has no role that takes part in drills")


class PlacementIn(BaseModel):
    """A placement by hand."""

    model_config = ConfigDict(extra="forbid")

    grid_code: Code
    reason: Annotated[str, Field(max_length=1000), Plain, Filled]


@router.post("", status_code=201, responses={200: {"description": "the same report was sent before"}})
def send_report(
    sent: ReportIn,
    caller: Sender,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
    address: Address,
    response: Response,
) -> Json:
    """Place and store a report; sent again with the same id and content it answers 200 with the stored one."""
    _count(caller, installation, address, now, times=1)
    intake = Intake(metric_crs=city.metric_crs, bounds=district_bounds(session, at=now))
    new = sent.taken_in(intake, caller, sealer=lambda: Sealer.of(installation.settings.informant_keys))
    if new.informant is not None:
        by = replace(by, who="informant")  # an account's name would tell what is sealed
    (filed,) = file_reports(session, [new], snap_m=installation.settings.snap_m, by=by, now=now)
    if isinstance(filed, GridError):
        raise filed
    response.status_code = 201 if filed.is_new else 200
    return _receipts([filed.report], caller, session, installation)[0]


@router.post("/batch")
def send_batch(
    items: Annotated[list[Any], Field(min_length=1, max_length=MAX_BATCH)],
    caller: Sender,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
    address: Address,
) -> Json:
    """Up to 1000 reports, each answered for itself, in order: 201, 200 (sent before), 409 or 422."""
    _count(caller, installation, address, now, times=len(items))
    intake = Intake(metric_crs=city.metric_crs, bounds=district_bounds(session, at=now))
    read = [_read(item, intake, caller) for item in items]
    good = [item for item in read if isinstance(item, NewReport)]
    filed = file_reports(session, good, snap_m=installation.settings.snap_m, by=by, now=now)
    stored = [answer for answer in filed if isinstance(answer, Filed)]
    receipts = iter(_receipts([answer.report for answer in stored], caller, session, installation))
    answers = iter(filed)
    results = []
    for item in read:
        answer = next(answers) if isinstance(item, NewReport) else item
        if isinstance(answer, Filed):
            results.append({"status": 201 if answer.is_new else 200, "report": next(receipts)})
        else:
            results.append(refusal_of(answer))
    return {"results": results}


def _count(caller: Caller, installation: Installation, address: str, now: datetime, *, times: int) -> None:
    """Count reports of somebody who has not signed in, or raise `TooMany`."""
    if not caller.is_anonymous:
        return
    per_hour = installation.settings.anonymous_reports_per_hour
    limit = RateLimit("anonymous reports", per_hour, timedelta(hours=1))
    # A session of its own, before the request's has asked anything: the count stays, whatever comes of the report.
    with installation.sessions.begin() as session:
        refusal = spend(session, limit, address, now=now, times=times)
    if refusal is not None:
        raise refusal


def _read(item: Any, intake: Intake, caller: Caller) -> NewReport | GridError | ValidationError:
    try:
        return ReportIn.model_validate(item).taken_in(intake, caller, sealer=None)
    except (GridError, ValidationError) as error:
        return error


def _receipts(reports: list[Report], caller: Caller, session: Session, installation: Installation) -> list[Json]:
    """What the sender is told: whose grid it is, the token for adding photos, the code for asking after it."""
    placed = [report for report in reports if report.grid]
    asked = [(report.grid.code, report.observed_at or report.received_at) for report in placed if report.grid]
    manager = dict(zip((report.id for report in placed), managers_at(session, asked), strict=True))
    codes = query_codes(session, [report.id for report in reports])
    return [
        {
            "id": str(report.id),
            **place_names(report.grid),
            "method": report.method,
            "is_uncertain": report.is_uncertain,
            "distance_m": report.distance_m,
            "manager": manager_json(manager.get(report.id), caller, ground_of(report.grid)),
            "received_at": report.received_at.isoformat(),
            "is_drill": report.is_drill,
            "upload_token": installation.upload_token(report.id),
            "query_code": codes[report.id],
        }
        for report in reports
    ]


@router.get("")
def list_reports(
    caller: Anyone,
    session: InSession,
    request: Request,
    grid: Code | None = None,
    town: Annotated[Code | None, Query(description="code of a town, community or the district")] = None,
    event_type: Annotated[Code | None, Query(description="a type, or a class with all its types")] = None,
    method: Annotated[str | None, Query(pattern="^(inside|edge|snapped|outside|manual)$")] = None,
    since: Instant | None = None,
    until: Instant | None = None,
    bbox: Annotated[
        str | None, Query(description="west,south,east,north; where your role sees exact points", max_length=200)
    ] = None,
    after: Annotated[str | None, Query(description="`next` of the page before", max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Reports as GeoJSON, newest first, a page at a time; order and pages hold still while reports come in."""
    if event_type is not None:
        the_event_type(session, event_type)
    # A box tells where what is in it lies: it is for who may see the point of everything that is asked for.
    if bbox and view_of(caller, [code for code in (grid, town) if code]).is_public:
        raise Forbidden("bbox: only where your role sees exact points: ask with the grid or town that it counts in")
    which = ReportFilter(
        grid=grid,
        area=town,
        event_type=event_type,
        method=method,
        since=since,
        until=until,
        bbox=_bbox(bbox) if bbox else None,
    )
    found = find_reports(session, which, limit=limit + 1, after=_cursor(after) if after else None)
    page = found[:limit]
    token = page_token(page[-1].received_at, page[-1].id.hex) if len(found) > limit else None
    return {
        "type": "FeatureCollection",
        "features": [report_feature(report, caller) for report in page],
        **next_links(request, token),
    }


def _bbox(text: str) -> tuple[float, float, float, float]:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"bbox: {text!r} is not west,south,east,north in degrees", fields=("bbox",)) from None
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise InvalidInput(
            f"bbox: {text!r} is not west,south,east,north in degrees, west <= east and south <= north", fields=("bbox",)
        )
    return west, south, east, north


def _cursor(token: str) -> tuple[datetime, uuid.UUID]:
    at, key = read_token(token)
    try:
        return at, uuid.UUID(hex=key)
    except ValueError:
        raise bad_token() from None


@router.get("/counts")
def get_counts(
    _: Anyone,
    session: InSession,
    town: Annotated[Code | None, Query(description="code of a town, community or the district")] = None,
    since: Instant | None = None,
    until: Instant | None = None,
) -> Json:
    """How many reports came by which source from which class of reporters; drills are not counted."""
    which = ReportFilter(area=town, since=since, until=until)
    return {"counts": [one._asdict() for one in count_by_sender(session, which)]}


@router.get("/{report_id}")
def get_report(report_id: uuid.UUID, caller: Anyone, session: InSession) -> Json:
    """One report as a GeoJSON feature."""
    report = the_report(session, report_id)
    photos = photos_of(session, report_id) if caller.has(Permission.SEE_PHOTOS) else None
    return report_feature(report, caller, photos=photos)


@router.post("/{report_id}/placement")
def place_report(
    report_id: uuid.UUID, sent: PlacementIn, caller: Placer, session: InSession, now: Now, by: TheActor
) -> Json:
    """Put a report into a grid by hand; the placement it had stays in the history."""
    demand_placing(session, caller, report_id, sent.grid_code)
    report = place_by_hand(session, report_id, sent.grid_code, reason=sent.reason, by=by, now=now)
    return report_feature(report, caller)


def demand_placing(session: Session, caller: Caller, report_id: uuid.UUID, grid_code: str) -> None:
    """Raise unless a caller may place both where the report lies now and where it is to go."""
    report = the_report(session, report_id, for_update=True)
    target = the_grid(session, grid_code, at=report.observed_at or report.received_at)
    for grid in (report.grid, target):
        caller.demand(Permission.PLACE_REPORT, area=ground_of(grid))
