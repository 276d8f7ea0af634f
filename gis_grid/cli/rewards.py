"""`gis-grid rewards`."""

from typing import Annotated

import typer

from gis_grid.cases import the_case
from gis_grid.cli.options import City, open_city, out
from gis_grid.database import by_command
from gis_grid.errors import InvalidInput
from gis_grid.informants import SETTING, Sealer, new_key, read_informant
from gis_grid.installation import utc_now
from gis_grid.rewards import RewardStep, candidates, entries_of, ledger, settle

Name = Annotated[str, typer.Argument(metavar="CASE", help="The serial number.")]
Why = Annotated[str, typer.Option(help="Why; kept with it.")]


def list_(*, city: City = None) -> None:
    """List the cases that a reward can be granted for, and the ledger; never who tipped off.

    Example: `gis-grid rewards list`
    """
    with open_city(city) as (_, session):
        open_ones, entries = candidates(session), ledger(session)
        for one in open_ones:
            mark = "\texample amount" if one.rule.is_example else ""
            typer.echo(f"{one.case.name}\tto be decided\t{one.rule.amount_yuan:f} yuan\t{one.case.event_type}{mark}")
        for entry, case in entries:
            typer.echo(f"{case.name}\t{entry.step}\t{entry.amount_yuan:f} yuan\t{entry.who}\t{entry.reason}")
    out.print(f"{len(open_ones)} to be decided, {len(entries)} entries")


def grant(case: Name, *, reason: Why, city: City = None) -> None:
    """Grant the reward of a closed and checked case to whoever reported it first.

    Example: `gis-grid rewards grant 3101122026112500001 --reason "verified on the ground"`
    """
    _settle(case, RewardStep.GRANTED, reason, city)


def pay(case: Name, *, reason: Why, city: City = None) -> None:
    """Note that a granted reward was paid; by somebody else than who granted it.

    Example: `gis-grid rewards pay 3101122026112500001 --reason "receipt 17"`
    """
    _settle(case, RewardStep.PAID, reason, city)


def refuse(case: Name, *, reason: Why, city: City = None) -> None:
    """Refuse a reward, granted or not.

    Example: `gis-grid rewards refuse 3101122026112500001 --reason "could not be reached for a year"`
    """
    _settle(case, RewardStep.REFUSED, reason, city)


def _settle(case: str, step: RewardStep, reason: str, city: City) -> None:
    with open_city(city) as (_, session):
        entry = settle(session, case, step, reason=reason, by=by_command(), now=utc_now())
        amount = f"{entry.amount_yuan:f}"
    out.print(f"reward of case {case}: {step}, {amount} yuan", markup=False, soft_wrap=True)


def informant(case: Name, *, reason: Why, city: City = None) -> None:
    """Open the sealed name behind a case; who read it and why is stored.

    Example: `gis-grid rewards informant 3101122026112500001 --reason "to pay reward"`
    """
    if not reason.strip():
        raise InvalidInput("--reason: say why")
    with open_city(city) as (installation, session):
        found = the_case(session, case)
        known = entries_of(session, found)
        report_id = known[0].report_id if known else found.report_id
        sealer = Sealer.of(installation.settings.informant_keys)
        identity = read_informant(session, report_id, sealer, reason=reason, by=by_command(), now=utc_now())
    typer.echo(f"{identity.name or '-'}\t{identity.phone or '-'}")


def print_key() -> None:
    """Make a key to seal informants' names with and print it, this once; it belongs into the settings.

    Whoever loses it loses the names that were sealed with it. Keep it apart from the backups.

    Example: `gis-grid rewards new-key`
    """
    typer.echo(new_key())
    typer.echo(f"set {SETTING} to it; an older key goes behind it, with a comma between", err=True)
