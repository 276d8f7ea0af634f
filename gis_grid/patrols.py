"""Patrols: outings kept as chunks of a timed line, and who has looked at whose."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from geoalchemy2 import Geometry, WKBElement
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, By
from gis_grid.territory import Grid


class TrackChunk(Base):
    """A piece of one outing; M of each vertex is the epoch in seconds. The table is parted by month of `started_at`.

    Attributes
    ----------
    walker
        Whose outing it is: the account that sent it, or who the sending system says.
    started_at, ended_at
        Of the fixes that count; where none does, of all, or the day it was received if their times are not believed.
    geom
        The fixes that count, in order; None where none does.
    accuracy_m
        Of each vertex of `geom`, None where unknown.
    uncounted
        By reason, the fixes kept but not counted: `[lon, lat, epoch, accuracy_m]` each. `jump` holds a number only:
        such fixes stay in the line and break it.
    """

    __tablename__ = "track_chunks"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    ended_at: Mapped[datetime]
    track: Mapped[str]
    sequence: Mapped[int]
    content_sha256: Mapped[str]
    team: Mapped[str]
    walker: Mapped[str | None]
    source: Mapped[str]
    received_at: Mapped[datetime]
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    geom: Mapped[WKBElement | None] = mapped_column(
        Geometry("LINESTRINGM", 4326, dimension=3, spatial_index=False), nullable=True
    )
    accuracy_m: Mapped[list[float | None] | None] = mapped_column(ARRAY(sa.REAL))
    uncounted: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    __table_args__ = (
        sa.UniqueConstraint("track", "content_sha256", "started_at"),
        sa.Index("ix_track_chunks_started_at", "started_at", postgresql_using="brin"),
        sa.Index("ix_track_chunks_walker_started_at", "walker", "started_at"),
        sa.Index("ix_track_chunks_geom", "geom", postgresql_using="gist"),
        sa.Index("ix_track_chunks_received_at", "received_at", postgresql_using="brin"),
        {"postgresql_partition_by": "range (started_at)"},
    )


class TrackReading(Base):
    """Somebody looked at where a person went; rows are only added."""

    __tablename__ = "track_readings"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str]
    channel: Mapped[str]
    request_id: Mapped[str]
    walker: Mapped[str] = mapped_column(index=True)
    since: Mapped[datetime]
    until: Mapped[datetime]
    chunks: Mapped[int]


def last_patrol(session: Session, grid: Grid, *, at: datetime) -> datetime | None:
    """When a patrol last crossed a grid before a time; None when none is recorded."""
    return session.scalar(
        sa.select(sa.func.max(TrackChunk.ended_at)).where(
            TrackChunk.ended_at <= at, sa.func.ST_Intersects(TrackChunk.geom, _shape(grid))
        )
    )


def tracks_in(session: Session, grid: Grid, *, since: datetime, until: datetime) -> gpd.GeoDataFrame:
    """Pieces of patrols that crossed a grid in [since, until), oldest first; whose they are is not told.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns track, team, started_at, ended_at, is_synthetic, geometry (LineString).
    """
    query = _pieces(since, until).where(sa.func.ST_Intersects(TrackChunk.geom, _shape(grid)))
    return _lines(session, query)


def read_tracks(
    session: Session, walker: str, *, since: datetime, until: datetime, by: By, now: datetime
) -> gpd.GeoDataFrame:
    """One person's outings in [since, until), oldest first; that they were read is written down.

    Returns
    -------
    GeoDataFrame
        As of `tracks_in`.
    """
    found = _lines(session, _pieces(since, until).where(TrackChunk.walker == walker))
    note_reading(session, walker, since=since, until=until, chunks=len(found), by=by, now=now)
    return found


def note_reading(
    session: Session, walker: str, *, since: datetime, until: datetime, chunks: int, by: By, now: datetime
) -> None:
    """Write down that somebody was told where a person went in [since, until)."""
    session.add(
        TrackReading(
            at=now,
            who=by.who,
            channel=by.channel,
            request_id=by.request_id,
            walker=walker,
            since=since,
            until=until,
            chunks=chunks,
        )
    )
    session.flush()


def readings_of(session: Session, walker: str) -> Sequence[TrackReading]:
    """Who has looked at a person's outings, the latest first."""
    query = sa.select(TrackReading).where(TrackReading.walker == walker)
    return session.scalars(query.order_by(TrackReading.at.desc(), TrackReading.id.desc())).all()


def _pieces(since: datetime, until: datetime) -> sa.Select[Any]:
    return (
        sa.select(
            TrackChunk.track,
            TrackChunk.team,
            TrackChunk.started_at,
            TrackChunk.ended_at,
            TrackChunk.is_synthetic,
            sa.func.ST_AsBinary(sa.func.ST_Force2D(TrackChunk.geom)).label("geometry"),
        )
        .where(TrackChunk.started_at >= since, TrackChunk.started_at < until, TrackChunk.geom.is_not(None))
        .order_by(TrackChunk.started_at, TrackChunk.id)
    )


def _lines(session: Session, query: sa.Select[Any]) -> gpd.GeoDataFrame:
    result = session.execute(query)
    frame = pd.DataFrame(result.mappings().all(), columns=list(result.keys()))
    lines = shapely.from_wkb(np.array([bytes(data) for data in frame.pop("geometry")], dtype=object))
    return gpd.GeoDataFrame(frame, geometry=lines, crs="EPSG:4326")


def has_synthetic_tracks(session: Session) -> bool:
    """Whether any stored patrol is made up."""
    return session.scalar(sa.select(sa.exists().where(TrackChunk.is_synthetic))) is True


def _shape(grid: Grid) -> sa.ScalarSelect[Any]:
    return sa.select(Grid.geom).where(Grid.id == grid.id).scalar_subquery()
