"""The daily balance of an exchange: sent = received + returned + refused + pending, and each difference by its id."""

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from gis_grid.errors import Unavailable
from gis_grid.exchange import ExchangeMessage, ExchangeReceipt, MessageState
from gis_grid.exchange_fetching import TIMEOUT_S, NoAnswer, fetch
from gis_grid.exchange_peers import Peer, PeerName
from gis_grid.instants import as_utc


class Entry(BaseModel):
    """One message in a list: what became of it, and the receiver's number of it."""

    id: uuid.UUID
    state: MessageState
    reference: str | None = None


class Lists(BaseModel):
    """What one side made on a day for the other, and what it has from it."""

    messages: list[Entry]
    receipts: list[Entry]


class Difference(NamedTuple):
    """A message that the two sides say different things of; None where a side does not have it."""

    id: uuid.UUID
    sent_by: str
    here: str | None
    there: str | None


@dataclass(frozen=True)
class Balance:
    """A day between this centre and a peer, as this side has it."""

    peer: PeerName
    day: date
    lists: Lists

    @property
    def sent(self) -> dict[str, int]:
        """How many messages were made for the peer, and what became of them; the parts add up to `sent`."""
        return _counts(self.lists.messages)

    @property
    def received(self) -> dict[str, int]:
        """How many messages of the peer's there are, and what became of them."""
        return _counts(self.lists.receipts)


def _counts(entries: Sequence[Entry]) -> dict[str, int]:
    counts = Counter(entry.state for entry in entries)
    return {"sent": len(entries), **{state.value: counts[state] for state in MessageState}}


def balance_of(session: Session, peer: PeerName, day: date, *, zone: ZoneInfo) -> Balance:
    """What was made on a day in `zone`, by this side for the peer and by the peer for this side, ascending by time."""
    since, until = (_midnight(day + timedelta(days=n), zone) for n in (0, 1))
    made = (
        sa.select(ExchangeMessage)
        .where(ExchangeMessage.peer == peer, ExchangeMessage.created_at >= since, ExchangeMessage.created_at < until)
        .order_by(ExchangeMessage.created_at, ExchangeMessage.id)
    )
    had = (
        sa.select(ExchangeReceipt)
        .where(ExchangeReceipt.peer == peer, ExchangeReceipt.sent_at >= since, ExchangeReceipt.sent_at < until)
        .order_by(ExchangeReceipt.sent_at, ExchangeReceipt.message_id)
    )
    messages = [Entry(id=m.id, state=MessageState(m.state), reference=m.reference) for m in session.scalars(made)]
    receipts = [
        Entry(id=r.message_id, state=MessageState(r.state), reference=r.reference) for r in session.scalars(had)
    ]
    return Balance(peer, day, Lists(messages=messages, receipts=receipts))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return as_utc(datetime.combine(day, time(), tzinfo=zone))


def fetch_lists(peer: Peer, day: date, *, now: datetime, timeout_s: float = TIMEOUT_S) -> Lists:
    """The peer's own lists of a day.

    Raises
    ------
    Unavailable
        It does not answer, or with something else.
    """
    unavailable = f"the peer's balance of {day} cannot be had"
    try:
        answer = fetch(peer, "GET", f"/balance?day={day.isoformat()}", now=now, timeout_s=timeout_s)
    except NoAnswer as error:
        raise Unavailable(f"{unavailable}: {error}") from error
    if answer.status != 200:
        raise Unavailable(f"{unavailable}: HTTP {answer.status}")
    try:
        return Lists.model_validate(json.loads(answer.body))
    except (ValueError, RecursionError) as error:  # a ValidationError is a ValueError
        raise Unavailable(f"{unavailable}: its answer is no balance") from error


def differences(ours: Lists, theirs: Lists, *, peer: PeerName) -> list[Difference]:
    """Messages that both sides do not say the same of; our own first, each part ascending by id.

    A message that is pending with its sender and not there yet is no difference, nor is one that was refused at the
    door: the receiver keeps nothing of what it cannot read.
    """
    out = _compare(ours.messages, theirs.receipts)
    back = _compare(theirs.messages, ours.receipts)
    return [
        *(Difference(id_, "us", sent, had) for id_, sent, had in out),
        *(Difference(id_, peer, had, sent) for id_, sent, had in back),
    ]


def _compare(sent: Sequence[Entry], had: Sequence[Entry]) -> list[tuple[uuid.UUID, str | None, str | None]]:
    senders, receivers = _said(sent), _said(had)
    nowhere = {MessageState.PENDING.value, MessageState.REFUSED.value}
    pairs = [(id_, senders.get(id_), receivers.get(id_)) for id_ in sorted({*senders, *receivers})]
    return [
        (id_, one, other)
        for id_, one, other in pairs
        if one != other and not (other is None and one is not None and one.split()[0] in nowhere)
    ]


def _said(entries: Sequence[Entry]) -> Mapping[uuid.UUID, str]:
    return {entry.id: f"{entry.state} {entry.reference or ''}".strip() for entry in entries}


def balance_json(balance: Balance) -> dict[str, Any]:
    """What the peer is answered who asks for a day; ids, states and references, nobody's name."""
    return {
        "peer": balance.peer,
        "day": balance.day.isoformat(),
        "sent": balance.sent,
        "received": balance.received,
        **balance.lists.model_dump(mode="json"),
    }
