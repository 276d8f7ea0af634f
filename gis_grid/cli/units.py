"""`gis-grid units`."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gis_grid.cli.options import At, City, open_city, out
from gis_grid.database import by_command
from gis_grid.errors import InvalidInput
from gis_grid.installation import Installation, utc_now
from gis_grid.instants import parse_instant
from gis_grid.rules import load_rules
from gis_grid.units import (
    Unit,
    UnitKind,
    appoint_holders,
    enforcement_body,
    posts_of,
    read_holders,
    the_unit,
    units_above,
    units_at,
    units_without_first_responsible,
)


def list_(
    *,
    kind: Annotated[UnitKind | None, typer.Option(help="Only this kind.")] = None,
    area: Annotated[str | None, typer.Option(help="Only those that work in the area with this code.")] = None,
    under: Annotated[str | None, typer.Option(help="Only those right under the unit with this code.")] = None,
    at: At = None,
    city: City = None,
) -> None:
    """List units by code.

    Example: `gis-grid units list --area 310112102`
    """
    with open_city(city) as (installation, session):
        kinds = [kind] if kind else []
        units = units_at(session, at=_when(at, installation), kinds=kinds, area_code=area, parent_code=under)
    for unit in units:
        typer.echo(f"{unit.code}\t{unit.kind}\t{unit.name}{_mark(unit)}")
    out.print(f"{len(units)} units")


def show(code: Annotated[str, typer.Argument(help="The unit's code.")], *, at: At = None, city: City = None) -> None:
    """Show one unit: what is above it, in whose name it enforces, its posts and who holds them.

    Example: `gis-grid units show team-chengguan-310112102 --at 2013-06-01`
    """
    with open_city(city) as (installation, session):
        when = _when(at, installation)
        unit = the_unit(session, code, at=when)
        rows = {
            "name": f"{unit.name} ({unit.name_en}){_mark(unit)}",
            "kind": unit.kind,
            "works in": f"{unit.area_level} {unit.area_code}" if unit.area_code else "the whole district",
            "under": " → ".join(over.name for over in units_above(session, unit, at=when)) or "nobody",
            "enforces as": enforcement_body(session, unit, at=when).name,
            "placement model": unit.placement_model or "none",
        }
        for post, holder in posts_of(session, code, at=when):
            first = ", first responsible" if post.is_first_responsible else ""
            rows[f"post {post.title}{first}"] = holder.person.name if holder else "vacant"
    table = Table(show_header=False, box=None)
    for label, value in rows.items():
        table.add_row(label, value)
    out.print(table)


def load(
    folder: Annotated[Path | None, typer.Argument(help="A folder of rule files; the city's own without one.")] = None,
    *,
    city: City = None,
) -> None:
    """Bring units, posts, telephone numbers, routing, limits and calendar to what the files say, from now on.

    What was in force before stays known; files that have not changed change nothing.

    Example: `gis-grid units load rules/`
    """
    if folder is not None and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder of rule files such as units.csv and routing.csv")
    with open_city(city) as (installation, session):
        changed = load_rules(session, installation.city, now=utc_now(), by=by_command(), folder=folder)
    for table, done in changed.items():
        out.print(f"{table}: {done.opened} new rows, {done.closed} with another end, {done.withdrawn} withdrawn")
    if not changed:
        out.print("nothing has changed")


def appoint(
    file: Annotated[Path, typer.Argument(help="A UTF-8 CSV file with a row a holder.")], *, city: City = None
) -> None:
    """Store who holds which post, all of the file or nothing.

    Columns: unit_code, title, name, own_phone (may be empty), since, until (empty while it lasts).

    Example: `gis-grid units appoint holders.csv`
    """
    with open_city(city) as (installation, session):
        holders = read_holders(file, zone=installation.city.zone)
        count = appoint_holders(session, holders, by=by_command(), now=utc_now())
    out.print(f"{count} holders of posts stored")


def gaps(*, at: At = None, city: City = None) -> None:
    """List centres, sub-centres and workstations without a first responsible person; exit code 1 when there are any.

    Example: `gis-grid units gaps`
    """
    with open_city(city) as (installation, session):
        units = units_without_first_responsible(session, at=_when(at, installation))
    for unit in units:
        typer.echo(f"{unit.code}\t{unit.name}")
    out.print(f"{len(units)} units without a first responsible person")
    if units:
        raise typer.Exit(1)


def _when(at: str | None, installation: Installation) -> datetime:
    return parse_instant(at, zone=installation.city.zone) if at else utc_now()


def _mark(unit: Unit) -> str:
    return " (example)" if unit.is_example else ""
