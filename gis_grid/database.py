"""The engine, the declarative base and who did what."""

import getpass
import re
import select
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, psycopg2
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from gis_grid.errors import InvalidInput

APP_ROLE = "gis_grid_app"
ASK_AFTER_S = 5.0
TELLS_WEBHOOK = "tells_webhook"  # in a session's info

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of every table; times are aware, texts are unbounded unless a check says otherwise."""

    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: sa.DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        str: sa.Text,
        uuid.UUID: sa.Uuid,
    }


def connect(url: str, *, role: str | None = APP_ROLE, pool_size: int = 24) -> sa.Engine:
    """An engine on a PostGIS database, acting as `role` whoever it signs in as.

    The role is a start-up option, so a rolled-back transaction can't drop back to the owner's rights.
    """
    address = database_address(url)
    options = "-c timezone=UTC" + (f" -c role={role}" if role else "")
    engine = sa.create_engine(address, pool_size=pool_size, max_overflow=6, connect_args={"options": options})
    sa.event.listen(engine, "checkin", _note_idle)
    sa.event.listen(engine, "checkout", _refuse_dead)
    return engine


def _note_idle(_connection: Any, record: Any) -> None:
    record.info["idle_since"] = time.monotonic()


def _refuse_dead(connection: Any, record: Any, _proxy: Any) -> None:
    """Have the pool take another connection for one whose server is gone.

    A server that ends closes its sockets, which is seen without asking it; only what has rested is asked, since a
    network may lose a connection without a word.
    """
    if time.monotonic() - record.info.get("idle_since", time.monotonic()) > ASK_AFTER_S or _has_news(connection):
        try:
            with connection.cursor() as cursor:
                cursor.execute("select 1")
            connection.rollback()
        except connection.Error as error:
            raise sa.exc.DisconnectionError(str(error)) from error


def _has_news(connection: Any) -> bool:
    """Whether there is something to read from an idle connection: mostly its end."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def database_address(url: str) -> sa.URL:
    """The address as SQLAlchemy takes it, with the driver this program brings.

    Raises
    ------
    InvalidInput
        Not the address of a PostgreSQL database.
    """
    example = "expected one like postgresql://user@host:5432/name"
    try:
        address = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise InvalidInput(f"the database address is none; {example}") from error
    if address.drivername in {"postgres", "postgresql"}:
        address = address.set(drivername="postgresql+psycopg2")
    if address.drivername != "postgresql+psycopg2":
        raise InvalidInput(f"the database address begins with {address.drivername}; {example}")
    return address


def sessions(engine: sa.Engine, *, tells_webhook: bool = False) -> sessionmaker[Session]:
    """Sessions that commit only where an edge says so; with a webhook, acts of supervision go to its outbox too."""
    return sessionmaker(engine, expire_on_commit=False, info={TELLS_WEBHOOK: tells_webhook})


@cache
def sql(name: str) -> sa.TextClause:
    """The statement in `gis_grid/sql/{name}.sql`."""
    return sa.text(resources.files("gis_grid").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class By:
    """Who changes something: `who` acts, through which `channel`, in which request."""

    who: str
    channel: str
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)


def run(session: Session, names: Sequence[str], parameters: Mapping[str, Any]) -> sa.CursorResult[Any]:
    """The rows of the last of the statements `gis_grid/sql/{name}.sql`, which go to the server together.

    For what runs a thousand times a second: each connection has the statements parsed and planned once, and most of
    what SQLAlchemy does for a statement is left out.
    """
    connection = session.connection()
    known: set[str] = connection.info.setdefault("prepared", set())
    calls: list[str] = []
    for name in names:
        statement, call = _prepared(name)
        if name not in known:
            if calls:  # to prepare a statement locks its tables, for which those before it may have to make room
                connection.exec_driver_sql("; ".join(calls), dict(parameters))
                calls = []
            connection.exec_driver_sql(statement)
            known.add(name)
        calls.append(call)
    return connection.exec_driver_sql("; ".join(calls), dict(parameters))


@cache
def _prepared(name: str) -> tuple[str, str]:
    """A statement as PREPARE takes it, and what executes it."""
    compiled = sql(name).compile(dialect=psycopg2.dialect(paramstyle="named"))  # type: ignore[no-untyped-call]
    asked = list(compiled.params)
    text = str(compiled)
    for number, parameter in enumerate(asked, start=1):
        text = re.sub(rf":{parameter}\b", f"${number}", text)
    values = f" ({', '.join(f'%({parameter})s' for parameter in asked)})" if asked else ""
    return f"prepare {name} as {text.replace('%', '%%')}", f"execute {name}{values}"


def by_command() -> By:
    """The operating-system user at a terminal."""
    return By(who=f"os:{getpass.getuser()}", channel="cli")


class Change(Base):
    """One change to something stored; the application may add rows here, never alter or remove them."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str]
    channel: Mapped[str]
    request_id: Mapped[str]
    thing: Mapped[str]
    key: Mapped[str]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]

    __table_args__ = (sa.Index("ix_changes_thing_key", "thing", "key"),)


def change(
    thing: str,
    key: str,
    *,
    by: By,
    at: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A row for `changes`, to be inserted in the transaction that makes the change."""
    return {
        "at": at,
        "who": by.who,
        "channel": by.channel,
        "request_id": by.request_id,
        "thing": thing,
        "key": key,
        "before": dict(before) if before is not None else None,
        "after": dict(after) if after is not None else None,
    }
