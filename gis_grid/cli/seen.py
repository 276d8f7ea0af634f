"""`gis-grid seen`."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from gis_grid.city import City as TheCity
from gis_grid.city import load_city
from gis_grid.cli.options import City, Dask, cluster_of, err, open_city, out, settings
from gis_grid.database import by_command
from gis_grid.days_over import keep_days_over
from gis_grid.errors import InvalidInput
from gis_grid.geo.sight import MAX_SIGHT_M
from gis_grid.geo.surfaces import age_classes, count_classes, seen_surface
from gis_grid.geo.tiles import SeenTiles, masks_of
from gis_grid.geo.track_archives import BurnJob, merged, track_pieces, write_tiles
from gis_grid.geo.whole_files import write_whole
from gis_grid.installation import open_installation, utc_now
from gis_grid.seen import Window, seen_tiles_in
from gis_grid.seen_shares import PlaceLevel, exclude_ground, read_exclusions, seen_shares_at
from gis_grid.territory import grids_below, grids_frame, the_area, the_layer
from gis_grid.track_intake import SIGHT_M

DAYS = 30
LEAST = (0, 1, 2, 5, 10, 20)
MOST_DAYS = (1, 3, 7, 14, 30)
Since = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; 30 days up to the last one without it.")
]
Until = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day; today without it.")]
Shift = Annotated[str | None, typer.Option(help="day or night; both without it.")]


class SurfaceKind(StrEnum):
    """What a surface tells of each place."""

    COUNT = "count"
    LAST = "last"


def shares(
    *,
    level: Annotated[PlaceLevel, typer.Option(help="What to tell it of.")] = PlaceLevel.TOWN,
    code: Annotated[list[str] | None, typer.Option(help="Only this place; may be given again.")] = None,
    since: Since = None,
    until: Until = None,
    shift: Shift = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A CSV file; the terminal without it.")] = None,
    city: City = None,
) -> None:
    """Say how much of each block, grid, community, town or the district was seen by patrols.

    Example: `gis-grid seen shares --level grid --shift night -o night.csv`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        window = window_of(since, until, shift, installation.city, now)
        told = seen_shares_at(session, level, window, city=installation.city, at=now, codes=code)
    if output is not None:
        write_whole(output, told.to_csv)
    else:
        for place, row in told.iterrows():
            share = "no ground" if row.isna()["seen_share"] else f"{100 * row['seen_share']:.1f} %"
            typer.echo(
                f"{place}\t{row['name']}\t{share}\t{row['seen_m2'] / 1e6:.3f} of {row['ground_m2'] / 1e6:.3f} km²"
            )
    seen_m2, ground_m2 = told["seen_m2"].sum(), told["ground_m2"].sum()
    whole = f"{100 * seen_m2 / ground_m2:.2f} %" if ground_m2 else "nothing"
    out.print(f"{window.first} to {window.last}: {whole} of {ground_m2 / 1e6:.2f} km² in {len(told)} places was seen")


def surface(
    code: Annotated[str, typer.Argument(help="Code of a community, town or the district.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A GeoJSON file.")],
    *,
    of: Annotated[SurfaceKind, typer.Option(help="How often, or how lately.")] = SurfaceKind.COUNT,
    since: Since = None,
    until: Until = None,
    shift: Shift = None,
    city: City = None,
) -> None:
    """Write how often, or how lately, each place of an area was seen, as polygons.

    A count is of shifts of days: 1, 2, 5, 10, 20 and more. Lately is within 1, 3, 7, 14 or 30 days of the last day;
    -1 is longer ago, or never in the window.

    Example: `gis-grid seen surface 310112102 --of last -o qibao.geojson`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        window = window_of(since, until, shift, installation.city, now)
        area = the_area(session, code, at=now)
        grids = grids_frame(session, the_layer(session, now), ids=grids_below(area))
        crs = installation.city.metric_crs
        mask = masks_of(grids.dissolve().geometry, crs)
        tiles = set(zip(mask.tile_row.tolist(), mask.tile_col.tolist(), strict=True))
        found = seen_surface(seen_tiles_in(session, window, tiles))
    if of is SurfaceKind.COUNT:
        frame = count_classes(found, mask, LEAST, metric_crs=crs)
    else:
        frame = age_classes(found, mask, MOST_DAYS, as_of=window.last, metric_crs=crs)
    write_whole(output, lambda draft: frame.to_file(draft, driver="GeoJSON"))
    out.print(f"{len(frame):,} patches written to {output}", markup=False, soft_wrap=True)


def burn(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Parquet: track, lon, lat, at.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A Parquet file of tiles.")],
    *,
    sight: Annotated[float, typer.Option(min=1, max=MAX_SIGHT_M, help="How far a patroller sees, metres.")] = SIGHT_M,
    dask: Dask = None,
    city: City = None,
) -> None:
    """Make seen ground out of Parquet files of fixes, of any size, without any database.

    Fixes are WGS84 degrees at times with a zone; those worse than 50 m (accuracy_m) do not count. OUT has a row a tile,
    day and shift with its bits, the same whether one machine or, with --dask, the workers of a cluster burn them.

    Example: `gis-grid seen burn 2026-*.parquet -o seen.parquet --dask tcp://10.0.0.5:8786`
    """
    if output.suffix != ".parquet" or not output.parent.is_dir():
        raise InvalidInput(f"{output}: expected a file ending in .parquet in a folder that is there")
    place = load_city(settings(city).city)
    paths = tuple(file.resolve() for file in files)
    job = BurnJob(paths, place.metric_crs, place.time_zone, sight)
    pieces = track_pieces(paths)
    with cluster_of(dask) as cluster, Progress(console=err, transient=True) as progress:
        task = progress.add_task("burning", total=sum(piece.fixes for piece in pieces))
        burnt = cluster.in_order(job, pieces) if cluster else ((piece, job(piece)) for piece in pieces)

        def told() -> Iterator[SeenTiles]:
            for piece, seen in burnt:
                progress.advance(task, piece.fixes)
                yield seen

        tiles = merged(told())
    write_tiles(tiles, output)
    fixes = sum(piece.fixes for piece in pieces)
    out.print(f"{output}: {len(tiles):,} tiles of {fixes:,} fixes", markup=False, soft_wrap=True)


def exclude(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Polygons with reason, since and until.")],
    *,
    city: City = None,
) -> None:
    """Leave ground that nobody is to patrol out of all shares: water, an airfield, a walled yard.

    Columns: reason, since (today without it), until (the last day; for ever without it).

    Example: `gis-grid seen exclude water.geojson`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        today = now.astimezone(installation.city.zone).date()
        grounds = read_exclusions(file, today=today)
        count = exclude_ground(session, grounds, city=installation.city, by=by_command(), now=now)
    out.print(f"{count} of {len(grounds)} grounds are new")


def roll_up_(*, city: City = None) -> None:
    """Roll up the months that are over, and what each patroller saw on days that are; serve does it once a day.

    A year is then asked as quickly as a month, and how much each patroller covered without their fixes. A day is over
    six hours after its midnight.

    Example: `gis-grid seen roll-up`
    """
    with open_installation(settings(city)) as installation:
        months, walked = keep_days_over(installation, now=utc_now())
    out.print(f"{len(months)} months rolled up, {len(walked)} months of patrollers kept")


def window_of(
    since: datetime | None, until: datetime | None, shift: str | None, city: TheCity, now: datetime
) -> Window:
    """The window that options name."""
    if shift not in {None, "day", "night"}:
        raise InvalidInput(f"--shift {shift!r} is not day or night")
    last: date = until.date() if until else now.astimezone(city.zone).date()
    first = since.date() if since else last - timedelta(days=DAYS - 1)
    return Window(first, last, None if shift is None else ("day", "night").index(shift))
