"""Blind spots that become cases, and how many days it takes until such ground is seen again.

Each case keeps which blind spot it is about. The same one is not filed twice while its case is open: the same kind (of
geometric and unmanned ones the same fault, too), with at least half of the smaller one's ground in common.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median

import geopandas as gpd
import numpy as np
import shapely
import sqlalchemy as sa
from geoalchemy2 import Geometry, WKBElement
from geoalchemy2.shape import to_shape
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

from gis_grid.blindspots import UNSEEN_BY, BlindKind, BlindSpot
from gis_grid.case_deciding import ANY_STEP
from gis_grid.cases import Case, accept_report, lock_cases, take_step, the_case
from gis_grid.city import City
from gis_grid.database import Base, By
from gis_grid.dated import one_of
from gis_grid.errors import Conflict, GridError, InvalidInput, NotFound
from gis_grid.geo.datum import LonLat
from gis_grid.geo.tiles import Ground, masks_of
from gis_grid.intake import Intake
from gis_grid.patrols import has_synthetic_tracks
from gis_grid.reports import Kind, NewReport, Source, file_reports
from gis_grid.routing import Urgency
from gis_grid.seen import Window, seen_tiles_in
from gis_grid.territory import shape_of, the_grid

FILING = 1010  # advisory lock: two who file the same blind spot do so one after the other
SAME_GROUND = 0.5
SEEN_AGAIN = 0.5
NEAR_DEG = 2e-4  # some 20 m: outlines are smoothed, and smoothed anew with each look
OLDEST_WINDOW_DAYS = 7
FIGURE_DAYS = 365
FIGURE_CASES = 500
STEP_DAYS = 14


class SpotCase(Base):
    """The blind spot that a case was filed for, as it was found then; rows are only ever added.

    Attributes
    ----------
    first_day, last_day
        The window that it was found in; ground is looked at again from the day after `last_day`.
    """

    __tablename__ = "spot_cases"

    case_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(Case.id), primary_key=True, autoincrement=False)
    kind: Mapped[str]
    what: Mapped[str]
    code: Mapped[str | None]
    place: Mapped[WKBElement] = mapped_column(Geometry("GEOMETRY", 4326, spatial_index=False))
    area_m2: Mapped[float]
    first_day: Mapped[date]
    last_day: Mapped[date]
    since: Mapped[date | None]
    why: Mapped[str]
    why_zh: Mapped[str]
    filed_at: Mapped[datetime]
    filed_by: Mapped[str]

    case: Mapped[Case] = relationship()

    __table_args__ = (
        sa.CheckConstraint(one_of("kind", BlindKind), name="kind"),
        sa.CheckConstraint("first_day <= last_day", name="days"),
        sa.Index("ix_spot_cases_place", "place", postgresql_using="gist"),
        sa.Index("ix_spot_cases_filed_at", "filed_at"),
    )


class SpotFiledAlready(Conflict):
    """The blind spot has an open case."""


class NobodyToAnswer(Conflict):
    """No grid answers for the blind spot, so its case would lie nowhere."""


@dataclass(frozen=True)
class SeenAgain:
    """When at least half of an unseen place was seen again, by the shift that had not seen it; None for not yet."""

    on: date | None
    days: int | None


@dataclass(frozen=True)
class SeenAgainFigure:
    """Of the cases about unseen ground: how many there are, how many were not seen again, and the median of the rest.

    Attributes
    ----------
    cases
        Of the last `FIGURE_DAYS` days, the latest `FIGURE_CASES` at most.
    median_days
        None while none was seen again.
    """

    cases: int
    not_yet: int
    median_days: float | None


def pick_spot(found: Iterable[BlindSpot], kind: BlindKind, point: LonLat, *, what: str | None = None) -> BlindSpot:
    """The blind spot of a kind at a point: the one that holds it, else the nearest within some 20 m.

    Raises
    ------
    NotFound
        There is none, or none any more.
    """
    at = shapely.Point(point)
    spots = [spot for spot in found if spot.kind is kind and what in {None, spot.what}]
    far = shapely.distance(np.array([spot.place for spot in spots], dtype=object), at)
    if not spots or far.min() > NEAR_DEG:
        raise NotFound(f"there is no {what or kind} blind spot at {point.lon:.5f}, {point.lat:.5f} in this window")
    return spots[int(np.argmin(far))]


def file_spot(
    session: Session,
    spot: BlindSpot,
    window: Window,
    *,
    event_type: str,
    urgency: Urgency = Urgency.NORMAL,
    city: City,
    snap_m: float,
    photos: Path,
    by: By,
    now: datetime,
) -> Case:
    """The case of a blind spot, accepted and filed: a report of a patrol at a place in it, in the grid that answers.

    Parameters
    ----------
    window
        What the spot was found in.
    event_type
        One of the city's, to route and time the case by.

    Raises
    ------
    InvalidInput
        The window is not a late one, or there is no such event type.
    SpotFiledAlready
        The same one has an open case; the module says what is the same.
    NobodyToAnswer
        No grid answers for it.
    """
    today = now.astimezone(city.zone).date()
    if not today - timedelta(days=OLDEST_WINDOW_DAYS) <= window.last <= today:
        raise InvalidInput(
            f"until {window.last}: a blind spot is filed from a window that ends in the last {OLDEST_WINDOW_DAYS} days"
        )
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(FILING)))
    known = open_spot_case(session, spot)
    if known is not None:
        raise SpotFiledAlready(f"this blind spot is case {known.case.name} already, filed {known.filed_at:%Y-%m-%d}")
    new = _report(session, spot, event_type, city=city, now=now)
    (filed,) = file_reports(session, [new], snap_m=snap_m, by=by, now=now)
    if isinstance(filed, GridError):
        raise filed
    case = accept_report(session, filed.report.id, urgency=urgency, by=by, now=now)
    step = ANY_STEP.validate_python({"action": "file"})
    take_step(session, lock_cases(session, [case.name]), step, city=city, photos=photos, by=by, now=now)
    row = SpotCase(
        case=case,
        kind=spot.kind.value,
        what=spot.what,
        code=spot.code,
        place=WKBElement(shapely.to_wkb(spot.place), srid=4326),
        area_m2=spot.area_m2,
        first_day=window.first,
        last_day=window.last,
        since=spot.since,
        why=spot.why,
        why_zh=spot.why_zh,
        filed_at=now,
        filed_by=by.who,
    )
    session.add(row)
    session.flush()
    return case


def _report(session: Session, spot: BlindSpot, event_type: str, *, city: City, now: datetime) -> NewReport:
    point = _point_in_its_grid(session, spot, now)
    return Intake(metric_crs=city.metric_crs, bounds=None).report(
        lon=point.lon,
        lat=point.lat,
        kind=Kind.PATROL,
        event_type=event_type,
        text=f"盲区: {spot.why_zh}\nBlind spot ({spot.kind}, {spot.what}): {spot.why}",
        source=Source.BLIND_SPOT,
        observed_at=now,
        is_synthetic=has_synthetic_tracks(session),
    )


def _point_in_its_grid(session: Session, spot: BlindSpot, now: datetime) -> LonLat:
    """A point of the spot in the grid that answers for it; of ground in no grid the grid's nearest point."""
    if not spot.answers:
        raise NobodyToAnswer(f"no grid answers for this blind spot: {spot.why}")
    grid = shape_of(the_grid(session, spot.answers[0], at=now))
    inside = shapely.intersection(grid, shapely.make_valid(spot.place))
    at = (
        inside.representative_point()
        if inside.area > 0
        else shapely.get_point(shapely.shortest_line(grid, spot.place), 0)
    )
    return LonLat(float(at.x), float(at.y))


def open_spot_case(session: Session, spot: BlindSpot) -> SpotCase | None:
    """The open case of the same blind spot; one that was merged goes on in the case it went into."""
    return next(
        (row for row in _same_ground(session, [spot]) if is_same(row, spot) and _is_open(session, row.case)), None
    )


def open_spot_cases(session: Session, spots: Sequence[BlindSpot]) -> dict[int, SpotCase]:
    """Of some blind spots those with an open case, by their position."""
    tree = shapely.STRtree([spot.place for spot in spots])
    found: dict[int, SpotCase] = {}
    for row in _same_ground(session, spots):
        if _is_open(session, row.case):
            same = (int(at) for at in tree.query(to_shape(row.place)) if is_same(row, spots[int(at)]))
            found |= dict.fromkeys(same, row)
    return found


def _same_ground(session: Session, spots: Sequence[BlindSpot]) -> Sequence[SpotCase]:
    if not spots:
        return []
    west, south, east, north = shapely.total_bounds(np.array([spot.place for spot in spots], dtype=object)).tolist()
    box = sa.func.ST_MakeEnvelope(west, south, east, north, 4326)
    kinds = {spot.kind.value for spot in spots}
    query = sa.select(SpotCase).where(SpotCase.place.op("&&")(box), SpotCase.kind.in_(kinds)).join(SpotCase.case)
    is_open = sa.or_(Case.closed_at.is_(None), Case.stage == "merged")
    return session.scalars(query.where(is_open).options(joinedload(SpotCase.case)).order_by(SpotCase.case_id)).all()


def is_same(row: SpotCase, spot: BlindSpot) -> bool:
    """Whether a filed blind spot and one found now are the same, as the module says it."""
    if row.kind != spot.kind or (row.what != spot.what and spot.kind in {BlindKind.GEOMETRIC, BlindKind.UNMANNED}):
        return False
    mine, theirs = shapely.make_valid(spot.place), shapely.make_valid(to_shape(row.place))
    if not shapely.intersects(mine, theirs):
        return False
    # Degrees will do: both are shares of one small place.
    return bool(shapely.intersection(mine, theirs).area >= SAME_GROUND * min(mine.area, theirs.area))


def _is_open(session: Session, case: Case) -> bool:
    state = case.read_state()
    while state.merged_into is not None and case.stage == "merged":
        case = the_case(session, state.merged_into)
        state = case.read_state()
    return case.closed_at is None


def spot_of_case(session: Session, case: Case) -> SpotCase | None:
    """The blind spot that a case was filed for; None for other cases."""
    return session.get(SpotCase, case.id)


def newest_spot_case(session: Session) -> tuple[int | None, int]:
    """The last blind spot filed, and how many of their cases are open: what a map of them depends on."""
    is_open = sa.func.count().filter(Case.closed_at.is_(None))
    newest, count = session.execute(sa.select(sa.func.max(SpotCase.case_id), is_open).join(SpotCase.case)).one()
    return newest, count


def filed_spots(session: Session, *, now: datetime, area: str | None = None) -> list[SpotCase]:
    """Blind spots filed in the last year, the latest first, at most `FIGURE_CASES`."""
    query = (
        sa.select(SpotCase)
        .join(SpotCase.case)
        .where(SpotCase.filed_at > now - timedelta(days=FIGURE_DAYS))
        .options(joinedload(SpotCase.case))
        .order_by(SpotCase.filed_at.desc(), SpotCase.case_id.desc())
        .limit(FIGURE_CASES)
    )
    if area is not None:
        query = query.where(Case.grid_code.startswith(area, autoescape=True))
    return list(session.scalars(query))


def seen_again(session: Session, row: SpotCase, *, city: City, now: datetime) -> SeenAgain | None:
    """Whether and when a filed place was seen again; None for kinds that are not about being seen.

    Days are counted from the last day of the window that it was found in.
    """
    if row.kind != BlindKind.UNSEEN:
        return None
    shift = next(shift for shift, what in UNSEEN_BY.items() if what == row.what)
    today = now.astimezone(city.zone).date()
    place = to_shape(row.place)
    on = seen_again_on(session, place, after=row.last_day, until=today, metric_crs=city.metric_crs, shift=shift)
    return SeenAgain(on, (on - row.last_day).days if on else None)


def seen_again_figure(seen: Iterable[SeenAgain | None]) -> SeenAgainFigure:
    """What many filed blind spots come to, those that are not about being seen left out."""
    told = [one for one in seen if one is not None]
    days = [one.days for one in told if one.days is not None]
    return SeenAgainFigure(len(told), len(told) - len(days), float(median(days)) if days else None)


def seen_again_on(
    session: Session,
    place: shapely.Geometry,
    *,
    after: date,
    until: date,
    metric_crs: str,
    shift: int | None = None,
    share: float = SEEN_AGAIN,
) -> date | None:
    """The first day after a day by which a share of a place was seen again; None where it was not by `until`."""
    mask = masks_of(gpd.GeoSeries([place], crs="EPSG:4326").make_valid(), metric_crs)
    wanted = share * int(mask.cells().sum())
    tiles = set(zip(mask.tile_row.tolist(), mask.tile_col.tolist(), strict=True))
    found = np.zeros_like(mask.bits)
    if wanted <= 0:
        return None
    # A stretch at a time: most places are seen again soon, and only what is not takes reading all of it.
    for start in range(after.toordinal() + 1, until.toordinal() + 1, STEP_DAYS):
        last = min(start + STEP_DAYS - 1, until.toordinal())
        seen = seen_tiles_in(session, Window(date.fromordinal(start), date.fromordinal(last), shift), tiles)
        for day in np.unique(seen.day):
            of_day = seen.between(date.fromordinal(int(day)), date.fromordinal(int(day)))
            for part in range(len(of_day)):
                one = slice(part, part + 1)
                found |= mask.found(Ground(of_day.tile_row[one], of_day.tile_col[one], of_day.bits[one]))
            if int(np.bitwise_count(found).sum()) >= wanted:
                return date.fromordinal(int(day))
    return None
