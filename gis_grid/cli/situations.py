"""`gis-grid situations`."""

from typing import Annotated

import typer

from gis_grid.cli.options import City, open_city, out
from gis_grid.database import by_command
from gis_grid.installation import utc_now
from gis_grid.situations import Situation, SituationKind, end_situation, situations, start_situation


def list_(
    *,
    past: Annotated[bool, typer.Option("--past", help="Those that are over too.")] = False,
    city: City = None,
) -> None:
    """List the emergencies and drills that are on.

    Example: `gis-grid situations list --past`
    """
    with open_city(city) as (installation, session):
        found = situations(session, at=None if past else utc_now())
        zone = installation.city.zone
        for one in found:
            until = f" until {one.valid.upper.astimezone(zone):%Y-%m-%d %H:%M}" if one.valid.upper else ""
            since = f"{one.since.astimezone(zone):%Y-%m-%d %H:%M}"
            typer.echo(f"{one.id}\t{one.kind}\t{one.name}\t{one.area_code}\tsince {since}{until}\t{one.started_by}")
    out.print(f"{len(found)} emergencies and drills")


def start(
    kind: Annotated[SituationKind, typer.Argument(help="A real emergency, or a drill.")],
    name: Annotated[str, typer.Argument(help="What it is called.")],
    *,
    area: Annotated[str, typer.Option(help="Code of a community, a town or the district.")],
    reason: Annotated[str, typer.Option(help="Why; kept with it.")],
    rule_set: Annotated[
        str | None, typer.Option(help="The set of routing rules and limits; `emergency` for an emergency.")
    ] = None,
    city: City = None,
) -> None:
    """Begin an emergency or a drill: its routing rules and limits go before the routine ones from now on.

    Example: `gis-grid situations start emergency 台风 --area 310112 --reason "typhoon warning"`
    """
    with open_city(city) as (_, session):
        begun = start_situation(
            session, kind, name, area, reason=reason, rule_set=rule_set, by=by_command(), now=utc_now()
        )
        line = _told(begun)
    out.print(f"{line} is on", markup=False, soft_wrap=True)


def end(
    situation: Annotated[int, typer.Argument(help="Its number, see `situations list`.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with it.")],
    city: City = None,
) -> None:
    """End an emergency or a drill; what was done in it stays as it was decided.

    Example: `gis-grid situations end 3 --reason "warning lifted"`
    """
    with open_city(city) as (_, session):
        line = _told(end_situation(session, situation, reason=reason, by=by_command(), now=utc_now()))
    out.print(f"{line} is over", markup=False, soft_wrap=True)


def _told(one: Situation) -> str:
    return f"{one.kind} {one.id} ({one.name}) in {one.area_code}"
