"""Patrols: outings as chunks of a timed line, and the ground they have seen."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from geoalchemy2 import Geometry, WKBElement
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.city import City
from gis_grid.database import Base, sql
from gis_grid.geo.sight import burn_fixes
from gis_grid.geo.tiles import TILE_BYTES, Ground, SeenTiles
from gis_grid.territory import Grid

CHUNK_FIXES = 60
ROWS_AT_ONCE = 1000


class TrackChunk(Base):
    """A piece of one outing; M of each vertex is the epoch in seconds."""

    __tablename__ = "track_chunks"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    track: Mapped[str]
    sequence: Mapped[int]
    team: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    source: Mapped[str]
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    geom: Mapped[WKBElement] = mapped_column(Geometry("LINESTRINGM", 4326, dimension=3, spatial_index=False))

    __table_args__ = (
        sa.UniqueConstraint("track", "sequence"),
        sa.Index("ix_track_chunks_started_at", "started_at"),
        sa.Index("ix_track_chunks_geom", "geom", postgresql_using="gist"),
    )


class SeenTile(Base):
    """What was seen of one tile of 128 × 128 cells in one shift of one day, a bit a cell."""

    __tablename__ = "seen_tiles"

    tile_row: Mapped[int] = mapped_column(primary_key=True)
    tile_col: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    shift: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)
    bits: Mapped[Any] = mapped_column(BIT(16384, varying=True))

    __table_args__ = (sa.Index("ix_seen_tiles_day", "day"),)


def store_fixes(
    session: Session, fixes: pd.DataFrame, *, city: City, source: str, is_synthetic: bool, sight_m: float = 50.0
) -> int:
    """Store whole outings as chunks and, in the same transaction, the ground they saw; how many chunks.

    Parameters
    ----------
    fixes
        Columns track, team, lon, lat (WGS84 degrees), at (aware); the outings are new to the database.
    sight_m
        How far a patroller sees, metres.
    """
    rows = [
        {**chunk, "source": source, "is_synthetic": is_synthetic}
        for track, outing in fixes.sort_values(["track", "at"]).groupby("track", sort=True)
        for chunk in _chunks(str(track), outing)
    ]
    if rows:
        session.execute(sa.insert(TrackChunk), rows)
        seen = burn_fixes(fixes, metric_crs=city.metric_crs, time_zone=city.time_zone, sight_m=sight_m)
        _add_seen(session, seen)
    return len(rows)


def _chunks(track: str, outing: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Pieces of an outing; each but the first begins with its predecessor's last fix."""
    epoch = outing["at"].astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
    lon, lat = outing["lon"].to_numpy(), outing["lat"].to_numpy()
    starts = range(0, max(len(outing) - 1, 1), CHUNK_FIXES)
    for sequence, start in enumerate(starts):
        part = slice(start, start + CHUNK_FIXES + 1)
        vertices = list(zip(lon[part].tolist(), lat[part].tolist(), epoch[part].tolist(), strict=True))
        # A line needs two vertices: a lone fix is stored as standing still.
        vertices = vertices * 2 if len(vertices) == 1 else vertices
        yield {
            "track": track,
            "sequence": sequence,
            "team": outing["team"].iloc[0],
            "started_at": datetime.fromtimestamp(vertices[0][2], UTC),
            "ended_at": datetime.fromtimestamp(vertices[-1][2], UTC),
            "geom": f"SRID=4326;LINESTRING M ({', '.join(f'{x!r} {y!r} {m!r}' for x, y, m in vertices)})",
        }


def _add_seen(session: Session, seen: SeenTiles) -> None:
    """OR seen ground into the table; rows come in key order, so concurrent uploads cannot deadlock."""
    statement = sql("add_seen_tiles")
    for start in range(0, len(seen), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        parameters = {
            "tile_row": seen.tile_row[part].tolist(),
            "tile_col": seen.tile_col[part].tolist(),
            "day": [date.fromordinal(ordinal) for ordinal in seen.day[part].tolist()],
            "shift": seen.shift[part].tolist(),
            "bits": [f"x{row.tobytes().hex()}" for row in seen.bits[part]],
        }
        session.execute(statement, parameters)


def seen_in_window(session: Session, *, first: date, last: date, shift: int | None = None) -> Ground:
    """Ground seen on whole days, both ends included, in one shift (0 day, 1 night) or in either."""
    # varbit_send gives 4 bytes of length, then the bits, packed: a tenth of the text that bits are otherwise sent as.
    bits = sa.func.varbit_send(sa.cast(sa.func.bit_or(SeenTile.bits), BIT(16384, varying=True)), type_=sa.LargeBinary)
    query = sa.select(SeenTile.tile_row, SeenTile.tile_col, bits).where(SeenTile.day.between(first, last))
    if shift is not None:
        query = query.where(SeenTile.shift == shift)
    tile = (SeenTile.tile_row, SeenTile.tile_col)
    rows = session.execute(query.group_by(*tile).order_by(*tile)).all()
    packed = b"".join(bytes(row[2])[4:] for row in rows)
    return Ground(
        tile_row=np.array([row[0] for row in rows], dtype=np.int64),
        tile_col=np.array([row[1] for row in rows], dtype=np.int64),
        bits=np.frombuffer(packed, dtype=np.uint8).reshape(-1, TILE_BYTES),
    )


def last_patrol(session: Session, grid: Grid, *, at: datetime) -> datetime | None:
    """When a patrol last crossed a grid before a time; None when none is recorded."""
    return session.scalar(
        sa.select(sa.func.max(TrackChunk.ended_at)).where(
            TrackChunk.ended_at <= at, sa.func.ST_Intersects(TrackChunk.geom, _shape(grid))
        )
    )


def tracks_in(session: Session, grid: Grid, *, since: datetime, until: datetime) -> gpd.GeoDataFrame:
    """Pieces of patrols that crossed a grid in [since, until), oldest first.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns track, team, started_at, ended_at, is_synthetic, geometry (LineString).
    """
    query = (
        sa.select(
            TrackChunk.track,
            TrackChunk.team,
            TrackChunk.started_at,
            TrackChunk.ended_at,
            TrackChunk.is_synthetic,
            sa.func.ST_AsBinary(sa.func.ST_Force2D(TrackChunk.geom)).label("geometry"),
        )
        .where(
            TrackChunk.started_at >= since,
            TrackChunk.started_at < until,
            sa.func.ST_Intersects(TrackChunk.geom, _shape(grid)),
        )
        .order_by(TrackChunk.started_at, TrackChunk.id)
    )
    result = session.execute(query)
    frame = pd.DataFrame(result.mappings().all(), columns=list(result.keys()))
    lines = shapely.from_wkb(np.array([bytes(data) for data in frame.pop("geometry")], dtype=object))
    return gpd.GeoDataFrame(frame, geometry=lines, crs="EPSG:4326")


def has_synthetic_tracks(session: Session) -> bool:
    """Whether any stored patrol is made up."""
    return session.scalar(sa.select(sa.exists().where(TrackChunk.is_synthetic))) is True


def _shape(grid: Grid) -> sa.ScalarSelect[Any]:
    return sa.select(Grid.geom).where(Grid.id == grid.id).scalar_subquery()
