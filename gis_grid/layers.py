"""From a grid file to a layer in the database: read, repaired if asked, checked, stored whole or not at all."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
from sqlalchemy.orm import Session

from gis_grid.city import City
from gis_grid.database import By
from gis_grid.errors import InvalidInput
from gis_grid.geo.dissolve import derive_areas
from gis_grid.geo.faults import Kind, TilingReport
from gis_grid.geo.layer_files import read_grids, read_ground, read_towns
from gis_grid.geo.placing import made_valid
from gis_grid.geo.repair import RepairReport, repair_tiling
from gis_grid.geo.tiling import check_tiling
from gis_grid.rules import load_rules
from gis_grid.territory import GridLayer, load_layer

# Faults that nobody can accept: without a valid polygon in degrees and a code of its own there is no grid.
UNSTORABLE = frozenset(
    {
        Kind.NOT_DEGREES,
        Kind.SWAPPED_AXES,
        Kind.MISSING_CODE,
        Kind.DUPLICATE_CODE,
        Kind.NO_GEOMETRY,
        Kind.NOT_POLYGON,
    }
)


class FaultyLayer(InvalidInput):
    """The layer is not an exact tiling, and nobody has accepted that."""


@dataclass(frozen=True)
class Loaded:
    """A layer that was stored, with what was found and moved on the way."""

    layer: GridLayer
    report: TilingReport
    repair: RepairReport | None


def load_layer_file(
    session: Session,
    path: Path,
    *,
    city: City,
    by: By,
    now: datetime,
    crs: str | None = None,
    code_field: str | None = None,
    effective_at: datetime | None = None,
    repair_m: float | None = None,
    accept_faults: bool = False,
) -> Loaded:
    """The layer in a grid file, stored whole.

    Parameters
    ----------
    crs
        The CRS the coordinates are really in; what the file declares without it.
    effective_at
        When the layer is to be in force; `now` without it. The first layer is in force since 1970.
    repair_m
        Close gaps and overlaps up to this width in metres before the check.
    accept_faults
        Store the layer with its faults and keep their list with it; an invalid polygon becomes the valid one of the
        same ground.

    Raises
    ------
    FaultyLayer
        Faults were found and not accepted, or are such that the layer cannot be stored.
    """
    grids = read_grids(path, crs=crs, code_field=code_field)
    repair = None
    if repair_m is not None:
        grids, repair = repair_tiling(grids, width_m=repair_m)
    report = check_layer(grids, city)
    _refuse(report, path, accept_faults=accept_faults)
    grids = made_valid_grids(grids)
    areas = derive_areas(grids, city_name=city.name, adcode=city.adcode)
    if "community_code" not in grids.columns:
        # A level that the file lacks is one area, which repeats the level above.
        grids = grids.assign(community_code=grids["town_code"] if "town_code" in grids.columns else city.adcode)
    layer = load_layer(
        session,
        grids,
        areas,
        name=path.stem,
        source=path.name,
        source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        is_synthetic=is_synthetic(path),
        effective_at=effective_at or now,
        accepted_faults=_kept(report) if report.found else None,
        now=now,
        by=by,
    )
    # Units that stand for every town or community begin with the first layer that has them.
    load_rules(session, city, now=now, by=by)
    return Loaded(layer, report, repair)


def check_layer(grids: gpd.GeoDataFrame, city: City) -> TilingReport:
    """The gate, with the references a city has."""
    return check_tiling(
        grids,
        code_pattern=city.code_pattern,
        metric_crs=city.metric_crs,
        count=city.grid_count,
        district=read_ground(city.outline) if city.outline else None,
        towns=read_towns(city.towns) if city.towns else None,
    )


def made_valid_grids(grids: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Grids whose invalid polygons are the valid ones of the same ground."""
    return grids.set_geometry(made_valid(grids.geometry.to_numpy()), crs=grids.crs)


def is_synthetic(path: Path) -> bool:
    """Whether a GeoJSON file says of itself that it is made up."""
    if path.suffix.lower() not in {".geojson", ".json"}:
        return False
    table = json.loads(path.read_text(encoding="utf-8"))
    return any(isinstance(part, dict) and part.get("synthetic") is True for part in (table, table.get("metadata")))


def _refuse(report: TilingReport, path: Path, *, accept_faults: bool) -> None:
    if report.ok:
        return
    unstorable = [fault for fault in report.found if fault.kind in UNSTORABLE]
    if accept_faults and not unstorable:
        return
    worst = unstorable or list(report.found)
    hint = "these cannot be accepted" if unstorable else "repair them, or store them knowingly with --accept-faults"
    listed = "; ".join(fault.message for fault in worst[:5]) + (" …" if len(worst) > 5 else "")
    raise FaultyLayer(f"{path}: {report.summary()}; {hint}: {listed}")


def _kept(report: TilingReport) -> dict[str, Any]:
    faults = [
        {
            "kind": str(fault.kind),
            "codes": list(fault.codes),
            "size": fault.size,
            "unit": fault.unit,
            "place": fault.place,
            "message": fault.message,
        }
        for fault in report.found
    ]
    return {"summary": report.summary(), "faults": faults, "unchecked": list(report.unchecked)}
