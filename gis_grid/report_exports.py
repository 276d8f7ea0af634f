"""Reports written to a file: CSV for spreadsheets, GeoJSON, GeoPackage, GeoParquet."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from gis_grid.errors import InvalidInput
from gis_grid.geo.privacy import LEAST_SHOWN
from gis_grid.geo.whole_files import whole_file
from gis_grid.reports import Report, Reporter, ReportFilter
from gis_grid.territory import Area, Grid

AT_ONCE = 5000
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
"""What a cell must not start with, for a spreadsheet would run it (OWASP, "CSV Injection")."""
TIMES = ("received_at", "observed_at", "placed_at")

Row: TypeAlias = dict[str, Any]
Write: TypeAlias = Callable[[list[Row]], None]
Writer: TypeAlias = Callable[[Path, pa.Schema], AbstractContextManager[Write]]


def export_reports(
    session: Session,
    path: Path,
    which: ReportFilter,
    *,
    is_public: bool = True,
    zone: ZoneInfo,
    tell: Callable[[int], None] = lambda _done: None,
) -> int:
    """Write reports, newest first, in the format that the suffix names, whole or not at all; how many.

    All rows are of one instant, and memory stays bounded.

    Parameters
    ----------
    is_public
        Neither texts nor contacts, and for points the centres of squares of 100 m, told of those squares alone that
        hold at least five of the reports.
    zone
        Of the times in CSV and GeoJSON; GeoPackage and Parquet hold UTC.

    Raises
    ------
    InvalidInput
        A suffix that names no known format, or a file that cannot be written.
    """
    writer = _writers(zone).get(path.suffix.lower())
    if writer is None:
        raise InvalidInput(f"{path}: expected a file ending in .csv, .geojson, .gpkg or .parquet")
    done = 0
    with (
        whole_file(path, is_private=not is_public) as draft,
        writer(draft, _schema(is_public=is_public)) as write,
    ):
        for rows in _rows(session, which, is_public=is_public):
            write(rows)
            done += len(rows)
            tell(done)
    return done


def count_reports(session: Session, which: ReportFilter) -> int:
    """How many reports a filter finds."""
    return session.scalar(sa.select(sa.func.count()).select_from(Report).where(*which.conditions())) or 0


def _rows(session: Session, which: ReportFilter, *, is_public: bool) -> Iterator[list[Row]]:
    # One statement behind a cursor: all rows are of one instant, which pages by key would not be.
    query = _query(is_public=is_public).where(*which.conditions())
    ordered = query.order_by(Report.received_at.desc(), Report.id.desc()).execution_options(yield_per=AT_ONCE)
    for page in session.execute(ordered).mappings().partitions():
        yield [dict(row) for row in page]


def _query(*, is_public: bool) -> sa.Select[Any]:
    """The rows of an export, in the columns of `_schema`."""
    community, town = aliased(Area), aliased(Area)
    point = _told_point() if is_public else Report.geom
    columns: dict[str, sa.ColumnElement[Any] | Any] = {
        "grid_code": Grid.code,
        "community": community.name,
        "town": town.name,
        "lon": sa.func.ST_X(point),
        "lat": sa.func.ST_Y(point),
        "is_drill": Report.drill_id.is_not(None),
        "reporter_name": Reporter.name,
        "reporter_phone": Reporter.phone,
    }
    wanted: list[str] = _schema(is_public=is_public).names
    return (
        sa.select(*((columns[name] if name in columns else getattr(Report, name)).label(name) for name in wanted))
        .select_from(Report)
        .outerjoin(Grid, Report.grid_id == Grid.id)
        .outerjoin(community, Grid.community_id == community.id)
        .outerjoin(town, community.parent_id == town.id)
        .outerjoin(Reporter, Reporter.report_id == Report.id)
    )


def _told_point() -> sa.ColumnElement[Any]:
    """The centre of a report's square where enough of the exported ones lie in it; drills count for nothing."""
    in_square = sa.func.count().filter(Report.drill_id.is_(None)).over(partition_by=Report.public_geom)
    return sa.case((in_square >= LEAST_SHOWN, Report.public_geom))


def _schema(*, is_public: bool) -> pa.Schema:
    """Columns of an export and their types."""
    text, instant, number = pa.string(), pa.timestamp("us", tz="UTC"), pa.float64()
    public = {
        "id": text,
        "received_at": instant,
        "observed_at": instant,
        "kind": text,
        "event_type": text,
        "source": text,
        "grid_code": text,
        "community": text,
        "town": text,
        "method": text,
        "is_uncertain": pa.bool_(),
        "lon": number,
        "lat": number,
        "is_synthetic": pa.bool_(),
        "is_drill": pa.bool_(),
        "reporter_class": text,
    }
    staff = {
        "text": text,
        "reporter_name": text,
        "reporter_phone": text,
        "sent_lon": number,
        "sent_lat": number,
        "datum": text,
        "accuracy_m": number,
        "distance_m": number,
        "placed_at": instant,
        "placed_by": text,
        "placement_reason": text,
    }
    return pa.schema(public if is_public else public | staff)


def _writers(zone: ZoneInfo) -> Mapping[str, Writer]:
    return {
        ".csv": lambda path, schema: _csv(path, schema, zone),
        ".geojson": lambda path, schema: _geojson(path, schema, zone),
        ".gpkg": _geopackage,
        ".parquet": _parquet,
    }


@contextmanager
def _csv(path: Path, schema: pa.Schema, zone: ZoneInfo) -> Iterator[Write]:
    # The byte order mark is how spreadsheets know UTF-8.
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(schema.names)
        yield lambda rows: writer.writerows([defused(_local(value, zone)) for value in row.values()] for row in rows)


def defused(value: object) -> object:
    """The value with a ' before it if it is text that a spreadsheet would run as a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


@contextmanager
def _geojson(path: Path, _schema: pa.Schema, zone: ZoneInfo) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        comma = ""

        def write(rows: list[Row]) -> None:
            nonlocal comma
            for row in rows:
                values = {name: _local(value, zone) for name, value in row.items()}
                lonlat = [values.pop("lon"), values.pop("lat")]
                point = None if None in lonlat else {"type": "Point", "coordinates": lonlat}
                feature = {"type": "Feature", "id": str(values.pop("id")), "geometry": point, "properties": values}
                file.write(f"{comma}\n{json.dumps(feature, ensure_ascii=False, allow_nan=False)}")
                comma = ","

        yield write
        file.write("\n]}\n")


def _local(value: object, zone: ZoneInfo) -> object:
    return value.astimezone(zone).isoformat() if isinstance(value, datetime) else value


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    column = {"encoding": "WKB", "geometry_types": ["Point"]}  # without a crs it is OGC:CRS84, lon and lat
    geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}
    whole = schema.append(pa.field("geometry", pa.binary())).with_metadata({"geo": json.dumps(geo)})
    with pq.ParquetWriter(path, whole) as writer:

        def write(rows: list[Row]) -> None:
            shapes = shapely.to_wkb(_points(rows))
            table = pa.Table.from_pylist([row | {"id": str(row["id"])} for row in rows], schema)
            writer.write_table(table.append_column("geometry", pa.array(shapes, pa.binary())).cast(whole))

        yield write


@contextmanager
def _geopackage(path: Path, schema: pa.Schema) -> Iterator[Write]:
    path.unlink(missing_ok=True)  # GDAL refuses an empty file
    _append(path, schema, [])
    yield lambda rows: _append(path, schema, rows)


def _append(path: Path, schema: pa.Schema, rows: Sequence[Row]) -> None:
    table = pa.Table.from_pylist([row | {"id": str(row["id"])} for row in rows], schema)
    frame = gpd.GeoDataFrame(table.to_pandas(), geometry=_points(rows), crs="EPSG:4326")
    frame.to_file(path, driver="GPKG", layer="reports", engine="pyogrio", mode="a" if path.exists() else "w")


def _points(rows: Sequence[Row]) -> Any:
    """Points, and None for rows whose place is not told."""
    lonlat = np.array([[row["lon"], row["lat"]] for row in rows], dtype=np.float64).reshape(-1, 2)
    return np.where(np.isnan(lonlat[:, 0]), None, shapely.points(lonlat))
