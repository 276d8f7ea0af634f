"""How much of each grid, block, community, town or the district was seen, all of it worked out in SQL.

Grids and blocks are masks over the tiles of seen ground, made once for each layer; what is larger is the sum of its
grids. Excluded ground counts in neither numerator nor denominator.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from geoalchemy2 import Geometry, WKBElement
from geoalchemy2.shape import to_shape
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from gis_grid.blocks import blocks_frame
from gis_grid.city import City
from gis_grid.database import Base, By, Change, change, sql
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.geo.layer_files import read_layer
from gis_grid.geo.tiles import CELL_M2, masks_of
from gis_grid.seen import Window, split_window
from gis_grid.territory import Area, Grid, GridLayer, grids_frame, the_layer

MAKING_MASKS = 1008  # advisory lock: one makes a layer's masks, others wait for them


class PlaceLevel(StrEnum):
    """What a share can be asked of."""

    BLOCK = "block"
    GRID = "grid"
    COMMUNITY = "community"
    TOWN = "town"
    DISTRICT = "district"


class GroundMaskRow(Base):
    """The cells of one tile that belong to a grid, a block or an excluded ground (`place_id` by `kind`)."""

    __tablename__ = "ground_masks"

    kind: Mapped[str] = mapped_column(primary_key=True)
    place_id: Mapped[int] = mapped_column(primary_key=True)
    tile_row: Mapped[int] = mapped_column(primary_key=True)
    tile_col: Mapped[int] = mapped_column(primary_key=True)
    bits: Mapped[Any] = mapped_column(BIT(16384, varying=True))

    __table_args__ = (sa.CheckConstraint("kind in ('grid', 'block', 'excluded')", name="kind"),)


class ExcludedGround(Base):
    """Ground that nobody is to patrol (water, an airfield, a walled yard), why, and from which day to which."""

    __tablename__ = "excluded_grounds"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    reason: Mapped[str]
    since: Mapped[date]
    until: Mapped[date | None]
    geom: Mapped[WKBElement] = mapped_column(Geometry("GEOMETRY", 4326, spatial_index=False))

    __table_args__ = (
        sa.CheckConstraint("until is null or until >= since", name="until"),
        sa.CheckConstraint("GeometryType(geom) in ('POLYGON', 'MULTIPOLYGON')", name="polygonal"),
    )


def ensure_masks(session: Session, layer: GridLayer, city: City) -> None:
    """Make the masks of a layer's grids unless they are there."""
    grids = grids_frame(session, layer)
    _ensure(session, "grid", grids["grid_id"], grids, city)


def _ensure(session: Session, kind: str, ids: Iterable[int], frame: gpd.GeoDataFrame, city: City) -> None:
    ids = [int(one) for one in ids]
    if not ids or _has_masks(session, kind, ids):
        return
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING_MASKS)))
    if not _has_masks(session, kind, ids):
        _insert_masks(session, kind, ids, frame, city)


def _has_masks(session: Session, kind: str, ids: Sequence[int]) -> bool:
    row = GroundMaskRow
    return session.scalar(sa.select(sa.exists().where(row.kind == kind, row.place_id.in_(ids)))) is True


def _insert_masks(session: Session, kind: str, ids: Sequence[int], frame: gpd.GeoDataFrame, city: City) -> None:
    masks = masks_of(frame, city.metric_crs)
    statement = sa.text(
        "insert into ground_masks (kind, place_id, tile_row, tile_col, bits) "
        "select :kind, t.place_id, t.tile_row, t.tile_col, cast(t.bits as bit varying(16384)) from unnest("
        "cast(:place_id as int[]), cast(:tile_row as int[]), cast(:tile_col as int[]), cast(:bits as text[])"
        ") as t (place_id, tile_row, tile_col, bits)"
    )
    for start in range(0, len(masks.polygon), 1000):
        part = slice(start, start + 1000)
        rows = {
            "kind": kind,
            "place_id": [ids[k] for k in masks.polygon[part].tolist()],
            "tile_row": masks.tile_row[part].tolist(),
            "tile_col": masks.tile_col[part].tolist(),
            "bits": [f"x{row.tobytes().hex()}" for row in masks.bits[part]],
        }
        session.execute(statement, rows)


def seen_shares_at(
    session: Session, level: PlaceLevel, window: Window, *, city: City, at: datetime, codes: Iterable[str] | None = None
) -> pd.DataFrame:
    """How much of each place was seen in a window, by code.

    Parameters
    ----------
    at
        The layers in force then are asked; exclusions are judged by the window's last day.
    codes
        Only these places.

    Returns
    -------
    DataFrame
        Index `code`; columns name, seen_share (0 to 1; nan where no ground is left to see), seen_m2, ground_m2 (without
        excluded ground), excluded_m2; areas are whole cells of 25 m².

    Raises
    ------
    NotFound
        One of `codes` is no such place.
    """
    places = places_at(session, level, city, at=at)
    wanted = set(codes) if codes is not None else None
    if wanted is not None:
        missing = sorted(wanted - set(places["code"]))
        if missing:
            raise NotFound(f"no {level} {', '.join(missing[:10])} is in force at {at.isoformat()}")
        places = places[places["code"].isin(wanted)]
    kind = "block" if level is PlaceLevel.BLOCK else "grid"
    cells = _cells(session, kind, places["id"], window)
    counted = places.join(cells, on="id").fillna({"whole": 0, "ground": 0, "seen": 0})
    summed = counted.groupby("code", sort=True).agg(
        name=("name", "first"), whole=("whole", "sum"), ground=("ground", "sum"), seen=("seen", "sum")
    )
    share = (summed["seen"] / summed["ground"].where(summed["ground"] > 0)).astype(float)
    return pd.DataFrame(
        {
            "name": summed["name"],
            "seen_share": share,
            "seen_m2": summed["seen"] * CELL_M2,
            "ground_m2": summed["ground"] * CELL_M2,
            "excluded_m2": (summed["whole"] - summed["ground"]) * CELL_M2,
        }
    )


def places_at(session: Session, level: PlaceLevel, city: City, *, at: datetime) -> pd.DataFrame:
    """The blocks in force at a time, or the grids with what they are asked as; their masks are made.

    Returns
    -------
    DataFrame
        Columns id (of the block or grid), code, name (of what is asked).
    """
    return _blocks(session, city, at) if level is PlaceLevel.BLOCK else _grids(session, level, city, at)


def _blocks(session: Session, city: City, at: datetime) -> pd.DataFrame:
    frame = blocks_frame(session, at=at)
    _ensure_each(session, "block", frame["block_id"], frame, city)
    return pd.DataFrame({"id": frame["block_id"], "code": frame["block_code"], "name": frame["name"]})


def _ensure_each(session: Session, kind: str, ids: pd.Series, frame: gpd.GeoDataFrame, city: City) -> None:
    """Masks of places that come a few at a time, each unless it is there."""
    row = GroundMaskRow
    known = set(
        session.scalars(sa.select(row.place_id).distinct().where(row.kind == kind, row.place_id.in_(ids.tolist())))
    )
    is_new = ~ids.isin(known)
    if is_new.any():
        _ensure(session, kind, ids[is_new], frame[is_new], city)


def _grids(session: Session, level: PlaceLevel, city: City, at: datetime) -> pd.DataFrame:
    """Grids with the code and name of what they are asked as."""
    layer = the_layer(session, at)
    if not session.scalar(
        sa.select(
            sa.exists().where(
                GroundMaskRow.kind == "grid",
                GroundMaskRow.place_id.in_(sa.select(Grid.id).where(Grid.layer_id == layer.id)),
            )
        )
    ):
        ensure_masks(session, layer, city)
    community, town, district = (aliased(Area) for _ in range(3))
    columns = {
        PlaceLevel.GRID: (Grid.code, Grid.code),
        PlaceLevel.COMMUNITY: (community.code, community.name),
        PlaceLevel.TOWN: (town.code, town.name),
        PlaceLevel.DISTRICT: (district.code, district.name),
    }
    code, name = columns[level]
    query = (
        sa.select(Grid.id, code.label("code"), name.label("name"))
        .join(community, Grid.community_id == community.id)
        .join(town, community.parent_id == town.id)
        .join(district, town.parent_id == district.id)
        .where(Grid.layer_id == layer.id)
    )
    return pd.DataFrame(session.execute(query).all(), columns=["id", "code", "name"])


def _cells(session: Session, kind: str, places: Iterable[int], window: Window) -> pd.DataFrame:
    """Cells of each place: all, those not excluded, and those seen; index the place's id."""
    months, ranges = split_window(session, window)
    asked = {
        "kind": kind,
        "places": [int(one) for one in places],
        "months": months,
        "starts": [one[0] for one in ranges],
        "ends": [one[1] for one in ranges],
        "shifts": window.shifts,
        "as_of": window.last,
    }
    rows = session.execute(sql("seen_cells"), asked).all()
    frame = pd.DataFrame(rows, columns=["id", "whole", "ground", "seen"]).astype("int64")
    return frame.set_index("id")


@dataclass(frozen=True)
class NewExclusion:
    """Ground to leave out, as a file states it; a (Multi)Polygon in EPSG:4326."""

    reason: str
    since: date
    until: date | None
    shape: shapely.Geometry


def read_exclusions(path: Path, *, today: date) -> list[NewExclusion]:
    """The grounds in a file of polygons with `reason` and perhaps `since` (today without it) and `until`.

    Raises
    ------
    InvalidInput
        Naming every row at fault.
    """
    frame = read_layer(path)[0].to_crs("EPSG:4326")
    found, faults = [], []
    for number, row in enumerate(frame.to_dict("records"), start=1):
        try:
            found.append(_exclusion(row, frame.geometry.name, today))
        except InvalidInput as error:
            faults.append(f"row {number}: {error}")
    if faults:
        raise InvalidInput(f"{path}: " + "; ".join(faults[:20]) + (" …" if len(faults) > 20 else ""))
    return found


def _exclusion(row: dict[str, Any], geometry: str, today: date) -> NewExclusion:
    reason, shape = row.get("reason"), row[geometry]
    if not isinstance(reason, str) or not reason.strip() or "\0" in reason:
        raise InvalidInput(f"reason {reason!r}: expected why nobody is to patrol there")
    if shape is None or shape.is_empty or shape.geom_type not in {"Polygon", "MultiPolygon"} or not shape.is_valid:
        raise InvalidInput("expected a valid polygon")
    since, until = (_day(row.get(name), name) for name in ("since", "until"))
    if until is not None and until < (since or today):
        raise InvalidInput(f"until {until} lies before {since or today}")
    return NewExclusion(reason.strip(), since or today, until, shape)


def _day(given: Any, name: str) -> date | None:
    if given is None or given == "" or given is pd.NaT or (isinstance(given, float) and np.isnan(given)):
        return None
    try:
        return pd.Timestamp(given).date()
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{name} {given!r}: expected a date such as 2026-12-31, or nothing") from error


def exclude_ground(session: Session, grounds: Sequence[NewExclusion], *, city: City, by: By, now: datetime) -> int:
    """Leave ground out of seen shares from now on, all or none; how many are new. The same again changes nothing."""
    held = {
        (one.reason, one.since, one.until, bytes(shapely.to_wkb(_shape(one))))
        for one in session.scalars(sa.select(ExcludedGround))
    }
    fresh = [one for one in grounds if (one.reason, one.since, one.until, shapely.to_wkb(one.shape)) not in held]
    if not fresh:
        return 0
    rows = [
        ExcludedGround(
            reason=one.reason, since=one.since, until=one.until, geom=WKBElement(shapely.to_wkb(one.shape), srid=4326)
        )
        for one in fresh
    ]
    session.add_all(rows)
    session.flush()
    frame = gpd.GeoDataFrame(geometry=[one.shape for one in fresh], crs="EPSG:4326")
    _insert_masks(session, "excluded", [row.id for row in rows], frame, city)
    told = [change("excluded_ground", str(row.id), by=by, at=now, after={"reason": row.reason}) for row in rows]
    session.execute(sa.insert(Change), told)
    return len(rows)


def _shape(row: ExcludedGround) -> shapely.Geometry:
    return to_shape(row.geom)


def excluded_frame(session: Session, *, as_of: date) -> gpd.GeoDataFrame:
    """Ground excluded on a day.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns reason, since, until (ISO text, None for ever), geometry.
    """
    row = ExcludedGround
    query = sa.select(row).where(row.since <= as_of, sa.or_(row.until.is_(None), row.until >= as_of)).order_by(row.id)
    rows = session.scalars(query).all()
    columns = {
        "reason": [one.reason for one in rows],
        "since": [one.since.isoformat() for one in rows],
        "until": [one.until.isoformat() if one.until else None for one in rows],
    }
    return gpd.GeoDataFrame(columns, geometry=[_shape(one) for one in rows], crs="EPSG:4326")
