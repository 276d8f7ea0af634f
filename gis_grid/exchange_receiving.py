"""Taking a peer's message in: once, whatever comes twice, late or in another order."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from gis_grid.case_deciding import ANY_STEP
from gis_grid.case_side_steps import Exchanged
from gis_grid.cases import Case, accept_report, lock_cases, log_step, take_step
from gis_grid.city import City
from gis_grid.database import By
from gis_grid.errors import Conflict, Forbidden, GridError, InvalidInput
from gis_grid.exchange import ExchangeMessage, ExchangeReceipt, MessageKind, MessageState
from gis_grid.exchange_peers import PeerName
from gis_grid.geo.datum import Datum
from gis_grid.instants import as_utc
from gis_grid.intake import Intake, district_bounds
from gis_grid.reports import Kind, ReportConflict, Source, file_reports
from gis_grid.routing import Alarm, Desk, Urgency, exchange_110, exchange_table

SOURCES: dict[PeerName, Source] = {"110": Source.POLICE_110, "12345": Source.HOTLINE_12345}


def _plain(text: str) -> str:
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds a NUL character or half of a surrogate pair")
    if not text.strip():
        raise ValueError("is empty")
    return text


def _dated(at: object) -> object:
    if not isinstance(at, str):
        raise ValueError("is no text; write a time such as 2026-01-31T08:00:00+08:00")  # noqa: TRY004 - pydantic
    return at


def _utc(at: datetime) -> datetime:
    try:
        return as_utc(at)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


Instant = Annotated[datetime, BeforeValidator(_dated), AfterValidator(_utc)]
Degrees = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=100), AfterValidator(_plain)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contact(_Part):
    """How to reach who asked."""

    name: Name | None = None
    phone: Annotated[str, Field(max_length=40), AfterValidator(_plain)] | None = None


class RequestReport(_Part):
    """What is wrong where."""

    lon: Degrees
    lat: Degrees
    datum: Datum = Datum.WGS84
    kind: Kind
    event_type: Name
    text: Annotated[str, Field(max_length=4000), AfterValidator(_plain)]
    observed_at: Instant | None = None
    reporter: Contact | None = None


class Envelope(_Part):
    """What every message has; `sent_at` is when it was made, and is the same each time it is sent."""

    id: uuid.UUID
    sent_at: Instant
    reference: Name | None = None


class Request(Envelope):
    """Somebody's request that the other side is to deal with."""

    kind: Literal["request"]
    report: RequestReport
    is_police: bool = False
    alarm: Alarm = Alarm.NONE
    urgency: Urgency = Urgency.NORMAL
    why: Annotated[str, Field(max_length=1000)] | None = None


class Result(Envelope):
    """What became of the receiver's own request `about`."""

    kind: Literal["result"]
    about: uuid.UUID
    outcome: Literal["answered", "returned"]
    text: Annotated[str, Field(max_length=1000)] = ""


ANY_MESSAGE: TypeAdapter[Request | Result] = TypeAdapter(Annotated[Request | Result, Field(discriminator="kind")])


@dataclass(frozen=True)
class Place:
    """The installation that a message comes to."""

    city: City
    snap_m: float
    photos: Path


@dataclass(frozen=True)
class Received:
    """A receipt; `is_new` is False for a message that came before."""

    receipt: ExchangeReceipt
    is_new: bool


class OtherBody(Conflict):
    """A message with this id came before, and said something else."""


class OwnMessage(Forbidden):
    """The message is one of ours: somebody plays it back."""


def read_message(body: bytes) -> Request | Result:
    """The message that a body is.

    Raises
    ------
    InvalidInput
        Naming what is wrong with it.
    """
    try:
        return ANY_MESSAGE.validate_python(json.loads(body))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
        raise InvalidInput("; ".join(faults[:10])) from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InvalidInput("the body is no JSON in UTF-8") from error


def receive(session: Session, peer: PeerName, body: bytes, *, place: Place, by: By, now: datetime) -> Received:
    """Take a message in; the same one again is answered with the receipt of the first time.

    A request is the centre's or 110's by the exchange table: what is the centre's becomes a report and a filed case,
    the rest is returned. What its content forbids is refused. All three are final and kept.

    Raises
    ------
    InvalidInput
        No message at all; nothing is kept of it.
    OtherBody, OwnMessage
        See there.
    """
    message = read_message(body)
    sha256 = hashlib.sha256(body).hexdigest()
    # Two that bring the same message at once: the second waits here, and finds what the first has stored.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{peer} {message.id}", 0))))
    known = session.get(ExchangeReceipt, (peer, message.id))
    if known is not None:
        if known.body_sha256 != sha256:
            raise OtherBody(f"message {message.id} of {peer} came before, with another body")
        return Received(known, is_new=False)
    if session.get(ExchangeMessage, message.id) is not None:
        raise OwnMessage(f"message {message.id} is one of ours; it cannot come from {peer}")
    found = _outcome(session, peer, message, place=place, by=by, now=now)
    receipt = ExchangeReceipt(
        peer=peer,
        message_id=message.id,
        kind=message.kind,
        body_sha256=sha256,
        sent_at=message.sent_at,
        received_at=now,
        received_by=by.who,
        their_reference=message.reference,
        **found,
    )
    session.add(receipt)
    session.flush()
    return Received(receipt, is_new=True)


def _outcome(
    session: Session, peer: PeerName, message: Request | Result, *, place: Place, by: By, now: datetime
) -> dict[str, Any]:
    try:
        with session.begin_nested():
            if isinstance(message, Result):
                return _hear(session, peer, message, place=place, by=by, now=now)
            return _take_in(session, peer, message, place=place, by=by, now=now)
    except (InvalidInput, ReportConflict) as error:
        return {"state": MessageState.REFUSED.value, "reason": str(error)}


def _take_in(
    session: Session, peer: PeerName, message: Request, *, place: Place, by: By, now: datetime
) -> dict[str, Any]:
    desk = exchange_110(exchange_table(session, at=now), is_police=message.is_police, alarm=message.alarm)
    if desk is not Desk.CENTRE:
        matter = "a police matter" if message.is_police else f"the alarm {message.alarm}"
        return {"state": MessageState.RETURNED.value, "reason": f"{matter} is for {desk} by the exchange table"}
    sent, contact = message.report, message.report.reporter or Contact()
    new = Intake(metric_crs=place.city.metric_crs, bounds=district_bounds(session, at=now)).report(
        id_=message.id,
        lon=sent.lon,
        lat=sent.lat,
        datum=sent.datum,
        kind=sent.kind,
        event_type=sent.event_type,
        text=sent.text,
        source=SOURCES[peer],
        observed_at=sent.observed_at,
        reporter_name=contact.name,
        reporter_phone=contact.phone,
    )
    (filed,) = file_reports(session, [new], snap_m=place.snap_m, by=by, now=now)
    if isinstance(filed, GridError):
        raise filed
    received = {"state": MessageState.RECEIVED.value, "report_id": filed.report.id}
    if filed.report.grid is None:  # waits for somebody to place it, as a call does
        return received | {"reference": str(filed.report.id)}
    case = _open(session, peer, message, place=place, by=by, now=now)
    return received | {"reference": case.name, "case_id": case.id}


def _open(session: Session, peer: PeerName, message: Request, *, place: Place, by: By, now: datetime) -> Case:
    case = accept_report(session, message.id, urgency=message.urgency, by=by, now=now)
    cases = lock_cases(session, [case.name])
    file = ANY_STEP.validate_python({"action": "file"})
    take_step(session, cases, file, city=place.city, photos=place.photos, by=by, now=now)
    came = Exchanged(
        action="exchange", peer=peer, message=str(message.id), what="came_from", reference=message.reference
    )
    log_step(session, cases, came, city=place.city, photos=place.photos, by=by, now=now)
    return case


def _hear(session: Session, peer: PeerName, message: Result, *, place: Place, by: By, now: datetime) -> dict[str, Any]:
    """Keep what became of a request of ours, in the log of its case where it has one."""
    about = session.get(ExchangeMessage, message.about)
    if about is None or about.peer != peer or about.kind != MessageKind.REQUEST:
        raise InvalidInput(f"about: {message.about} is no request of ours to {peer}")
    if about.case_id is not None:
        heard = Exchanged(
            action="exchange",
            peer=peer,
            message=str(about.id),
            what=message.outcome,
            reference=message.reference,
            text=message.text or None,
        )
        cases = lock_cases(session, [str(about.case_id)])
        log_step(session, cases, heard, city=place.city, photos=place.photos, by=by, now=now)
    return {"state": MessageState.RECEIVED.value, "case_id": about.case_id, "report_id": about.report_id}
