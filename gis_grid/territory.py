"""The city's ground: dated layers of grids inside communities inside towns."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from geoalchemy2 import Geometry, WKBElement
from geoalchemy2.shape import to_shape
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column, relationship

from gis_grid.database import Base, By, Change, change
from gis_grid.errors import Conflict, NotFound

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LOADING = 1002  # advisory lock: one layer is loaded at a time


class Level(StrEnum):
    """The three levels of management, top down."""

    DISTRICT = "district"
    TOWN = "town"
    COMMUNITY = "community"


class GridLayer(Base):
    """One complete set of grids; in force over a range of time, or loaded and waiting."""

    __tablename__ = "grid_layers"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    name: Mapped[str]
    source: Mapped[str]
    source_sha256: Mapped[str]
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    loaded_at: Mapped[datetime]
    effective_at: Mapped[datetime]
    in_force: Mapped[Range[datetime] | None] = mapped_column(TSTZRANGE)
    grid_count: Mapped[int]
    accepted_faults: Mapped[dict[str, Any] | None]

    __table_args__ = (ExcludeConstraint(("in_force", "&&"), name="ex_grid_layers_in_force", using="gist"),)


class Area(Base):
    """A district, town or community as a layer draws it."""

    __tablename__ = "areas"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    layer_id: Mapped[int] = mapped_column(sa.ForeignKey(GridLayer.id, ondelete="CASCADE"))
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("areas.id", ondelete="CASCADE"), index=True)
    level: Mapped[str]
    code: Mapped[str]
    name: Mapped[str]
    area_m2: Mapped[float]
    geom: Mapped[WKBElement] = mapped_column(Geometry("MULTIPOLYGON", 4326, spatial_index=False))

    parent: Mapped["Area | None"] = relationship(remote_side="Area.id")

    __table_args__ = (
        sa.UniqueConstraint("layer_id", "level", "code"),
        sa.CheckConstraint("level in ('district', 'town', 'community')", name="level"),
        sa.Index("ix_areas_geom", "geom", postgresql_using="gist"),
    )


class Grid(Base):
    """One managed polygon inside one community."""

    __tablename__ = "grids"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    layer_id: Mapped[int] = mapped_column(sa.ForeignKey(GridLayer.id, ondelete="CASCADE"))
    community_id: Mapped[int] = mapped_column(sa.ForeignKey(Area.id, ondelete="CASCADE"), index=True)
    code: Mapped[str] = mapped_column(sa.Text(collation="C"))
    area_m2: Mapped[float]
    geom: Mapped[WKBElement] = mapped_column(Geometry("GEOMETRY", 4326, spatial_index=False))

    community: Mapped[Area] = relationship()
    layer: Mapped[GridLayer] = relationship()

    __table_args__ = (
        sa.UniqueConstraint("layer_id", "code"),
        sa.CheckConstraint("GeometryType(geom) in ('POLYGON', 'MULTIPOLYGON')", name="polygonal"),
        sa.Index("ix_grids_geom", "geom", postgresql_using="gist"),
    )


def layer_in_force(session: Session, at: datetime) -> GridLayer | None:
    """The layer in force at a time, None when there is none."""
    return session.scalar(sa.select(GridLayer).where(GridLayer.in_force.contains(at)))


def the_layer(session: Session, at: datetime) -> GridLayer:
    """The layer in force at a time.

    Raises
    ------
    NotFound
        Where no layer was in force then.
    """
    layer = layer_in_force(session, at)
    if layer is None:
        raise NotFound(f"no grid layer is in force at {at.isoformat()}; load one with `gis-grid grids load FILE`")
    return layer


def the_grid(session: Session, code: str, *, at: datetime) -> Grid:
    """The grid with this code in the layer in force at a time, or `NotFound`."""
    grid = session.scalar(sa.select(Grid).join(Grid.layer).where(Grid.code == code, GridLayer.in_force.contains(at)))
    if grid is None:
        raise NotFound(f"grid {code} is not in the layer in force at {at.isoformat()}")
    return grid


def the_area(session: Session, code: str, *, at: datetime, level: Level | None = None) -> Area:
    """The area with this code, the lowest level where several share it, or `NotFound`."""
    lowest_first = sa.case({"community": 0, "town": 1, "district": 2}, value=Area.level)
    query = (
        sa.select(Area)
        .join(GridLayer, GridLayer.id == Area.layer_id)
        .where(Area.code == code, GridLayer.in_force.contains(at))
        .order_by(lowest_first)
        .limit(1)
    )
    area = session.scalar(query.where(Area.level == level) if level else query)
    if area is None:
        raise NotFound(f"area {code} is not in the layer in force at {at.isoformat()}")
    return area


def grids_below(area: Area) -> sa.Select[int]:
    """Ids of the grids of a community, town or district."""
    community, town = aliased(Area), aliased(Area)
    grids = sa.select(Grid.id).join(community, Grid.community_id == community.id)
    match Level(area.level):
        case Level.COMMUNITY:
            return grids.where(community.id == area.id)
        case Level.TOWN:
            return grids.where(community.parent_id == area.id)
        case Level.DISTRICT:
            return grids.join(town, community.parent_id == town.id).where(town.parent_id == area.id)


def grids_named(codes: Collection[str]) -> sa.Select[int]:
    """Ids of the grids, in any layer, that codes name: their own, or their community's or town's."""
    community, town = aliased(Area), aliased(Area)
    return (
        sa.select(Grid.id)
        .join(community, Grid.community_id == community.id)
        .join(town, community.parent_id == town.id)
        .where(sa.or_(*(column.in_(codes) for column in (Grid.code, community.code, town.code))))
    )


def ground_of(place: Grid | Area | None) -> tuple[str, ...]:
    """Codes of a grid or area and of all areas above it, lowest first; empty for no place."""
    codes: list[str] = []
    area = place
    if isinstance(place, Grid):
        codes.append(place.code)
        area = place.community
    while isinstance(area, Area):
        codes.append(area.code)
        area = area.parent
    return tuple(codes)


def load_layer(  # a layer has this many facts
    session: Session,
    grids: gpd.GeoDataFrame,
    areas: gpd.GeoDataFrame,
    *,
    name: str,
    source: str,
    source_sha256: str,
    is_synthetic: bool,
    effective_at: datetime,
    accepted_faults: dict[str, Any] | None,
    now: datetime,
    by: By,
) -> GridLayer:
    """A new layer with its areas and grids, stored whole.

    The first layer is in force since 1970; a later one waits for its activation.

    Parameters
    ----------
    grids
        EPSG:4326; columns grid_code, community_code, area_m2 (geodesic), geometry; an exact tiling, or one whose
        `accepted_faults` somebody answers for.
    areas
        EPSG:4326; columns level, code, name, parent_code, geometry; one district, then its towns and communities.

    Raises
    ------
    Conflict
        A file with the same content is already loaded.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOADING)))
    twin = session.scalar(sa.select(GridLayer).where(GridLayer.source_sha256 == source_sha256))
    if twin is not None:
        raise Conflict(f"{source} is already loaded, as layer {twin.id} ({twin.name})")
    is_first = session.scalar(sa.select(sa.func.count()).select_from(GridLayer)) == 0
    layer = GridLayer(
        name=name,
        source=source,
        source_sha256=source_sha256,
        is_synthetic=is_synthetic,
        loaded_at=now,
        effective_at=BEGINNING if is_first else effective_at,
        in_force=Range(BEGINNING, None) if is_first else None,
        grid_count=len(grids),
        accepted_faults=accepted_faults,
    )
    session.add(layer)
    session.flush()
    ids = _insert_areas(session, layer.id, areas)
    session.execute(
        sa.insert(Grid),
        [
            {
                "layer_id": layer.id,
                "community_id": ids[Level.COMMUNITY, community],
                "code": code,
                "area_m2": area,
                "geom": geom,
            }
            for community, code, area, geom in zip(
                grids["community_code"], grids["grid_code"], grids["area_m2"], _ewkb(grids.geometry.values), strict=True
            )
        ],
    )
    after = {"name": name, "source": source, "grid_count": len(grids), "in_force": is_first}
    session.execute(sa.insert(Change), [change("grid_layer", str(layer.id), by=by, at=now, after=after)])
    return layer


def _insert_areas(session: Session, layer_id: int, areas: gpd.GeoDataFrame) -> dict[tuple[str, str], int]:
    ids: dict[tuple[str, str], int] = {}
    above: Level | None = None
    area_m2 = geodesic_area_m2(areas)
    geoms = _ewkb(np.array([_multi(shape) for shape in areas.geometry.values], dtype=object))
    for level in Level:
        rows = [
            {
                "layer_id": layer_id,
                "parent_id": ids[above, areas["parent_code"].iloc[i]] if above else None,
                "level": level.value,
                "code": areas["code"].iloc[i],
                "name": areas["name"].iloc[i],
                "area_m2": float(area_m2[i]),
                "geom": geoms[i],
            }
            for i in np.flatnonzero(areas["level"] == level.value)
        ]
        returned = session.execute(sa.insert(Area).returning(Area.code, Area.id), rows)
        ids |= {(level, code): id_ for code, id_ in returned}
        above = level
    return ids


def geodesic_area_m2(frame: gpd.GeoDataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Area of each polygon on the WGS84 ellipsoid, m²."""
    geod = frame.crs.get_geod()
    return np.array([abs(geod.geometry_area_perimeter(shape)[0]) for shape in frame.geometry.values])


def _ewkb(shapes: Any) -> list[WKBElement]:
    return [WKBElement(data, srid=4326) for data in shapely.to_wkb(shapes)]


def _multi(shape: shapely.Geometry) -> shapely.MultiPolygon:
    return shape if isinstance(shape, shapely.MultiPolygon) else shapely.MultiPolygon([shape])


def grids_frame(session: Session, layer: GridLayer, *, ids: sa.Select[int] | None = None) -> gpd.GeoDataFrame:
    """A layer's grids in ascending code order.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns grid_id, grid_code, community_code, community, town_code, town, area_m2, geometry.
    """
    community, town = aliased(Area), aliased(Area)
    query = (
        sa.select(
            Grid.id.label("grid_id"),
            Grid.code.label("grid_code"),
            community.code.label("community_code"),
            community.name.label("community"),
            town.code.label("town_code"),
            town.name.label("town"),
            Grid.area_m2,
            sa.func.ST_AsBinary(Grid.geom).label("geometry"),
        )
        .join(community, Grid.community_id == community.id)
        .join(town, community.parent_id == town.id)
        .where(Grid.layer_id == layer.id)
        .order_by(Grid.code)
    )
    return _geoframe(session, query.where(Grid.id.in_(ids)) if ids is not None else query)


def areas_frame(session: Session, layer: GridLayer, *levels: Level) -> gpd.GeoDataFrame:
    """A layer's areas of some levels (all without one), by level and code.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns level, code, name, parent_code, area_m2, geometry (MultiPolygon).
    """
    parent = aliased(Area)
    query = (
        sa.select(
            Area.level,
            Area.code,
            Area.name,
            parent.code.label("parent_code"),
            Area.area_m2,
            sa.func.ST_AsBinary(Area.geom).label("geometry"),
        )
        .outerjoin(parent, Area.parent_id == parent.id)
        .where(Area.layer_id == layer.id, Area.level.in_(levels or tuple(Level)))
        .order_by(Area.level, Area.code)
    )
    return _geoframe(session, query)


def _geoframe(session: Session, query: sa.Select[Any]) -> gpd.GeoDataFrame:
    result = session.execute(query)
    frame = pd.DataFrame(result.mappings().all(), columns=list(result.keys()))
    shapes = shapely.from_wkb(np.array([bytes(data) for data in frame.pop("geometry")], dtype=object))
    return gpd.GeoDataFrame(frame, geometry=shapes, crs="EPSG:4326")


def shape_of(row: Grid | Area) -> shapely.Geometry:
    """The polygon of a grid or an area, EPSG:4326."""
    return to_shape(row.geom)


def neighbours(session: Session, grid: Grid) -> Iterator[str]:
    """Codes of the grids of the same layer that touch this one, ascending."""
    shape = sa.select(Grid.geom).where(Grid.id == grid.id).scalar_subquery()
    yield from session.scalars(
        sa.select(Grid.code)
        .where(Grid.layer_id == grid.layer_id, Grid.id != grid.id, sa.func.ST_Intersects(Grid.geom, shape))
        .order_by(Grid.code)
    )
