"""Grid layers in files: GeoJSON, Shapefile, GeoPackage, GeoParquet, read into grid frames and written whole."""

import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyproj import CRS, Geod
from pyproj.exceptions import CRSError

from gis_grid.errors import InvalidInput
from gis_grid.geo.whole_files import UnwritableFile, write_whole

AREA_COLUMNS = ("community_code", "community", "town_code", "town")
GRID_COLUMNS = ("grid_code", *AREA_COLUMNS, "area_m2")

_WGS84 = Geod(ellps="WGS84")
_SHORT_NAMES = {"community_code": "comm_code"}  # a Shapefile's column names hold ten bytes
_DBF_ENCODINGS = {0x4D: "gb18030", 0x4E: "gb18030", 0x57: "gb18030", 0x7A: "gb18030"}
_PARQUET = (".parquet", ".geoparquet")
_READ = (".geojson", ".json", ".shp", ".zip", ".gpkg", *_PARQUET)
_Writer: TypeAlias = Callable[[gpd.GeoDataFrame, Path], None]


class UnreadableLayer(InvalidInput):
    """A file that holds no layer this program can read."""


class UndeclaredCrs(InvalidInput):
    """A file that does not say in which CRS its coordinates are."""


class UnclearCodeField(InvalidInput):
    """A file whose code column is not named and cannot be told."""


def read_grids(path: Path | str, *, crs: str | None = None, code_field: str | None = None) -> gpd.GeoDataFrame:
    """Grid frame of a file, sorted by grid code.

    Coordinates of a file in degrees keep every digit. Features without a code or with a geometry that is none stay in
    the frame: they are for `check_tiling` to name. Z values are dropped. What the reader should know is in
    `frame.attrs["notes"]`, a list of sentences; `frame.attrs["features"]` tells the row that each grid was in the file,
    counted from 1.

    Parameters
    ----------
    path
        GeoJSON (`.geojson`, `.json`), Shapefile (`.shp`, or one in a `.zip`), GeoPackage or GeoParquet.
    crs
        The CRS the coordinates are really in; it overrides what the file declares.
    code_field
        Column of the grid codes; without it `grid_code`, `code` or the only column whose values are all different.

    Returns
    -------
    grids
        EPSG:4326, columns of `GRID_COLUMNS` (area columns only where the file has them), RangeIndex; `area_m2` is
        geodesic, nan where it cannot be computed.

    Raises
    ------
    UnreadableLayer, UndeclaredCrs, UnclearCodeField
    """
    path = Path(path)
    layer, notes = read_layer(path, crs=crs)
    field = _code_field(layer, code_field, path)
    codes = _as_text(layer[field])
    columns = {"grid_code": codes}
    columns |= {name: _as_text(layer[name]) for name in AREA_COLUMNS if name in layer.columns and name != field}
    grids = gpd.GeoDataFrame(columns, geometry=layer.geometry.to_numpy(), crs=layer.crs)
    grids.insert(grids.columns.get_loc("geometry"), "area_m2", geodesic_area_m2(grids.geometry.to_numpy()))
    grids = grids.sort_values("grid_code", kind="stable", na_position="last")
    features = [int(place) + 1 for place in grids.index]
    grids = grids.reset_index(drop=True)
    grids.attrs |= {"notes": notes, "features": features}
    return grids


def read_layer(path: Path, *, crs: str | None = None) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Every feature of a file in EPSG:4326 with all its columns, and notes on how it was read.

    Raises
    ------
    UnreadableLayer, UndeclaredCrs
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer = _read(path)
    notes = sorted({f"{path.name}: {str(warning.message).splitlines()[0]}" for warning in caught})
    if shapely.has_z(layer.geometry.to_numpy()).any():
        layer = layer.set_geometry(shapely.force_2d(layer.geometry.to_numpy()), crs=layer.crs)
        notes.append(f"{path.name}: heights (Z) were dropped")
    return _in_wgs84(layer, crs, path), notes


def read_ground(path: Path | str, *, crs: str | None = None) -> Any:
    """All ground of a file, such as a district's outline, as one (Multi)Polygon in EPSG:4326.

    Raises
    ------
    UnreadableLayer, UndeclaredCrs
    """
    layer, _ = read_layer(Path(path), crs=crs)
    shapes = layer.geometry.to_numpy()
    shapes = shapes[np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)]
    if not len(shapes):
        raise UnreadableLayer(f"{Path(path).name} holds no polygon")
    if not shapely.is_valid(shapes).all():
        raise UnreadableLayer(f"{Path(path).name} holds an invalid polygon: {shapely.is_valid_reason(shapes)[0]}")
    return shapely.coverage_union_all(shapes) if shapely.coverage_is_valid(shapes) else shapely.union_all(shapes)


def read_towns(path: Path | str, *, crs: str | None = None) -> gpd.GeoDataFrame:
    """Areas frame of a file of towns: their code from `town_code`, `code` or the only column that can be one.

    Raises
    ------
    UnreadableLayer, UndeclaredCrs, UnclearCodeField
    """
    path = Path(path)
    layer, _ = read_layer(path, crs=crs)
    if "level" in layer.columns:
        layer = layer[layer["level"] == "town"]
    field = "town_code" if "town_code" in layer.columns else _code_field(layer, None, path)
    name = next((column for column in ("town", "name") if column in layer.columns), field)
    columns = {"level": "town", "code": _as_text(layer[field]), "name": _as_text(layer[name]), "parent_code": None}
    return gpd.GeoDataFrame(columns, geometry=layer.geometry.to_numpy(), crs=layer.crs)


def geodesic_area_m2(shapes: Any) -> Any:
    """Area on the WGS84 ellipsoid, m², shape (n,); nan where there is no polygon in degrees."""
    return np.array([_geodesic_area_m2(shape) for shape in shapes], dtype=np.float64)


def write_grids(grids: gpd.GeoDataFrame, path: Path | str) -> None:
    """Write a grid frame in the format that the suffix names, whole or not at all.

    GeoJSON (RFC 7946) has the fewest decimals that lose nothing: seven where a coordinate has no more, else up to 17.
    A Shapefile calls `community_code` `comm_code` and is written in UTF-8.

    Raises
    ------
    InvalidInput
        A suffix that names no known format, or a file that cannot be written.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InvalidInput(f"{path.name}: grids are written as {', '.join(_WRITERS)}, not {path.suffix or 'no suffix'}")
    try:
        write_whole(path, lambda made: writer(grids.to_crs("EPSG:4326"), made))
    except pyogrio.errors.DataSourceError as error:
        raise UnwritableFile(f"{path} cannot be written: {error}") from error


def write_geojson(frame: gpd.GeoDataFrame, path: Path) -> None:
    """Write any EPSG:4326 frame as RFC 7946 GeoJSON; not a number becomes null."""
    shapes = shapely.orient_polygons(frame.geometry.to_numpy())
    values = frame.drop(columns=frame.geometry.name).astype(object)
    rows = values.where(values.notna(), None).to_dict("records")
    features = [
        {"type": "Feature", "properties": row, "geometry": _as_json(shape)}
        for row, shape in zip(rows, shapes, strict=True)
    ]
    text = ",\n".join(json.dumps(feature, ensure_ascii=False, allow_nan=False, default=_plain) for feature in features)
    path.write_text(f'{{"type": "FeatureCollection", "features": [\n{text}\n]}}\n', encoding="utf-8")


def _read(path: Path) -> gpd.GeoDataFrame:
    if not path.is_file():
        raise UnreadableLayer(f"{path}: there is no such file")
    if path.suffix.lower() not in _READ:
        raise UnreadableLayer(f"{path.name}: grids are read from {', '.join(_READ)}, not {path.suffix or 'no suffix'}")
    try:
        if path.suffix.lower() in _PARQUET:
            layer = gpd.read_parquet(path)
        elif path.suffix.lower() in {".shp", ".zip"}:
            layer = _read_shapefile(path)
        else:
            layer = pyogrio.read_dataframe(path, on_invalid="ignore")
    except UnreadableLayer:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, shapely.errors.ShapelyError) as error:
        raise UnreadableLayer(f"{path.name} cannot be read: {str(error).split(';')[0]}") from error
    if not isinstance(layer, gpd.GeoDataFrame) or not len(layer):
        raise UnreadableLayer(f"{path.name} holds no feature with a geometry")
    return layer


def _read_shapefile(path: Path) -> gpd.GeoDataFrame:
    """Frame of a Shapefile whose text is in whatever encoding decodes it.

    GDAL cuts column names in the middle of a Chinese character and then cannot decode them, so it is made to hand over
    the bytes (as Latin-1), and they are decoded here: as declared, else UTF-8, else GB 18030 (which holds GBK).
    """
    with tempfile.TemporaryDirectory() as folder:
        shp = _unzipped(path, Path(folder)) if path.suffix.lower() == ".zip" else path
        raw = pyogrio.read_dataframe(shp, encoding="ISO-8859-1", on_invalid="ignore")
        declared = _declared_encoding(shp)
    if not isinstance(raw, gpd.GeoDataFrame):
        raise UnreadableLayer(f"{path.name} holds no geometry")
    texts = [name for name in raw.columns if name != raw.geometry.name and not pd.api.types.is_numeric_dtype(raw[name])]
    for encoding in filter(None, (declared, "utf-8", "gb18030")):
        try:
            return _decoded(raw, texts, encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise UnreadableLayer(f"{path.name}: its text is neither UTF-8 nor GBK; add a .cpg file that names the encoding")


def _unzipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        shapes = [name for name in archive.namelist() if name.lower().endswith(".shp") and "__MACOSX" not in name]
        if len(shapes) != 1:
            raise UnreadableLayer(f"{path.name} holds {len(shapes)} Shapefiles, one was expected")
        stem = shapes[0][: -len(".shp")]
        for name in archive.namelist():
            if name.startswith(stem + "."):
                with archive.open(name) as packed, (folder / f"layer{Path(name).suffix.lower()}").open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
    return folder / "layer.shp"


def _declared_encoding(shp: Path) -> str | None:
    cpg = next((shp.with_suffix(suffix) for suffix in (".cpg", ".CPG") if shp.with_suffix(suffix).is_file()), None)
    if cpg is not None:
        name = cpg.read_text(encoding="ascii", errors="ignore").strip()
        return {"936": "gb18030", "GBK": "gb18030", "GB2312": "gb18030"}.get(name.upper(), name) or None
    dbf = shp.with_suffix(".dbf")
    header = dbf.read_bytes()[:32] if dbf.is_file() else b""
    return _DBF_ENCODINGS.get(header[29]) if len(header) == 32 else None


def _decoded(raw: gpd.GeoDataFrame, texts: Iterable[str], encoding: str) -> gpd.GeoDataFrame:
    def text(value: object) -> object:
        return value.encode("latin-1").decode(encoding) if isinstance(value, str) else value

    frame = raw.copy()
    for name in texts:
        frame[name] = pd.Series([text(value) for value in raw[name]], index=raw.index, dtype=object)
    long_names = {short: name for name, short in _SHORT_NAMES.items()}
    decoded = [str(name).encode("latin-1").decode(encoding, errors="ignore") for name in raw.columns]
    frame.columns = [long_names.get(name, name) for name in decoded]
    return frame


def _in_wgs84(layer: gpd.GeoDataFrame, crs: str | None, path: Path) -> gpd.GeoDataFrame:
    if crs is not None:
        try:
            layer = layer.set_crs(CRS.from_user_input(crs), allow_override=True)
        except CRSError as error:
            raise InvalidInput(f"--crs {crs!r} is not a coordinate reference system, such as EPSG:4549") from error
    if layer.crs is None:
        raise UndeclaredCrs(f"{path.name} does not say in which CRS its coordinates are: name it with --crs")
    if layer.crs.equals("EPSG:4326", ignore_axis_order=True):
        return layer.set_crs("EPSG:4326", allow_override=True)
    return layer.to_crs("EPSG:4326")  # geopandas always puts x first


def _code_field(layer: gpd.GeoDataFrame, wanted: str | None, path: Path) -> str:
    columns = [str(name) for name in layer.columns if name != layer.geometry.name]
    if wanted is not None:
        if wanted not in columns:
            raise UnclearCodeField(f"{path.name} has no column {wanted!r}, it has {_named(columns)}")
        return wanted
    for name in ("grid_code", "code"):
        if name in columns:
            return name
    candidates = [name for name in columns if _may_be_codes(layer[name])]
    if len(candidates) != 1:
        raise UnclearCodeField(
            f"{path.name}: which column holds the grid codes? Name it with --code-field: {_named(columns)}"
        )
    return candidates[0]


def _may_be_codes(column: Any) -> bool:
    is_whole = not pd.api.types.is_float_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return bool(is_whole and column.notna().all() and column.astype(str).is_unique)


def _named(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "no column at all"


def _as_text(column: Any) -> Any:
    return pd.Series([_text(value) for value in column], dtype=object)


def _text(value: object) -> str | None:
    """Text of a code; a number that a file format made of it loses its `.0`."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _geodesic_area_m2(shape: Any) -> float:
    if shape is None or shape.geom_type not in {"Polygon", "MultiPolygon"} or shape.is_empty:
        return float("nan")
    west, south, east, north = shape.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        return float("nan")
    return abs(float(_WGS84.geometry_area_perimeter(shapely.orient_polygons(shape))[0]))


def _as_json(shape: Any) -> Any:
    return None if shape is None else json.loads(shapely.to_geojson(shape))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _write_shapefile(grids: gpd.GeoDataFrame, path: Path) -> None:
    _write_ogr(grids.rename(columns=_SHORT_NAMES), path, encoding="UTF-8")


def _write_zip(grids: gpd.GeoDataFrame, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _write_shapefile(grids, Path(folder) / f"{path.stem}.shp")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(folder).iterdir()):
                archive.write(file, file.name)


def _write_ogr(grids: gpd.GeoDataFrame, path: Path, **options: Any) -> None:
    pyogrio.write_dataframe(grids, path, **options)


def _write_parquet(grids: gpd.GeoDataFrame, path: Path) -> None:
    grids.to_parquet(path, index=False)


_WRITERS: dict[str, _Writer] = {
    ".geojson": write_geojson,
    ".json": write_geojson,
    ".shp": _write_shapefile,
    ".zip": _write_zip,
    ".gpkg": _write_ogr,
    ".parquet": _write_parquet,
    ".geoparquet": _write_parquet,
}
