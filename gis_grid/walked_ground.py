"""What each patroller saw, kept by month, so that nobody's fixes are burnt again to say how much it was.

The days of a month are added once they are over; what is kept of who sends a chunk later is made again. Kept are months
of which all raw fixes are there: with the first of them that is dropped, what is kept of its month goes too.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIT, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.city import City
from gis_grid.database import Base, sql
from gis_grid.geo.sight import MAX_GAP_S, burn_steps, walked_steps
from gis_grid.geo.tiles import Ground, union, unite
from gis_grid.geo.track_chunks import MAX_SPAN_MS
from gis_grid.geo.track_lines import fixes_of_lines
from gis_grid.patrols import TrackChunk
from gis_grid.periods import Period
from gis_grid.rebuilding import SPAN, forgotten_before
from gis_grid.seen import ROWS_AT_ONCE, Window, first_seen_day, ground_of_rows, sent
from gis_grid.track_intake import SIGHT_M

KEEPING = 1018  # advisory lock: one keeps or drops at a time
ON_ITS_WAY = timedelta(minutes=10)  # a chunk received before the days were added may have been stored after it
CHUNKS_AT_ONCE = 2000
DAY, GAP = timedelta(days=1), timedelta(seconds=MAX_GAP_S)
Walked = Iterator[tuple[str, Ground]]


class WalkedTile(Base):
    """What one patroller saw of one tile of 128 × 128 cells in the days of a month that were added, a bit a cell."""

    __tablename__ = "walked_tiles"

    month: Mapped[date] = mapped_column(primary_key=True)
    walker: Mapped[str] = mapped_column(sa.Text(collation="C"), primary_key=True)  # the order of Python
    tile_row: Mapped[int] = mapped_column(primary_key=True)
    tile_col: Mapped[int] = mapped_column(primary_key=True)
    bits: Mapped[Any] = mapped_column(BIT(16384, varying=True))


class WalkedTeam(Base):
    """A team that the outings of one patroller in a month name."""

    __tablename__ = "walked_teams"

    walker: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    team: Mapped[str] = mapped_column(primary_key=True)


class WalkedMonth(Base):
    """How far a month, by its first day, is kept.

    Attributes
    ----------
    until
        The last day that was added; all before it were.
    kept_at
        When it was last seen to that nothing is missing.
    """

    __tablename__ = "walked_months"

    month: Mapped[date] = mapped_column(primary_key=True)
    until: Mapped[date]
    kept_at: Mapped[datetime]


def walked_ground(session: Session, window: Window, *, city: City) -> Walked:
    """What each patroller saw in a window, by name, one after the other: all lines of a month would not fit."""
    months, rest = _split(session, window)
    streams = [
        *(_kept(session, month) for month in months),
        *(_burnt(session, part, city=city) for part in rest),
    ]
    for walker, parts in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
        yield walker, unite([ground for _, ground in parts])


def teams_of_walkers(session: Session, window: Window, *, city: City) -> dict[str, set[str]]:
    """Whom the outings of a window are by, each with the teams they name."""
    months, rest = _split(session, window)
    kept = sa.select(WalkedTeam.walker, WalkedTeam.team).where(WalkedTeam.month.in_(months))
    teams: dict[str, set[str]] = defaultdict(set)
    both: sa.CompoundSelect[str, str] = sa.union(kept, *(_teams(part, city) for part in rest))
    for walker, team in session.execute(both):
        teams[walker].add(team)
    return teams


def _teams(window: Window, city: City) -> sa.Select[str | None, str]:
    return sa.select(TrackChunk.walker, TrackChunk.team).where(_chunks_of(window, city=city))


def _split(session: Session, window: Window) -> tuple[list[date], list[Window]]:
    """The months of which all that is kept lies within a window, and what these leave of it."""
    kept = sa.select(WalkedMonth).where(WalkedMonth.month >= window.first, WalkedMonth.until <= window.last)
    months, rest, begins = [], [], window.first
    for row in session.scalars(kept.order_by(WalkedMonth.month)):
        if begins < row.month:
            rest.append(Window(begins, row.month - DAY))
        months.append(row.month)
        begins = row.until + DAY
    if begins <= window.last:
        rest.append(Window(begins, window.last))
    return months, rest


def _kept(session: Session, month: date) -> Walked:
    query = (
        sa.select(WalkedTile.walker, WalkedTile.tile_row, WalkedTile.tile_col, sent(WalkedTile.bits))
        .where(WalkedTile.month == month)
        .order_by(WalkedTile.walker, WalkedTile.tile_row, WalkedTile.tile_col)
        .execution_options(yield_per=CHUNKS_AT_ONCE)
    )
    for walker, rows in groupby(session.execute(query), key=itemgetter(0)):
        yield walker, ground_of_rows([row[1:] for row in rows])


def _chunks_of(window: Window, *, city: City, margin: timedelta = timedelta()) -> sa.ColumnElement[bool]:
    """Those of patrollers whose names are known that come within a margin of a window."""
    period = Period(window.first, window.last, city.zone)
    since, until = period.since - margin, period.until + margin
    is_near = (TrackChunk.started_at >= since - timedelta(milliseconds=MAX_SPAN_MS), TrackChunk.started_at < until)
    return sa.and_(*is_near, TrackChunk.ended_at >= since, TrackChunk.walker.is_not(None))


def _burnt(session: Session, window: Window, *, city: City, walkers: Collection[str] | None = None) -> Walked:
    """What patrollers saw in a window, out of their fixes; a step may lead from one chunk to the next at midnight."""
    query = (
        sa.select(TrackChunk.walker, TrackChunk.track, sa.func.ST_AsBinary(TrackChunk.geom))
        .where(_chunks_of(window, city=city, margin=GAP), TrackChunk.geom.is_not(None))
        .order_by(TrackChunk.walker.collate("C"), TrackChunk.track)
        .execution_options(yield_per=CHUNKS_AT_ONCE)
    )
    if walkers is not None:
        query = query.where(TrackChunk.walker.in_(walkers))
    for walker, rows in groupby(session.execute(query), key=itemgetter(0)):
        each = list(rows)
        numbers = {track: number for number, track in enumerate(dict.fromkeys(row[1] for row in each))}
        track, at_ms, lon, lat = fixes_of_lines([row[2] for row in each], [numbers[row[1]] for row in each])
        steps = walked_steps(track, at_ms * 1_000_000, lon, lat, metric_crs=city.metric_crs)
        seen = burn_steps(steps, time_zone=city.time_zone, sight_m=SIGHT_M)
        yield walker, union(seen.between(window.first, window.last))


def months_walked(session: Session, *, before: date, city: City) -> list[Window]:
    """The months with patrols up to the day before `before`, of which all raw fixes are there; the last one so far."""
    oldest, forgotten = first_seen_day(session), forgotten_before(session)
    months: list[Window] = []
    begins = oldest.replace(day=1) if oldest is not None else before
    while begins < before:
        after = (begins + 31 * DAY).replace(day=1)
        month = Window(begins, min(after, before) - DAY)
        if _is_whole(month, forgotten, city):
            months.append(month)
        begins = after
    return months


def keep_walked(session: Session, month: Window, *, city: City, now: datetime) -> bool:
    """Add the days of a month that are not kept yet, and what came late of those that are.

    False where another process keeps one just now.
    """
    if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(KEEPING))):
        return False
    row = session.get(WalkedMonth, month.first)
    if row is None:
        row = WalkedMonth(month=month.first, until=month.first - DAY, kept_at=now)
        session.add(row)
    elif late := _late(session, row, city):
        _make_again(session, row, late, city)
    if row.until < month.last:
        _add(session, row.month, Window(row.until + DAY, month.last), city)
    row.until, row.kept_at = month.last, now
    session.flush()
    return True


def _is_whole(window: Window, forgotten: datetime | None, city: City) -> bool:
    """Whether all raw fixes of a window are there."""
    return forgotten is None or Period(window.first, window.last, city.zone).since - SPAN >= forgotten


def _late(session: Session, row: WalkedMonth, city: City) -> set[str]:
    """Whose chunks of the days that were added came since."""
    came = _chunks_of(Window(row.month, row.until), city=city, margin=GAP)
    query = sa.select(TrackChunk.walker).where(came, TrackChunk.received_at >= row.kept_at - ON_ITS_WAY)
    return {str(walker) for walker in session.scalars(query.distinct())}


def _make_again(session: Session, row: WalkedMonth, walkers: Collection[str], city: City) -> None:
    whose = (WalkedTile.month == row.month, WalkedTile.walker.in_(walkers))
    nothing = WalkedTile.bits.op("#")(WalkedTile.bits)  # the service deletes no rows
    session.execute(sa.update(WalkedTile).where(*whose).values(bits=nothing))
    _add(session, row.month, Window(row.month, row.until), city, walkers)


def _add(session: Session, month: date, window: Window, city: City, walkers: Collection[str] | None = None) -> None:
    teams = _teams(window, city).add_columns(sa.literal(month)).distinct()
    if walkers is not None:
        teams = teams.where(TrackChunk.walker.in_(walkers))
    session.execute(insert(WalkedTeam).from_select(["walker", "team", "month"], teams).on_conflict_do_nothing())
    rows: list[dict[str, Any]] = []
    for walker, ground in _burnt(session, window, city=city, walkers=walkers):
        columns = (ground.tile_row.tolist(), ground.tile_col.tolist(), ground.bits)
        for tile_row, tile_col, bits in zip(*columns, strict=True):
            text = f"x{bits.tobytes().hex()}"
            rows.append({"walker": walker, "tile_row": tile_row, "tile_col": tile_col, "bits": text})
        if len(rows) >= ROWS_AT_ONCE:
            _store(session, month, rows)
            rows = []
    _store(session, month, rows)


def _store(session: Session, month: date, rows: list[dict[str, Any]]) -> None:
    columns = {name: [row[name] for row in rows] for name in ("walker", "tile_row", "tile_col", "bits")}
    session.execute(sql("add_walked_tiles"), columns | {"month": month})


def keep_walked_again(session: Session, walkers: Collection[str], days: Iterable[date], *, city: City) -> None:
    """Make what is kept of some patrollers again, in the months of some days: fixes are gone; only the owner may."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(KEEPING)))
    for month in sorted({day.replace(day=1) for day in days}):
        row = session.get(WalkedMonth, month)
        if row is not None:
            session.execute(sa.delete(WalkedTeam).where(WalkedTeam.month == month, WalkedTeam.walker.in_(walkers)))
            _make_again(session, row, walkers, city)


def forget_walked(session: Session, *, before: datetime, city: City) -> None:
    """Drop what is kept of months of which raw fixes before a time tell; only the owner may."""
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(KEEPING)))
    last = (before + SPAN).astimezone(city.zone).date()
    months = session.scalars(sa.select(WalkedMonth.month).where(WalkedMonth.month <= last)).all()
    for table in (WalkedTile, WalkedTeam, WalkedMonth):
        session.execute(sa.delete(table).where(table.month.in_(months)))
