"""The hotline: what the operator takes down of a call."""

import uuid
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.case_shapes import case_json
from api.deps import Code, Filled, Finite, InSession, Instant, Json, Now, Plain, TheActor, TheCity, TheInstallation
from api.routers.cases import Accepter
from api.routers.reports import DrillId, demand_drill
from api.shapes import place_names
from gis_grid.geo.datum import Datum
from gis_grid.hotline import CallRecord, source_of, take_call
from gis_grid.intake import Intake, district_bounds
from gis_grid.locating import MAX_ACCURACY_M, MIN_ACCURACY_M
from gis_grid.openness import query_codes
from gis_grid.permissions import Caller, Permission, ReporterClass, reporter_class_of
from gis_grid.reports import Kind
from gis_grid.routing import Alarm, Urgency
from gis_grid.territory import ground_of

router = APIRouter(prefix="/api/v1/hotline", tags=["hotline"])


class CallerIn(BaseModel):
    """Who called; at least one of the two."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100), Plain, Filled] | None = None
    phone: Annotated[str, Field(max_length=40), Plain, Filled] | None = None

    @model_validator(mode="after")
    def _is_somebody(self) -> "CallerIn":
        if self.name is None and self.phone is None:
            raise ValueError("name or phone of the caller is missing")
        return self


class CallIn(BaseModel):
    """A call's record; `id` is made by the sender, so that sending again is safe."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "number": "962000",
                    "lon": 121.3817,
                    "lat": 31.1128,
                    "kind": "投诉",
                    "event_type": "E0102",
                    "text": "小区门口垃圾堆了两天",
                    "caller": {"name": "李雷", "phone": "10000000001"},
                }
            ]
        },
    )

    id: uuid.UUID | None = None
    number: Annotated[str, Field(max_length=40), Plain, Filled]
    lon: Annotated[Finite, Field(strict=True)]
    lat: Annotated[Finite, Field(strict=True)]
    datum: Datum = Datum.WGS84
    accuracy_m: Annotated[Finite, Field(strict=True, ge=MIN_ACCURACY_M, le=MAX_ACCURACY_M)] | None = None
    town: Code | None = None
    kind: Kind
    event_type: Code
    text: Annotated[str, Field(max_length=4000), Plain, Filled]
    caller: CallerIn
    observed_at: Instant | None = None
    urgency: Urgency = Urgency.NORMAL
    is_police: bool = False
    alarm: Alarm = Alarm.NONE
    same_as: Annotated[str, Field(pattern=r"^[0-9]{1,19}$")] | None = None
    is_other: bool = False
    reporter_class: ReporterClass | None = None
    drill: DrillId | None = None

    def record(self, intake: Intake, caller: Caller) -> CallRecord:
        """The call, ready to be taken in."""
        demand_drill(caller, self.drill)
        report = intake.report(
            id_=self.id,
            lon=float(self.lon),
            lat=float(self.lat),
            datum=self.datum,
            accuracy_m=self.accuracy_m,
            kind=self.kind,
            event_type=self.event_type,
            text=self.text,
            observed_at=self.observed_at,
            source=source_of(self.number),
            reporter_name=self.caller.name,
            reporter_phone=self.caller.phone,
            reporter_class=reporter_class_of(caller, self.reporter_class, is_own=False),
            drill_id=self.drill,
        )
        return CallRecord(
            report=report,
            number=self.number,
            town_code=self.town,
            urgency=self.urgency,
            is_police=self.is_police,
            alarm=self.alarm,
            same_as=self.same_as,
            is_other=self.is_other,
        )


@router.post("/calls", status_code=201)
def send_call(
    sent: CallIn,
    caller: Accepter,
    session: InSession,
    city: TheCity,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Take a call down: it becomes a report and, where it is for this centre, a filed case.

    Where cases are likely the same thing, nothing is saved: 409 with `likely`. Send it again with `same_as` one of them
    or with `is_other`. A call that is for 110 by the exchange table is kept and answered with `desk` 110. One with
    `drill` is part of it: marked as such, counted nowhere, compared with no real case and never passed to 110.
    """
    intake = Intake(metric_crs=city.metric_crs, bounds=district_bounds(session, at=now))
    settings = installation.settings
    taken = take_call(
        session,
        sent.record(intake, caller),
        city=city,
        snap_m=settings.snap_m,
        photos=installation.photos,
        by=by,
        now=now,
    )
    # Where it lies is known only now; a refusal undoes all of it.
    caller.demand(Permission.ACCEPT, area=ground_of(taken.report.grid))
    return {
        "report_id": str(taken.report.id),
        **place_names(taken.report.grid),
        "town_code": taken.call.town_code,
        "number": taken.call.number,
        "unit": taken.call.unit_code,
        "source": taken.report.source,
        "desk": taken.call.desk,
        "is_new": taken.is_new,
        "is_drill": taken.report.is_drill,
        "query_code": query_codes(session, [taken.report.id])[taken.report.id],
        "case": case_json(taken.case, caller, now=now) if taken.case else None,
    }
