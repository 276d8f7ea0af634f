"""Seen ground as it is stored: a row a tile, day and shift, OR-ed into, never undone but by a rebuild.

Months that are over are rolled up into a row a tile, month and shift, so that a year costs what a month costs. A late
upload into such a month goes into both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, run, sql
from gis_grid.errors import InvalidInput
from gis_grid.geo.tiles import TILE_BYTES, Ground, SeenTiles
from gis_grid.instants import FIRST, LAST

ROWS_AT_ONCE = 1000


class SeenTile(Base):
    """What was seen of one tile of 128 × 128 cells in one shift of one day, a bit a cell."""

    __tablename__ = "seen_tiles"

    tile_row: Mapped[int] = mapped_column(primary_key=True)
    tile_col: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    shift: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)
    bits: Mapped[Any] = mapped_column(BIT(16384, varying=True))

    __table_args__ = (sa.Index("ix_seen_tiles_day", "day"),)


class SeenMonth(Base):
    """What was seen of one tile in one shift of all days of a month that is rolled up."""

    __tablename__ = "seen_months"

    tile_row: Mapped[int] = mapped_column(primary_key=True)
    tile_col: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    shift: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)
    bits: Mapped[Any] = mapped_column(BIT(16384, varying=True))


class RolledMonth(Base):
    """A month, by its first day, that `seen_months` holds."""

    __tablename__ = "rolled_months"

    month: Mapped[date] = mapped_column(primary_key=True)
    rolled_at: Mapped[datetime]


@dataclass(frozen=True)
class Window:
    """Whole days on the city's clock, both ends included, in one shift (0 day, 1 night) or in either."""

    first: date
    last: date
    shift: int | None = None

    def __post_init__(self) -> None:
        if not FIRST.date() < self.first <= self.last < LAST.date():
            raise InvalidInput(f"window {self.first} to {self.last}: expected days in order, between 1970 and 2100")
        if self.shift not in {None, 0, 1}:
            raise InvalidInput(f"shift {self.shift}: expected 0 by day or 1 by night")

    @property
    def shifts(self) -> list[int]:
        """The shifts it spans."""
        return [0, 1] if self.shift is None else [self.shift]

    @property
    def days(self) -> int:
        """How many days it spans."""
        return (self.last - self.first).days + 1


def add_seen(session: Session, seen: SeenTiles) -> None:
    """OR seen ground into the table; rows come in key order, so concurrent uploads cannot deadlock."""
    for start in range(0, len(seen), ROWS_AT_ONCE):
        run(session, ADD_SEEN, tile_parameters(seen, slice(start, start + ROWS_AT_ONCE)))


# Days before months: a roll-up stops days from being added to, so months are looked at once it has been and gone.
ADD_SEEN = ("add_seen_tiles", "add_seen_months")


def tile_parameters(seen: SeenTiles, part: slice = slice(None)) -> dict[str, Any]:
    """Rows as a statement takes them: one list a column."""
    return {
        "tile_row": seen.tile_row[part].tolist(),
        "tile_col": seen.tile_col[part].tolist(),
        "day": [date.fromordinal(ordinal) for ordinal in seen.day[part].tolist()],
        "shift": seen.shift[part].tolist(),
        "bits": [f"x{row.tobytes().hex()}" for row in seen.bits[part]],
    }


def seen_in_window(session: Session, *, first: date, last: date, shift: int | None = None) -> Ground:
    """Ground seen on whole days, both ends included, in one shift (0 day, 1 night) or in either."""
    window = Window(first, last, shift)
    months, ranges = split_window(session, window)
    days = sa.or_(sa.false(), *(SeenTile.day.between(*one) for one in ranges))
    of_days = sa.select(SeenTile.tile_row, SeenTile.tile_col, SeenTile.bits).where(
        days, SeenTile.shift.in_(window.shifts)
    )
    of_months = sa.select(SeenMonth.tile_row, SeenMonth.tile_col, SeenMonth.bits).where(
        SeenMonth.month.in_(months), SeenMonth.shift.in_(window.shifts)
    )
    parts = sa.union_all(of_days, of_months).subquery()
    bits = sent(sa.cast(sa.func.bit_or(parts.c.bits), BIT(16384, varying=True)))
    tile = (parts.c.tile_row, parts.c.tile_col)
    return ground_of_rows(session.execute(sa.select(*tile, bits).group_by(*tile).order_by(*tile)).all())


def seen_tiles_in(session: Session, window: Window, tiles: Collection[tuple[int, int]]) -> SeenTiles:
    """Rows of some tiles (tile_row, tile_col) in a window, by key, for what a count or a last day is asked of."""
    asked = sa.tuple_(SeenTile.tile_row, SeenTile.tile_col).in_(sorted(tiles))
    bits = sent(SeenTile.bits)
    key = (SeenTile.tile_row, SeenTile.tile_col, SeenTile.day, SeenTile.shift)
    query = sa.select(*key, bits).where(
        asked, SeenTile.day.between(window.first, window.last), SeenTile.shift.in_(window.shifts)
    )
    rows = session.execute(query.order_by(*key)).all()
    packed = b"".join(bytes(row[4])[4:] for row in rows)
    return SeenTiles(
        tile_row=np.array([row[0] for row in rows], dtype=np.int64),
        tile_col=np.array([row[1] for row in rows], dtype=np.int64),
        day=np.array([row[2].toordinal() for row in rows], dtype=np.int64),
        shift=np.array([row[3] for row in rows], dtype=np.int64),
        bits=np.frombuffer(packed, dtype=np.uint8).reshape(-1, TILE_BYTES),
    )


def split_window(session: Session, window: Window) -> tuple[list[date], list[tuple[date, date]]]:
    """The rolled months that lie whole within a window, and the ranges of days that these leave."""
    query = sa.select(RolledMonth.month).where(RolledMonth.month >= window.first, RolledMonth.month <= window.last)
    months = [month for month in session.scalars(query.order_by(RolledMonth.month)) if _end(month) <= window.last]
    ranges, begins = [], window.first
    for month in months:
        if begins < month:
            ranges.append((begins, month - timedelta(days=1)))
        begins = _end(month) + timedelta(days=1)
    if begins <= window.last:
        ranges.append((begins, window.last))
    return months, ranges


def _end(month: date) -> date:
    """The last day of a month."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def first_seen_day(session: Session) -> date | None:
    """The first day on which anybody saw anything."""
    return session.scalar(sa.select(sa.func.min(SeenTile.day)))


def roll_up(session: Session, *, before: date, now: datetime) -> list[date]:
    """Roll up the months that end before a day and are not yet; which they are. Uploads wait for it."""
    month = sa.cast(sa.func.date_trunc("month", SeenTile.day), sa.Date)
    known = sa.select(RolledMonth.month)
    wanted = sa.select(month).distinct().where(SeenTile.day < before.replace(day=1), month.not_in(known))
    if not session.scalars(wanted).all():
        return []
    session.execute(sa.text("lock table seen_tiles in share row exclusive mode"))
    months: Sequence[date] = sorted(session.scalars(wanted))
    for one in months:
        session.execute(sql("roll_up_month"), {"month": one})
    session.add_all(RolledMonth(month=one, rolled_at=now) for one in months)
    session.flush()
    return list(months)


def sent(bits: Any) -> sa.ColumnElement[bytes]:
    """A column of bits as 4 bytes of length and then the bits, packed: a tenth of their usual text."""
    return sa.func.varbit_send(bits, type_=sa.LargeBinary)


def ground_of_rows(rows: Any) -> Ground:
    """Ground out of rows of tile_row, tile_col and the bits as `sent` gives them, by tile."""
    packed = b"".join(bytes(row[2])[4:] for row in rows)
    return Ground(
        tile_row=np.array([row[0] for row in rows], dtype=np.int64),
        tile_col=np.array([row[1] for row in rows], dtype=np.int64),
        bits=np.frombuffer(packed, dtype=np.uint8).reshape(-1, TILE_BYTES),
    )
