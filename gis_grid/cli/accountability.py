"""`gis-grid accountability`."""

from datetime import datetime
from typing import Annotated

import typer

from gis_grid.accountability import find_referrals
from gis_grid.accountability import proposals as find_proposals
from gis_grid.cli.options import City, err, open_city, out
from gis_grid.installation import utc_now
from gis_grid.periods import Period


def proposals(
    *,
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    city: City = None,
) -> None:
    """List what the log of a period gives grounds for; referring is for a person who is signed in.

    Example: `gis-grid accountability proposals --since 2026-10-01 --until 2026-10-31`
    """
    with open_city(city) as (installation, session):
        period = Period(since.date(), until.date(), installation.city.zone)
        found = find_proposals(session, period, now=utc_now())
        zone = installation.city.zone
    for one in found:
        rows = " ".join(map(str, one.evidence))
        known = " (已移送 referred)" if one.is_referred else ""
        line = (
            f"{one.at.astimezone(zone):%Y-%m-%d %H:%M} {one.cause} {one.ground} {one.unit} {one.person or ''}: {rows}"
        )
        out.print(line + known, markup=False, soft_wrap=True)
    err.print(f"{len(found)} proposals")


def referrals(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the latest first.")] = 100,
    city: City = None,
) -> None:
    """List what was referred to the supervision authority, the latest first.

    Example: `gis-grid accountability referrals`
    """
    with open_city(city) as (installation, session):
        found = find_referrals(session, limit=limit)
        zone = installation.city.zone
    for one in found:
        rows = " ".join(f"{row['case']}#{row['seq']}" for row in one.evidence)
        when = f"{one.referred_at.astimezone(zone):%Y-%m-%d %H:%M}"
        line = f"{one.id} {when} {one.cause} {one.unit_code} {one.person or ''} by {one.referred_by}: {rows}"
        out.print(f"{line}; duty: {one.legal_duty}; effect: {one.adverse_effect}", markup=False, soft_wrap=True)
    err.print(f"{len(found)} referrals")
