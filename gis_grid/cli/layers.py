"""`gis-grid grids preview` and `activate`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from api.pages.drawing import draw_layer_change
from gis_grid.cli.options import City, open_city, out
from gis_grid.database import by_command
from gis_grid.geo.layer_files import read_grids
from gis_grid.geo.whole_files import write_whole
from gis_grid.installation import utc_now
from gis_grid.instants import parse_instant
from gis_grid.layer_changes import LayerChange, activate_layer, preview_layer
from gis_grid.layers import check_layer, made_valid_grids
from maps.assets import Inline, render

SHOWN = 20


def preview(
    file: Annotated[Path, typer.Argument(help="GeoJSON, Shapefile (.shp or .zip), GeoPackage or GeoParquet.")],
    *,
    effective: Annotated[str, typer.Option(help="Day the layer is to be in force.")],
    crs: Annotated[
        str | None, typer.Option(help="The CRS the coordinates are really in, for example EPSG:2249.")
    ] = None,
    code_field: Annotated[str | None, typer.Option(help="Column of the grid codes.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Draw what moves into this HTML file.")] = None,
    tables: Annotated[
        Path | None, typer.Option(help="Folder to write moves.csv, lineage.csv, cases.csv, tenures.csv, blocks.csv to.")
    ] = None,
    city: City = None,
) -> None:
    """Say what a new layer would change, and change nothing: reports, open cases, who answers for what.

    Example: `gis-grid grids preview grids-2027.geojson --effective 2027-01-01 -o moves.html`
    """
    grids = made_valid_grids(read_grids(file, crs=crs, code_field=code_field))
    with open_city(city) as (installation, session):
        at = parse_instant(effective, zone=installation.city.zone)
        report = check_layer(grids, installation.city)
        changed = preview_layer(session, grids, effective_at=at, snap_m=installation.settings.snap_m)
        if output is not None:
            sheet = draw_layer_change(session, grids, changed, city=installation.city, name=file.name)
            text = render(sheet, assets=Inline())
            write_whole(output, lambda draft: draft.write_text(text, encoding="utf-8"))
    out.print(f"{file.name}: {report.summary()}", markup=False, soft_wrap=True)
    _tell_change(changed)
    if tables is not None:
        _write_tables(changed, tables)


def activate(
    layer: Annotated[int, typer.Argument(min=1, help="Number of a loaded layer; `grids load` printed it.")],
    *,
    city: City = None,
) -> None:
    """End the layer in force and start a loaded one, from the day it was loaded for, all or nothing.

    Reports observed since that day are placed anew and keep their old placement in the history. Open cases come into
    the grid that holds their place now; who has them, and who answered for the ground when they were filed, stays. A
    grid goes on with the manager of its own code if most of that grid's ground is in it, else with the manager of the
    grid that makes up most of it; where there is neither, it is vacant.

    Example: `gis-grid grids activate 2`
    """
    with open_city(city) as (installation, session):
        changed = activate_layer(
            session,
            layer,
            city=installation.city,
            snap_m=installation.settings.snap_m,
            photos=installation.photos,
            by=by_command(),
            now=utc_now(),
        )
    _tell_change(changed)
    out.print(f"layer {layer} is in force since {changed.effective_at.isoformat()}")


def _tell_change(changed: LayerChange) -> None:
    out.print(
        f"{changed.reports:,} reports compared: {changed.moves['reports'].sum():,} lie in another grid; "
        f"{changed.replaced:,} were observed since {changed.effective_at.isoformat()} and are placed anew",
        soft_wrap=True,
    )
    for old, new, count in _first(changed.moves, "old_code", "new_code", "reports"):
        out.print(f"  {_named(old)} → {_named(new)}: {count:,}")
    descents = changed.lineage["descent"].value_counts()
    out.print("ground: " + ", ".join(f"{count:,} {descent}" for descent, count in descents.items()))
    is_drill = changed.cases["is_drill"].astype(bool)
    practised = f", and {is_drill.sum():,} of drills" if is_drill.any() else ""
    out.print(f"{(~is_drill).sum():,} open cases come into another grid{practised}; who has them stays")
    for case, old, new, is_practised in _first(changed.cases, "case", "old_code", "new_code", "is_drill"):
        out.print(f"  {case}: {old} → {new}" + (" (drill)" if is_practised else ""))
    fates = changed.tenures["fate"].value_counts()
    out.print("who answers: " + ", ".join(f"{count:,} {fate}" for fate, count in fates.items()))
    for code, fate, from_code, post in _first(
        changed.tenures[changed.tenures["fate"] != "kept"], "grid_code", "fate", "from_code", "post"
    ):
        out.print(f"  {code} {fate}" + (f": {post}, from {from_code}" if fate == "moved" else ""), markup=False)
    out.print(f"{len(changed.blocks):,} grids and communities whose blocks do not tile them any more; load new blocks")
    for parent, without, beyond in _first(changed.blocks, "parent_code", "without_m2", "beyond_m2"):
        out.print(f"  {parent}: {without:,.0f} m² in no block, {beyond:,.0f} m² of the blocks outside", markup=False)


def _first(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    shown = frame.head(SHOWN)
    yield from zip(*(shown[column] for column in columns), strict=True)
    if len(frame) > SHOWN:
        out.print(f"  … and {len(frame) - SHOWN:,} more")


def _named(code: Any) -> str:
    return "no grid" if pd.isna(code) else str(code)


def _write_tables(changed: LayerChange, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("moves", "lineage", "cases", "tenures", "blocks"):
        getattr(changed, name).to_csv(folder / f"{name}.csv", index=False)
    out.print(f"tables written to {folder}", markup=False)
