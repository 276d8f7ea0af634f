"""The pages of the ground: the district, an area, a grid."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.deps import Anyone, Code, InSession, Now, view_of
from api.pages import figures
from api.pages.case_rows import listed_beside
from api.pages.case_words import LIGHTS
from api.pages.drawing import has_synthetic_cases
from api.pages.rendering import page
from api.pages.words import SYNTHETIC_PARTS
from gis_grid.case_queues import CaseFilter, Lights, lights_by_grid
from gis_grid.errors import NotFound
from gis_grid.patrols import has_synthetic_tracks, last_patrol
from gis_grid.permissions import Caller, Permission
from gis_grid.reports import Report, ReportFilter, count_by_grid, find_reports
from gis_grid.tenures import manager_of, managers
from gis_grid.territory import (
    Area,
    Grid,
    GridLayer,
    Level,
    grids_below,
    ground_of,
    layer_in_force,
    neighbours,
    the_area,
    the_grid,
)

router = APIRouter()
RECENT = timedelta(days=30)
WEEK = timedelta(days=7)
LISTED = 30
LayerId = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
LEVEL_BELOW = {"district": Level.TOWN, "town": Level.COMMUNITY, "community": None}


@router.get("/", response_class=HTMLResponse)
def district(
    *,
    request: Request,
    caller: Anyone,
    session: InSession,
    now: Now,
    layer: LayerId = None,
    show: Annotated[str, Query(pattern="^(towns|reports|cases)$")] = "reports",
) -> HTMLResponse:
    """The whole district: its map, its numbers, its towns."""
    chosen = chosen_layer(session, layer, at=now)
    if chosen is None:
        return page(request, "empty.html", caller=caller)
    grids = figures.places(session, chosen)
    recent = ReportFilter(since=now - RECENT)
    held = managers(session, at=now)
    towns = figures.tallies(grids, Level.TOWN, reports=count_by_grid(session, recent), held=held)
    count = figures.count_reports(session, recent)
    by_grid = lights_by_grid(session, now=now)
    return page(
        request,
        "district.html",
        caller=caller,
        layer=chosen,
        layers=figures.layers(session),
        show=show,
        towns=towns,
        lights=reduce(Lights.plus, by_grid.values(), Lights()),
        by_town=_by_town(grids, by_grid),
        light_words=LIGHTS,
        communities=len({grid.community_code for grid in grids}),
        vacant=sum(len(town.vacant) for town in towns),
        reports=count.total,
        unplaced=figures.count_reports(session, ReportFilter(method="outside")).total,
        synthetic=_synthetic(
            layer=chosen.is_synthetic,
            managers=any(tenure.is_synthetic for tenure in held.values()),
            reports=count.has_synthetic,
            cases=bool(by_grid) and has_synthetic_cases(session),
        ),
    )


def _by_town(grids: Sequence[figures.Place], lights: Mapping[str, Lights]) -> dict[str, Lights]:
    """The lights of each town's grids."""
    found: dict[str, Lights] = {}
    for grid in grids:
        if grid.code in lights:
            found[grid.town_code] = found.get(grid.town_code, Lights()).plus(lights[grid.code])
    return found


def chosen_layer(session: Session, layer_id: int | None, *, at: datetime) -> GridLayer | None:
    """The layer that was asked for, else the one in force; None while there is none."""
    if layer_id is None:
        return layer_in_force(session, at)
    layer = session.get(GridLayer, layer_id)
    if layer is None:
        raise NotFound(f"there is no grid layer {layer_id}")
    return layer


@router.get("/areas/{code}", response_class=HTMLResponse)
def area_page(
    *,
    code: Code,
    request: Request,
    caller: Anyone,
    session: InSession,
    now: Now,
    level: Level | None = None,
    show: Annotated[str, Query(pattern="^(reports|cases)$")] = "cases",
) -> HTMLResponse:
    """A town or a community workstation: what belongs to it, who answers, what came in."""
    area = the_area(session, code, at=now, level=level)
    layer = session.get_one(GridLayer, area.layer_id)
    grids = figures.places(session, layer, ids=grids_below(area))
    held = managers(session, at=now, grid_codes=[grid.code for grid in grids])
    recent = ReportFilter(area=code, since=now - RECENT)
    counts = count_by_grid(session, recent)
    below = LEVEL_BELOW[area.level]
    reports = find_reports(session, recent, limit=LISTED)
    cases = listed_beside(session, request, caller, CaseFilter(area=code), now=now)
    return page(
        request,
        "area.html",
        caller=caller,
        view=view_of(caller, ground_of(area)),
        sees_contacts=caller.may(Permission.SEE_CONTACTS, area=ground_of(area)),
        area=area,
        show=show,
        cases=cases,
        above=_above(area),
        children=figures.tallies(grids, below, reports=counts, held=held) if below else [],
        grids=grids,
        held=held,
        counts=counts,
        vacant=[grid for grid in grids if grid.code not in held],
        total=figures.count_reports(session, recent).total,
        week=figures.count_reports(session, ReportFilter(area=code, since=now - WEEK)).total,
        **_listed(session, request, reports, caller, ground_of(area)),
        synthetic=_synthetic(
            layer=layer.is_synthetic,
            managers=any(tenure.is_synthetic for tenure in held.values()),
            reports=any(report.is_synthetic for report in reports),
            cases=any(row.case.is_synthetic for row in cases["rows"]),
        ),
    )


@router.get("/grids/{code}", response_class=HTMLResponse)
def grid_page(*, code: Code, request: Request, caller: Anyone, session: InSession, now: Now) -> HTMLResponse:
    """A manager's grid: where it is, who answers for it, what came in, who passed by."""
    grid = the_grid(session, code, at=now)
    manager = manager_of(session, code, at=now)
    around = sa.select(Grid.id).where(Grid.layer_id == grid.layer_id, Grid.code.in_(list(neighbours(session, grid))))
    recent = ReportFilter(grid=code, since=now - RECENT)
    reports = find_reports(session, recent, limit=LISTED)
    patrolled_at = last_patrol(session, grid, at=now)
    cases = listed_beside(session, request, caller, CaseFilter(grid=code), now=now)
    return page(
        request,
        "grid.html",
        caller=caller,
        view=view_of(caller, ground_of(grid)),
        sees_contacts=caller.may(Permission.SEE_CONTACTS, area=ground_of(grid)),
        grid=grid,
        cases=cases,
        above=_above(grid.community, is_included=True),
        manager=manager,
        neighbours=figures.places(session, grid.layer, ids=around),
        patrolled_at=patrolled_at,
        by_type=figures.count_by_type(session, recent),
        total=figures.count_reports(session, recent).total,
        week=figures.count_reports(session, ReportFilter(grid=code, since=now - WEEK)).total,
        **_listed(session, request, reports, caller, ground_of(grid)),
        synthetic=_synthetic(
            layer=grid.layer.is_synthetic,
            managers=manager is not None and manager.is_synthetic,
            reports=any(report.is_synthetic for report in reports),
            cases=any(row.case.is_synthetic for row in cases["rows"]),
            patrols=patrolled_at is not None and has_synthetic_tracks(session),
        ),
    )


def _above(area: Area, *, is_included: bool = False) -> list[Area]:
    """The areas that hold an area, the district first."""
    chain = [area] if is_included else []
    while area.parent is not None:
        area = area.parent
        chain.insert(0, area)
    return chain


def _listed(
    session: Session, request: Request, reports: Sequence[Report], caller: Caller, ground: tuple[str, ...]
) -> dict[str, Any]:
    """A list of one ground's reports with all that its rows tell; contacts and photos for who may see them there."""
    sees_contacts, sees_photos = (
        caller.may(permission, area=ground) for permission in (Permission.SEE_CONTACTS, Permission.SEE_PHOTOS)
    )
    return {
        "reports": reports,
        "types": figures.type_names(session, request),
        "contacts": figures.contacts_of(session, reports) if sees_contacts else {},
        "photos": figures.photos_by_report(session, reports) if sees_photos else {},
    }


def _synthetic(**parts: bool) -> list[str]:
    """What on a page is made up, by its Chinese name."""
    return [SYNTHETIC_PARTS[part] for part, is_synthetic in parts.items() if is_synthetic]
