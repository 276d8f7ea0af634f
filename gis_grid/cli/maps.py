"""`gis-grid map`: one HTML file that opens with no network."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import folium
import geopandas as gpd
import typer
from sqlalchemy.orm import Session

from api.pages.drawing import draw_district, draw_grid, draw_heat
from api.pages.drawing_spots import draw_blind_spots, draw_unseen
from gis_grid.blindspots import find_blind_spots
from gis_grid.city import City as TheCity
from gis_grid.cli.options import City, err, open_city, out
from gis_grid.errors import InvalidInput
from gis_grid.event_types import the_event_type
from gis_grid.geo.datum import Datum
from gis_grid.geo.layer_files import read_layer
from gis_grid.geo.sight import burn_fixes
from gis_grid.geo.tiles import SeenTiles
from gis_grid.geo.tracks import read_fixes
from gis_grid.geo.whole_files import write_whole
from gis_grid.installation import utc_now
from gis_grid.instants import FIRST, LAST
from gis_grid.seen import Window
from gis_grid.territory import the_grid, the_layer
from maps.assets import Inline, render

DAYS = 30
Output = Annotated[Path, typer.Option("-o", "--output", help="The HTML file to write.")]
Since = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; 30 days up to the last one without it.")
]
Until = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day; today without it.")]


def district(output: Output, *, city: City = None) -> None:
    """Draw the grids, coloured by the reports of the last 30 days.

    Example: `gis-grid map district -o minhang.html`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        layer = the_layer(session, now)
        sheet = draw_district(session, installation.city, layer, now=now, with_counts=True, grid_url=None)
    _write(sheet, output)


def grid(
    code: Annotated[str, typer.Argument(help="The grid code.")],
    output: Output,
    *,
    staff: Annotated[bool, typer.Option("--staff", help="Show exact points and texts.")] = False,
    city: City = None,
) -> None:
    """Draw one grid with its neighbours, reports and last patrols.

    Example: `gis-grid map grid 310112101001001 -o grid.html`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        held = the_grid(session, code, at=now)
        sheet = draw_grid(session, installation.city, held, now=now, is_public=not staff, grid_url=None)
    _write(sheet, output)


def heat(
    output: Output,
    *,
    since: Since = None,
    until: Until = None,
    event_type: Annotated[str | None, typer.Option(help="A type, or a class with all its types.")] = None,
    city: City = None,
) -> None:
    """Draw where reports are dense; coordinates that hold an implausible pile are marked and left out.

    Example: `gis-grid map heat --since 2026-10-01 --event-type E01 -o heat.html`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        first, last = _window(since, until, now.astimezone(installation.city.zone).date())
        if event_type is not None:
            the_event_type(session, event_type)
        sheet = draw_heat(
            session,
            installation.city,
            first=first,
            last=last,
            event_type=event_type,
            is_public=False,
            now=now,
            grid_url=None,
        )
    _write(sheet, output)


def blind_spots(
    output: Output,
    *,
    tracks: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="GPS fixes, CSV or GPX; the stored patrols without it."),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Ground left out (with --tracks): polygons with the columns reason and until.",
        ),
    ] = None,
    area: Annotated[str | None, typer.Option(help="Only this grid, community or town, by its code.")] = None,
    since: Since = None,
    until: Until = None,
    shift: Annotated[str | None, typer.Option(help="day or night; both without it.")] = None,
    sight: Annotated[
        float, typer.Option(min=1, max=1000, help="How far a patroller sees, in metres (with --tracks).")
    ] = 50.0,
    datum: Annotated[Datum, typer.Option(help="What the fixes are measured on.")] = Datum.WGS84,
    time_zone: Annotated[str | None, typer.Option(help="Of fixes whose times name none.")] = None,
    city: City = None,
) -> None:
    """Draw the blind spots of four kinds over each grid's seen share; of a file of tracks the unseen ground.

    Example: `gis-grid map blind-spots --since 2026-11-01 --area 310112101 -o blind.html`
    """
    part = _shift(shift)
    if tracks is None and exclude is not None:
        raise InvalidInput("--exclude goes with --tracks; ground that is always left out: gis-grid seen exclude")
    if tracks is not None and area is not None:
        raise InvalidInput("--area is for the stored patrols, not for a file of --tracks")
    excluded = read_layer(exclude)[0] if exclude else None
    with open_city(city) as (installation, session):
        now = utc_now()
        today = now.astimezone(installation.city.zone).date()
        if tracks is None:
            window = Window(*_window(since, until, today), part)
            spots = find_blind_spots(session, installation.city, window, now=now, area=area)
            sheet = draw_blind_spots(session, installation.city, window, spots, now=now, area=area, grid_url=None)
        else:
            seen = _burnt(tracks, installation.city, sight_m=sight, datum=datum, time_zone=time_zone)
            sheet = _drawn(
                session, installation.city, seen, since, until, part, tracks.name, excluded=excluded, now=now
            )
    _write(sheet, output)


def _burnt(tracks: Path, city: TheCity, *, sight_m: float, datum: Datum, time_zone: str | None) -> SeenTiles:
    fixes, rejected = read_fixes(tracks, datum=datum, time_zone=time_zone)
    for reason, count in rejected["reason"].value_counts().items():
        err.print(f"{count} rows left out: {reason}", markup=False, soft_wrap=True)
    if fixes.empty:
        raise InvalidInput(f"{tracks} holds no fix that can be used")
    return burn_fixes(fixes, metric_crs=city.metric_crs, time_zone=city.time_zone, sight_m=sight_m)


def _drawn(  # noqa: PLR0917 - the window's parts, in their order
    session: Session,
    city: TheCity,
    seen: SeenTiles,
    since: datetime | None,
    until: datetime | None,
    shift: int | None,
    name: str,
    *,
    excluded: gpd.GeoDataFrame | None,
    now: datetime,
) -> folium.Map:
    """The whole of a file unless days are named."""
    days = [date.fromordinal(int(day)) for day in seen.day] or [now.astimezone(city.zone).date()]
    first, last = since.date() if since else min(days), until.date() if until else max(days)
    kept = seen.between(first, last, shift=shift)
    window = f"{first} – {last} · {name}"
    return draw_unseen(session, city, kept, window=window, made_up={}, excluded=excluded, now=now, grid_url=None)


def _window(since: datetime | None, until: datetime | None, today: date) -> tuple[date, date]:
    last = until.date() if until else today
    first = since.date() if since else last - timedelta(days=DAYS - 1)
    if not FIRST.date() < first <= last < LAST.date() and first <= last:
        raise InvalidInput(f"--since {first}, --until {last}: not between the years 1970 and 2100")
    if first > last:
        raise InvalidInput(f"--since {first} lies after --until {last}")
    return first, last


def _shift(name: str | None) -> int | None:
    if name not in {None, "day", "night"}:
        raise InvalidInput(f"--shift {name!r} is not day or night")
    return None if name is None else ("day", "night").index(name)


def _write(sheet: folium.Map, output: Path) -> None:
    text = render(sheet, assets=Inline())
    write_whole(output, lambda draft: draft.write_text(text, encoding="utf-8"))
    out.print(f"{output} written, {len(text.encode()) / 1e6:.2f} MB", markup=False)
