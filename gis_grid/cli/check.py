"""`gis-grid grids check`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import geopandas as gpd
import typer

from gis_grid.city import load_city
from gis_grid.cli.options import err, out
from gis_grid.errors import InvalidInput
from gis_grid.geo.faults import Fault, TilingReport, format_area, format_length
from gis_grid.geo.layer_files import read_grids, read_ground, read_towns, write_geojson
from gis_grid.geo.tiling import check_tiling
from gis_grid.geo.whole_files import write_whole

_Crs = Annotated[
    str | None, typer.Option("--crs", help="The CRS the coordinates of FILE are really in, such as EPSG:4549.")
]


def check(
    file: Annotated[Path, typer.Argument(help="GeoJSON, Shapefile (.shp, .zip), GeoPackage or GeoParquet.")],
    *,
    crs: _Crs = None,
    code_field: Annotated[
        str | None, typer.Option("--code-field", help="Column of the grid codes; `grid_code` if there is one.")
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=0, help="How many grids there must be.")] = None,
    district: Annotated[Path | None, typer.Option("--district", help="File with the district's outline.")] = None,
    towns: Annotated[
        Path | None, typer.Option("--towns", help="File with the towns; codes in `town_code` or `code`.")
    ] = None,
    faults: Annotated[Path | None, typer.Option("--faults", help="Write the faults to this GeoJSON file.")] = None,
    map_: Annotated[Path | None, typer.Option("--map", help="Draw the faults into this HTML file.")] = None,
    city: Annotated[
        Path | None,
        typer.Option(
            "--city",
            envvar="GIS_GRID_CITY",
            help="A city.toml: its code pattern, count and outline. Without it only Minhang's code pattern.",
        ),
    ] = None,
) -> None:
    """Say whether a grid file is an exact tiling, and name every fault with its place and size.

    Exit code 0: it is; 1: it has faults; 2: it cannot be read. What has no reference (--count, --district, --towns)
    is said to be unchecked.

    Example: `gis-grid grids check grids.geojson --count 1002 --map faults.html`
    """
    try:
        settings = load_city(city)
        grids = read_grids(file, crs=crs, code_field=code_field)
        outline = district if district or city is None else settings.outline
        report = check_tiling(
            grids,
            code_pattern=settings.code_pattern,
            metric_crs=settings.metric_crs,
            count=count if count is not None or city is None else settings.grid_count,
            district=read_ground(outline) if outline else None,
            towns=read_towns(towns) if towns else None,
        )
        _print(report)
        if faults is not None:
            _write_faults(report, faults)
        if map_ is not None:
            _write_map(grids, report, map_, file)
    except InvalidInput as error:
        err.print(f"gis-grid: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    raise typer.Exit(0 if report.ok else 1)


def _print(report: TilingReport) -> None:
    for fault in report.found:
        parts = [str(fault.kind), _size(fault), f"at {fault.place}" if fault.place else "", fault.message]
        out.print("  ".join(part for part in parts if part), markup=False, soft_wrap=True)
    for note in report.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    for text in report.unchecked:
        out.print(f"unchecked: {text}", markup=False, soft_wrap=True)
    out.print(report.summary(), markup=False, soft_wrap=True)


def _size(fault: Fault) -> str:
    if fault.unit == "count":
        return f"{fault.size:.0f}"
    return format_area(fault.size) if fault.unit == "m2" else format_length(fault.size)


def _write_faults(report: TilingReport, path: Path) -> None:
    frame = report.faults
    frame["codes"] = [list(codes) for codes in frame["codes"]]
    write_whole(path, lambda made: write_geojson(frame, made))


def _write_map(grids: gpd.GeoDataFrame, report: TilingReport, path: Path, file: Path) -> None:
    from maps.assets import Inline, render  # noqa: PLC0415 - most checks draw no map
    from maps.faults import faults_map  # noqa: PLC0415

    as_of = datetime.fromtimestamp(file.stat().st_mtime, tz=UTC)
    try:
        sheet = faults_map(grids, report.faults, title=file.name, as_of=as_of)
    except InvalidInput as error:  # the faults are listed all the same
        err.print(f"no map drawn: {error}", markup=False, soft_wrap=True)
        return
    page = render(sheet, assets=Inline())
    write_whole(path, lambda made: _write_text(made, page))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
