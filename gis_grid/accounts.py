"""Accounts of people and keys of other systems, and the dated roles of both."""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, By, Change, change
from gis_grid.errors import Conflict, InvalidInput, NotFound
from gis_grid.passwords import Passwords
from gis_grid.permissions import Caller, Grant, Role, Scope, ScopeKind
from gis_grid.tenures import Person
from gis_grid.territory import Area, Grid, GridLayer

LOGIN = re.compile(r"\w[\w.@-]{1,39}")
KEY_PREFIX = "ggk_"
_ROLES = ", ".join(f"'{role}'" for role in Role)


class Account(Base):
    """What a person signs in with."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    login: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    person_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Person.id), index=True)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())


class ApiKey(Base):
    """What another system sends; only the key's SHA-256 is stored."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    key_sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class RoleGrant(Base):
    """A role in a scope, held by an account or a key over a range of time."""

    __tablename__ = "role_grants"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    account_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Account.id))
    api_key_id: Mapped[int | None] = mapped_column(sa.ForeignKey(ApiKey.id))
    role: Mapped[str]
    scope_kind: Mapped[str]
    scope_code: Mapped[str]
    valid: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)

    # The two exclusion constraints are also the indexes that a holder's grants are found by.
    __table_args__ = (
        *(
            ExcludeConstraint(
                (holder, "="),
                ("role", "="),
                ("scope_kind", "="),
                ("scope_code", "="),
                ("valid", "&&"),
                name=f"ex_role_grants_{holder}",
                using="gist",
            )
            for holder in ("account_id", "api_key_id")
        ),
        sa.CheckConstraint("num_nonnulls(account_id, api_key_id) = 1", name="holder"),
        sa.CheckConstraint(f"role in ({_ROLES})", name="role"),
        sa.CheckConstraint("scope_kind in ('all', 'area', 'unit')", name="scope_kind"),
        sa.CheckConstraint("(scope_kind = 'all') = (scope_code = '')", name="scope"),
    )

    @property
    def grant(self) -> Grant:
        """The role and scope alone."""
        return Grant(Role(self.role), Scope(ScopeKind(self.scope_kind), self.scope_code))


Holder = Account | ApiKey


class UnknownAccount(NotFound):
    """There is no account with this login."""


class AccountExists(Conflict):
    """The login or the key's name is taken."""


def folded_login(login: str) -> str:
    """A login as it is stored and looked up: NFKC, without case and outer blanks."""
    return unicodedata.normalize("NFKC", login[:100]).strip().casefold()


def checked_login(login: str) -> str:
    """A login fit for a new account, or `InvalidInput`."""
    folded = folded_login(login)
    if len(login) > 100 or not LOGIN.fullmatch(folded):
        raise InvalidInput(f"login {login[:60]!r}: 2 to 40 letters, digits or . _ @ -, a letter or digit first")
    return folded


def add_account(
    session: Session,
    login: str,
    password: str,
    *,
    grants: Iterable[Grant],
    passwords: Passwords,
    by: By,
    now: datetime,
    person: Person | None = None,
    is_synthetic: bool = False,
) -> Account:
    """A new account with its roles from `now` on.

    Raises
    ------
    InvalidInput
        A login or password that cannot be one, or an area that does not exist.
    AccountExists
        The login is taken; logins of disabled accounts stay taken.
    """
    account = Account(
        login=checked_login(login),
        password_hash=passwords.hash(password),
        person_id=person.id if person else None,
        created_at=now,
        is_synthetic=is_synthetic,
    )
    _add(session, account, f"account {account.login} exists already")
    for grant in grants:
        add_grant(session, account, grant, by=by, now=now)
    _note(session, "account", account.login, by=by, now=now, after={"created": True})
    return account


def _add(session: Session, holder: Holder, taken: str) -> None:
    try:
        with session.begin_nested():
            session.add(holder)
            session.flush()
    except IntegrityError:
        raise AccountExists(taken) from None


def _note(session: Session, thing: str, key: str, *, by: By, now: datetime, after: dict[str, object]) -> None:
    session.execute(sa.insert(Change), [change(thing, key, by=by, at=now, after=after)])


def the_account(session: Session, login: str) -> Account:
    """The account with this login, or `UnknownAccount`."""
    account = session.scalar(sa.select(Account).where(Account.login == folded_login(login)))
    if account is None:
        raise UnknownAccount(f"there is no account {login!r}")
    return account


def has_accounts(session: Session) -> bool:
    """Whether anybody could sign in."""
    return session.scalar(sa.select(sa.exists().where(Account.disabled_at.is_(None)))) is True


def set_password(
    session: Session, account: Account, password: str, *, passwords: Passwords, by: By, now: datetime
) -> None:
    """Give an account another password."""
    account.password_hash = passwords.hash(password)
    _note(session, "account", account.login, by=by, now=now, after={"password": "changed"})


def disable(session: Session, account: Account, *, by: By, now: datetime) -> None:
    """Let nobody sign in with an account any more; it is kept for the log's sake."""
    if account.disabled_at is None:
        account.disabled_at = now
        _note(session, "account", account.login, by=by, now=now, after={"disabled": True})


def add_grant(session: Session, holder: Holder, grant: Grant, *, by: By, now: datetime) -> RoleGrant:
    """Give an account or a key a role from `now` on; one that it has already stays as it is."""
    if grant.scope.kind is ScopeKind.AREA:
        _check_area(session, grant.scope.code, at=now)
    for row in _grants(session, holder, at=now):
        if row.grant == grant:
            return row
    row = RoleGrant(
        role=grant.role.value,
        scope_kind=grant.scope.kind.value,
        scope_code=grant.scope.code,
        valid=Range(now, None),
        account_id=holder.id if isinstance(holder, Account) else None,
        api_key_id=holder.id if isinstance(holder, ApiKey) else None,
    )
    session.add(row)
    session.flush()
    _note(session, *_name(holder), by=by, now=now, after={"granted": str(grant)})
    return row


def _check_area(session: Session, code: str, *, at: datetime) -> None:
    areas = sa.select(Area.id).join(GridLayer, GridLayer.id == Area.layer_id).where(Area.code == code)
    grids = sa.select(Grid.id).join(Grid.layer).where(Grid.code == code)
    for query in (areas, grids):
        if session.scalar(query.where(GridLayer.in_force.contains(at)).limit(1)) is not None:
            return
    raise InvalidInput(f"scope: no district, town, community or grid has the code {code!r}")


def end_grant(session: Session, holder: Holder, grant: Grant, *, by: By, now: datetime) -> None:
    """Take a role away from `now` on, or raise `NotFound` where it is not held."""
    for row in _grants(session, holder, at=now):
        if row.grant == grant:
            row.valid = Range(row.valid.lower, now)
            _note(session, *_name(holder), by=by, now=now, after={"withdrawn": str(grant)})
            return
    raise NotFound(f"{' '.join(_name(holder))} does not hold {grant}")


def _name(holder: Holder) -> tuple[str, str]:
    return ("account", holder.login) if isinstance(holder, Account) else ("api_key", holder.name)


def _grants(session: Session, holder: Holder, *, at: datetime) -> Sequence[RoleGrant]:
    column = RoleGrant.account_id if isinstance(holder, Account) else RoleGrant.api_key_id
    query = sa.select(RoleGrant).where(column == holder.id, RoleGrant.valid.contains(at))
    return session.scalars(query.order_by(RoleGrant.id)).all()


def grants_of(session: Session, holder: Holder, *, at: datetime) -> tuple[Grant, ...]:
    """The roles that an account or a key has at a time."""
    return tuple(row.grant for row in _grants(session, holder, at=at))


GRANT_COLUMNS = (RoleGrant.role, RoleGrant.scope_kind, RoleGrant.scope_code)


def grants_in(rows: Iterable[Any]) -> tuple[Grant, ...]:
    """The roles in rows with `GRANT_COLUMNS`; none where they are null, for a holder without any."""
    return tuple(
        Grant(Role(row.role), Scope(ScopeKind(row.scope_kind), row.scope_code)) for row in rows if row.role is not None
    )


def new_secret(prefix: str = "") -> str:
    """256 random bits as text."""
    return prefix + secrets.token_urlsafe(32)


def secret_sha256(secret: str) -> str:
    """What is stored of a random secret; it has 256 bits, so that a fast hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def add_key(session: Session, name: str, *, grants: Iterable[Grant], by: By, now: datetime) -> str:
    """A new key for another system: to be shown once, for it cannot be read again."""
    secret = new_secret(KEY_PREFIX)
    key = ApiKey(name=checked_login(name), key_sha256=secret_sha256(secret), created_at=now)
    _add(session, key, f"key {key.name} exists already")
    for grant in grants:
        add_grant(session, key, grant, by=by, now=now)
    _note(session, "api_key", key.name, by=by, now=now, after={"created": True})
    return secret


def revoke_key(session: Session, name: str, *, by: By, now: datetime) -> None:
    """Let a key count no more, or raise `NotFound`."""
    key = session.scalar(sa.select(ApiKey).where(ApiKey.name == folded_login(name)))
    if key is None:
        raise NotFound(f"there is no key {name!r}")
    if key.revoked_at is None:
        key.revoked_at = now
        _note(session, "api_key", key.name, by=by, now=now, after={"revoked": True})


def caller_of_key(session: Session, secret: str, *, now: datetime) -> Caller | None:
    """The system that a key belongs to; None for a key that does not count."""
    held = sa.and_(RoleGrant.api_key_id == ApiKey.id, RoleGrant.valid.contains(now))
    query = (
        sa.select(ApiKey.name, *GRANT_COLUMNS)
        .outerjoin(RoleGrant, held)
        .where(ApiKey.key_sha256 == secret_sha256(secret), ApiKey.revoked_at.is_(None))
        .order_by(RoleGrant.id)
    )
    rows = session.execute(query).all()
    return Caller(f"key:{rows[0].name}", grants_in(rows)) if rows else None
