"""What goes between this centre, 110 and the city: an outbox, and receipts that let a message come again.

Filled in the transaction that has something to tell: nothing is told that was not stored, nothing stored stays untold.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from geoalchemy2.shape import to_shape
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.case_state import CaseEvent
from gis_grid.database import Base, sql
from gis_grid.dated import one_of
from gis_grid.errors import NotFound
from gis_grid.exchange_peers import PEERS, WEBHOOK, PeerName, ReceiverName
from gis_grid.reports import Report

# The steps of a case that whoever sent it is told of, by what became of it.
TOLD = {"answer": "answered", "void": "returned"}


class MessageKind(StrEnum):
    """What a message is."""

    REQUEST = "request"  # somebody's request, for the other side to deal with
    RESULT = "result"  # what became of a request of the other side
    ACT = "act"  # an act of supervision, for a webhook


class MessageState(StrEnum):
    """What became of a message; all but `pending` are final."""

    PENDING = "pending"
    RECEIVED = "received"
    RETURNED = "returned"  # understood, and not theirs
    REFUSED = "refused"  # not understood, or not allowed


FINAL = tuple(state for state in MessageState if state is not MessageState.PENDING)


class ExchangeMessage(Base):
    """A message to a peer; of what is told to it, only what became of it changes.

    Attributes
    ----------
    body
        Exactly what is signed and sent, however often.
    tries, next_try_at, error
        How often it was sent in vain, when it is sent again, and why the last time was in vain.
    reference
        The peer's own number of it.
    reason
        Why it was returned or refused.
    """

    __tablename__ = "exchange_messages"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    peer: Mapped[str]
    kind: Mapped[str]
    report_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey(Report.id), index=True)
    case_id: Mapped[int | None] = mapped_column(sa.BigInteger, sa.ForeignKey("cases.id"), index=True)
    body: Mapped[str]
    created_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(server_default="0")
    state: Mapped[str]
    answered_at: Mapped[datetime | None]
    reference: Mapped[str | None]
    reason: Mapped[str | None]
    error: Mapped[str | None]

    __table_args__ = (
        sa.CheckConstraint(one_of("peer", (*PEERS, WEBHOOK)), name="peer"),
        sa.CheckConstraint(one_of("kind", MessageKind), name="kind"),
        sa.CheckConstraint(one_of("state", MessageState), name="state"),
        sa.CheckConstraint("(state = 'pending') = (answered_at is null)", name="answered"),
        sa.Index("ix_exchange_messages_due", "peer", "next_try_at", postgresql_where=sa.text("state = 'pending'")),
        sa.Index("ix_exchange_messages_created_at", "peer", "created_at", "id"),
    )


class ExchangeReceipt(Base):
    """A message from a peer and what became of it; rows are only ever added.

    Attributes
    ----------
    sent_at
        When the peer made it; a day's balance goes by it on both sides.
    their_reference
        The peer's own number of it.
    reference
        Ours: the case's serial number, or the report's id while it lies in no grid.
    """

    __tablename__ = "exchange_receipts"

    peer: Mapped[str] = mapped_column(primary_key=True)
    message_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    body_sha256: Mapped[str]
    sent_at: Mapped[datetime]
    received_at: Mapped[datetime]
    received_by: Mapped[str]
    their_reference: Mapped[str | None]
    state: Mapped[str]
    reference: Mapped[str | None]
    reason: Mapped[str | None]
    report_id: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey(Report.id), index=True)
    case_id: Mapped[int | None] = mapped_column(sa.BigInteger, sa.ForeignKey("cases.id"), index=True)

    __table_args__ = (
        sa.CheckConstraint(one_of("peer", PEERS), name="peer"),
        sa.CheckConstraint(one_of("kind", (MessageKind.REQUEST, MessageKind.RESULT)), name="kind"),
        sa.CheckConstraint(one_of("state", FINAL), name="state"),
        sa.Index("ix_exchange_receipts_sent_at", "peer", "sent_at", "message_id"),
    )


def checked_peer(name: str) -> PeerName:
    """The name of a peer, or `NotFound`."""
    for peer in PEERS:
        if name == peer:
            return peer
    raise NotFound(f"there is no peer {name[:40]!r}; there are {', '.join(PEERS)}")


def enqueue(
    session: Session,
    peer: ReceiverName,
    kind: MessageKind,
    content: Mapping[str, Any],
    *,
    now: datetime,
    report_id: uuid.UUID | None = None,
    case_id: int | None = None,
) -> ExchangeMessage:
    """Put a message into the outbox; it is sent once the caller's transaction is committed, and never without it."""
    message = ExchangeMessage(
        **message_row(peer, kind, content, now=now, report_id=report_id, case_id=case_id),
    )
    session.add(message)
    session.flush()
    return message


def message_row(
    peer: ReceiverName,
    kind: MessageKind,
    content: Mapping[str, Any],
    *,
    now: datetime,
    report_id: uuid.UUID | None = None,
    case_id: int | None = None,
) -> dict[str, Any]:
    """A message for the outbox, as a row: to be inserted in the transaction that has it to tell."""
    id_ = uuid.uuid4()
    body = json.dumps({"id": str(id_), "kind": kind, "sent_at": now.isoformat(), **content}, ensure_ascii=False)
    return {
        "id": id_,
        "peer": peer,
        "kind": kind.value,
        "report_id": report_id,
        "case_id": case_id,
        "body": body,
        "created_at": now,
        "next_try_at": now,
        "state": MessageState.PENDING.value,
    }


def act_content(reference: str, event: CaseEvent, *, is_synthetic: bool, is_drill: bool) -> dict[str, Any]:
    """What a webhook is told of an act of supervision: units and posts, nobody's name, and no words about the case."""
    cause = event.changed["issued"][-1]
    return {
        "case": reference,
        "seq": event.seq,
        "act": event.said["act"],
        "clock": cause["clock"],
        "started_at": cause["started_at"],
        "fell_due_at": event.said.get("fell_due_at"),
        "issued_at": event.at.isoformat(),
        "stage": event.after.value,
        "unit": event.unit,
        "told": [{"unit": one["unit"], "post": one["post"]} for one in event.said["told"]],
        "is_synthetic": is_synthetic,
        "is_drill": is_drill,
    }


def request_content(
    report: Report, *, reference: str, is_police: bool = False, alarm: str = "none", urgency: str = "normal"
) -> dict[str, Any]:
    """What a peer is told of a report that it is to deal with, the contact included: it has to call back."""
    point, contact = to_shape(report.geom), report.reporter
    return {
        "reference": reference,
        "is_police": is_police,
        "alarm": alarm,
        "urgency": urgency,
        "report": {
            "lon": point.x,
            "lat": point.y,
            "kind": report.kind,
            "event_type": report.event_type,
            "text": report.text,
            "observed_at": report.observed_at.isoformat() if report.observed_at else None,
            "reporter": {"name": contact.name, "phone": contact.phone} if contact else None,
        },
    }


def tell_back(session: Session, case_id: int, reference: str, event: CaseEvent, *, now: datetime) -> None:
    """Tell whoever sent a case, or one merged into it, that it was answered or voided; other steps tell nobody."""
    outcome = TOLD.get(event.action)
    if outcome is None:
        return
    for peer, message_id in session.execute(sql("receipts_of_case"), {"case_id": case_id}):
        content = {
            "about": str(message_id),
            "reference": reference,
            "outcome": outcome,
            "text": event.said.get("text") or event.said.get("reason") or "",
        }
        enqueue(session, checked_peer(peer), MessageKind.RESULT, content, now=now, case_id=case_id)
