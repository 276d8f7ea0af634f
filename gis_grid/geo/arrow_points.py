"""Parquet, GeoParquet and GeoPackage files of points; their columns keep their types."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from gis_grid.geo.point_batches import (
    BATCH_ROWS,
    NO_COORDINATES,
    RESULT_COLUMNS,
    Floats,
    Objects,
    PointBatch,
    UnclearColumns,
    UnreadablePoints,
    coordinate_columns,
    numbers_of_texts,
    refuse_result_columns,
)

Table: TypeAlias = Any  # pyarrow has no types

_NOT_A_POINT = "the geometry is not a point"
_RESULT_TYPES = (pa.string(), pa.string(), pa.float64(), pa.string())


@dataclass(frozen=True)
class _CoordinateColumns:
    lon: int
    lat: int

    def read(self, table: Table) -> tuple[Floats, Floats, Objects]:
        pair = table.column(self.lon), table.column(self.lat)
        if any(pa.types.is_string(column.type) or pa.types.is_large_string(column.type) for column in pair):
            texts = [pc.cast(column, pa.string()).to_pylist() for column in pair]
            return numbers_of_texts([(lon or "", lat or "") for lon, lat in zip(*texts, strict=True)])
        lon, lat = (_floats(column) for column in pair)
        is_missing = np.logical_or(*(column.is_null().to_numpy() for column in pair))
        reasons = np.full(lon.shape, None, dtype=object)
        reasons[is_missing] = NO_COORDINATES
        return lon, lat, reasons


@dataclass(frozen=True)
class _PointGeometry:
    column: str
    crs: CRS

    def read(self, table: Table) -> tuple[Floats, Floats, Objects]:
        wkb = np.array(table.column(self.column).to_pylist(), dtype=object)
        geometries = shapely.from_wkb(wkb, on_invalid="ignore")
        is_point = shapely.get_type_id(geometries) == shapely.GeometryType.POINT
        is_missing = pd.isna(wkb) | (is_point & shapely.is_empty(geometries))
        x, y = np.full(wkb.shape, np.nan), np.full(wkb.shape, np.nan)
        known = is_point & ~is_missing  # GEOS raises on the x of an empty point
        x[known], y[known] = shapely.get_x(geometries[known]), shapely.get_y(geometries[known])
        reasons = np.full(wkb.shape, None, dtype=object)
        reasons[~is_point] = _NOT_A_POINT
        reasons[is_missing] = NO_COORDINATES
        return *self._to_degrees(x, y), reasons

    def _to_degrees(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        if self.crs.equals("EPSG:4326", ignore_axis_order=True):
            return x, y
        known = np.isfinite(x) & np.isfinite(y)
        lon, lat = np.full_like(x, np.nan), np.full_like(y, np.nan)
        transformer = Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        lon[known], lat[known] = transformer.transform(x[known], y[known])
        return lon, lat


class ParquetPoints:
    """A Parquet file with coordinate columns, or a GeoParquet file with point geometries."""

    def __init__(self, source: Path, lon: str | None, lat: str | None) -> None:
        self.source = source
        with _opened_parquet(source) as file:
            self.size = file.metadata.num_rows
            self.schema = file.schema_arrow
        refuse_result_columns(self.schema.names)
        geometry = None if lon is not None else _geoparquet_geometry(source.name, self.schema)
        self._where = geometry or _coordinate_columns(self.schema, lon, lat)

    def batches(self) -> Iterator[PointBatch[Table]]:
        """All rows in order, `BATCH_ROWS` at a time."""
        done = 0
        with _opened_parquet(self.source) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                done += batch.num_rows
                table = pa.Table.from_batches([batch], self.schema)
                yield PointBatch(*self._where.read(table), table, done)

    @contextmanager
    def sink(self, path: Path) -> Iterator["ParquetSink"]:
        """Open a new Parquet file with the same columns and metadata, and the result columns."""
        schema = self.schema
        for name, kind in zip(RESULT_COLUMNS, _RESULT_TYPES, strict=True):
            schema = schema.append(pa.field(name, kind))
        with pq.ParquetWriter(path, schema) as writer:
            yield ParquetSink(writer)


class ParquetSink:
    """A Parquet file that tables are appended to."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, batch: PointBatch[Table], placements: pd.DataFrame) -> None:
        """Append the rows; what there is not is null."""
        self._writer.write_table(_with_results(batch.rows, placements))


class GeoPackagePoints:
    """A GeoPackage with one layer: of points, or with coordinate columns."""

    def __init__(self, source: Path, lon: str | None, lat: str | None) -> None:
        self.source = source
        layers = [str(name) for name, _ in pyogrio.list_layers(source)]
        if len(layers) != 1:
            raise UnreadablePoints(f"{source.name}: expected one layer, found {', '.join(layers) or 'none'}")
        self._layer = layers[0]
        self._layout = pyogrio.read_info(source, layer=self._layer, force_feature_count=True)
        self.size = int(self._layout["features"])
        names = [str(name) for name in self._layout["fields"]]
        refuse_result_columns(names)
        self._geometry = self._layout["geometry_name"] or "wkb_geometry"
        has_points = lon is None and self._layout["geometry_type"] is not None
        self._where = (
            _PointGeometry(self._geometry, _crs(source.name, self._layout["crs"]))
            if has_points
            else _CoordinateColumns(*coordinate_columns(names, lon, lat))
        )

    def batches(self) -> Iterator[PointBatch[Table]]:
        """All rows in order, `BATCH_ROWS` at a time."""
        done = 0
        with pyogrio.open_arrow(self.source, layer=self._layer, batch_size=BATCH_ROWS, use_pyarrow=True) as opened:
            reader = opened[1]
            empty = pa.Table.from_batches([], reader.schema)
            for batch in reader:
                done += batch.num_rows
                table = pa.Table.from_batches([batch])
                yield PointBatch(*self._where.read(table), table, done)
        if done == 0:
            yield PointBatch(*self._where.read(empty), empty, 0)

    @contextmanager
    def sink(self, path: Path) -> Iterator["GeoPackageSink"]:
        """Open a new GeoPackage with a layer of the same name, columns and CRS."""
        has_geometry = self._layout["geometry_type"] is not None
        options = {
            "layer": self._layer,
            "driver": "GPKG",
            "geometry_name": self._geometry if has_geometry else None,
            "geometry_type": self._layout["geometry_type"],
            "crs": self._layout["crs"],
        }
        if has_geometry:
            options["layer_options"] = {"GEOMETRY_NAME": self._geometry}
        yield GeoPackageSink(path, options)


class GeoPackageSink:
    """A GeoPackage layer that tables are appended to."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self._path = path
        self._options = options

    def write(self, batch: PointBatch[Table], placements: pd.DataFrame) -> None:
        """Append the rows; what there is not is null."""
        table = _with_results(batch.rows, placements)
        pyogrio.write_arrow(table, self._path, append=self._path.exists(), **self._options)


@contextmanager
def _opened_parquet(source: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(source) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadablePoints(f"{source.name}: {error}") from None


def _geoparquet_geometry(name: str, schema: Any) -> _PointGeometry | None:
    """Where the primary geometry is, None in a file that is no GeoParquet."""
    described = (schema.metadata or {}).get(b"geo")
    if described is None:
        return None
    try:
        geo = json.loads(described)
        column = geo["columns"][geo["primary_column"]]
        encoding = column["encoding"]
    except (ValueError, KeyError, TypeError):
        raise UnreadablePoints(f"{name}: damaged GeoParquet metadata") from None
    if encoding != "WKB":
        raise UnreadablePoints(f"{name}: geometry encoding {encoding}, expected WKB")
    return _PointGeometry(geo["primary_column"], _crs(name, column.get("crs", "OGC:CRS84")))


def _coordinate_columns(schema: Any, lon: str | None, lat: str | None) -> _CoordinateColumns:
    where = _CoordinateColumns(*coordinate_columns(schema.names, lon, lat))
    for column in (where.lon, where.lat):
        field = schema.field(column)
        is_number = (
            pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        )
        if not (is_number or pa.types.is_string(field.type) or pa.types.is_large_string(field.type)):
            raise UnclearColumns(f"column {field.name}: expected numbers, got {field.type}")
    return where


def _crs(name: str, crs: object) -> CRS:
    if not crs:
        raise UnreadablePoints(f"{name}: its geometry declares no CRS; name coordinate columns instead")
    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise UnreadablePoints(f"{name}: unknown CRS: {error}") from None


def _floats(column: Any) -> Floats:
    floats: Floats = pc.cast(column, pa.float64(), safe=False).to_numpy()
    return floats


def _with_results(table: Table, placements: pd.DataFrame) -> Table:
    for name, kind in zip(RESULT_COLUMNS, _RESULT_TYPES, strict=True):
        values = pa.array(placements[RESULT_COLUMNS[name]], kind, from_pandas=True)
        table = table.append_column(pa.field(name, kind), values)
    return table
