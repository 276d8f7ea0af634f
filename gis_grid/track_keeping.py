"""Keeping and dropping raw tracks, as the owner of the tables: the service itself can delete nothing."""

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.city import City
from gis_grid.database import Base, By, Change, change
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.geo.sight import burn_steps, walked_steps
from gis_grid.geo.tiles import TILE_BYTES, SeenTiles
from gis_grid.geo.track_lines import fixes_of_lines
from gis_grid.patrols import TrackChunk
from gis_grid.rebuilding import lock_tiles, rebuild_tiles
from gis_grid.seen import SeenTile
from gis_grid.track_intake import SIGHT_M
from gis_grid.walked_ground import forget_walked, keep_walked_again


class ForgottenTracks(Base):
    """Raw fixes dropped: all that began before a time; what they saw stays."""

    __tablename__ = "forgotten_tracks"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str]
    before: Mapped[datetime]
    chunks: Mapped[int] = mapped_column(sa.BigInteger)


def forget_tracks(session: Session, *, days: int, city: City, by: By, now: datetime) -> int:
    """Drop raw fixes that began over `days` days before `now`; how many chunks went. Seen ground stays.

    What is kept of where each patroller walked in their months goes with them.

    Whole months go as tables, at once; the month in which the time lies row by row.

    Raises
    ------
    InvalidInput
        Fewer than one day.
    """
    if days < 1:
        raise InvalidInput(f"days {days}: expected at least 1")
    before = now - timedelta(days=days)
    old = sa.select(sa.func.count()).select_from(TrackChunk).where(TrackChunk.started_at < before)
    count = session.scalar(old) or 0
    names = session.scalars(
        sa.text(
            "select c.relname from pg_class c where c.relnamespace = 'track_months'::regnamespace and c.relkind = 'r'"
        )
    )
    for name in sorted(names):
        year, month = (int(part) for part in name.removeprefix("track_chunks_").split("_"))
        ends = date(year + month // 12, month % 12 + 1, 1)
        if ends <= before.date():
            session.execute(sa.schema.DropTable(sa.Table(name, sa.MetaData(), schema="track_months")))

    session.execute(sa.delete(TrackChunk).where(TrackChunk.started_at < before))
    forget_walked(session, before=before, city=city)
    session.add(ForgottenTracks(at=now, who=by.who, before=before, chunks=count))
    session.flush()
    return count


def withdraw_track(session: Session, track: str, *, city: City, by: By, now: datetime, sight_m: float = SIGHT_M) -> int:
    """Take a whole outing back, with what only it has seen; how many chunks went.

    Raises
    ------
    NotFound
        No such outing is stored.
    Conflict
        Raw fixes of its days have been dropped.
    """
    query = sa.select(sa.func.ST_AsBinary(TrackChunk.geom)).where(TrackChunk.track == track)
    lines = session.scalars(query).all()
    if not lines:
        raise NotFound(f"no outing {track!r} is stored")
    of = sa.select(TrackChunk.walker).where(TrackChunk.track == track, TrackChunk.walker.is_not(None)).distinct()
    walkers = [str(walker) for walker in session.scalars(of)]
    whole = [line for line in lines if line is not None]
    number, at_ms, lon, lat = fixes_of_lines(whole, [0] * len(whole))
    steps = walked_steps(number, at_ms * 1_000_000, lon, lat, metric_crs=city.metric_crs)
    gone = burn_steps(steps, time_zone=city.time_zone, sight_m=sight_m)
    lock_tiles(session, gone)
    session.execute(sa.delete(TrackChunk).where(TrackChunk.track == track))
    rebuild_tiles(session, gone, city=city, sight_m=sight_m)
    days = {date.fromordinal(int(day)) for day in gone.day}
    keep_walked_again(session, walkers, days, city=city)
    session.execute(sa.insert(Change), [change("track", track, by=by, at=now, before={"chunks": len(lines)})])
    return len(lines)


def rebuild_days(session: Session, *, first: date, last: date, city: City, sight_m: float = SIGHT_M) -> int:
    """Make the stored tiles of whole days again from the chunks; how many there are.

    Raises
    ------
    Conflict
        Raw fixes of one of the days have been dropped.
    """
    key = (SeenTile.tile_row, SeenTile.tile_col, SeenTile.day, SeenTile.shift)
    rows: Any = session.execute(sa.select(*key).where(SeenTile.day.between(first, last)).order_by(*key)).all()
    tiles = SeenTiles(
        tile_row=np.array([row[0] for row in rows], dtype=np.int64),
        tile_col=np.array([row[1] for row in rows], dtype=np.int64),
        day=np.array([row[2].toordinal() for row in rows], dtype=np.int64),
        shift=np.array([row[3] for row in rows], dtype=np.int64),
        bits=np.zeros((len(rows), TILE_BYTES), np.uint8),
    )
    lock_tiles(session, tiles)
    rebuild_tiles(session, tiles, city=city, sight_m=sight_m)
    return len(rows)
