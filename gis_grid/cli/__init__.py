"""The `gis-grid` command.

Every command is a row here: its module is imported when it is run, so that none waits for what another needs.
"""

import logging
import sys

import typer
from rich.console import Console

from gis_grid.cli.lazy import Lazy, group_of
from gis_grid.errors import GridError, InvalidInput, NotFound

app = typer.Typer(
    name="gis-grid",
    cls=group_of(
        Lazy("serve", "run:serve", "Run the service; the address is printed once it answers, Ctrl-C ends it."),
        Lazy(
            "locate",
            "places:locate_point",
            "Say which grid a point is in and who answers for it.",
            takes_negatives=True,
        ),
        Lazy(
            "blind-spots",
            "blind_spots:list_",
            "List the blind spots of four kinds, worst first: where, how large, since when, why, and who answers.",
        ),
        Lazy(
            "bulletin",
            "bulletin:bulletin",
            "Write the bulletin of the cases that turned red in a period, by unit and person.",
        ),
        Lazy("assess", "assess:assess_month", "Recompute the indicators and scores of a month from the log of cases."),
        Lazy("assign", "assign:assign", "Place a file of points in a file of grids, without any database."),
        Lazy(
            "backup", "run:backup_all", "Write database and photos into one file, while the service may go on working."
        ),
        Lazy(
            "restore",
            "run:restore_all",
            "Restore a backup into an empty database and photo folder; nothing is left of one that fails.",
        ),
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Run a city district by its grid.\n\nStart with `gis-grid serve --demo`, then open the address it prints.",
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Check, load, activate and export grid layers."),
    name="grids",
    cls=group_of(
        Lazy(
            "check",
            "check:check",
            "Say whether a grid file is an exact tiling, and name every fault with its place and size.",
        ),
        Lazy("load", "grids:load", "Store a grid layer, whole or not at all."),
        Lazy(
            "preview",
            "layers:preview",
            "Say what a new layer would change, and change nothing: reports, open cases, who answers for what.",
        ),
        Lazy(
            "activate",
            "layers:activate",
            "End the layer in force and start a loaded one, from the day it was loaded for, all or nothing.",
        ),
        Lazy("export", "grids:export", "Write the layer in force, in the format that the file's suffix names."),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Who answers for which grid."),
    name="managers",
    cls=group_of(
        Lazy("load", "managers:load", "Store grid managers' tenures, all of the file or nothing."),
        Lazy("gaps", "managers:gaps", "List the grids that nobody answers for; exit code 1 when there are any."),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Load, place and export reports."),
    name="reports",
    cls=group_of(
        Lazy("load", "reports:load", "Store reports from the past, the whole file or nothing."),
        Lazy(
            "count",
            "reports:count",
            "Count reports by source and by whom: residents, volunteers, stairwell heads, committees, staff.",
        ),
        Lazy("place", "reports:place", "Put a report into a grid by hand; the placement it had stays in its history."),
        Lazy(
            "export",
            "reports:export",
            "Write reports to a file, newest first; what the public may see, unless --staff is given.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Cases: boards, their logs, and the steps of their life."),
    name="cases",
    cls=group_of(
        Lazy(
            "list",
            "cases:list_",
            "List cases: name, light, stage, when the first clock runs out, unit, grid and event type.",
        ),
        Lazy("show", "cases:show", "Show one case: where it stands, both clocks, and its log."),
        Lazy("accept", "cases:accept", "Accept a report as a case."),
        Lazy(
            "file-spot",
            "spot_cases:file",
            "Make a case of a blind spot in the grid that answers for it; not twice while its case is open.",
        ),
        Lazy(
            "spots",
            "spot_cases:spots",
            "List the blind spots filed in the last year, and after how many days each was seen again.",
        ),
        Lazy(
            "step",
            "cases:step",
            "Take a step on a case, as the user of this terminal; the fields are those of the HTTP API.",
        ),
        Lazy(
            "verify",
            "cases:verify",
            "Replay the log of every case and compare it with what is stored; exit code 1 where any differs.",
        ),
        Lazy(
            "lights",
            "cases:lights",
            "Count the open cases of each grid by the light they show; those that wait to be filed show none.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Departments, centres, stations and teams: who they are and what they do."),
    name="units",
    cls=group_of(
        Lazy("list", "units:list_", "List units by code."),
        Lazy(
            "show",
            "units:show",
            "Show one unit: what is above it, in whose name it enforces, its posts and who holds them.",
        ),
        Lazy(
            "load",
            "units:load",
            "Bring units, posts, telephone numbers, routing, limits and calendar to what the files say, from now on.",
        ),
        Lazy("appoint", "units:appoint", "Store who holds which post, all of the file or nothing."),
        Lazy(
            "gaps",
            "units:gaps",
            "List centres, sub-centres and workstations without a first responsible person;"
            " exit code 1 when there are any.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Patrol teams: who they are, whom they have, which blocks they have."),
    name="teams",
    cls=group_of(
        Lazy(
            "load",
            "patrol_teams:load",
            "Bring blocks, teams, members, grounds and shifts to what the files say, from now on.",
        ),
        Lazy("list", "patrol_teams:list_", "List the patrol teams by code."),
        Lazy(
            "blocks",
            "patrol_teams:blocks",
            "List the blocks with their people; exit code 1 when one has fewer than it should.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Outings of patrols, and the ground they saw."),
    name="tracks",
    cls=group_of(
        Lazy(
            "load",
            "tracks:load",
            "Store outings and the ground they saw, all of the files or nothing; the same again changes nothing.",
        ),
        Lazy(
            "forget",
            "tracks:forget",
            "Drop raw fixes older than some days for good; the ground they saw stays, and sums of months.",
        ),
        Lazy("withdraw", "tracks:withdraw", "Take an outing back, with what only it has seen."),
        Lazy("rebuild", "tracks:rebuild", "Make the seen ground of whole days again from the stored fixes."),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="The ground that patrols have seen."),
    name="seen",
    cls=group_of(
        Lazy(
            "shares",
            "seen:shares",
            "Say how much of each block, grid, community, town or the district was seen by patrols.",
        ),
        Lazy("surface", "seen:surface", "Write how often, or how lately, each place of an area was seen, as polygons."),
        Lazy(
            "burn",
            "seen:burn",
            "Make seen ground out of Parquet files of fixes, of any size, without any database.",
        ),
        Lazy(
            "exclude",
            "seen:exclude",
            "Leave ground that nobody is to patrol out of all shares: water, an airfield, a walled yard.",
        ),
        Lazy(
            "roll-up",
            "seen:roll_up_",
            "Roll up the months that are over, and what each patroller saw on days that are; serve does it once a day.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Where patrols go next."),
    name="patrols",
    cls=group_of(
        Lazy(
            "suggest",
            "blind_spots:suggest",
            "Order the unseen ground of a team's area, a grid or an area into a short outing, as GPX.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="When teams are out."),
    name="shifts",
    cls=group_of(
        Lazy(
            "gaps",
            "patrol_teams:gaps",
            "List the minutes of the week in which a grid or block has nobody out; exit code 1 when there are any.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Acts of supervision: 提醒, 催办, 督办, 问效."),
    name="supervise",
    cls=group_of(
        Lazy("sweep", "supervise:sweep", "Issue every act of supervision that has fallen due, once for its cause."),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Accountability: what the log gives grounds for, and what was referred."),
    name="accountability",
    cls=group_of(
        Lazy(
            "proposals",
            "accountability:proposals",
            "List what the log of a period gives grounds for; referring is for a person who is signed in.",
        ),
        Lazy(
            "referrals",
            "accountability:referrals",
            "List what was referred to the supervision authority, the latest first.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Rewards for tip-offs about hazards."),
    name="rewards",
    cls=group_of(
        Lazy(
            "list",
            "rewards:list_",
            "List the cases that a reward can be granted for, and the ledger; never who tipped off.",
        ),
        Lazy("grant", "rewards:grant", "Grant the reward of a closed and checked case to whoever reported it first."),
        Lazy("pay", "rewards:pay", "Note that a granted reward was paid; by somebody else than who granted it."),
        Lazy("refuse", "rewards:refuse", "Refuse a reward, granted or not."),
        Lazy("informant", "rewards:informant", "Open the sealed name behind a case; who read it and why is stored."),
        Lazy(
            "new-key",
            "rewards:print_key",
            "Make a key to seal informants' names with and print it, this once; it belongs into the settings.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Emergencies and drills: 应急, 演练."),
    name="situations",
    cls=group_of(
        Lazy("list", "situations:list_", "List the emergencies and drills that are on."),
        Lazy(
            "start",
            "situations:start",
            "Begin an emergency or a drill: its routing rules and limits go before the routine ones from now on.",
        ),
        Lazy(
            "end",
            "situations:end",
            "End an emergency or a drill; what was done in it stays as it was decided.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Accounts of people, and what they may do where."),
    name="users",
    cls=group_of(
        Lazy("add", "users:add", "Add an account with its roles; the password is asked for."),
        Lazy("passwd", "users:passwd", "Give an account another password and end its sign-ins."),
        Lazy(
            "disable", "users:disable_account", "Let nobody sign in with an account any more; its sign-ins end at once."
        ),
        Lazy("grant", "users:grant", "Give an account further roles from now on."),
        Lazy("withdraw", "users:withdraw", "Take roles away from an account from now on; that it had them is kept."),
        Lazy("member", "users:member", "Say which member of a patrol team an account's owner is."),
        Lazy("list", "users:list_accounts", "List all accounts with the roles they have now."),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Keys of other systems."),
    name="keys",
    cls=group_of(
        Lazy("add", "users:add_key_", "Make a key for another system and print it, this once."),
        Lazy("revoke", "users:revoke", "Let a key count no more, from now on."),
        Lazy("list", "users:list_keys", "List all keys with their roles; the keys themselves are not stored."),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Messages to and from 110 and the city."),
    name="exchange",
    cls=group_of(
        Lazy("send", "exchange:send", "Send what waits in the outbox and is due, each message once."),
        Lazy(
            "balance",
            "exchange:balance",
            "Say what was sent on a day and what became of it; exit code 1 where the peer says something else.",
        ),
    ),
)
app.add_typer(
    typer.Typer(no_args_is_help=True, help="Draw a map into one HTML file that opens with no network."),
    name="map",
    cls=group_of(
        Lazy(
            "heat",
            "maps:heat",
            "Draw where reports are dense; coordinates that hold an implausible pile are marked and left out.",
        ),
        Lazy(
            "blind-spots",
            "maps:blind_spots",
            "Draw the blind spots of four kinds over each grid's seen share; of a file of tracks the unseen ground.",
        ),
        Lazy("grid", "maps:grid", "Draw one grid with its neighbours, reports and last patrols."),
        Lazy("district", "maps:district", "Draw the grids, coloured by the reports of the last 30 days."),
    ),
)


def main() -> None:
    """Run the command; what went wrong is said in one line, with exit code 2 for input and 1 for the rest."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except GridError as error:
        _say(str(error))
        sys.exit(2 if isinstance(error, (InvalidInput, NotFound)) else 1)
    except Exception as error:
        from sqlalchemy.exc import OperationalError  # noqa: PLC0415 - half a second that most commands never need

        if not isinstance(error, OperationalError):
            raise
        _say(f"the database does not answer: {str(error.orig).strip().splitlines()[0]}")
        sys.exit(1)


def _say(message: str) -> None:
    Console(stderr=True, highlight=False).print(f"gis-grid: {message}", markup=False, soft_wrap=True)
