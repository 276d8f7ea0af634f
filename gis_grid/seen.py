"""Seen ground as it is stored: a row a tile, day and shift, OR-ed into, never undone but by a rebuild."""

from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, sql
from gis_grid.geo.tiles import TILE_BYTES, Ground, SeenTiles

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


def add_seen(session: Session, seen: SeenTiles) -> None:
    """OR seen ground into the table; rows come in key order, so concurrent uploads cannot deadlock."""
    statement = sql("add_seen_tiles")
    for start in range(0, len(seen), ROWS_AT_ONCE):
        session.execute(statement, tile_parameters(seen, slice(start, start + ROWS_AT_ONCE)))


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
    # varbit_send gives 4 bytes of length, then the bits, packed: a tenth of the text that bits are otherwise sent as.
    bits = sa.func.varbit_send(sa.cast(sa.func.bit_or(SeenTile.bits), BIT(16384, varying=True)), type_=sa.LargeBinary)
    query = sa.select(SeenTile.tile_row, SeenTile.tile_col, bits).where(SeenTile.day.between(first, last))
    if shift is not None:
        query = query.where(SeenTile.shift == shift)
    tile = (SeenTile.tile_row, SeenTile.tile_col)
    return ground_of_rows(session.execute(query.group_by(*tile).order_by(*tile)).all())


def ground_of_rows(rows: Any) -> Ground:
    """Ground out of rows of tile_row, tile_col and the bits as `varbit_send` gives them, by tile."""
    packed = b"".join(bytes(row[2])[4:] for row in rows)
    return Ground(
        tile_row=np.array([row[0] for row in rows], dtype=np.int64),
        tile_col=np.array([row[1] for row in rows], dtype=np.int64),
        bits=np.frombuffer(packed, dtype=np.uint8).reshape(-1, TILE_BYTES),
    )
