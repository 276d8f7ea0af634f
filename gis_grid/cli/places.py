"""`gis-grid locate`."""

import json
from typing import Annotated

import typer

from gis_grid.cli.options import At, City, open_city, out
from gis_grid.geo.datum import Datum
from gis_grid.installation import utc_now
from gis_grid.instants import parse_instant
from gis_grid.intake import wgs84_point
from gis_grid.locating import MAX_ACCURACY_M, MIN_ACCURACY_M, locate
from gis_grid.tenures import manager_of
from gis_grid.territory import Grid


def locate_point(
    lon: Annotated[float, typer.Argument(help="Longitude in degrees.")],
    lat: Annotated[float, typer.Argument(help="Latitude in degrees.")],
    *,
    datum: Annotated[Datum, typer.Option(help="What the pair is measured on.")] = Datum.WGS84,
    accuracy: Annotated[
        float | None, typer.Option(min=MIN_ACCURACY_M, max=MAX_ACCURACY_M, help="Accuracy radius in metres.")
    ] = None,
    at: At = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    city: City = None,
) -> None:
    """Say which grid a point is in and who answers for it.

    Example: `gis-grid locate 121.3817 31.1128 --accuracy 15`
    """
    with open_city(city) as (installation, session):
        when = parse_instant(at, zone=installation.city.zone) if at else utc_now()
        point = wgs84_point(session, lon, lat, datum, at=when)
        (found,) = locate(session, [point], at=[when], accuracy_m=[accuracy], snap_m=installation.settings.snap_m)
        grid = session.get(Grid, found.grid_id) if found.grid_id is not None else None
        manager = manager_of(session, grid.code, at=when) if grid else None
        community = grid.community if grid else None
        answer = {
            "grid_code": found.grid_code,
            "community": community.name if community else None,
            "town": community.parent.name if community and community.parent else None,
            "method": found.method.value,
            "distance_m": found.distance_m,
            "is_uncertain": found.is_uncertain,
            "shares": found.shares,
            "manager": {"post": manager.post, "unit": manager.unit, "duty_phone": manager.duty_phone}
            if manager
            else None,
        }
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    for key, value in answer.items():
        out.print(f"{key:13} {'—' if value is None else value}", markup=False, soft_wrap=True)
