"""The page of emergencies and drills: what is on, what it switches, what was; begun and ended by whose role it is."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session, defer, joinedload

from api.deps import Anyone, InSession, Now
from api.pages.case_words import LIMIT_UNITS, VALUES
from api.pages.figures import type_names
from api.pages.rendering import page, say
from api.pages.words import message
from gis_grid.permissions import Caller, Permission
from gis_grid.routing import ANY, OR, PLACES, RoutingRule, StepLimit, rule_sets, rules_of_set
from gis_grid.situations import ROUTINE, Situation, SituationKind, situations
from gis_grid.territory import Area, Level, ground_of, layer_in_force
from gis_grid.unit_files import fill_in
from gis_grid.units import find_units

router = APIRouter()
LISTED = 30
KINDS = {SituationKind.EMERGENCY: message("应急"), SituationKind.DRILL: message("演练")}
LEVELS = {"community": message("居村"), "town": message("街镇"), "district": message("全区")}
STEPS = {
    "accept": message("受理"),
    "file": message("立案"),
    "dispatch": message("派遣"),
    "take": message("接单"),
    "handle": message("处置"),
    "check": message("核查"),
    "answer": message("答复"),
    "whole": VALUES["whole"],
}


class Rules(NamedTuple):
    """What a set of rules puts before the routine ones."""

    routing: list[RoutingRule]
    limits: list[StepLimit]


@router.get("/situations", response_class=HTMLResponse)
def situations_page(*, request: Request, caller: Anyone, session: InSession, now: Now) -> HTMLResponse:
    """What is on, with the rules it switches to, and what is over; for staff also who began and ended it."""
    found = situations(session)
    on, over = [one for one in found if one.is_on(now)], [one for one in found if not one.is_on(now)][:LISTED]
    areas = _areas(session, now)
    sets = {one.rule_set for one in on if one.rule_set}
    rules = {name: Rules(*rules_of_set(session, name, at=now)) for name in sets}
    is_declarer = caller.has(Permission.DECLARE) and not caller.is_key
    return page(
        request,
        "situations.html",
        caller=caller,
        on=on,
        over=over,
        names={area.code: area.name for area in areas},
        rules=rules,
        called={
            one.id: _unit_names(request, session, rules[one.rule_set].routing, areas, one.area_code, now=now)
            for one in on
            if one.rule_set
        },
        routine=[limit for limit in rules_of_set(session, ROUTINE, at=now)[1] if limit.event_type == ANY],
        is_staff=caller.has(Permission.SEE_REPORT_DETAILS),
        endable={one.id for one in on if is_declarer and _may(caller, areas, one)},
        choices=_choices(caller, areas) if is_declarer else [],
        sets=rule_sets(session, at=now) if is_declarer else [],
        kinds=KINDS,
        levels=LEVELS,
        steps=STEPS,
        units=LIMIT_UNITS,
        urgencies={ANY: message("不论缓急"), **{name: VALUES[name] for name in ("normal", "urgent")}},
        types={ANY: message("全部类型"), **type_names(session, request)},
    )


def _unit_names(
    request: Request, session: Session, rules: list[RoutingRule], areas: list[Area], within: str, *, now: datetime
) -> dict[str, str]:
    """What units the rules name, in words; one that stands for those of all places of a level is told by an example."""
    grounds = (ground_of(area) for area in areas if area.level == Level.COMMUNITY)
    first = next((ground for ground in grounds if within in ground), None)
    if first is None:
        return {}
    place, below = dict(zip(PLACES, first, strict=True)), PLACES[: first.index(within)]
    codes = {rule.unit: [fill_in(part, place) for part in rule.unit.split(OR)] for rule in rules}
    units = find_units(session, {code for each in codes.values() for code in each}, at=now)
    told = {}
    for unit, each in codes.items():
        names = " / ".join(units[code].name for code in each if code in units)
        level = next((level for level in below if f"{{{level}}}" in unit), None)
        told[unit] = names
        if level is not None:
            told[unit] = say(request, "各%(level)s的，例如%(names)s", level=say(request, LEVELS[level]), names=names)
    return told


def _areas(session: Session, now: datetime) -> list[Area]:
    """The areas of the layer in force, without their outlines, by code."""
    layer = layer_in_force(session, now)
    if layer is None:
        return []
    above = joinedload(Area.parent).options(defer(Area.geom), joinedload(Area.parent).defer(Area.geom))
    query = sa.select(Area).where(Area.layer_id == layer.id).options(defer(Area.geom), above)
    return list(session.scalars(query.order_by(Area.code)))


def _may(caller: Caller, areas: Iterable[Area], one: Situation) -> bool:
    return any(area.code == one.area_code and caller.may(Permission.DECLARE, area=ground_of(area)) for area in areas)


def _choices(caller: Caller, areas: list[Area]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Where a caller may declare something, to choose from: the district, the towns, each town's communities."""
    theirs = [area for area in areas if caller.may(Permission.DECLARE, area=ground_of(area))]
    named: dict[str, list[tuple[str, str]]] = {message("全区"): [], message("街镇"): []}
    for area in theirs:
        level = Level(area.level)
        if level is Level.COMMUNITY and area.parent is not None:
            named.setdefault(area.parent.name, []).append((area.code, area.name))
        else:
            named["全区" if level is Level.DISTRICT else "街镇"].append((area.code, area.name))
    return [(title, members) for title, members in named.items() if members]
