"""Reports: somebody's claim that there is a problem at a place."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from geoalchemy2 import Geometry, WKBElement
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Mapped, Session, aliased, defer, joinedload, mapped_column, relationship

from gis_grid.database import Base, By, Change, change
from gis_grid.dated import one_of
from gis_grid.errors import Conflict, GridError, InvalidInput, NotFound
from gis_grid.event_types import EventType
from gis_grid.geo.datum import Datum, LonLat
from gis_grid.geo.placing import Method
from gis_grid.informants import Informant, Sealed
from gis_grid.locating import MAX_ACCURACY_M, MIN_ACCURACY_M, Located, locate
from gis_grid.permissions import ReporterClass
from gis_grid.situations import Situation, the_drill
from gis_grid.territory import Area, Grid, GridLayer, ground_of, the_grid

FUTURE = timedelta(days=1)


class Kind(StrEnum):
    """What the reporter wants."""

    HELP = "求助"
    COMPLAINT = "投诉"
    TIP = "举报"
    SUGGESTION = "建议"
    QUESTION = "咨询"
    PATROL = "巡查"


class Source(StrEnum):
    """Where a report came from."""

    HOTLINE_962000 = "962000"
    HOTLINE_12345 = "12345"
    POLICE_110 = "110"
    CITY_GRID_CENTRE = "city_grid_centre"
    PATROL = "patrol"
    BLIND_SPOT = "blind_spot"
    VISIT = "visit"
    RESIDENT = "resident"
    WECHAT = "wechat"
    WEIBO = "weibo"
    IMPORT = "import"


class Report(Base):
    """A report and where it was placed.

    `geom` is WGS84; `sent_lon`, `sent_lat` and `datum` are as the reporter gave them. `public_geom` is the centre of
    the 100 m square that holds it, which the public sees of squares with enough reports.
    """

    __tablename__ = "reports"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    content_sha256: Mapped[str]
    received_at: Mapped[datetime]
    observed_at: Mapped[datetime | None]
    kind: Mapped[str]
    event_type: Mapped[str] = mapped_column(sa.ForeignKey(EventType.code))
    text: Mapped[str]
    source: Mapped[str]
    sent_lon: Mapped[float]
    sent_lat: Mapped[float]
    datum: Mapped[str]
    accuracy_m: Mapped[float | None]
    geom: Mapped[WKBElement] = mapped_column(Geometry("POINT", 4326, spatial_index=False))
    public_geom: Mapped[WKBElement] = mapped_column(Geometry("POINT", 4326, spatial_index=False))
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    drill_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Situation.id))
    reporter_class: Mapped[str] = mapped_column(server_default=ReporterClass.RESIDENT.value)

    layer_id: Mapped[int | None] = mapped_column(sa.ForeignKey(GridLayer.id))
    grid_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Grid.id))
    method: Mapped[str]
    distance_m: Mapped[float | None]
    shares: Mapped[dict[str, Any] | None]
    is_uncertain: Mapped[bool]
    placed_at: Mapped[datetime]
    placed_by: Mapped[str]
    placement_reason: Mapped[str | None]

    grid: Mapped[Grid | None] = relationship(lazy="joined")
    reporter: Mapped["Reporter | None"] = relationship(back_populates="report")

    __table_args__ = (
        sa.CheckConstraint("method in ('inside', 'edge', 'snapped', 'outside', 'manual')", name="method"),
        sa.CheckConstraint("(grid_id is null) = (method = 'outside')", name="grid"),
        sa.CheckConstraint(one_of("reporter_class", ReporterClass), name="reporter_class"),
        sa.Index("ix_reports_drill_id", "drill_id", postgresql_where=sa.text("drill_id is not null")),
        sa.Index("ix_reports_received_at", "received_at", "id"),
        sa.Index("ix_reports_grid_id_received_at", "grid_id", "received_at", "id"),
        sa.Index("ix_reports_event_type_received_at", "event_type", "received_at", "id"),
        sa.Index("ix_reports_unplaced", "received_at", "id", postgresql_where=sa.text("method = 'outside'")),
        sa.Index("ix_reports_geom", "geom", postgresql_using="gist"),
    )

    @property
    def is_drill(self) -> bool:
        """Whether it is only practised: shown as such everywhere, and counted nowhere."""
        return self.drill_id is not None

    def place(self, located: Located, *, reason: str | None, by: By, at: datetime) -> "PastPlacement":
        """Move to another placement; the one left behind, to be stored in the history."""
        past = PastPlacement.of(self, until=at)
        self.layer_id, self.grid_id, self.method = located.layer_id, located.grid_id, located.method.value
        self.distance_m, self.shares, self.is_uncertain = located.distance_m, located.shares, located.is_uncertain
        self.placed_at, self.placed_by, self.placement_reason = at, by.who, reason
        return past


class Reporter(Base):
    """How to reach who reported; kept apart, for staff only."""

    __tablename__ = "reporters"

    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), primary_key=True)
    name: Mapped[str | None]
    phone: Mapped[str | None]

    report: Mapped[Report] = relationship(back_populates="reporter")


class PastPlacement(Base):
    """A placement that another one superseded; rows are only ever added."""

    __tablename__ = "past_placements"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), index=True)
    layer_id: Mapped[int | None]
    grid_id: Mapped[int | None]
    method: Mapped[str]
    distance_m: Mapped[float | None]
    shares: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    placed_at: Mapped[datetime]
    placed_by: Mapped[str]
    placement_reason: Mapped[str | None]
    superseded_at: Mapped[datetime]

    @classmethod
    def of(cls, report: Report, *, until: datetime) -> Self:
        """The placement a report has now, as history."""
        return cls(
            report_id=report.id,
            layer_id=report.layer_id,
            grid_id=report.grid_id,
            method=report.method,
            distance_m=report.distance_m,
            shares=report.shares,
            placed_at=report.placed_at,
            placed_by=report.placed_by,
            placement_reason=report.placement_reason,
            superseded_at=until,
        )


@dataclass(frozen=True)
class NewReport:
    """A report as it comes in.

    Attributes
    ----------
    sent
        As the reporter gave it, in `datum`.
    point
        The same place in WGS84.
    received_at
        For reports from the past; the time of filing without it.
    informant
        Who tips off, sealed; in place of a reporter.
    """

    id: uuid.UUID
    sent: LonLat
    datum: Datum
    point: LonLat
    public_point: LonLat
    kind: Kind
    event_type: str
    text: str
    source: Source
    accuracy_m: float | None = None
    observed_at: datetime | None = None
    reporter_name: str | None = None
    reporter_phone: str | None = None
    received_at: datetime | None = None
    is_synthetic: bool = False
    drill_id: int | None = None
    reporter_class: ReporterClass = ReporterClass.RESIDENT
    informant: Sealed | None = None

    @property
    def content_sha256(self) -> str:
        """What makes a report sent again the same report."""
        content = [
            *self.sent,
            self.datum,
            self.accuracy_m,
            self.kind,
            self.event_type,
            self.text,
            self.observed_at.isoformat() if self.observed_at else None,
            self.source,
            self.reporter_name,
            self.reporter_phone,
        ]
        if self.drill_id is not None:
            content.append(f"drill {self.drill_id}")
        if self.informant is not None:
            content.append(self.informant.mark)
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True)
class Filed:
    """A stored report; `is_new` is False when the very same one was already there."""

    report: Report
    is_new: bool


class ReportConflict(Conflict):
    """The id is taken by a report with other content."""


class UnknownEventType(InvalidInput):
    """The event type is not in the city's list."""


def file_reports(
    session: Session, new: Sequence[NewReport], *, snap_m: float, by: By, now: datetime
) -> list[Filed | GridError]:
    """Place and store reports; for each, in order, the stored report or why it was not stored.

    A report whose id is stored already with the same content is answered with the stored one, so sending again is
    safe. Concurrent senders of one id get one report.
    """
    types = set(session.scalars(sa.select(EventType.code)))
    refused = {i: fault for i, item in enumerate(new) if (fault := _fault(item, types, now)) is not None}
    good = [item for i, item in enumerate(new) if i not in refused]
    created, strays = _insert(session, good, snap_m=snap_m, by=by, now=now)
    ids = [item.id for item in good]
    stored = (
        {report.id: report for report in session.scalars(sa.select(Report).where(Report.id.in_(ids)))} if ids else {}
    )
    answers: list[Filed | GridError] = []
    for i, item in enumerate(new):
        if i in refused:
            answers.append(refused[i])
        elif item.id in strays:
            answers.append(strays[item.id])
        elif stored[item.id].content_sha256 != item.content_sha256:
            answers.append(ReportConflict(f"report {item.id} is already stored with other content"))
        else:
            answers.append(Filed(stored[item.id], is_new=item.id in created))
            created.discard(item.id)
    return answers


def _fault(item: NewReport, types: set[str], now: datetime) -> GridError | None:
    if item.event_type not in types:
        return UnknownEventType(
            f"event_type: {item.event_type!r} is not in the city's list of event types", fields=("event_type",)
        )
    if not item.text.strip():
        return InvalidInput("text: is empty", fields=("text",))
    if item.accuracy_m is not None and not MIN_ACCURACY_M <= item.accuracy_m <= MAX_ACCURACY_M:
        return InvalidInput(
            f"accuracy_m: {item.accuracy_m} m is not between {MIN_ACCURACY_M} and {MAX_ACCURACY_M:g} m",
            fields=("accuracy_m",),
        )
    if item.observed_at is not None and item.observed_at > now + FUTURE:
        return InvalidInput(
            f"observed_at: {item.observed_at.isoformat()} lies more than a day ahead", fields=("observed_at",)
        )
    return None


def _insert(
    session: Session, new: Sequence[NewReport], *, snap_m: float, by: By, now: datetime
) -> tuple[set[uuid.UUID], dict[uuid.UUID, InvalidInput]]:
    """Insert what is not there yet: the ids that were, and why those were not that name a drill they are not of."""
    first: dict[uuid.UUID, NewReport] = {}
    for item in new:
        first.setdefault(item.id, item)
    known = set(session.scalars(sa.select(Report.id).where(Report.id.in_(first)))) if first else set()
    fresh = [item for item in first.values() if item.id not in known]
    if not fresh:
        return set(), {}
    located = locate(
        session,
        [item.point for item in fresh],
        at=[item.observed_at or item.received_at or now for item in fresh],
        accuracy_m=[item.accuracy_m for item in fresh],
        snap_m=snap_m,
    )
    placed = list(zip(fresh, located, strict=True))
    strays = {item.id: fault for item, place in placed if (fault := _drill_fault(session, item, place, now=now))}
    rows = [_row(item, place, by=by, now=now) for item, place in placed if item.id not in strays]
    if not rows:
        return set(), strays
    # A second sender of the same id waits here for the first to commit, then inserts nothing.
    inserted = set(session.scalars(pg_insert(Report).on_conflict_do_nothing().returning(Report.id), rows))
    contacts = [
        {"report_id": item.id, "name": item.reporter_name, "phone": item.reporter_phone}
        for item in fresh
        if item.id in inserted and (item.reporter_name or item.reporter_phone)
    ]
    if sealed := [
        {"report_id": item.id, "sealed": item.informant.token, "sealed_at": now}
        for item in fresh
        if item.id in inserted and item.informant is not None
    ]:
        session.execute(sa.insert(Informant), sealed)
    if contacts:
        session.execute(sa.insert(Reporter), contacts)
    filed = [
        change("report", str(item.id), by=by, at=now, after={"grid_code": place.grid_code, "method": place.method})
        for item, place in placed
        if item.id in inserted
    ]
    if filed:
        session.execute(sa.insert(Change), filed)
    return inserted, strays


def _drill_fault(session: Session, item: NewReport, place: Located, *, now: datetime) -> InvalidInput | None:
    """Why a report is not part of the drill that it names; None where it names none, or is."""
    if item.drill_id is None:
        return None
    ground = ground_of(session.get(Grid, place.grid_id)) if place.grid_id is not None else ()
    try:
        the_drill(session, item.drill_id, ground, at=now)
    except InvalidInput as fault:
        return fault
    return None


def _row(item: NewReport, place: Located, *, by: By, now: datetime) -> dict[str, Any]:
    return {
        "id": item.id,
        "content_sha256": item.content_sha256,
        "received_at": item.received_at or now,
        "observed_at": item.observed_at,
        "kind": item.kind.value,
        "event_type": item.event_type,
        "text": item.text,
        "source": item.source.value,
        "sent_lon": item.sent.lon,
        "sent_lat": item.sent.lat,
        "datum": item.datum.value,
        "accuracy_m": item.accuracy_m,
        "geom": _ewkt(item.point),
        "public_geom": _ewkt(item.public_point),
        "is_synthetic": item.is_synthetic,
        "drill_id": item.drill_id,
        "reporter_class": item.reporter_class.value,
        "layer_id": place.layer_id,
        "grid_id": place.grid_id,
        "method": place.method.value,
        "distance_m": place.distance_m,
        "shares": place.shares,
        "is_uncertain": place.is_uncertain,
        "placed_at": now,
        "placed_by": by.who,
    }


def _ewkt(point: LonLat) -> str:
    # repr keeps every bit of a double; a shorter text would move points across edges.
    return f"SRID=4326;POINT({float(point.lon)!r} {float(point.lat)!r})"


def the_report(session: Session, report_id: uuid.UUID, *, for_update: bool = False) -> Report:
    """The report with this id, or `NotFound`."""
    query = sa.select(Report).where(Report.id == report_id)
    report = session.scalar(query.with_for_update(of=Report) if for_update else query)
    if report is None:
        raise NotFound(f"there is no report {report_id}")
    return report


def place_by_hand(
    session: Session, report_id: uuid.UUID, grid_code: str, *, reason: str, by: By, now: datetime
) -> Report:
    """The report, put into a grid by a person; the placement it had is kept in the history.

    The grid is looked up in the layer in force when the problem was observed, else received.
    """
    if not reason.strip():
        raise InvalidInput("reason: is empty", fields=("reason",))
    report = the_report(session, report_id, for_update=True)
    grid = the_grid(session, grid_code, at=report.observed_at or report.received_at)
    before = {"grid_code": report.grid.code if report.grid else None, "method": report.method}
    located = Located(
        layer_id=grid.layer_id, grid_id=grid.id, grid_code=grid.code, method=Method.MANUAL, distance_m=None
    )
    session.add(report.place(located, reason=reason, by=by, at=now))
    after = {"grid_code": grid.code, "method": Method.MANUAL.value, "reason": reason}
    session.execute(sa.insert(Change), [change("report", str(report.id), by=by, at=now, before=before, after=after)])
    session.flush()
    session.refresh(report)
    return report


@dataclass(frozen=True)
class ReportFilter:
    """Which reports: all that fit every part that is given.

    Attributes
    ----------
    since, until
        Received in [since, until).
    bbox
        (west, south, east, north) in WGS84 degrees, of the exact point: for who may see that.
    with_drills
        For lists, which mark what is only practised; it is counted nowhere.
    """

    grid: str | None = None
    area: str | None = None
    event_type: str | None = None
    method: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    bbox: tuple[float, float, float, float] | None = None
    with_drills: bool = False

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """The `where` of a query on reports."""
        found: list[sa.ColumnElement[bool]] = [] if self.with_drills else [Report.drill_id.is_(None)]
        if self.grid is not None:
            found.append(Report.grid_id.in_(sa.select(Grid.id).where(Grid.code == self.grid)))
        if self.area is not None:
            found.append(Report.grid_id.in_(_grids_of_area(self.area)))
        if self.event_type is not None:
            found.append(Report.event_type.in_(_types_below(self.event_type)))
        if self.method is not None:
            found.append(Report.method == self.method)
        if self.since is not None:
            found.append(Report.received_at >= self.since)
        if self.until is not None:
            found.append(Report.received_at < self.until)
        if self.bbox is not None:
            found.append(Report.geom.op("&&", return_type=sa.Boolean())(sa.func.ST_MakeEnvelope(*self.bbox, 4326)))
        return found


def _grids_of_area(code: str) -> sa.Select[int]:
    community, town, district = aliased(Area), aliased(Area), aliased(Area)
    return (
        sa.select(Grid.id)
        .join(community, Grid.community_id == community.id)
        .join(town, community.parent_id == town.id)
        .join(district, town.parent_id == district.id)
        .where(sa.or_(community.code == code, town.code == code, district.code == code))
    )


def _types_below(code: str) -> sa.Select[str]:
    return sa.select(EventType.code).where(sa.or_(EventType.code == code, EventType.parent_code == code))


def find_reports(
    session: Session, which: ReportFilter, *, limit: int, after: tuple[datetime, uuid.UUID] | None = None
) -> list[Report]:
    """Reports, newest first, those of drills too; `after` is the (received_at, id) of the last one already seen."""
    key = sa.tuple_(Report.received_at, Report.id)
    listed = replace(which, with_drills=True)
    query = sa.select(Report).where(*listed.conditions()).order_by(Report.received_at.desc(), Report.id.desc())
    if after is not None:
        query = query.where(key < sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    # Names are wanted, not outlines: those would be most of what is read.
    with_names = (
        joinedload(Report.grid).options(
            defer(Grid.geom),
            joinedload(Grid.community).options(defer(Area.geom), joinedload(Area.parent).defer(Area.geom)),
        ),
    )
    return list(session.scalars(query.options(*with_names).limit(limit)))


def count_by_grid(session: Session, which: ReportFilter) -> dict[str, int]:
    """How many reports each grid has; grids without any are left out."""
    query = sa.select(Grid.code, sa.func.count()).join(Report, Report.grid_id == Grid.id).where(*which.conditions())
    return dict(session.execute(query.group_by(Grid.code)).all())


class SenderCount(NamedTuple):
    """How many reports came by one source from one class of reporters."""

    source: str
    reporter_class: str
    reports: int


def count_by_sender(session: Session, which: ReportFilter) -> list[SenderCount]:
    """How many reports came by which source from whom: residents, volunteers, stairwell heads, committees and staff."""
    query = sa.select(Report.source, Report.reporter_class, sa.func.count()).where(*which.conditions())
    query = query.group_by(Report.source, Report.reporter_class).order_by(Report.source, Report.reporter_class)
    return [SenderCount(*row) for row in session.execute(query)]


def points_of(session: Session, which: ReportFilter) -> npt.NDArray[np.float64]:
    """WGS84 longitude and latitude of reports, shape (n, 2), in no order."""
    query = sa.select(sa.func.ST_X(Report.geom), sa.func.ST_Y(Report.geom)).where(*which.conditions())
    rows = session.execute(query).all()
    return np.array([tuple(row) for row in rows], dtype=np.float64).reshape(-1, 2)


def has_synthetic_reports(session: Session) -> bool:
    """Whether any stored report is made up."""
    return session.scalar(sa.select(sa.exists().where(Report.is_synthetic))) is True
