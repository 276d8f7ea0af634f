"""Parquet, GeoParquet and GeoPackage files of points; their columns keep their types."""

import json
from collections.abc import Iterator, Sequence
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

from gis_grid.geo.parquet_joining import join_parquet
from gis_grid.geo.point_batches import (
    NO_COORDINATES,
    RESULT_COLUMNS,
    SPAN_ROWS,
    Floats,
    Objects,
    PointBatch,
    Span,
    UnclearColumns,
    UnreadablePoints,
    categorical,
    coordinate_columns,
    numbers_of_texts,
    refuse_result_columns,
)

Table: TypeAlias = Any  # pyarrow has no types

_NOT_A_POINT = "the geometry is not a point"
_RESULT_TYPES = (pa.string(), pa.string(), pa.float64(), pa.string())
_CODED = pa.dictionary(pa.int32(), pa.string())
_PARQUET_TYPES = (_CODED, _CODED, pa.float64(), pa.string())
BATCH_ROWS = 2**19
"""Also the most rows of a row group of the result."""


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

    part_rows = 4_000_000

    def __init__(self, source: Path, lon: str | None, lat: str | None) -> None:
        self.source = source
        with _opened_parquet(source) as file:
            self.size = file.metadata.num_rows
            self.schema = file.schema_arrow
        refuse_result_columns(self.schema.names)
        geometry = None if lon is not None else _geoparquet_geometry(source.name, self.schema)
        self._where = geometry or _coordinate_columns(self.schema, lon, lat)

    def batches(self, mark: int = 0, end: int | None = None) -> Iterator[PointBatch[Table]]:
        """All rows of the row groups from one on and before another, in order, up to `BATCH_ROWS` at a time."""
        with _opened_parquet(self.source) as file:
            counts = _group_rows(file)
            done = sum(counts[:mark])
            for group, count in enumerate(counts[mark:end], mark):
                after = done + count
                for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
                    done += batch.num_rows
                    table = pa.Table.from_batches([batch], self.schema)
                    yield PointBatch(
                        *self._where.read(table), table, done, group + 1 if done == after < self.size else None
                    )

    def spans(self, mark: int = 0) -> Iterator[Span]:
        """Row groups, as many as make a span."""
        with _opened_parquet(self.source) as file:
            counts = _group_rows(file)
        start, done = mark, sum(counts[:mark])
        rows = 0
        for group, count in enumerate(counts[mark:-1], mark):
            rows += count
            if rows >= SPAN_ROWS:
                done += rows
                yield Span(start, group + 1, done)
                start, rows = group + 1, 0
        yield Span(start, None, self.size)

    @contextmanager
    def sink(self, path: Path, *, is_first: bool = True) -> Iterator["ParquetSink"]:  # noqa: ARG002 - all parts begin alike
        """Open a new Parquet file with the same columns and metadata, and the result columns."""
        schema = self.schema
        for name, kind in zip(RESULT_COLUMNS, _PARQUET_TYPES, strict=True):
            schema = schema.append(pa.field(name, kind))
        options = {}
        if isinstance(self._where, _CoordinateColumns):
            # statistics of the codes and dictionaries of coordinates cost more than all other writing
            pair = [self.schema.names[self._where.lon], self.schema.names[self._where.lat]]
            leaves = _leaves(schema)
            options = {"write_statistics": pair, "use_dictionary": [leaf for leaf in leaves if leaf not in pair]}
        with pq.ParquetWriter(path, schema, **options) as writer:
            yield ParquetSink(writer)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the parts of a result to one new file."""
        join_parquet(parts, path)


class ParquetSink:
    """A Parquet file that tables are appended to."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, batch: PointBatch[Table], placements: pd.DataFrame) -> None:
        """Append the rows; what there is not is null."""
        self._writer.write_table(_with_results(batch.rows, placements, _PARQUET_TYPES))


class GeoPackagePoints:
    """A GeoPackage with one layer: of points, or with coordinate columns."""

    part_rows = 2**62  # a layer is one part: it starts from the beginning after a kill

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

    def batches(self, mark: int = 0, end: int | None = None) -> Iterator[PointBatch[Table]]:  # noqa: ARG002 - no batch has a mark
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

    def spans(self, mark: int = 0) -> Iterator[Span]:
        """All rows: a layer cannot be cut."""
        yield Span(mark, None, self.size)

    @contextmanager
    def sink(self, path: Path, *, is_first: bool = True) -> Iterator["GeoPackageSink"]:  # noqa: ARG002 - there is one part
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

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Give the only part its place."""
        (part,) = parts
        part.replace(path)


class GeoPackageSink:
    """A GeoPackage layer that tables are appended to."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self._path = path
        self._options = options

    def write(self, batch: PointBatch[Table], placements: pd.DataFrame) -> None:
        """Append the rows; what there is not is null."""
        table = _with_results(batch.rows, placements, _RESULT_TYPES)
        pyogrio.write_arrow(table, self._path, append=self._path.exists(), **self._options)


@contextmanager
def _opened_parquet(source: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(source) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadablePoints(f"{source.name}: {error}") from None


def _group_rows(file: Any) -> list[int]:
    return [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]


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


def _with_results(table: Table, placements: pd.DataFrame, types: tuple[Any, ...]) -> Table:
    for name, kind in zip(RESULT_COLUMNS, types, strict=True):
        column = placements[RESULT_COLUMNS[name]]
        values = _numbers(column) if pa.types.is_floating(kind) else _texts(categorical(column))
        table = table.append_column(pa.field(name, kind), values.cast(kind))
    return table


def _numbers(column: pd.Series) -> Table:
    numbers = column.to_numpy(dtype=np.float64)
    is_none = np.isnan(numbers)
    return pa.array(numbers, mask=is_none if is_none.any() else None)


def _texts(column: pd.Categorical) -> Table:
    if not len(column.categories):
        return pa.nulls(len(column), pa.string())
    codes = np.asarray(column.codes, dtype=np.int32)
    is_none = codes < 0
    indices = pa.array(codes, mask=is_none if is_none.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(column.categories, pa.string()))


def _leaves(schema: Any) -> list[str]:
    """Names by which the writer knows columns: those of nested ones are left out."""
    return [field.name for field in schema if not pa.types.is_nested(field.type)]
