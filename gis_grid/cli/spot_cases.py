"""`gis-grid cases file-spot` and `gis-grid cases spots`."""

from typing import Annotated

import typer

from gis_grid.blindspots import BlindKind, find_blind_spots
from gis_grid.cli.options import City, open_city, out
from gis_grid.cli.seen import Shift, Since, Until, window_of
from gis_grid.database import by_command
from gis_grid.geo.datum import LonLat
from gis_grid.installation import utc_now
from gis_grid.routing import Urgency
from gis_grid.spot_cases import file_spot, filed_spots, pick_spot, seen_again, seen_again_figure


def file(
    kind: Annotated[BlindKind, typer.Argument(help="The kind of blind spot.")],
    lon: Annotated[float, typer.Argument(help="A point in it, WGS84.")],
    lat: Annotated[float, typer.Argument(help="A point in it, WGS84.")],
    *,
    event_type: Annotated[str, typer.Option(help="Code of an event type, to route and time the case by.")],
    what: Annotated[str | None, typer.Option(help="Tells apart two of a kind at one place.")] = None,
    urgency: Annotated[Urgency, typer.Option(help="Urgent cases have shorter limits.")] = Urgency.NORMAL,
    since: Since = None,
    until: Until = None,
    shift: Shift = None,
    city: City = None,
) -> None:
    """Make a case of a blind spot in the grid that answers for it; not twice while its case is open.

    Example: `gis-grid cases file-spot unseen 121.4005 31.1003 --event-type E0601 --shift night`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        window = window_of(since, until, shift, installation.city, now)
        found = find_blind_spots(session, installation.city, window, now=now, kinds=[kind])
        spot = pick_spot(found, kind, LonLat.checked(lon, lat, bounds=None), what=what)
        case = file_spot(
            session,
            spot,
            window,
            event_type=event_type,
            urgency=urgency,
            city=installation.city,
            snap_m=installation.settings.snap_m,
            photos=installation.photos,
            by=by_command(),
            now=now,
        )
        session.commit()
        out.print(f"{case.name} in {case.grid_code}: {spot.why}", markup=False, soft_wrap=True)


def spots(
    *,
    area: Annotated[str | None, typer.Option(help="Only this grid, community or town, by its code.")] = None,
    city: City = None,
) -> None:
    """List the blind spots filed in the last year, and after how many days each was seen again.

    Example: `gis-grid cases spots --area 310112101`
    """
    with open_city(city) as (installation, session):
        now = utc_now()
        rows = filed_spots(session, now=now, area=area)
        seen = [seen_again(session, row, city=installation.city, now=now) for row in rows]
        for row, one in zip(rows, seen, strict=True):
            told = "-" if one is None else f"{one.days} days" if one.on else "not yet"
            typer.echo("\t".join((row.case.name, row.kind, row.what, row.code or "-", row.case.stage, told, row.why)))
    figure = seen_again_figure(seen)
    days = "-" if figure.median_days is None else f"{figure.median_days:g} days"
    out.print(
        f"{len(rows)} blind spots filed; of {figure.cases} of unseen ground {figure.not_yet} not seen again yet, "
        f"the others after {days} (median)",
        soft_wrap=True,
    )
