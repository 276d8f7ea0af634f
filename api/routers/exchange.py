"""The exchange with 110 and the city: messages in, the daily balance, and cases passed up."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.case_access import refuse_key, unit_chain
from api.deps import Filled, InSession, Json, Now, Plain, TheActor, TheCity, TheInstallation, needs
from api.routers.cases import Accepter
from gis_grid.cases import lock_cases
from gis_grid.errors import NotFound
from gis_grid.exchange import ExchangeReceipt, checked_peer
from gis_grid.exchange_balance import balance_json, balance_of, differences, fetch_lists
from gis_grid.exchange_peers import Peer, PeerName
from gis_grid.exchange_receiving import receive
from gis_grid.exchange_sending import pass_up, place_of
from gis_grid.exchange_signing import check_signature
from gis_grid.installation import Installation
from gis_grid.permissions import Caller, Permission

router = APIRouter(prefix="/api/v1", tags=["exchange"])
Transferer = Annotated[Caller, Depends(needs(Permission.TRANSFER))]


def _peer(installation: Installation, name: str) -> tuple[PeerName, Peer]:
    peer = checked_peer(name)
    settings = installation.settings.exchange_peers.get(peer)
    if settings is None:
        raise NotFound(f"peer {peer} is not set up here: name its url and key in GIS_GRID_EXCHANGE_PEERS")
    return peer, settings


async def _body(request: Request) -> bytes:
    return await request.body()


# The bytes are what is signed; a parsed and rewritten body would have another signature.
Body = Annotated[bytes, Depends(_body)]


@router.post("/exchange/{peer}/messages", status_code=201)
def take_message(
    peer: str,
    body: Body,
    caller: Accepter,
    session: InSession,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
    x_exchange_timestamp: Annotated[str, Header(max_length=40)] = "",
    x_exchange_signature: Annotated[str, Header(max_length=200)] = "",
) -> JSONResponse:
    """Take in a message of 110's or the city's, signed with the peer's key; the same again gets the same answer.

    The protocol, with a signed example, is in `docs/exchange.md`. 201 for a new message, 200 for one that came before,
    409 where one with its id came before and said something else.
    """
    caller.demand(Permission.ACCEPT)
    name, settings = _peer(installation, peer)
    key = settings.key.get_secret_value()
    check_signature(key, body, timestamp=x_exchange_timestamp, signature=x_exchange_signature, now=now)
    received = receive(session, name, body, place=place_of(installation), by=by, now=now)
    return JSONResponse(_receipt_json(received.receipt), 201 if received.is_new else 200)


def _receipt_json(receipt: ExchangeReceipt) -> Json:
    return {
        "id": str(receipt.message_id),
        "state": receipt.state,
        "reference": receipt.reference,
        "reason": receipt.reason,
        "received_at": receipt.received_at.isoformat(),
    }


@router.get("/exchange/{peer}/balance")
def get_balance(peer: str, day: date, caller: Accepter, session: InSession, city: TheCity) -> Json:
    """What was made for the peer and by the peer on a day, and what became of it, as this side has it."""
    caller.demand(Permission.ACCEPT)
    return balance_json(balance_of(session, checked_peer(peer), day, zone=city.zone))


@router.get("/exchange/{peer}/differences")
def get_differences(
    peer: str, day: date, caller: Accepter, session: InSession, city: TheCity, installation: TheInstallation, now: Now
) -> Json:
    """Each message of a day that this side and the peer say different things of; the peer is asked for its list."""
    caller.demand(Permission.ACCEPT)
    name, settings = _peer(installation, peer)
    balance = balance_of(session, name, day, zone=city.zone)
    found = differences(balance.lists, fetch_lists(settings, day, now=now), peer=name)
    return {"peer": name, "day": day.isoformat(), "differences": [one._asdict() for one in found]}


class PassUpIn(BaseModel):
    """To whom a case is passed, and why."""

    model_config = ConfigDict(extra="forbid")

    to: PeerName = "12345"
    reason: Annotated[str, Field(max_length=1000), Plain, Filled]


@router.post("/cases/{case}/pass-up", status_code=201)
def pass_case_up(
    case: str,
    sent: PassUpIn,
    caller: Transferer,
    session: InSession,
    installation: TheInstallation,
    now: Now,
    by: TheActor,
) -> Json:
    """Hand a case to the city, or to 110: it is a step in its log, and so is what comes back, with the reference.

    It stays this centre's own case until somebody closes it here, and its clocks run on.
    """
    refuse_key(caller, "pass_up")
    (locked,) = lock_cases(session, [case])
    caller.demand(Permission.TRANSFER, area=locked.ground, unit=unit_chain(session, locked, now=now))
    message = pass_up(session, locked, to=sent.to, reason=sent.reason, place=place_of(installation), by=by, now=now)
    return {"message": str(message.id), "peer": message.peer, "state": message.state, "case": locked.name}
