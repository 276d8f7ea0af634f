"""`gis-grid assign`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from gis_grid.assigning import Assigned, assign_points, refuse_same_file
from gis_grid.cli.options import Dask, cluster_of, err, out
from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import Datum
from gis_grid.geo.layer_files import read_grids
from gis_grid.geo.placing import MAX_SNAP_M, SNAP_M, GridIndex, Method


def assign(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Points: .csv, .csv.gz, .parquet, .geoparquet, .gpkg.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The same rows with their grids, in the same form.")],
    *,
    grids: Annotated[Path, typer.Option("--grids", help="GeoJSON, Shapefile, GeoPackage or GeoParquet.")],
    code_field: Annotated[
        str | None, typer.Option("--code-field", help="Column of the grid codes; `grid_code` if there is one.")
    ] = None,
    grids_crs: Annotated[
        str | None, typer.Option("--grids-crs", help="The CRS the grids are really in, such as EPSG:4549.")
    ] = None,
    lon: Annotated[
        str | None, typer.Option("--lon", help="Column of the longitude; found by its usual names (lon, x, 经度, …).")
    ] = None,
    lat: Annotated[
        str | None, typer.Option("--lat", help="Column of the latitude; found by its usual names (lat, y, 纬度, …).")
    ] = None,
    datum: Annotated[Datum, typer.Option("--datum", help="What the points are measured on.")] = Datum.WGS84,
    snap: Annotated[
        float, typer.Option("--snap", min=0, max=MAX_SNAP_M, help="Metres a point outside every grid is moved at most.")
    ] = SNAP_M,
    force: Annotated[bool, typer.Option("--force", help="Place even when another datum looks likely.")] = False,
    dask: Dask = None,
) -> None:
    """Place a file of points in a file of grids, without any database.

    Adds grid_code, method, distance_m and refusal_reason to each row; rows keep their order and none is dropped.
    OUT appears whole or not at all; after a kill, the same command goes on where it was (a GeoPackage is begun anew).
    With --dask the workers of a cluster do the work, piece by piece; all must see IN by the same path. OUT is the same.
    Exit code 1: the points look like another datum (see --force); 2: the input cannot be read.

    Example: `gis-grid assign requests.csv placed.csv --grids grids.geojson --datum gcj02`
    """
    try:
        refuse_same_file(target, source)
        refuse_same_file(target, grids)
        frame = read_grids(grids, crs=grids_crs, code_field=code_field)
        for note in frame.attrs.get("notes", []):
            err.print(f"note: {note}", markup=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            RateColumn("B" if ".csv" in source.name.casefold() else " rows"),
            TimeRemainingColumn(),
        )
        with cluster_of(dask) as cluster, Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task(f"placing {source.name}", total=None)
            assigned = assign_points(
                source,
                target,
                GridIndex(frame),
                lon=lon,
                lat=lat,
                datum=datum,
                snap_m=snap,
                is_forced=force,
                on_progress=lambda done, size: progress.update(task, completed=done, total=size),
                cluster=cluster,
            )
    except OSError as error:
        raise InvalidInput(f"{error.filename or target}: {error.strerror or error}") from error
    _print(assigned, target)


class RateColumn(ProgressColumn):
    """How many of a unit are done a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Rate of a task in millions, nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed / 1e6:.1f} M{self._unit}/s")


def _print(assigned: Assigned, target: Path) -> None:
    parts = [f"{assigned.counts[method.value]:,} {method}" for method in Method if assigned.counts[method.value]]
    rows = sum(assigned.counts.values())
    if assigned.resumed_rows:
        err.print(f"{assigned.resumed_rows:,} rows had been placed before", markup=False, soft_wrap=True)
    out.print(f"{target}: {rows:,} rows: {', '.join(parts) or 'none'}", markup=False, soft_wrap=True)
    err.print(f"datum: {assigned.guess}", markup=False, soft_wrap=True)
