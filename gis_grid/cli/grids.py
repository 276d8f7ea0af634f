"""`gis-grid grids load` and `export`."""

from pathlib import Path
from typing import Annotated

import typer

from gis_grid.cli.options import At, City, open_city, out
from gis_grid.database import by_command
from gis_grid.geo.layer_files import write_grids
from gis_grid.geo.repair import RepairReport
from gis_grid.installation import utc_now
from gis_grid.instants import parse_instant
from gis_grid.layers import load_layer_file
from gis_grid.territory import grids_frame, the_layer


def load(
    file: Annotated[Path, typer.Argument(help="GeoJSON, Shapefile (.shp or .zip), GeoPackage or GeoParquet.")],
    *,
    crs: Annotated[
        str | None, typer.Option(help="The CRS the coordinates are really in, for example EPSG:2249.")
    ] = None,
    code_field: Annotated[str | None, typer.Option(help="Column of the grid codes.")] = None,
    effective: Annotated[str | None, typer.Option(help="Day the layer is to be in force; today without it.")] = None,
    repair: Annotated[
        float | None, typer.Option(min=0.0, help="Close gaps and overlaps up to this width in metres first.")
    ] = None,
    accept_faults: Annotated[bool, typer.Option("--accept-faults", help="Store the layer with its faults.")] = False,
    city: City = None,
) -> None:
    """Store a grid layer, whole or not at all.

    The first layer is in force since 1970; a later one is loaded and waits for `grids activate`.

    Example: `gis-grid grids load precincts.geojson --crs EPSG:2249 --code-field PRECINCT`
    """
    with open_city(city) as (installation, session):
        loaded = load_layer_file(
            session,
            file,
            city=installation.city,
            by=by_command(),
            now=utc_now(),
            crs=crs,
            code_field=code_field,
            effective_at=parse_instant(effective, zone=installation.city.zone) if effective else None,
            repair_m=repair,
            accept_faults=accept_faults,
        )
        is_in_force = loaded.layer.in_force is not None
    if loaded.repair is not None:
        _tell(loaded.repair)
    for line in (*loaded.report.notes, *(f"unchecked: {what}" for what in loaded.report.unchecked)):
        out.print(line, markup=False, soft_wrap=True)
    state = "in force" if is_in_force else "loaded, not in force"
    out.print(
        f"layer {loaded.layer.id} ({loaded.layer.name}): {loaded.report.summary()}; {state}",
        markup=False,
        soft_wrap=True,
    )


def _tell(repair: RepairReport) -> None:
    for move in repair.moves.itertuples():
        giver, taker = move.from_code or "no grid", move.to_code or "no grid"
        out.print(f"moved {move.area_m2:.4f} m² from {giver!s} to {taker!s}", markup=False)
    out.print(f"repair moved {repair.moves['area_m2'].sum():.4f} m² in {len(repair.changes)} grids")


def export(
    file: Annotated[Path, typer.Argument(help="Ends in .geojson, .shp, .zip, .gpkg or .parquet.")],
    *,
    at: At = None,
    city: City = None,
) -> None:
    """Write the layer in force, in the format that the file's suffix names.

    Example: `gis-grid grids export grids.gpkg`
    """
    with open_city(city) as (installation, session):
        when = parse_instant(at, zone=installation.city.zone) if at else utc_now()
        grids = grids_frame(session, the_layer(session, when)).drop(columns="grid_id")
    write_grids(grids, file)
    out.print(f"{len(grids)} grids written to {file}", markup=False)
