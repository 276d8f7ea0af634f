"""Sending what waits in the outbox: each message until its peer has answered it, one a transaction."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.case_side_steps import Exchanged
from gis_grid.case_steps import IllegalStep
from gis_grid.cases import Case, lock_cases, log_of, log_step
from gis_grid.database import By
from gis_grid.errors import Conflict, GridError
from gis_grid.exchange import FINAL, ExchangeMessage, MessageKind, MessageState, enqueue, request_content
from gis_grid.exchange_fetching import TIMEOUT_S, Answer, NoAnswer, fetch
from gis_grid.exchange_peers import WEBHOOK, Peer, PeerName, ReceiverName
from gis_grid.exchange_receiving import Place
from gis_grid.installation import Installation, utc_now

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
LOOK_EVERY_S = 2.0
# What sending again cannot mend. The rest may pass: a wrong token or address is put right, a peer comes back.
PERMANENT = {400, 409, 413, 415, 422}
BY = By(who="gis-grid", channel="exchange")

log = logging.getLogger("gis_grid.exchange")


class PassedUpAlready(Conflict):
    """The peer has the case already, and has not given it back."""


@dataclass(frozen=True)
class Outcome:
    """What a peer's answer makes of a message; `error` alone where it is to be sent again."""

    state: MessageState = MessageState.PENDING
    reference: str | None = None
    reason: str | None = None
    error: str | None = None


def send_next(
    session: Session, name: ReceiverName, peer: Peer, *, place: Place, now: datetime, timeout_s: float = TIMEOUT_S
) -> ExchangeMessage | None:
    """Send the message to a peer that has waited longest, and keep what became of it; None where none is due.

    It stays locked until the caller's transaction ends, so that several senders take different ones; one that dies
    before that leaves it pending, and the peer knows it by its id when it comes again.
    """
    message = session.scalar(
        sa.select(ExchangeMessage)
        .where(
            ExchangeMessage.state == MessageState.PENDING.value,
            ExchangeMessage.peer == name,
            ExchangeMessage.next_try_at <= now,
        )
        .order_by(ExchangeMessage.next_try_at, ExchangeMessage.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if message is None:
        return None
    try:
        path = "" if name == WEBHOOK else "/messages"
        answer = fetch(peer, "POST", path, message.body.encode(), now=now, timeout_s=timeout_s)
        outcome = read_receipt(answer) if name == WEBHOOK else read_outcome(answer, str(message.id))
    except NoAnswer as error:
        outcome = Outcome(error=str(error))
    message.tries += 1
    message.error = outcome.error
    if outcome.state is MessageState.PENDING:
        message.next_try_at = now + wait_after(message.tries)
        return message
    message.state, message.answered_at = outcome.state.value, now
    message.reference, message.reason = outcome.reference, outcome.reason
    _note(session, message, place=place, now=now)
    return message


def wait_after(tries: int) -> timedelta:
    """How long a message waits after so many tries in vain: twice as long each time, an hour at most."""
    doublings: int = 2 ** min(tries - 1, 20)
    return min(FIRST_WAIT * doublings, LONGEST_WAIT)


def read_outcome(answer: Answer, message_id: str) -> Outcome:
    """What an answer makes of a message: its final state, or why it is sent again."""
    if answer.status in PERMANENT:
        return Outcome(MessageState.REFUSED, reason=f"HTTP {answer.status}: {_words(answer.body)}")
    if answer.status not in {200, 201}:
        return Outcome(error=f"HTTP {answer.status}: {_words(answer.body)}")
    try:
        said: dict[str, Any] = json.loads(answer.body)
        state = MessageState(said["state"])
        is_answer = said["id"] == message_id and state in FINAL
    except (ValueError, KeyError, TypeError, RecursionError):
        is_answer = False
    if not is_answer:
        return Outcome(error=f"an answer that is none to this message: {_words(answer.body)}")
    return Outcome(state, reference=_text(said.get("reference")), reason=_text(said.get("reason")))


def read_receipt(answer: Answer) -> Outcome:
    """What a webhook's answer makes of a message: any 2xx takes it."""
    if 200 <= answer.status < 300:
        return Outcome(MessageState.RECEIVED)
    if answer.status in PERMANENT:
        return Outcome(MessageState.REFUSED, reason=f"HTTP {answer.status}: {_words(answer.body)}")
    if 300 <= answer.status < 400:
        return Outcome(error=f"HTTP {answer.status}: a redirect, which is not followed")
    return Outcome(error=f"HTTP {answer.status}: {_words(answer.body)}")


def _words(body: bytes) -> str:
    return _text(body.decode("utf-8", "replace")) or ""


def _text(said: object) -> str | None:
    """Foreign text that a row can hold."""
    return None if said is None else str(said).encode("utf-8", "replace").decode().replace("\0", " ")[:300]


def _note(session: Session, message: ExchangeMessage, *, place: Place, now: datetime) -> None:
    if message.case_id is None or message.kind != MessageKind.REQUEST:
        return
    heard = Exchanged.model_validate(
        {
            "action": "exchange",
            "peer": message.peer,
            "message": str(message.id),
            "what": message.state,
            "reference": message.reference,
            "text": message.reason,
        }
    )
    try:
        with session.begin_nested():
            cases = lock_cases(session, [str(message.case_id)])
            log_step(session, cases, heard, city=place.city, photos=place.photos, by=BY, now=now)
    except GridError as error:  # the peer has it all the same: that is not to be forgotten
        message.error = f"answered, but not noted in the case's log: {error}"


def pass_up(
    session: Session, case: Case, *, to: PeerName, reason: str, place: Place, by: By, now: datetime
) -> ExchangeMessage:
    """Hand a locked case to the city, or to 110; it stays ours, its clocks run on, and its log has what comes back.

    Raises
    ------
    IllegalStep
        It is not filed yet, or ended.
    PassedUpAlready
        The peer has it, or will get it.
    """
    if case.serial is None or case.closed_at is not None:
        raise IllegalStep(f"case {case.name} is {case.stage}: only a case that is filed and open is passed up")
    if case.drill_id is not None:
        raise IllegalStep(f"case {case.name} is a drill: it is not passed on")
    last = next((e.said for e in reversed(log_of(session, case)) if e.said.get("peer") == to), {"what": None})
    if last["what"] in {"passed_up", "received"}:
        raise PassedUpAlready(f"case {case.name} was passed to {to} already: message {last['message']}")
    content = request_content(case.report, reference=case.name, urgency=case.urgency)
    message = enqueue(
        session, to, MessageKind.REQUEST, content | {"why": reason}, now=now, case_id=case.id, report_id=case.report_id
    )
    passed = Exchanged(action="exchange", peer=to, message=str(message.id), what="passed_up", text=reason)
    log_step(session, [case], passed, city=place.city, photos=place.photos, by=by, now=now)
    return message


def place_of(installation: Installation) -> Place:
    """The installation as messages need it."""
    return Place(installation.city, installation.settings.snap_m, installation.photos)


def send_due(installation: Installation, name: ReceiverName, peer: Peer, *, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Send all that is due to one peer; a line for each try."""
    lines: list[str] = []
    while True:
        with installation.sessions.begin() as session:
            place = place_of(installation)
            sent = send_next(session, name, peer, place=place, now=utc_now(), timeout_s=timeout_s)
            if sent is None:
                return lines
            lines.append(
                f"{sent.id} to {name}: {sent.state} {sent.reference or sent.reason or sent.error or ''}".strip()
            )


@contextmanager
def sending(installation: Installation) -> Iterator[None]:
    """A thread a peer sends what is due, all the while; without peers in the settings there is none."""
    is_over = threading.Event()
    threads = [
        threading.Thread(target=_keep_sending, args=(installation, name, peer, is_over), name=f"to {name}", daemon=True)
        for name, peer in installation.settings.receivers.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(TIMEOUT_S)


def _keep_sending(installation: Installation, name: ReceiverName, peer: Peer, is_over: threading.Event) -> None:
    while not is_over.wait(LOOK_EVERY_S):
        try:
            send_due(installation, name, peer)
        except (GridError, sa.exc.SQLAlchemyError) as error:  # the database may be back in a moment
            log.error("sending to %s: %s", name, error)  # noqa: TRY400 - the message says it all
