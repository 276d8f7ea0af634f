"""What pages count and list: small questions about many rows, one query each."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from fastapi import Request
from sqlalchemy.orm import Session, aliased

from api.pages.language import Language, language_of
from gis_grid.event_types import EventType
from gis_grid.photos import Photo
from gis_grid.reports import Report, Reporter, ReportFilter
from gis_grid.tenures import Tenure
from gis_grid.territory import Area, Grid, GridLayer, Level


class Place(NamedTuple):
    """A grid by its names, without its shape."""

    code: str
    community_code: str
    community: str
    town_code: str
    town: str
    area_m2: float


class Count(NamedTuple):
    """How many reports, and whether any of them is made up."""

    total: int
    has_synthetic: bool


class Near(NamedTuple):
    """A grid near a report that lies outside, for a person to choose."""

    code: str
    community: str
    distance_m: float


@dataclass
class Tally:
    """The numbers of a town or community."""

    code: str
    name: str
    grids: int = 0
    reports: int = 0
    area_m2: float = 0.0
    vacant: list[str] = field(default_factory=list)


def places(session: Session, layer: GridLayer, *, ids: sa.Select[int] | None = None) -> list[Place]:
    """The grids of a layer, or some of them, in ascending code order."""
    community, town = aliased(Area), aliased(Area)
    query = (
        sa.select(Grid.code, community.code, community.name, town.code, town.name, Grid.area_m2)
        .join(community, Grid.community_id == community.id)
        .join(town, community.parent_id == town.id)
        .where(Grid.layer_id == layer.id)
        .order_by(Grid.code)
    )
    rows = session.execute(query.where(Grid.id.in_(ids)) if ids is not None else query)
    return [Place(*row) for row in rows]


def town_names(session: Session, *, at: datetime) -> dict[str, str]:
    """The name of each town in force at a time, by its code, ascending."""
    query = (
        sa.select(Area.code, Area.name)
        .join(GridLayer, GridLayer.id == Area.layer_id)
        .where(Area.level == Level.TOWN.value, GridLayer.in_force.contains(at))
        .order_by(Area.code)
    )
    return dict(session.execute(query).all())


def tallies(
    grids: Iterable[Place], level: Level, *, reports: Mapping[str, int], held: Mapping[str, Tenure]
) -> list[Tally]:
    """Numbers of each town, or of each community, in ascending code order."""
    found: dict[str, Tally] = {}
    for grid in grids:
        is_town = level is Level.TOWN
        code, name = (grid.town_code, grid.town) if is_town else (grid.community_code, grid.community)
        tally = found.setdefault(code, Tally(code, name))
        tally.grids += 1
        tally.area_m2 += grid.area_m2
        tally.reports += reports.get(grid.code, 0)
        if grid.code not in held:
            tally.vacant.append(grid.code)
    return sorted(found.values(), key=lambda tally: tally.code)


def count_reports(session: Session, which: ReportFilter) -> Count:
    """How many reports fit."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.bool_or(Report.is_synthetic), sa.false()))
    total, has_synthetic = session.execute(query.select_from(Report).where(*which.conditions())).one()
    return Count(total, has_synthetic)


def count_by_type(session: Session, which: ReportFilter) -> list[tuple[str, int]]:
    """How many reports of each event type, the most frequent first."""
    number = sa.func.count()
    query = sa.select(Report.event_type, number).where(*which.conditions()).group_by(Report.event_type)
    return [(code, total) for code, total in session.execute(query.order_by(number.desc(), Report.event_type))]


def event_types(session: Session) -> list[EventType]:
    """All classes and types, by code."""
    return list(session.scalars(sa.select(EventType).order_by(EventType.code)))


def type_names(session: Session, request: Request) -> dict[str, str]:
    """The name of each event type in the asker's language."""
    is_chinese = language_of(request) is Language.CHINESE
    return {kind.code: kind.name if is_chinese else kind.name_en for kind in event_types(session)}


def layers(session: Session) -> list[GridLayer]:
    """All grid layers, the newest first."""
    return list(session.scalars(sa.select(GridLayer).order_by(GridLayer.effective_at.desc(), GridLayer.id.desc())))


def contacts_of(session: Session, reports: Sequence[Report]) -> dict[uuid.UUID, Reporter]:
    """Who sent each report and left a contact; for staff only."""
    query = sa.select(Reporter).where(Reporter.report_id.in_([report.id for report in reports]))
    return {contact.report_id: contact for contact in session.scalars(query)}


def photos_by_report(session: Session, reports: Sequence[Report]) -> dict[uuid.UUID, list[Photo]]:
    """The photos of each report, oldest first; for staff only."""
    query = sa.select(Photo).where(Photo.report_id.in_([report.id for report in reports]))
    found: dict[uuid.UUID, list[Photo]] = {}
    for photo in session.scalars(query.order_by(Photo.added_at, Photo.sha256)):
        found.setdefault(photo.report_id, []).append(photo)
    return found


def nearest_grids(
    session: Session, reports: Sequence[Report], layer: GridLayer, *, count: int = 3
) -> dict[uuid.UUID, list[Near]]:
    """The nearest grids of a layer to each report, nearest first, with the distance in metres."""
    community = aliased(Area)
    # The index finds by distance in degrees, near enough for suggestions to a person; a few more make up for it.
    candidates = (
        sa.select(Grid.code, Grid.geom, Grid.community_id)
        .where(Grid.layer_id == layer.id)
        .order_by(Grid.geom.op("<->")(Report.geom))
        .limit(2 * count)
        .lateral()
    )
    distance_m = sa.func.ST_DistanceSphere(candidates.c.geom, Report.geom)
    query = (
        sa.select(Report.id, candidates.c.code, community.name, distance_m)
        .select_from(Report)
        .join(candidates, sa.true())
        .join(community, community.id == candidates.c.community_id)
        .where(Report.id.in_([report.id for report in reports]))
        .order_by(Report.id, distance_m, candidates.c.code)
    )
    found: dict[uuid.UUID, list[Near]] = {}
    for report_id, *near in session.execute(query):
        found.setdefault(report_id, []).append(Near(*near))
    return {report_id: near[:count] for report_id, near in found.items()}
