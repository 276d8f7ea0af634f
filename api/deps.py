"""What endpoints are given: the installation, a session that commits, and who is asking.

Every route takes exactly one `Needs`, which says what permission it is for; a test fails on one that does not. Where a
thing lies decides further: `Caller.demand` and `view_of`.
"""

import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from sqlalchemy.orm import Session

from api.errors import SignInNeeded
from api.same_site import SAFE, form_token_sent, is_from_our_page, is_same
from gis_grid.accounts import KEY_PREFIX, caller_of_key
from gis_grid.assessment import KeptCounts
from gis_grid.city import City
from gis_grid.database import By
from gis_grid.errors import Forbidden
from gis_grid.installation import Installation
from gis_grid.instants import as_utc
from gis_grid.permissions import ANONYMOUS, Caller, Permission
from gis_grid.rate_limits import address_key
from gis_grid.sign_in import SessionKind, caller_of_secret

SESSION_COOKIE = "gis_grid_session"


class View(StrEnum):
    """How much of a thing the asker sees."""

    PUBLIC = "public"
    STAFF = "staff"

    @property
    def is_public(self) -> bool:
        """True for those who see neither texts nor exact points."""
        return self is View.PUBLIC


def view_of(caller: Caller, ground: Collection[str] = ()) -> View:
    """How a caller sees what lies on a ground; without one, what may lie anywhere."""
    return View.STAFF if caller.may(Permission.SEE_REPORT_DETAILS, area=ground) else View.PUBLIC


# What asks no database is async: a plain function would be sent to another thread and back for each request.
async def _installation(request: Request) -> Installation:
    installation: Installation = request.app.state.installation
    return installation


TheInstallation = Annotated[Installation, Depends(_installation)]


async def _city(installation: TheInstallation) -> City:
    return installation.city


def _session(request: Request, installation: TheInstallation) -> Iterator[Session]:
    with installation.sessions() as session:
        request.state.session = session
        yield session
        session.commit()


async def _now(request: Request) -> datetime:
    clock = request.app.state.clock
    now: datetime = clock()
    return now


async def _address(request: Request) -> str:
    return address_key(request.client.host) if request.client else "unknown"


def _kept_counts(request: Request) -> KeptCounts:
    kept: KeptCounts = request.app.state.kept_counts
    return kept


TheCounts = Annotated[KeptCounts, Depends(_kept_counts)]
TheCity = Annotated[City, Depends(_city)]
# scope="function": committed before the answer leaves, so what was acknowledged is stored.
InSession = Annotated[Session, Depends(_session, scope="function")]
Now = Annotated[datetime, Depends(_now)]
Address = Annotated[str, Depends(_address)]


def _caller(
    request: Request,
    installation: TheInstallation,
    now: Now,
    form_token: Annotated[str | None, Depends(form_token_sent)],
    authorization: Annotated[str | None, Header()] = None,
) -> Caller:
    # Sessions of its own, closed again: a request never holds two connections at once.
    if authorization is not None:
        return _bearer(installation, authorization, now)
    secret = request.cookies.get(SESSION_COOKIE)
    if not secret:
        return ANONYMOUS
    if request.method not in SAFE:
        # A forged request may do what anybody may do without signing in, and nothing else.
        if not is_from_our_page(request):
            return Caller(ANONYMOUS.who, doubt="this request did not come from a page of ours")
        if form_token is None or not is_same(form_token, installation.form_token(secret)):
            return Caller(ANONYMOUS.who, doubt="this form is not of this session; open the page again")
    with installation.sessions.begin() as session:
        return caller_of_secret(session, secret, kind=SessionKind.BROWSER, now=now) or ANONYMOUS


def _bearer(installation: Installation, authorization: str, now: datetime) -> Caller:
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    caller = None
    if scheme.lower() == "bearer" and token:
        with installation.sessions.begin() as session:
            if token.startswith(KEY_PREFIX):
                caller = caller_of_key(session, token, now=now)
            else:
                caller = caller_of_secret(session, token, kind=SessionKind.BEARER, now=now)
    if caller is None:
        raise SignInNeeded("the Authorization header holds no token or key that counts (any more)")
    return caller


TheCaller = Annotated[Caller, Depends(_caller)]


def _refusal(caller: Caller, permission: Permission) -> Forbidden:
    if caller.doubt:
        return Forbidden(caller.doubt)
    if caller.is_anonymous:
        return SignInNeeded("sign in first: this is not for everybody")
    return Forbidden(f"{caller.who} has no role that may {permission.replace('_', ' ')}")


@dataclass(frozen=True)
class Needs:
    """Dependency: the caller, who has this permission somewhere; where, is for the route to ask."""

    permission: Permission

    async def __call__(self, caller: TheCaller) -> Caller:
        """The caller, or a refusal."""
        if not caller.has(self.permission):
            raise _refusal(caller, self.permission)
        return caller


@dataclass(frozen=True)
class NeedsOrReporter:
    """Dependency: the caller, who has this permission somewhere or the report's upload token."""

    permission: Permission

    async def __call__(
        self,
        report_id: Annotated[uuid.UUID, Path()],
        caller: TheCaller,
        installation: TheInstallation,
        x_upload_token: Annotated[str | None, Header()] = None,
    ) -> "PhotoCaller":
        """The caller, or a refusal."""
        if x_upload_token is not None and is_same(x_upload_token, installation.upload_token(report_id)):
            return PhotoCaller(caller, is_reporter=True)
        if not caller.has(self.permission):
            if caller.is_anonymous:
                raise Forbidden("this needs the report's upload token in X-Upload-Token, or a sign-in")
            raise _refusal(caller, self.permission)
        return PhotoCaller(caller, is_reporter=False)


@dataclass(frozen=True)
class PhotoCaller:
    """Who adds or fetches a photo: the report's sender, or somebody with the permission."""

    caller: Caller
    is_reporter: bool


@cache
def needs(permission: Permission) -> Needs:
    """The dependency that asks for a permission: `Annotated[Caller, Depends(needs(Permission.CHECK))]`."""
    return Needs(permission)


Anyone = Annotated[Caller, Depends(needs(Permission.SEE_PUBLIC))]
Sender = Annotated[Caller, Depends(needs(Permission.SEND_REPORT))]
Placer = Annotated[Caller, Depends(needs(Permission.PLACE_REPORT))]
ReporterOrStaff = Annotated[PhotoCaller, Depends(NeedsOrReporter(Permission.SEE_PHOTOS))]


def asked_permission(dependency: Any) -> Permission | None:
    """The permission that a dependency of a route asks for, None for other dependencies."""
    return dependency.permission if isinstance(dependency, Needs | NeedsOrReporter) else None


async def _by(request: Request, caller: TheCaller) -> By:
    channel = "api" if request.url.path.startswith("/api/") else "page"
    return By(who=caller.who, channel=channel, request_id=request.scope.get("request_id", ""))


TheActor = Annotated[By, Depends(_by)]


def _plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode: it holds half of a surrogate pair") from None
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def _dated(at: object) -> object:
    if isinstance(at, (int, float)):
        raise ValueError("is a number; write a time such as 2026-01-31T08:00:00+08:00")  # noqa: TRY004 - pydantic
    return at


def _utc(at: datetime) -> datetime:
    try:
        return as_utc(at)
    except Exception as error:
        raise ValueError(str(error)) from error


Code = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.\-]{1,40}$")]
Plain = AfterValidator(_plain)
Filled = AfterValidator(_filled)
Instant = Annotated[datetime, BeforeValidator(_dated), AfterValidator(_utc)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Json = dict[str, Any]
