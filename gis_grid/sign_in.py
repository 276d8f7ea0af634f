"""Signing in and out: sessions of browsers and tokens of programs, and the lock after too many failures."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.accounts import GRANT_COLUMNS, Account, RoleGrant, folded_login, grants_in, new_secret, secret_sha256
from gis_grid.database import Base
from gis_grid.errors import Forbidden
from gis_grid.passwords import Passwords
from gis_grid.permissions import Caller
from gis_grid.rate_limits import TooMany

LOCKS_AFTER, ADDRESS_LOCKS_AFTER = 5, 15
LOCKED_FOR = timedelta(minutes=15)
LASTS = timedelta(hours=12)
IDLE = timedelta(hours=2)
NOTED_EVERY = timedelta(minutes=1)
TOKEN_PREFIX = "ggt_"  # noqa: S105 - what every token begins with


class SessionKind(StrEnum):
    """Who holds the secret: a browser in a cookie, a program as a bearer token."""

    BROWSER = "browser"
    BEARER = "bearer"


class AccountSession(Base):
    """A sign-in that lasts; only the secret's SHA-256 is stored.

    Attributes
    ----------
    expires_at
        It never lasts longer.
    idle_until
        It ends then unless it is used before; None where it may lie idle.
    """

    __tablename__ = "account_sessions"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey(Account.id), index=True)
    kind: Mapped[str]
    secret_sha256: Mapped[str] = mapped_column(unique=True)
    address: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    idle_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (sa.CheckConstraint("kind in ('browser', 'bearer')", name="kind"),)


class SignInAttempt(Base):
    """A password that was tried, for any login; rows are only ever added."""

    __tablename__ = "sign_in_attempts"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    at: Mapped[datetime]
    login: Mapped[str]
    address: Mapped[str]
    is_success: Mapped[bool]

    __table_args__ = (
        sa.Index("ix_sign_in_attempts_login_at", "login", "at"),
        sa.Index("ix_sign_in_attempts_address_at", "address", "at"),
    )


class WrongPassword(Forbidden):
    """No account has this login and password; which of the two is wrong is not told."""


class Locked(TooMany):
    """Too many wrong passwords lately."""


@dataclass(frozen=True)
class SignedIn:
    """A new session and its secret, which is nowhere else."""

    login: str
    secret: str
    expires_at: datetime


def sign_in(
    session: Session,
    login: str,
    password: str,
    *,
    kind: SessionKind,
    address: str,
    passwords: Passwords,
    now: datetime,
) -> SignedIn | WrongPassword | Locked:
    """A session for who knows the password, or why not.

    A refusal is an answer, not an exception: the attempt is to be committed whichever way it ends. Sign-ins of one
    login wait for each other, so that many at once get no more guesses.
    """
    folded = folded_login(login).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"sign-in {folded}", 0))))
    locked = _lock(session, folded, address, now=now)
    if locked is not None:
        return locked
    account = session.scalar(sa.select(Account).where(Account.login == folded, Account.disabled_at.is_(None)))
    is_right = passwords.fits(password, account.password_hash if account else None)
    session.add(SignInAttempt(at=now, login=folded, address=address, is_success=is_right))
    if account is None or not is_right:
        return WrongPassword("no account has this login and password")
    if passwords.is_outdated(account.password_hash):
        account.password_hash = passwords.hash(password)
    return open_session(session, account, kind=kind, address=address, now=now)


def _lock(session: Session, login: str, address: str, *, now: datetime) -> Locked | None:
    last_success = (
        sa.select(sa.func.max(SignInAttempt.id))
        .where(SignInAttempt.login == login, SignInAttempt.at > now - 2 * LOCKED_FOR, SignInAttempt.is_success)
        .scalar_subquery()
    )
    is_since = SignInAttempt.id > sa.func.coalesce(last_success, 0)
    ends = [
        _locked_until(session, SignInAttempt.login == login, is_since, failures=LOCKS_AFTER, now=now),
        _locked_until(session, SignInAttempt.address == address, failures=ADDRESS_LOCKS_AFTER, now=now),
    ]
    until = max((end for end in ends if end is not None), default=None)
    if until is None or until <= now:
        return None
    return Locked("too many wrong passwords; try again later", retry_after_s=(until - now).total_seconds())


def _locked_until(session: Session, *which: sa.ColumnElement[bool], failures: int, now: datetime) -> datetime | None:
    """When the lock ends that the latest failures brought about: that many in 15 minutes lock for 15 minutes."""
    lately = (~SignInAttempt.is_success, SignInAttempt.at > now - 2 * LOCKED_FOR)
    query = sa.select(SignInAttempt.at).where(*which, *lately).order_by(SignInAttempt.at.desc()).limit(failures)
    times = session.scalars(query).all()
    if len(times) < failures or times[0] - times[-1] > LOCKED_FOR:
        return None
    return times[0] + LOCKED_FOR


def open_session(session: Session, account: Account, *, kind: SessionKind, address: str, now: datetime) -> SignedIn:
    """A session for an account whose owner has proved to be it."""
    secret = new_secret(TOKEN_PREFIX if kind is SessionKind.BEARER else "")
    row = AccountSession(
        account_id=account.id,
        kind=kind.value,
        secret_sha256=secret_sha256(secret),
        address=address,
        created_at=now,
        expires_at=now + LASTS,
        idle_until=now + IDLE if kind is SessionKind.BROWSER else None,
    )
    session.add(row)
    session.flush()
    return SignedIn(account.login, secret, row.expires_at)


def caller_of_secret(session: Session, secret: str, *, kind: SessionKind, now: datetime) -> Caller | None:
    """Whose session a secret is, noting that it is in use; None for one that does not count (any more)."""
    held = sa.and_(RoleGrant.account_id == Account.id, RoleGrant.valid.contains(now))
    query = (
        sa.select(AccountSession.id, AccountSession.idle_until, Account.login, *GRANT_COLUMNS)
        .join(Account, Account.id == AccountSession.account_id)
        .outerjoin(RoleGrant, held)
        .where(
            AccountSession.secret_sha256 == secret_sha256(secret),
            AccountSession.kind == kind.value,
            AccountSession.ended_at.is_(None),
            AccountSession.expires_at > now,
            sa.or_(AccountSession.idle_until.is_(None), AccountSession.idle_until > now),
            Account.disabled_at.is_(None),
        )
        .order_by(RoleGrant.id)
    )
    rows = session.execute(query).all()
    if not rows:
        return None
    found = rows[0]
    if found.idle_until is not None and found.idle_until < now + IDLE - NOTED_EVERY:
        session.execute(sa.update(AccountSession).where(AccountSession.id == found.id).values(idle_until=now + IDLE))
    return Caller(f"user:{found.login}", grants_in(rows), session_id=found.id)


def sign_out(session: Session, session_id: int, *, now: datetime) -> None:
    """End one session."""
    row = sa.update(AccountSession).where(AccountSession.id == session_id, AccountSession.ended_at.is_(None))
    session.execute(row.values(ended_at=now))


def end_sessions(session: Session, account: Account, *, now: datetime) -> None:
    """End all sessions of an account."""
    rows = sa.update(AccountSession).where(
        AccountSession.account_id == account.id, AccountSession.ended_at.is_(None), AccountSession.expires_at > now
    )
    session.execute(rows.values(ended_at=now))
