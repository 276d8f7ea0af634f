"""The `gis-grid` command."""

import logging
import sys

import typer
from rich.console import Console

from gis_grid.cli import assign, check, grids, managers, maps, places, reports, run, units
from gis_grid.errors import GridError, InvalidInput, NotFound

app = typer.Typer(
    name="gis-grid",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Run a city district by its grid.\n\nStart with `gis-grid serve --demo`, then open the address it prints.",
)
app.command("serve")(run.serve)
# A western longitude begins with a minus: it is no option.
app.command("locate", context_settings={"ignore_unknown_options": True})(places.locate_point)
app.command("assign")(assign.assign)
app.command("backup")(run.backup_all)
app.command("restore")(run.restore_all)

grids_app = typer.Typer(no_args_is_help=True, help="Check, load and export grid layers.")
grids_app.command("check")(check.check)
grids_app.command("load")(grids.load)
grids_app.command("export")(grids.export)
app.add_typer(grids_app, name="grids")

managers_app = typer.Typer(no_args_is_help=True, help="Who answers for which grid.")
managers_app.command("load")(managers.load)
managers_app.command("gaps")(managers.gaps)
app.add_typer(managers_app, name="managers")

reports_app = typer.Typer(no_args_is_help=True, help="Load, place and export reports.")
reports_app.command("load")(reports.load)
reports_app.command("place")(reports.place)
reports_app.command("export")(reports.export)
app.add_typer(reports_app, name="reports")

units_app = typer.Typer(
    no_args_is_help=True, help="Departments, centres, stations and teams: who they are and what they do."
)
units_app.command("list")(units.list_)
units_app.command("show")(units.show)
units_app.command("load")(units.load)
units_app.command("appoint")(units.appoint)
units_app.command("gaps")(units.gaps)
app.add_typer(units_app, name="units")

map_app = typer.Typer(no_args_is_help=True, help="Draw a map into one HTML file that opens with no network.")
map_app.command("heat")(maps.heat)
map_app.command("blind-spots")(maps.blind_spots)
map_app.command("grid")(maps.grid)
map_app.command("district")(maps.district)
app.add_typer(map_app, name="map")


def main() -> None:
    """Run the command; what went wrong is said in one line, with exit code 2 for input and 1 for the rest."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except GridError as error:
        Console(stderr=True, highlight=False).print(f"gis-grid: {error}", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, (InvalidInput, NotFound)) else 1)
