"""`gis-grid teams` and `gis-grid shifts`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from gis_grid.cli.options import At, City, open_city, out
from gis_grid.database import by_command
from gis_grid.errors import InvalidInput
from gis_grid.installation import Installation, utc_now
from gis_grid.instants import parse_instant
from gis_grid.patrol_rules import load_patrol_rules
from gis_grid.shift_gaps import shift_gaps
from gis_grid.teams import TeamKind, block_staff, teams_at


def load(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder with blocks.geojson, teams.csv …; the city's own without one.")
    ] = None,
    *,
    city: City = None,
) -> None:
    """Bring blocks, teams, members, grounds and shifts to what the files say, from now on.

    What was in force before stays known; files that have not changed change nothing.

    Example: `gis-grid teams load rules/`
    """
    if folder is not None and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder with files such as blocks.geojson and teams.csv")
    with open_city(city) as (installation, session):
        changed = load_patrol_rules(session, installation.city, now=utc_now(), by=by_command(), folder=folder)
    for table, done in changed.items():
        out.print(f"{table}: {done.opened} new rows, {done.closed} with another end, {done.withdrawn} withdrawn")
    if not changed:
        out.print("nothing has changed")


def list_(*, at: At = None, city: City = None) -> None:
    """List the patrol teams by code.

    Example: `gis-grid teams list`
    """
    with open_city(city) as (installation, session):
        teams = teams_at(session, at=_when(at, installation))
    for team in teams:
        typer.echo(f"{team.code}\t{team.kind}\t{team.name}{' (example)' if team.is_example else ''}")
    out.print(f"{len(teams)} teams")


def blocks(*, at: At = None, city: City = None) -> None:
    """List the blocks with their people; exit code 1 when one has fewer than it should.

    Example: `gis-grid teams blocks`
    """
    with open_city(city) as (installation, session):
        staff = block_staff(session, at=_when(at, installation))
    for one in staff:
        typer.echo(f"{one.block_code}\t{one.people} of {one.least_people}{' SHORT' if one.is_short else ''}")
    short = sum(one.is_short for one in staff)
    out.print(f"{len(staff)} blocks, {short} understaffed")
    if short:
        raise typer.Exit(1)


def gaps(
    *,
    role: Annotated[TeamKind | None, typer.Option(help="Only the gaps of one kind of team.")] = None,
    code: Annotated[list[str] | None, typer.Option(help="Only this grid or block; may be given again.")] = None,
    at: At = None,
    city: City = None,
) -> None:
    """List the minutes of the week in which a grid or block has nobody out; exit code 1 when there are any.

    A community team is for estates, a street team for streets; a place needs both.

    Example: `gis-grid shifts gaps --role street`
    """
    with open_city(city) as (installation, session):
        found = shift_gaps(session, at=_when(at, installation), codes=code)
    found = [one for one in found if role is None or one.kind == role]
    for one in found:
        typer.echo(f"{one.code}\t{one.kind} ({one.ground})\t{one.gap}\t{one.gap.minutes} min a week")
    places = len({one.code for one in found})
    minutes = sum(one.gap.minutes for one in found)
    out.print(f"{len(found)} gaps at {places} grids and blocks, {minutes:,} minutes a week")
    if found:
        raise typer.Exit(1)


def _when(at: str | None, installation: Installation) -> datetime:
    return parse_instant(at, zone=installation.city.zone) if at else utc_now()
