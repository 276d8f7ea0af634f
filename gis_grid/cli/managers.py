"""`gis-grid managers`."""

from pathlib import Path
from typing import Annotated

import typer

from gis_grid.cli.options import At, City, open_city, out
from gis_grid.database import by_command
from gis_grid.installation import utc_now
from gis_grid.instants import parse_instant
from gis_grid.tenures import appoint, grids_without_manager, read_tenures
from gis_grid.territory import the_layer


def load(
    file: Annotated[Path, typer.Argument(help="A UTF-8 CSV file with a row a tenure.")], *, city: City = None
) -> None:
    """Store grid managers' tenures, all of the file or nothing.

    Columns: grid_code, name, post, unit, duty_phone, own_phone (may be empty), since, until (empty while it lasts).

    Example: `gis-grid managers load managers.csv`
    """
    with open_city(city) as (installation, session):
        tenures = read_tenures(file, zone=installation.city.zone)
        count = appoint(session, tenures, by=by_command(), now=utc_now())
    out.print(f"{count} tenures stored")


def gaps(*, at: At = None, city: City = None) -> None:
    """List the grids that nobody answers for; exit code 1 when there are any.

    Example: `gis-grid managers gaps --at 2026-10-01`
    """
    with open_city(city) as (installation, session):
        when = parse_instant(at, zone=installation.city.zone) if at else utc_now()
        the_layer(session, when)
        codes = grids_without_manager(session, at=when)
    for code in codes:
        typer.echo(code)
    out.print(f"{len(codes)} grids without a manager")
    if codes:
        raise typer.Exit(1)
