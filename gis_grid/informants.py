"""Who tips off about a hazard (爆料人): sealed before it is stored, opened by one role, each opening written down.

Sealed with Fernet of the `cryptography` library (AES-128-CBC with HMAC-SHA256), by keys that only the settings hold.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, By
from gis_grid.errors import InvalidInput, NotFound, Unavailable

SETTING = "GIS_GRID_INFORMANT_KEYS"


class Informant(Base):
    """A sealed name and telephone number; rows are only ever added."""

    __tablename__ = "informants"

    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("reports.id"), primary_key=True)
    sealed: Mapped[bytes]
    sealed_at: Mapped[datetime]


class InformantReading(Base):
    """That somebody opened a sealed identity, and why; rows are only ever added."""

    __tablename__ = "informant_readings"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Informant.report_id), index=True)
    who: Mapped[str]
    at: Mapped[datetime]
    reason: Mapped[str]
    channel: Mapped[str]
    request_id: Mapped[str]


class NoInformantKey(Unavailable):
    """The settings hold no usable key, so nothing can be sealed or opened."""


class CannotBeOpened(Unavailable):
    """None of the keys in the settings is the one it was sealed with; without that key the name is lost."""


@dataclass(frozen=True)
class Identity:
    """Who an informant is."""

    name: str | None
    phone: str | None


@dataclass(frozen=True)
class Sealed:
    """A sealed identity, and a mark that is equal for equal ones and tells nothing without the key."""

    token: bytes
    mark: str


@dataclass(frozen=True)
class Sealer:
    """Seals with the first of some keys, opens with any of them; so a key can be followed by a newer one."""

    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, keys: Sequence[SecretStr]) -> Self:
        """The sealer of the settings' keys.

        Raises
        ------
        NoInformantKey
            There is none, or one that is no Fernet key; the message does not hold it.
        """
        if not keys:
            raise NoInformantKey(
                f"no key to seal informants' names with: set {SETTING}, see `gis-grid rewards new-key`; "
                "nothing was stored"
            )
        plain = tuple(key.get_secret_value().encode("utf-8", "replace") for key in keys)
        for place, key in enumerate(plain, start=1):
            try:
                Fernet(key)
            except ValueError:
                raise NoInformantKey(
                    f"{SETTING}: key {place} is not 32 bytes in URL-safe base64, see `gis-grid rewards new-key`"
                ) from None
        return cls(plain)

    def seal(self, identity: Identity) -> Sealed:
        """The identity, sealed; `InvalidInput` for one without name and number."""
        if not (identity.name or identity.phone):
            raise InvalidInput("informant: name or phone is missing", fields=("informant",))
        text = json.dumps([identity.name, identity.phone], ensure_ascii=True).encode()
        mark = hmac.new(hashlib.sha256(b"mark " + self.keys[0]).digest(), text, hashlib.sha256).hexdigest()
        return Sealed(self._fernet().encrypt(text), mark)

    def open(self, token: bytes) -> Identity:
        """The identity that was sealed, or `CannotBeOpened`."""
        try:
            name, phone = json.loads(self._fernet().decrypt(token))
        except InvalidToken:
            raise CannotBeOpened(
                f"none of the keys in {SETTING} opens this identity; it needs the key it was sealed with"
            ) from None
        return Identity(name, phone)

    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(key) for key in self.keys])


def new_key() -> str:
    """A key for the settings, made now and stored nowhere."""
    return Fernet.generate_key().decode()


def read_informant(
    session: Session, report_id: uuid.UUID, sealer: Sealer, *, reason: str, by: By, now: datetime
) -> Identity:
    """Who tipped off with a report; that it was read, by whom and why is stored with it.

    Raises
    ------
    InvalidInput
        No reason.
    NotFound
        The report came from no informant.
    CannotBeOpened
        Sealed with another key.
    """
    if not reason.strip():
        raise InvalidInput("reason: is empty", fields=("reason",))
    row = session.get(Informant, report_id)
    if row is None:
        raise NotFound(f"report {report_id} came from no informant")
    identity = sealer.open(row.sealed)
    session.add(
        InformantReading(
            report_id=report_id,
            who=by.who,
            at=now,
            reason=reason.strip(),
            channel=by.channel,
            request_id=by.request_id,
        )
    )
    session.flush()
    return identity


def readings_of(session: Session, report_ids: Sequence[uuid.UUID]) -> list[InformantReading]:
    """Who read the identities behind some reports, in order."""
    query = sa.select(InformantReading).where(InformantReading.report_id.in_(report_ids))
    return list(session.scalars(query.order_by(InformantReading.id)))
