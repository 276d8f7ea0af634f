"""`gis-grid blind-spots` and `gis-grid patrols suggest`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import geopandas as gpd
import pandas as pd
import typer

from gis_grid.blindspots import BlindKind, BlindSpot, find_blind_spots
from gis_grid.cli.options import City, open_city, out
from gis_grid.cli.seen import Shift, Since, Until, window_of
from gis_grid.errors import InvalidInput
from gis_grid.geo.whole_files import write_whole
from gis_grid.installation import utc_now
from gis_grid.outings import suggest_outing

SHOWN = 20


def list_(
    *,
    kind: Annotated[list[BlindKind] | None, typer.Option(help="Only this kind; may be given again.")] = None,
    since: Since = None,
    until: Until = None,
    shift: Shift = None,
    seams: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Roads, rivers, green belts: columns name and owner."),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A CSV file with the columns grid_code and people."),
    ] = None,
    area: Annotated[str | None, typer.Option(help="Only this grid, community or town, by its code.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A GeoJSON file with all of them.")] = None,
    city: City = None,
) -> None:
    """List the blind spots of four kinds, worst first: where, how large, since when, why, and who answers.

    Example: `gis-grid blind-spots --kind unseen --shift night -o unseen.geojson`
    """
    of_grids = _read_people(people) if people else None
    with open_city(city) as (installation, session):
        now = utc_now()
        window = window_of(since, until, shift, installation.city, now)
        found = find_blind_spots(
            session,
            installation.city,
            window,
            now=now,
            kinds=kind or tuple(BlindKind),
            seams=seams,
            people=of_grids,
            area=area,
        )
        rows = [_row(spot) for spot in found]
    if output is not None:
        shapes = [spot.place for spot in found]
        frame = gpd.GeoDataFrame(pd.DataFrame(rows), geometry=shapes, crs="EPSG:4326")
        write_whole(output, lambda draft: frame.to_file(draft, driver="GeoJSON"))
    else:
        _print(found)
    counts = Counter(spot.kind.value for spot in found)
    told = ", ".join(f"{counts[one.value]:,} {one.value}" for one in BlindKind if one in set(kind or BlindKind))
    out.print(f"{window.first} to {window.last}: {told}")


def _print(found: list[BlindSpot]) -> None:
    for one in BlindKind:
        for spot in [spot for spot in found if spot.kind is one][:SHOWN]:
            since = f"since {spot.since}" if spot.since else "since when is not known"
            who = "; ".join(f"{tenure.post} {tenure.duty_phone}" for tenure in spot.managers) or "nobody answers"
            typer.echo(f"{one}\t{spot.what}\t{spot.code or '-'}\t{spot.area_m2:,.0f} m²\t{since}\t{spot.why}\t{who}")


def _row(spot: BlindSpot) -> dict[str, object]:
    return {
        "kind": spot.kind.value,
        "what": spot.what,
        "code": spot.code,
        "area_m2": round(spot.area_m2, 1),
        "since": spot.since.isoformat() if spot.since else None,
        "badness": round(spot.badness, 1),
        "why": spot.why,
        "why_zh": spot.why_zh,
        "answers": "/".join(spot.answers),
        "managers": "; ".join(f"{tenure.post} {tenure.duty_phone}" for tenure in spot.managers),
    }


def _read_people(path: Path) -> pd.Series:
    try:
        table = pd.read_csv(path, dtype={"grid_code": str})
        people: pd.Series = table.set_index("grid_code")["people"].astype(float)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"{path} is no CSV file with the columns grid_code and people: {error}") from error
    if not people.index.is_unique:
        raise InvalidInput(f"{path}: a grid_code stands there twice")
    return people


def suggest(
    code: Annotated[str, typer.Argument(help="Code of a team, a grid, a community or a town.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The GPX file to write.")],
    *,
    length: Annotated[float, typer.Option(help="How long the way may be, in km of straight lines.")] = 5.0,
    since: Since = None,
    until: Until = None,
    shift: Shift = None,
    city: City = None,
) -> None:
    """Order the unseen ground of a team's area, a grid or an area into a short outing, as GPX.

    Ways are straight: the streets are not known here. Of what does not fit, the least is left out.

    Example: `gis-grid patrols suggest street-day-310112102 --length 6 -o tomorrow.gpx`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        window = window_of(since, until, shift, installation.city, now)
        outing = suggest_outing(session, installation.city, code, window, now=now, most_m=1000 * length)
    text = outing.gpx(f"{code} {window.last}")
    write_whole(output, lambda draft: draft.write_text(text, encoding="utf-8"))
    out.print(
        f"{output}: {len(outing.stops)} stops, {outing.length_m / 1000:.1f} km, {outing.unseen_m2 / 1e4:.1f} of "
        f"{outing.left_m2 / 1e4:.1f} ha unseen",
        markup=False,
        soft_wrap=True,
    )
