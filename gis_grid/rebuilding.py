"""Making seen tiles again from the chunks: for what OR cannot undo."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.city import City
from gis_grid.database import sql
from gis_grid.errors import Conflict
from gis_grid.geo.sight import MAX_STEP_M, burn_steps, walked_steps
from gis_grid.geo.tiles import TILE_BYTES, TILE_M, Ints, SeenTiles, to_metric
from gis_grid.geo.track_lines import fixes_of_lines
from gis_grid.seen import tile_parameters

SPAN = timedelta(hours=6, minutes=1)  # a chunk that reaches into a day begins at most this long before
_LOCK = sa.text(
    "select 1 from seen_tiles s join unnest(cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:day as date[]), "
    "cast(:shift as smallint[])) as t (tile_row, tile_col, day, shift) using (tile_row, tile_col, day, shift) "
    "order by s.tile_row, s.tile_col, s.day, s.shift for update of s"
)
_FORGOTTEN = sa.text("select max(before) from forgotten_tracks")


def lock_tiles(session: Session, *parts: SeenTiles) -> None:
    """Hold the rows of some tiles until the transaction ends, in the order in which everybody takes them."""
    keys = {
        (int(row), int(col), int(day), int(shift))
        for part in parts
        for row, col, day, shift in zip(part.tile_row, part.tile_col, part.day, part.shift, strict=True)
    }
    rows = sorted(keys)
    session.execute(
        _LOCK,
        {
            "tile_row": [row[0] for row in rows],
            "tile_col": [row[1] for row in rows],
            "day": [date.fromordinal(row[2]) for row in rows],
            "shift": [row[3] for row in rows],
        },
    )


def rebuild_tiles(session: Session, tiles: SeenTiles, *, city: City, sight_m: float) -> None:
    """Set tiles, by their keys, to what the stored chunks saw, and no more; their rows must be locked.

    Raises
    ------
    Conflict
        Raw fixes of those days have been dropped: the tiles are all that is left of them.
    """
    for day in np.unique(tiles.day):
        _refuse_forgotten(session, date.fromordinal(int(day)), city)
        of_day = tiles.day == day
        ground = _ground(tiles.tile_row[of_day], tiles.tile_col[of_day], city, sight_m)
        fixes = _fixes_near(session, ground, int(day), city)
        track, at_ns, lon, lat = fixes
        steps = walked_steps(track, at_ns, lon, lat, metric_crs=city.metric_crs)
        seen = burn_steps(steps, time_zone=city.time_zone, sight_m=sight_m)
        again = tile_parameters(_picked(tiles, of_day, seen))
        session.execute(sql("set_seen_tiles"), again)
        session.execute(sql("lock_seen_months"), again)
        session.execute(sql("set_seen_months"), again)


def forgotten_before(session: Session) -> datetime | None:
    """Raw fixes that began before this have been dropped; None as long as none have."""
    before: datetime | None = session.scalar(_FORGOTTEN)
    return before


def _refuse_forgotten(session: Session, day: date, city: City) -> None:
    before = forgotten_before(session)
    begins = datetime.combine(day, datetime.min.time(), city.zone)
    if before is not None and begins - SPAN < before:
        raise Conflict(f"the raw fixes of {day} have been dropped: what was seen that day cannot be made again")


def _fixes_near(session: Session, ground: shapely.Geometry, day: int, city: City) -> tuple[Any, Ints, Any, Any]:
    """Fixes of the tracks that come near some ground on a day, whole around it."""
    begins = datetime.combine(date.fromordinal(day), datetime.min.time(), city.zone).astimezone(UTC)
    asked = {
        "since": begins - SPAN,
        "until": begins + timedelta(days=1, minutes=2),
        "ground": shapely.to_wkb(ground, hex=True, include_srid=True),
    }
    rows = session.execute(sql("tracks_near"), asked).all()
    names = {name: number for number, name in enumerate(sorted({row.track for row in rows}))}
    track, at_ms, lon, lat = fixes_of_lines([row.line for row in rows], [names[row.track] for row in rows])
    return track, at_ms * 1_000_000, lon, lat


def _ground(tile_row: Ints, tile_col: Ints, city: City, sight_m: float) -> shapely.Geometry:
    """Boxes of tiles in degrees, wide enough for all that can be seen from outside them."""
    # Where a chunk does not repeat its predecessor's last fix, a step leads from one line to the next.
    margin = sight_m + MAX_STEP_M
    west, south = tile_col * TILE_M - margin, tile_row * TILE_M - margin
    boxes = shapely.box(west, south, west + TILE_M + 2 * margin, south + TILE_M + 2 * margin)
    back = to_metric("EPSG:4326", city.metric_crs)
    turned = shapely.transform(
        boxes, lambda xy: np.column_stack(back.transform(xy[:, 0], xy[:, 1], direction="INVERSE"))
    )
    return shapely.set_srid(shapely.union_all(turned), 4326)


def _picked(tiles: SeenTiles, of_day: Any, seen: SeenTiles) -> SeenTiles:
    """The tiles of a day with what was seen of them, nothing where nothing was."""
    found = dict(zip(_keys(seen), seen.bits, strict=True))
    part = SeenTiles(
        tiles.tile_row[of_day], tiles.tile_col[of_day], tiles.day[of_day], tiles.shift[of_day], tiles.bits[of_day]
    )
    nothing = np.zeros(TILE_BYTES, np.uint8)
    bits = [found.get(key, nothing) for key in _keys(part)]
    return SeenTiles(part.tile_row, part.tile_col, part.day, part.shift, np.array(bits, dtype=np.uint8))


def _keys(tiles: SeenTiles) -> Sequence[tuple[int, ...]]:
    return list(zip(*(getattr(tiles, k).tolist() for k in ("tile_row", "tile_col", "day", "shift")), strict=True))
