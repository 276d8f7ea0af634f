"""Whose figures somebody may see: those of their ground and their units; ranks stay those among all."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from gis_grid.assessment import Assessment
from gis_grid.counted_steps import AND_POST, LOOK_BACK, By, LogRow
from gis_grid.database import By as Actor
from gis_grid.indicators import Measure
from gis_grid.patrols import note_reading
from gis_grid.periods import Period
from gis_grid.permissions import EVERYWHERE, POWERS, Caller, OutOfScope, Permission, ScopeKind
from gis_grid.tenures import Tenure
from gis_grid.territory import Area, Grid, GridLayer
from gis_grid.units import Unit, codes_below

# What is of the whole city: its sums are for all who see the assessment, the rows behind them for those of everywhere.
OF_ALL = frozenset({By.CITY, By.FAMILY, By.SOURCE})
OF_PERSONS = frozenset({By.PERSON, By.PATROLLER})


def in_scope(session: Session, caller: Caller, assessment: Assessment, *, now: datetime) -> Assessment:
    """The rows of an assessment that a caller may see; raises `OutOfScope` for persons, seen by roles of everywhere."""
    if assessment.by in OF_ALL:
        return assessment
    keys = _keys_in_scope(session, caller, assessment.by, at=now)
    if keys is None:
        return assessment
    return replace(assessment, rows=tuple(row for row in assessment.rows if row.key in keys))


def demand_rows(
    session: Session, caller: Caller, by: By, key: str, *, measure: Measure | None = None, now: datetime
) -> None:
    """Raise `OutOfScope` unless a caller may see the log rows behind one row of an assessment.

    Those that tell where a patroller passed are for who may read their outings.
    """
    demand_figures(session, caller, by, key, now=now)
    if by is By.PATROLLER and measure in {None, Measure.MISS}:
        caller.demand(Permission.READ_TRACKS)


def demand_figures(session: Session, caller: Caller, by: By, key: str, *, now: datetime) -> None:
    """Raise `OutOfScope` unless a caller may see one row of an assessment."""
    if by in OF_ALL:
        caller.demand(Permission.SEE_ASSESSMENT)
        return
    keys = _keys_in_scope(session, caller, by, at=now)
    if keys is not None and key not in keys:
        raise OutOfScope(f"{caller.who} may not see the assessment of {key[:60]}: it is out of their scope")


def note_passes(
    session: Session, who: str, period: Period, rows: Iterable[LogRow], *, by: Actor, now: datetime
) -> None:
    """Write down, as any reading of a patroller's outings, that somebody was told what they had passed."""
    passes = sum(row.measure is Measure.MISS and row.is_done for row in rows)
    if passes:
        since = period.since - LOOK_BACK
        note_reading(session, who, since=since, until=period.until, chunks=passes, by=by, now=now)


def demand_kind(caller: Caller, by: By) -> None:
    """Raise `OutOfScope` where a kind of figures is not for a caller at all: persons are for roles of everywhere."""
    if by in OF_PERSONS:
        caller.demand(Permission.SEE_ASSESSMENT)


def _keys_in_scope(session: Session, caller: Caller, by: By, *, at: datetime) -> frozenset[str] | None:
    """Keys that a caller's roles count for; None for all."""
    demand_kind(caller, by)
    scopes = [grant.scope for grant in caller.grants if Permission.SEE_ASSESSMENT in POWERS[grant.role]]
    if EVERYWHERE in scopes:
        return None
    codes = [scope.code for scope in scopes if scope.kind is ScopeKind.AREA]
    towns, communities, grids = _ground(session, codes, at=at)
    match by:
        case By.TOWN:
            return towns
        case By.COMMUNITY:
            return communities
        case By.GRID:
            return grids
        case By.POST:
            posts = sa.select(Tenure.unit, Tenure.post).where(Tenure.code.in_(grids)).distinct()
            return frozenset(AND_POST.join(names) for names in session.execute(posts))
        case _:
            units = sa.select(Unit.code).where(Unit.valid.contains(at), Unit.area_code.in_(towns | communities))
            below = [codes_below(scope.code, at=at) for scope in scopes if scope.kind is ScopeKind.UNIT]
            return frozenset(code for query in (units, *below) for code in session.scalars(query))


def _ground(
    session: Session, codes: list[str], *, at: datetime
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Codes of the towns, communities and grids that lie in some areas, in the layer in force at a time."""
    community, town, district = aliased(Area), aliased(Area), aliased(Area)
    query = (
        sa.select(
            sa.func.bool_or(sa.or_(*(area.code.in_(codes) for area in (town, district)))),
            town.code,
            sa.func.bool_or(sa.or_(*(area.code.in_(codes) for area in (community, town, district)))),
            community.code,
            sa.func.array_agg(Grid.code),
        )
        .join(community, community.id == Grid.community_id)
        .join(town, town.id == community.parent_id)
        .join(district, district.id == town.parent_id)
        .join(GridLayer, GridLayer.id == Grid.layer_id)
        .where(GridLayer.in_force.contains(at))
        .where(sa.or_(*(column.in_(codes) for column in (Grid.code, community.code, town.code, district.code))))
        .group_by(town.code, community.code)
    )
    found = session.execute(query).all()
    return (
        frozenset(row[1] for row in found if row[0]),
        frozenset(row[3] for row in found if row[2]),
        frozenset(code for row in found for code in row[4]),
    )
