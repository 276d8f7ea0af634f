"""Blocks (责任块): parts of a grid or community with people of their own, in dated layers that tile their parent."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from geoalchemy2 import Geometry, WKBElement
from sqlalchemy.dialects.postgresql import ARRAY, TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from gis_grid.city import City
from gis_grid.database import Base, By, Change, change
from gis_grid.errors import InvalidInput
from gis_grid.geo.layer_files import read_layer
from gis_grid.geo.tiling import check_tiling
from gis_grid.territory import BEGINNING, Level, geodesic_area_m2, shape_of, the_area, the_grid

LOADING_BLOCKS = 1004  # advisory lock: one load at a time
COLUMNS = ("block_code", "parent_level", "parent_code", "name", "kinds", "least_people")


class ParentLevel(StrEnum):
    """What blocks are parts of."""

    GRID = "grid"
    COMMUNITY = "community"


class PatrolGround(StrEnum):
    """The kinds of ground that a block's patrols go over (巡查区域)."""

    HOUSES = "houses"  # 村宅
    WATERWAY = "waterway"  # 河道
    COMPANIES = "companies"  # 企业单位
    ESTATE = "estate"  # 小区
    SHOPS = "shops"  # 商铺


class FaultyBlocks(InvalidInput):
    """Blocks that do not tile their parent."""


class BlockLayer(Base):
    """The blocks of one grid or community, in force over a range of time; two never are at once."""

    __tablename__ = "block_layers"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    parent_level: Mapped[str]
    parent_code: Mapped[str]
    source: Mapped[str]
    content_sha256: Mapped[str]
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    in_force: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)

    __table_args__ = (
        ExcludeConstraint(("parent_code", "="), ("in_force", "&&"), name="ex_block_layers_in_force", using="gist"),
        sa.CheckConstraint("parent_level in ('grid', 'community')", name="parent_level"),
    )


class Block(Base):
    """One block of a layer."""

    __tablename__ = "blocks"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    layer_id: Mapped[int] = mapped_column(sa.ForeignKey(BlockLayer.id))
    code: Mapped[str] = mapped_column(sa.Text(collation="C"))
    name: Mapped[str]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    least_people: Mapped[int]
    area_m2: Mapped[float]
    geom: Mapped[WKBElement] = mapped_column(Geometry("GEOMETRY", 4326, spatial_index=False))

    layer: Mapped[BlockLayer] = relationship()

    __table_args__ = (
        sa.UniqueConstraint("layer_id", "code"),
        sa.CheckConstraint("least_people >= 0", name="least_people"),
        sa.CheckConstraint("GeometryType(geom) in ('POLYGON', 'MULTIPOLYGON')", name="polygonal"),
    )


@dataclass(frozen=True)
class BlocksOf:
    """The blocks of one parent as a file states them; `frame` has `COLUMNS` and polygons, EPSG:4326."""

    level: ParentLevel
    code: str
    frame: gpd.GeoDataFrame

    @property
    def content_sha256(self) -> str:
        """What the layer holds, whatever else is in its file."""
        rows = self.frame.sort_values("block_code")
        told = rows[list(COLUMNS)].to_json(orient="values") + "".join(shapely.to_wkb(rows.geometry.values, hex=True))
        return hashlib.sha256(told.encode()).hexdigest()


def read_blocks(path: Path) -> list[BlocksOf]:
    """The blocks in a file of polygons with the columns of `COLUMNS`, by parent; `kinds` is a list or `a/b/c`.

    Raises
    ------
    InvalidInput
        A column is missing, or a row is at fault; all of them are named.
    """
    frame = read_layer(path)[0].to_crs("EPSG:4326")
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InvalidInput(f"{path} lacks {', '.join(missing)}; blocks need {', '.join(COLUMNS)}")
    frame = frame.assign(kinds=[_words(kinds) for kinds in frame["kinds"]])
    faults = [f"row {row}: {fault}" for row, block in enumerate(frame.itertuples(), 1) for fault in _faults(block)]
    if faults:
        raise InvalidInput(f"{path}: " + "; ".join(faults[:20]) + (" …" if len(faults) > 20 else ""))
    frame = frame.astype({"least_people": int})[[*COLUMNS, frame.geometry.name]]
    return [
        BlocksOf(ParentLevel(level), code, part.reset_index(drop=True))
        for (level, code), part in frame.groupby(["parent_level", "parent_code"], sort=True)
    ]


def _words(given: Any) -> list[str]:
    if isinstance(given, str):
        given = json.loads(given) if given.startswith("[") else given.split("/")
    return [str(word) for word in given] if isinstance(given, list | np.ndarray) else []


def _faults(block: Any) -> Iterator[str]:
    for name in ("block_code", "parent_code", "name"):
        text = getattr(block, name)
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            yield f"{name} {text!r}: expected a text"
    if block.parent_level not in set(ParentLevel):
        yield f"parent_level {block.parent_level!r} is not one of {', '.join(ParentLevel)}"
    unknown = [kind for kind in block.kinds if kind not in set(PatrolGround)]
    if unknown or not block.kinds:
        yield f"kinds {'/'.join(block.kinds)!r}: expected some of {', '.join(PatrolGround)}"
    number = block.least_people
    if isinstance(number, bool | str) or number is None or not 0 <= number < 1000 or number != int(number):
        yield f"least_people {number!r}: expected a whole number from 0 to 999"


def load_blocks(
    session: Session,
    layers: Iterable[BlocksOf],
    *,
    city: City,
    source: str,
    is_synthetic: bool,
    by: By,
    now: datetime,
    effective_at: datetime | None = None,
) -> int:
    """Store the blocks of each parent, all or none; how many layers are new.

    A parent's first blocks are in force since 1970, later ones from `effective_at` (`now` without it); the same blocks
    again change nothing.

    Raises
    ------
    FaultyBlocks
        Blocks that leave a gap in their parent, overlap or reach beyond it; the message says where.
    NotFound
        A parent that the grid layer in force does not have.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOADING_BLOCKS)))
    stored = 0
    for blocks in layers:
        _check(session, blocks, city=city, now=now)
        stored += _store(
            session,
            blocks,
            source=source,
            is_synthetic=is_synthetic,
            by=by,
            now=now,
            since=effective_at or now,
        )
    return stored


def _check(session: Session, blocks: BlocksOf, *, city: City, now: datetime) -> None:
    """Raise `FaultyBlocks` unless they are an exact tiling of their parent."""
    parent = (
        the_grid(session, blocks.code, at=now)
        if blocks.level is ParentLevel.GRID
        else the_area(session, blocks.code, at=now, level=Level.COMMUNITY)
    )
    report = check_tiling(
        blocks.frame.rename(columns={"block_code": "grid_code"}),
        code_pattern=None,
        metric_crs=city.metric_crs,
        district=shape_of(parent),
    )
    if not report.ok:
        listed = "; ".join(f"{fault.message} at {fault.place}" for fault in report.found[:5])
        more = " …" if len(report.found) > 5 else ""
        raise FaultyBlocks(f"the blocks of {blocks.level} {blocks.code} do not tile it: {listed}{more}")


def _store(
    session: Session,
    blocks: BlocksOf,
    *,
    source: str,
    is_synthetic: bool,
    by: By,
    now: datetime,
    since: datetime,
) -> int:
    earlier = sa.select(BlockLayer).where(BlockLayer.parent_code == blocks.code).order_by(BlockLayer.id.desc())
    latest = session.scalars(earlier.limit(1)).first()
    if latest is not None and latest.content_sha256 == blocks.content_sha256:
        return 0
    if latest is not None:
        if latest.in_force.lower is not None and latest.in_force.lower >= since:
            raise InvalidInput(f"blocks of {blocks.code} are loaded already from {latest.in_force.lower.isoformat()}")
        latest.in_force = Range(latest.in_force.lower, since)
        session.flush()
    layer = BlockLayer(
        parent_level=blocks.level.value,
        parent_code=blocks.code,
        source=source,
        content_sha256=blocks.content_sha256,
        is_synthetic=is_synthetic,
        in_force=Range(BEGINNING if latest is None else since, None),
    )
    session.add(layer)
    session.flush()
    rows = [
        {
            "layer_id": layer.id,
            "code": row.block_code,
            "name": row.name,
            "kinds": row.kinds,
            "least_people": row.least_people,
            "area_m2": float(area),
            "geom": WKBElement(shapely.to_wkb(row.geometry), srid=4326),
        }
        for row, area in zip(blocks.frame.itertuples(index=False), geodesic_area_m2(blocks.frame), strict=True)
    ]
    session.execute(sa.insert(Block), rows)
    told = {"source": source, "blocks": len(rows), "since": layer.in_force.lower.isoformat()}  # type: ignore[union-attr]
    session.execute(sa.insert(Change), [change("block_layer", blocks.code, by=by, at=now, after=told)])
    return 1


def blocks_frame(session: Session, *, at: datetime) -> gpd.GeoDataFrame:
    """The blocks in force at a time, ascending by code.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns block_id, block_code, name, parent_level, parent_code, kinds, least_people, area_m2,
        is_synthetic, geometry.
    """
    query = (
        sa.select(
            Block.id.label("block_id"),
            Block.code.label("block_code"),
            Block.name,
            BlockLayer.parent_level,
            BlockLayer.parent_code,
            Block.kinds,
            Block.least_people,
            Block.area_m2,
            BlockLayer.is_synthetic,
            sa.func.ST_AsBinary(Block.geom).label("geometry"),
        )
        .join(Block.layer)
        .where(BlockLayer.in_force.contains(at))
        .order_by(Block.code)
    )
    result = session.execute(query)
    frame = pd.DataFrame(result.mappings().all(), columns=list(result.keys()))
    shapes = shapely.from_wkb(np.array([bytes(data) for data in frame.pop("geometry")], dtype=object))
    return gpd.GeoDataFrame(frame, geometry=shapes, crs="EPSG:4326")
