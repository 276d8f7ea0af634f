"""Other ways to find a point's polygon. Each maker returns a function of (x, y) that gives a position for each point.

What can be prepared before the points are known is prepared by the maker; points are turned into the peer's own form by
`ready`, which is not timed either.
"""

import atexit
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import geopandas
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

Floats: TypeAlias = npt.NDArray[np.float64]
Polygons: TypeAlias = npt.NDArray[Any]
NOWHERE = -1


@dataclass(frozen=True)
class Peer:
    """A peer made for one layer.

    Attributes
    ----------
    ready
        Points in the peer's own form.
    place
        Positions of such points, -1 for none.
    is_exact
        Whether it claims to be.
    """

    ready: Callable[[Floats, Floats], Any]
    place: Callable[[Any], npt.NDArray[Any]]
    is_exact: bool = True


def lowest(count: int, rows: npt.NDArray[Any], positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lowest position of each point of a join."""
    found = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(found, rows, positions)
    return np.where(found == np.iinfo(np.int64).max, NOWHERE, found)


def sjoin(polygons: Polygons) -> Peer:
    """geopandas.sjoin."""
    grids = geopandas.GeoDataFrame({"position": np.arange(len(polygons))}, geometry=polygons, crs=4326)
    _ = grids.sindex

    def place(points: geopandas.GeoDataFrame) -> npt.NDArray[Any]:
        joined = points.sjoin(grids, how="inner", predicate="intersects")
        return lowest(len(points), joined.index.to_numpy(), joined["position"].to_numpy())

    return Peer(lambda x, y: geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(x, y), crs=4326), place)


def prepared(polygons: Polygons) -> Peer:
    """shapely, prepared polygons, each asked for the points between its sides after sorting by x."""
    boxes = shapely.bounds(polygons)
    shapely.prepare(polygons)

    def place(points: tuple[Floats, Floats]) -> npt.NDArray[Any]:
        order = np.argsort(points[0])
        x, y = points[0][order], points[1][order]
        found = np.full(len(x), NOWHERE)
        starts, stops = np.searchsorted(x, boxes[:, 0]), np.searchsorted(x, boxes[:, 2], "right")
        for position in range(len(polygons) - 1, -1, -1):
            band = slice(starts[position], stops[position])
            near = np.flatnonzero((y[band] >= boxes[position, 1]) & (y[band] <= boxes[position, 3])) + band.start
            found[near[shapely.intersects_xy(polygons[position], x[near], y[near])]] = position
        positions = np.empty_like(found)
        positions[order] = found
        return positions

    return Peer(lambda x, y: (x, y), place)


def strtree(polygons: Polygons) -> Peer:
    """shapely.STRtree of the polygons, asked with points."""
    tree = shapely.STRtree(polygons)
    return Peer(shapely.points, lambda points: lowest(len(points), *tree.query(points, predicate="intersects")))


def duckdb(polygons: Polygons) -> Peer:
    """DuckDB with its spatial extension, one thread."""
    importlib.import_module("duckdb_extensions").import_extension("spatial")
    database = importlib.import_module("duckdb").connect()
    database.execute("load spatial; set threads = 1")
    layer = pa.table({"position": np.arange(len(polygons)), "wkb": shapely.to_wkb(polygons)})
    database.register("layer", layer)
    database.execute("create table grids as select position, ST_GeomFromWKB(wkb) as geom from layer")

    def ready(x: Floats, y: Floats) -> int:
        database.register("asked", pa.table({"row": np.arange(len(x)), "x": x, "y": y}))
        database.execute("create or replace table points as select row, ST_Point(x, y) as geom from asked")
        return len(x)

    def place(count: int) -> npt.NDArray[Any]:
        pairs = database.execute(
            "select row, position from points join grids on ST_Intersects(grids.geom, points.geom)"
        ).fetchnumpy()
        return lowest(count, pairs["row"], pairs["position"])

    return Peer(ready, place)


def sedonadb(polygons: Polygons) -> Peer:
    """SedonaDB, all threads."""
    database = importlib.import_module("sedonadb").connect()
    layer = pa.table({"position": np.arange(len(polygons)), "wkb": pa.array(shapely.to_wkb(polygons), pa.binary())})
    database.create_data_frame(layer).to_view("layer")
    database.sql("select position, ST_GeomFromWKB(wkb) as geom from layer").to_memtable().to_view("grids")

    def ready(x: Floats, y: Floats) -> int:
        asked = pa.table({"row_id": np.arange(len(x)), "x": x, "y": y})
        database.create_data_frame(asked).to_view("asked", overwrite=True)
        points = database.sql("select row_id, ST_Point(x, y) as geom from asked").to_memtable()
        points.to_view("points", overwrite=True)
        return len(x)

    def place(count: int) -> npt.NDArray[Any]:
        join = "select row_id, position from points join grids on ST_Intersects(grids.geom, points.geom)"
        pairs = pa.table(database.sql(join))
        return lowest(count, pairs["row_id"].to_numpy(), pairs["position"].to_numpy())

    return Peer(ready, place)


def postgis(polygons: Polygons) -> Peer:
    """Embedded PostGIS, both sides indexed; the positions come back to Python."""
    import tempfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    from gis_grid.database import connect  # noqa: PLC0415
    from gis_grid.embedded import EmbeddedPostgis  # noqa: PLC0415

    server = EmbeddedPostgis(Path(tempfile.mkdtemp(prefix="gg-")) / "data", fast_unsafe=True)
    server.start()
    atexit.register(server.stop)
    server.ensure_database("peer")
    connection = connect(server.url("peer"), role=None).raw_connection()
    connection.driver_connection.autocommit = True  # type: ignore[union-attr]
    cursor = connection.cursor()
    cursor.execute("create extension if not exists postgis")
    cursor.execute("create table grids (position int, geom geometry)")
    rows = [(i, wkb) for i, wkb in enumerate(shapely.to_wkb(polygons, hex=True))]
    cursor.executemany("insert into grids values (%s, %s::geometry)", rows)
    cursor.execute("create index on grids using gist (geom); analyze grids")

    def ready(x: Floats, y: Floats) -> int:
        cursor.execute("drop table if exists points")
        cursor.execute(
            "create table points as select (n - 1)::int as row, ST_MakePoint(x, y) as geom"
            " from unnest(%s::float8[], %s::float8[]) with ordinality as p (x, y, n)",
            (x.tolist(), y.tolist()),
        )
        cursor.execute("create index on points using gist (geom); analyze points")
        return len(x)

    def place(count: int) -> npt.NDArray[Any]:
        cursor.execute(
            "select array_agg(row), array_agg(position)"
            " from grids join points on ST_Intersects(grids.geom, points.geom)"
        )
        return lowest(count, *(np.array(column) for column in cursor.fetchone()))

    place.connection = connection  # type: ignore[attr-defined] - closed when nobody holds it

    return Peer(ready, place)


def h3(polygons: Polygons, resolution: int = 11) -> Peer:
    """H3 cells of about 25 m: a point goes to the polygon of its cell's middle."""
    library = importlib.import_module("h3.api.numpy_int")
    cells, positions = [], []
    for position, polygon in enumerate(polygons):
        inside = np.asarray(library.geo_to_cells(polygon, resolution))
        cells.append(inside)
        positions.append(np.full(len(inside), position))
    known, of = np.concatenate(cells), np.concatenate(positions)
    order = np.argsort(known, kind="stable")
    known, of = known[order], of[order]

    def place(points: tuple[list[float], list[float]]) -> npt.NDArray[Any]:
        asked = np.fromiter(
            (library.latlng_to_cell(lat, lon, resolution) for lon, lat in zip(*points, strict=True)),
            np.uint64,
            len(points[0]),
        )
        at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[at] == asked, of[at], NOWHERE)

    return Peer(lambda x, y: (x.tolist(), y.tolist()), place, is_exact=False)


def raster(polygons: Polygons, cells: int = 4096) -> Peer:
    """A raster of 4096 × 4096 cells of some 10 m, numpy only: a point goes to the polygon of its cell's middle."""
    from gis_grid.geo.lattice import LatticeIndex  # noqa: PLC0415

    west, south, east, north = shapely.total_bounds(polygons)
    per_x, per_y = cells / (east - west), cells / (north - south)
    middles = np.arange(cells) + 0.5
    x, y = (axis.ravel() for axis in np.meshgrid(west + middles / per_x, south + middles / per_y))
    table = LatticeIndex.build(polygons).place(x, y)

    def place(points: tuple[Floats, Floats]) -> npt.NDArray[Any]:
        columns, rows = np.floor((points[0] - west) * per_x), np.floor((points[1] - south) * per_y)
        is_in = (columns >= 0) & (rows >= 0) & (columns < cells) & (rows < cells)
        at = np.where(is_in, rows * cells + columns, 0).astype(np.int64)
        return np.where(is_in, table[at], NOWHERE)

    return Peer(lambda x, y: (x, y), place, is_exact=False)


MAKERS: dict[str, tuple[Callable[[Polygons], Peer], int]] = {
    "geopandas.sjoin": (sjoin, 500_000),
    "shapely, prepared, x-sorted": (prepared, 1_000_000),
    "shapely.STRtree": (strtree, 500_000),
    "DuckDB spatial": (duckdb, 500_000),
    "SedonaDB": (sedonadb, 1_000_000),
    "PostGIS, embedded": (postgis, 200_000),
    "H3 cells": (h3, 200_000),
    "raster look-up": (raster, 5_000_000),
}
"""How each peer is made, and how many points it is given."""
