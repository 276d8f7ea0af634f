"""Cases as JSON, in the view of whoever asks."""

from collections.abc import Sequence
from datetime import datetime

import shapely.geometry
from geoalchemy2.shape import to_shape

from api.deps import Json, view_of
from api.shapes import photo_json, place_names
from gis_grid.case_queues import Lights, light_of, next_change_of
from gis_grid.case_state import CaseClock, CaseState
from gis_grid.cases import Case, CaseLogEntry
from gis_grid.clocks import Light
from gis_grid.joint_operations import JointOperation
from gis_grid.permissions import Caller, Permission
from gis_grid.photos import Photo
from gis_grid.reports import Report
from gis_grid.spot_cases import SeenAgain, SpotCase
from gis_grid.units import Unit


def case_json(case: Case, caller: Caller, *, now: datetime) -> Json:
    """A case: where it stands and how late it is; for staff where their roles count also what it is about."""
    state = case.read_state()
    public: Json = {
        "id": case.id,
        "serial": case.serial,
        "seq": case.seq,
        "stage": case.stage,
        "level": case.level,
        "unit": case.unit,
        "event_type": case.event_type,
        "urgency": case.urgency,
        **place_names(case.grid),
        "accepted_at": _iso(case.accepted_at),
        "filed_at": _iso(case.filed_at),
        "closed_at": _iso(case.closed_at),
        **lights_json(case, now),
        "reworks": state.reworks,
        "is_suspended": state.is_suspended,
        "is_synthetic": case.is_synthetic,
        "is_drill": case.is_drill,
        "drill": case.drill_id,
    }
    if view_of(caller, case.ground).is_public:
        return public
    return public | _details(case, state, now)


def lights_json(case: Case, now: datetime) -> Json:
    """The light of a case, when it changes next, and all its changes, so that a page can go on by itself."""
    return {
        "light": _value(light_of(case, now)),
        "next_change_at": _iso(next_change_of(case, now)),
        "yellow_at": _iso(case.yellow_at),
        "orange_at": _iso(case.orange_at),
        "red_at": _iso(case.red_at),
    }


def _details(case: Case, state: CaseState, now: datetime) -> Json:
    report = case.report
    return {
        "kind": case.kind,
        "text": report.text,
        "report_id": str(case.report_id),
        "point": shapely.geometry.mapping(to_shape(report.geom)),
        "responsible": state.responsible.model_dump() if state.responsible else None,
        "step_clock": _clock_json(state.step, now, is_running=state.stage.is_open),
        "whole_clock": _clock_json(state.whole, now, is_running=state.stage.is_open),
        "attempts": state.attempts,
        "returns": state.returns,
        "is_final": state.is_final,
        "is_photo_unproved": state.is_photo_unproved,
        "request": state.request.model_dump() if state.request else None,
        "merged_into": state.merged_into,
        "satisfaction": state.satisfaction,
        "handlers": list(state.handlers),
        "checkers": list(state.checkers),
    }


def _clock_json(clock: CaseClock | None, now: datetime, *, is_running: bool) -> Json | None:
    if clock is None:
        return None
    return {
        "started_at": _iso(clock.started_at),
        "limit": clock.limit,
        "extended": list(clock.extended),
        "light": clock.light(now).value if is_running else None,
        "due_at": _iso(clock.red_at),
    }


def whole_case_json(
    case: Case, caller: Caller, *, log: Sequence[CaseLogEntry], photos: Sequence[Photo], now: datetime
) -> Json:
    """`case_json` with its log, and for staff what each step said; contacts and photos for who may see them there."""
    body = case_json(case, caller, now=now)
    is_public = view_of(caller, case.ground).is_public
    body["log"] = [step_json(entry, is_public=is_public) for entry in log]
    if caller.may(Permission.SEE_CONTACTS, area=case.ground):
        contact = case.report.reporter
        body["reporter"] = {"name": contact.name, "phone": contact.phone} if contact else None
    if caller.may(Permission.SEE_PHOTOS, area=case.ground):
        body["photos"] = [photo_json(photo) for photo in photos]
    return body


def spot_case_json(row: SpotCase, seen: SeenAgain | None) -> Json:
    """The blind spot that a case was filed for; `seen_again` is None for kinds that are not about being seen."""
    return {
        "case": row.case.name,
        "stage": row.case.stage,
        "grid_code": row.case.grid_code,
        "kind": row.kind,
        "what": row.what,
        "code": row.code,
        "place": shapely.geometry.mapping(to_shape(row.place)),
        "area_m2": round(row.area_m2, 1),
        "since": row.since.isoformat() if row.since else None,
        "found_from": row.first_day.isoformat(),
        "found_until": row.last_day.isoformat(),
        "why": row.why,
        "why_zh": row.why_zh,
        "filed_at": row.filed_at.isoformat(),
        "is_synthetic": row.case.is_synthetic,
        "seen_again": None if seen is None else {"on": seen.on.isoformat() if seen.on else None, "days": seen.days},
    }


def step_json(entry: CaseLogEntry, *, is_public: bool) -> Json:
    """One step of a log; the public sees that it was taken and when."""
    step: Json = {
        "seq": entry.seq,
        "at": _iso(entry.at),
        "action": entry.action,
        "before": entry.before,
        "after": entry.after,
        "unit": entry.unit,
    }
    return step if is_public else step | {"who": entry.who, "said": entry.said}


def unit_names(units: Sequence[Unit]) -> list[Json]:
    """Units by code and name."""
    return [{"code": unit.code, "name": unit.name, "kind": unit.kind} for unit in units]


def grid_lights_json(lights: Lights) -> Json:
    """How many open cases show each light."""
    return {**lights._asdict(), "total": lights.total, "worst": _value(lights.worst)}


def operation_json(operation: JointOperation) -> Json:
    """A joint operation: who leads, who joins, over which cases, and how long it took to begin."""
    return {
        "id": operation.id,
        "title": operation.title,
        "reason": operation.reason,
        "units": [{"code": one.unit_code, "leads_for": one.leads_for} for one in operation.units],
        "cases": [one.case.name for one in operation.cases],
        "planned_at": _iso(operation.planned_at),
        "planned_by": operation.planned_by,
        "starts_at": _iso(operation.starts_at),
        "lead_time_h": operation.lead_time.total_seconds() / 3600,
        "cancelled": None
        if (called_off := operation.cancellation) is None
        else {"at": _iso(called_off.cancelled_at), "by": called_off.cancelled_by, "reason": called_off.reason},
    }


def waiting_json(report: Report) -> Json:
    """A report that is no case yet, for who may accept it."""
    return {
        "report_id": str(report.id),
        **place_names(report.grid),
        "kind": report.kind,
        "event_type": report.event_type,
        "text": report.text,
        "source": report.source,
        "received_at": _iso(report.received_at),
        "is_synthetic": report.is_synthetic,
        "is_drill": report.is_drill,
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _value(light: Light | None) -> str | None:
    return light.value if light else None
