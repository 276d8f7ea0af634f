"""`gis-grid exchange`: messages to 110 and the city, and the daily balance with them."""

from datetime import date, timedelta
from typing import Annotated

import typer

from gis_grid.cli.options import City, err, open_city, out, settings
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.exchange import checked_peer
from gis_grid.exchange_balance import balance_of, differences, fetch_lists
from gis_grid.exchange_peers import Peer, PeerName
from gis_grid.exchange_sending import send_due
from gis_grid.installation import Installation, open_installation, utc_now


def send(*, city: City = None) -> None:
    """Send what waits in the outbox and is due, each message once.

    The service does this by itself while it runs; here it can be seen. Peers are those of
    GIS_GRID_EXCHANGE_PEERS, and GIS_GRID_WEBHOOK.

    Example: `gis-grid exchange send`
    """
    with open_installation(settings(city)) as installation:
        peers = installation.settings.receivers
        if not peers:
            raise InvalidInput(
                "no peer is set up: name 110 or 12345 with url and key in GIS_GRID_EXCHANGE_PEERS, "
                "or a webhook in GIS_GRID_WEBHOOK"
            )
        lines = [line for name, peer in peers.items() for line in send_due(installation, name, peer)]
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)
    err.print(f"{len(lines)} tried")


def balance(
    peer: Annotated[str, typer.Argument(help="110 or 12345.")],
    *,
    day: Annotated[str | None, typer.Option(help="A date such as 2026-11-24; yesterday without it.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the peer for its own list.")] = False,
    city: City = None,
) -> None:
    """Say what was sent on a day and what became of it; exit code 1 where the peer says something else.

    Example: `gis-grid exchange balance 110 --day 2026-11-24`
    """
    name = checked_peer(peer)
    with open_city(city) as (installation, session):
        which = _day(day, installation)
        ours = balance_of(session, name, which, zone=installation.city.zone)
        for word, counts in (("sent to", ours.sent), ("received from", ours.received)):
            parts = ", ".join(f"{state} {count}" for state, count in counts.items() if state != "sent")
            out.print(f"{which} {word} {name}: {counts['sent']} = {parts}", markup=False, soft_wrap=True)
        if offline:
            return
        theirs = fetch_lists(_settings_of(installation, name), which, now=utc_now())
    found = differences(ours.lists, theirs, peer=name)
    for one in found:
        line = f"{one.id} sent by {one.sent_by}: here {one.here or 'nothing'}, there {one.there or 'nothing'}"
        out.print(line, markup=False, soft_wrap=True)
    err.print(f"{len(found)} differences")
    if found:
        raise typer.Exit(1)


def _day(text: str | None, installation: Installation) -> date:
    if text is None:
        return utc_now().astimezone(installation.city.zone).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--day {text!r} is not a date such as 2026-11-24") from None


def _settings_of(installation: Installation, name: PeerName) -> Peer:
    peer = installation.settings.exchange_peers.get(name)
    if peer is None:
        raise NotFound(f"peer {name} is not set up: name its url and key in GIS_GRID_EXCHANGE_PEERS, or say --offline")
    return peer
