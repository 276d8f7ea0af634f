"""One database is one city, described by a `city.toml`."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pyproj import CRS
from pyproj.exceptions import CRSError

from gis_grid.errors import InvalidInput

CITIES = Path(__file__).parent / "cities"
MINHANG = CITIES / "minhang" / "city.toml"
DatumName = Literal["wgs84", "gcj02", "bd09", "cgcs2000"]


@dataclass(frozen=True)
class Basemap:
    """Tiles to draw beneath; layers are shifted to `datum` so that they match."""

    url: str
    attribution: str
    datum: DatumName = "wgs84"


@dataclass(frozen=True)
class City:
    """What makes one city different from another.

    Attributes
    ----------
    adcode
        The code of the whole district, GB/T 2260 in China.
    metric_crs
        The one projected CRS in metres that buffers and rasters use.
    code_pattern
        Regular expression of a whole grid code; named groups district, town, community and sequence where it nests.
    grid_count
        How many grids a complete layer has, None where that is not fixed.
    grids, outline, towns, reference_layer, event_types
        Files, absolute; None where the city has none.
    rules
        Folder of units.csv, routing.csv and so on, absolute; None for a city with a centre and nothing more.
    """

    name: str
    name_en: str
    adcode: str
    time_zone: str
    metric_crs: str
    code_pattern: str
    event_types: Path
    grid_count: int | None = None
    grids: Path | None = None
    outline: Path | None = None
    towns: Path | None = None
    reference_layer: Path | None = None
    rules: Path | None = None
    basemap: Basemap | None = None
    hotline: str | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The city's time zone."""
        return ZoneInfo(self.time_zone)


def load_city(path: Path | None = None) -> City:
    """The city described by a `city.toml`; Minhang without one.

    Raises
    ------
    InvalidInput
        Naming the file and every key that is missing, unknown or wrong, all at once.
    """
    path = path or MINHANG
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"city file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"city file {path} is not TOML: {error}") from error
    faults = [*_missing_and_unknown(table), *_wrong(table, path.parent)]
    if faults:
        raise InvalidInput(f"city file {path}: " + "; ".join(faults))
    return _city(table, path.parent)


REQUIRED = {"name": str, "adcode": str, "time_zone": str, "metric_crs": str, "code_pattern": str}
OPTIONAL = {
    "name_en": str,
    "grid_count": int,
    "grids": str,
    "outline": str,
    "towns": str,
    "reference_layer": str,
    "event_types": str,
    "rules": str,
    "basemap": dict,
    "hotline": str,
}
FILES = ("grids", "outline", "towns", "reference_layer", "event_types")


Check = Callable[[Any], str | None]


def _missing_and_unknown(table: Mapping[str, Any]) -> list[str]:
    known = REQUIRED | OPTIONAL
    return [
        *(f"{key} is missing" for key in REQUIRED if key not in table),
        *(f"{key} is not a key of a city file" for key in table if key not in known),
        *(
            f"{key} must be {known[key].__name__}"
            for key, value in table.items()
            if key in known and not isinstance(value, known[key])
        ),
    ]


def _wrong(table: Mapping[str, Any], folder: Path) -> list[str]:
    checks: dict[str, Check] = {
        "time_zone": _zone_fault,
        "metric_crs": _crs_fault,
        "code_pattern": _pattern_fault,
        "basemap": _basemap_fault,
    }
    found = [
        check(table[key]) for key, check in checks.items() if isinstance(table.get(key), (REQUIRED | OPTIONAL)[key])
    ]
    lost = [
        f"{key} {table[key]!r} is not a file"
        for key in FILES
        if isinstance(table.get(key), str) and _file(folder, table[key]) is None
    ]
    if isinstance(table.get("rules"), str) and not (folder / table["rules"]).is_dir():
        lost.append(f"rules {table['rules']!r} is not a folder")
    return [fault for fault in found if fault] + lost


def _zone_fault(name: str) -> str | None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return f"time_zone {name!r} is not an IANA time zone such as Asia/Shanghai"
    return None


def _crs_fault(name: str) -> str | None:
    try:
        crs = CRS(name)
    except CRSError:
        return f"metric_crs {name!r} is not a CRS such as EPSG:4549"
    metres = crs.is_projected and all(axis.unit_name == "metre" for axis in crs.axis_info)
    return None if metres else f"metric_crs {name!r} is not a projected CRS in metres"


def _pattern_fault(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"code_pattern is not a regular expression: {error}"
    return None


def _basemap_fault(basemap: Mapping[str, Any]) -> str | None:
    if not {"url", "attribution"} <= set(basemap) <= {"url", "attribution", "datum"}:
        return "basemap needs url and attribution, and may have datum"
    if basemap.get("datum", "wgs84") not in {"wgs84", "gcj02", "bd09", "cgcs2000"}:
        return f"basemap.datum {basemap['datum']!r} is not wgs84, gcj02, bd09 or cgcs2000"
    return None


def _file(folder: Path, name: str) -> Path | None:
    # In a checkout grids.geojson lies at the top of the tree, in an installed package beside city.toml.
    for place in (folder, Path(__file__).parents[1]):
        if (place / name).is_file():
            return (place / name).resolve()
    return None


def _city(table: Mapping[str, Any], folder: Path) -> City:
    files: dict[str, Any] = {key: _file(folder, table[key]) for key in FILES if key in table}
    if "rules" in table:
        files["rules"] = (folder / table["rules"]).resolve()
    rest = {key: value for key, value in table.items() if key not in {*FILES, "rules", "basemap"}}
    rest.setdefault("name_en", table["name"])
    files.setdefault("event_types", CITIES / "minhang" / "event_types.csv")
    basemap = Basemap(**table["basemap"]) if "basemap" in table else None
    return City(**rest, **files, basemap=basemap)
