"""What a step on a case is decided by, found out in the database and from the photo."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from geoalchemy2.shape import to_shape
from sqlalchemy.orm import Session

from gis_grid.case_numbers import numbers_at
from gis_grid.case_rules import Addressee, CaseRules, Facts, PhotoFacts
from gis_grid.case_side_steps import HandOver, Supervise
from gis_grid.case_state import CaseLevel, CaseState, Responsibility, Stage
from gis_grid.case_steps import Dispatch, Escalate, File, Handle, Return, RuleFinally, Step, Transfer
from gis_grid.city import City
from gis_grid.database import sql
from gis_grid.errors import Conflict, NotFound
from gis_grid.geo.datum import LonLat
from gis_grid.geo.placing import metres_per_degree
from gis_grid.photo_facts import photo_facts
from gis_grid.photos import photo_path, the_photo
from gis_grid.reports import Report
from gis_grid.routing import Proposal, Urgency, fallbacks, limits_for, route
from gis_grid.routing import Step as Limited
from gis_grid.rules import calendar_at, thresholds_at
from gis_grid.situations import ROUTINE, Situation, situation_of
from gis_grid.supervision_acts import Act, Tells, acts_at
from gis_grid.tenures import manager_of
from gis_grid.territory import Grid, Level, ground_of
from gis_grid.units import UnitKind, find_units, first_responsible, the_unit

# What a case that stands in a stage waits for; that step's limit runs then. A refusal stops no clock and starts none.
WAITS_FOR = {
    Stage.FILED: Limited.DISPATCH,
    Stage.DISPATCHED: Limited.TAKE,
    Stage.TAKEN: Limited.HANDLE,
    Stage.REWORK: Limited.HANDLE,
    Stage.HANDLED: Limited.CHECK,
    Stage.CHECKED: Limited.ANSWER,
}
LAST_SERIAL = 99_999
NEIGHBOURS_WITHIN_M = 100.0


class SerialsUsedUp(Conflict):
    """A day has no more serial numbers."""


class NoLimit(NotFound):
    """The rules name no limit for the whole of such a case."""


def facts_for(
    session: Session,
    state: CaseState,
    step: Step,
    report: Report,
    grid: Grid,
    *,
    other: CaseState | None,
    city: City,
    photos: Path,
    now: datetime,
) -> Facts:
    """What the step needs to know besides the case; nothing is looked up that it does not need.

    Parameters
    ----------
    report, grid
        The first reporter's report, and the grid that the case lies in.
    other
        The case to merge into.
    photos
        Folder of the original photos.

    Raises
    ------
    NotFound
        No units, limits, office hours or thresholds in force; a unit or photo that the step names and there is not.
    """
    if isinstance(step, Dispatch | RuleFinally | Transfer) and step.unit is not None:
        the_unit(session, step.unit, at=now)
    situation = situation_of(session, ground_of(grid), drill_id=report.drill_id, at=now)
    rule_set = set_of(situation)
    found = _found_for(session, state, step, report, grid, city=city, photos=photos, rule_set=rule_set, now=now)
    rules = rules_at(session, state, step, city=city, rule_set=rule_set, now=now)
    if found.get("start_level") is CaseLevel.COMMUNITY and Stage.DISPATCHED in rules.steps:
        # In its own queue the community has as long as a unit that was sent the case: nobody dispatches it there.
        rules = replace(rules, steps={**rules.steps, Stage.FILED: rules.steps[Stage.DISPATCHED]})
    return Facts(rules=rules, other=other, situation=situation.id if situation else None, **found)


def set_of(situation: Situation | None) -> str:
    """The set of rules that holds in a situation; routine without one."""
    return (situation.rule_set if situation else None) or ROUTINE


def _found_for(
    session: Session,
    state: CaseState,
    step: Step,
    report: Report,
    grid: Grid,
    *,
    city: City,
    photos: Path,
    rule_set: str,
    now: datetime,
) -> dict[str, Any]:
    """What a kind of step needs of `Facts`, and nothing that it does not."""
    found: dict[str, Any] = {}
    match step:
        case File():
            found = _filing(session, state, step, grid, city=city, rule_set=rule_set, now=now)
        case Escalate():
            found = {"dispatch_unit": fallbacks(session, grid, at=now)[0].code}
        case Return():
            evidence = evidence_of(session, state, report, grid, rule_set=rule_set, now=now)
            found = {"dispatch_unit": fallbacks(session, grid, at=now)[0].code, "evidence": evidence}
        case Dispatch():
            found = {"proposed_unit": propose(session, state, grid, rule_set=rule_set, now=now).unit.code}
        case RuleFinally():
            found = {"town_unit": _town_unit(session, grid, now=now)}
        case Handle() if step.after_photo is not None:
            found = {"photo": _photo(session, state, step.after_photo, report, city=city, photos=photos, now=now)}
        case HandOver():
            found = {"responsible": responsible_at(session, grid, at=now)}
        case Supervise():
            told = addressees(session, step.act, [state.unit] if state.unit else [], now=now)
            found = {"told": told.get(state.unit or "", ())}
    return found


def addressees(
    session: Session, act: Act, unit_codes: Iterable[str], *, now: datetime
) -> dict[str, tuple[Addressee, ...]]:
    """Who is told of an act in a case that is with each of some units: units, and the post that answers for it."""
    tells = next((rule.tells for rule in acts_at(session, at=now) if rule.act is act), (Tells.UNIT,))
    units = find_units(session, unit_codes, at=now)
    answering = first_responsible(session, units, at=now) if Tells.FIRST_RESPONSIBLE in tells else {}
    told = {}
    for code, unit in units.items():
        found = [Addressee(code)] if Tells.UNIT in tells else []
        if Tells.PARENT in tells and unit.parent_code:
            found.append(Addressee(unit.parent_code))
        if code in answering:
            post, holder = answering[code]
            found.append(Addressee(code, post.title, holder.id if holder else None))
        told[code] = tuple(found)
    return told


def _town_unit(session: Session, grid: Grid, *, now: datetime) -> str | None:
    return next((unit.code for unit in fallbacks(session, grid, at=now) if unit.kind == UnitKind.SUB_CENTRE), None)


def rules_at(
    session: Session, state: CaseState, step: Step, *, city: City, rule_set: str = ROUTINE, now: datetime
) -> CaseRules:
    """Limits, calendar and thresholds in force now for a case; only a case that is filed, or is being, needs them."""
    urgency = step.urgency if isinstance(step, File) and step.urgency else state.urgency
    limits = limits_for(session, state.event_type, urgency=urgency, at=now, rule_set=rule_set)
    if Limited.WHOLE not in limits:
        raise NoLimit(
            f"the rules name no limit for the whole of a case of type {state.event_type}, urgency {urgency}; "
            "add a row with the step whole to limits.csv and load it with `gis-grid units load`"
        )
    numbers = numbers_at(session, at=now)
    return CaseRules(
        calendar=calendar_at(session, city.zone, at=now),
        thresholds=thresholds_at(session, at=now),
        whole=limits[Limited.WHOLE],
        steps={stage: limits[limited] for stage, limited in WAITS_FOR.items() if limited in limits},
        after_photo_m=numbers.after_photo_m,
        returns_before_ruling=numbers.returns_before_ruling,
        acts=acts_at(session, at=now),
    )


def propose(session: Session, state: CaseState, grid: Grid, *, rule_set: str = ROUTINE, now: datetime) -> Proposal:
    """The unit that the routing proposes for a case where it stands, from its own level upwards."""
    level = Level(state.level.value) if state.level else Level.COMMUNITY
    return route(session, state.event_type, grid, at=now, urgency=state.urgency, from_level=level, rule_set=rule_set)


def propose_for(session: Session, state: CaseState, report: Report, grid: Grid, *, now: datetime) -> Proposal:
    """`propose` by the rules of the emergency or drill that the case lies in now, if any."""
    situation = situation_of(session, ground_of(grid), drill_id=report.drill_id, at=now)
    return propose(session, state, grid, rule_set=set_of(situation), now=now)


def _filing(
    session: Session, state: CaseState, step: File, grid: Grid, *, city: City, rule_set: str, now: datetime
) -> dict[str, Any]:
    urgency: Urgency = step.urgency or state.urgency
    proposal = route(session, state.event_type, grid, at=now, urgency=urgency, rule_set=rule_set)
    level = CaseLevel(proposal.rule.level) if proposal.rule else CaseLevel.TOWN
    queues = fallbacks(session, grid, at=now)  # the town's sub-centre, then the district's centre
    unit = {CaseLevel.COMMUNITY: proposal.unit, CaseLevel.TOWN: queues[0]}.get(level, queues[-1])
    if unit.kind == UnitKind.CENTRE:
        level = CaseLevel.DISTRICT
    return {
        "start_unit": unit.code,
        "start_level": level,
        "responsible": responsible_at(session, grid, at=now),
        "next_serial": _serials(session, city, now=now),
    }


def _serials(session: Session, city: City, *, now: datetime) -> Callable[[], str]:
    def next_serial() -> str:
        day = f"{now.astimezone(city.zone):%Y%m%d}"
        number = session.scalar(sql("next_serial"), {"day": day})
        if number is None:
            raise SerialsUsedUp(f"the {LAST_SERIAL} serial numbers of {day} are used up")
        return f"{city.adcode}{day}{number:05d}"

    return next_serial


def responsible_at(session: Session, grid: Grid, *, at: datetime) -> Responsibility | None:
    """Who answers for a grid at a time; None when nobody does."""
    tenure = manager_of(session, grid.code, at=at)
    return None if tenure is None else Responsibility(tenure_id=tenure.id, post=tenure.post, unit=tenure.unit)


def evidence_of(
    session: Session, state: CaseState, report: Report, grid: Grid, *, rule_set: str = ROUTINE, now: datetime
) -> dict[str, Any]:
    """What the placement says about whose ground it is: how it was placed, whose grids are near, what routing says."""
    mx, my = metres_per_degree(to_shape(report.geom).y)
    near = {"layer_id": grid.layer_id, "report_id": report.id, "within_m": NEIGHBOURS_WITHIN_M}
    rows = session.execute(sql("grids_near"), near | {"mx": float(mx), "my": float(my)})
    return {
        "grid_code": grid.code,
        "community_code": state.community_code,
        "town_code": state.town_code,
        "method": report.method,
        "distance_m": report.distance_m,
        "accuracy_m": report.accuracy_m,
        "shares": report.shares,
        "placed_by": report.placed_by,
        "responsible": state.responsible.model_dump() if state.responsible else None,
        "near": [dict(row) for row in rows.mappings()],
        "routing": propose(session, state, grid, rule_set=rule_set, now=now).evidence,
    }


def _photo(
    session: Session, state: CaseState, sha256: str, report: Report, *, city: City, photos: Path, now: datetime
) -> PhotoFacts:
    photo = the_photo(session, report.id, sha256)
    try:
        data = photo_path(photos, sha256, photo.media_type).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"the file of photo {sha256} is gone") from None
    point = to_shape(report.geom)
    facts = photo_facts(data, sha256=sha256, place=LonLat(point.x, point.y), zone=city.zone, now=now)
    if state.dispatched_at is not None and photo.added_at < state.dispatched_at:
        # Whatever the camera's clock says: it was here before, so it was not taken after.
        return replace(facts, taken_at=photo.added_at)
    return facts
