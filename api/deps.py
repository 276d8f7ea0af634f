"""What endpoints are given: the installation, a session that commits, and who is asking.

Every route takes exactly one of `Anyone`, `Staff` and `ReporterOrStaff`; a test fails on one that does not.
"""

import hmac
import uuid
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from sqlalchemy.orm import Session

from api.errors import SignInNeeded
from gis_grid.city import City
from gis_grid.database import By
from gis_grid.errors import Forbidden
from gis_grid.installation import Installation
from gis_grid.instants import as_utc

STAFF_COOKIE = "gis_grid_staff"


class View(StrEnum):
    """How much of a thing the asker sees."""

    PUBLIC = "public"
    STAFF = "staff"

    @property
    def is_public(self) -> bool:
        """True for those who have not signed in."""
        return self is View.PUBLIC


def _installation(request: Request) -> Installation:
    installation: Installation = request.app.state.installation
    return installation


TheInstallation = Annotated[Installation, Depends(_installation)]


def _city(installation: TheInstallation) -> City:
    return installation.city


def _session(installation: TheInstallation) -> Iterator[Session]:
    with installation.sessions() as session:
        yield session
        session.commit()


def _now(request: Request) -> datetime:
    clock = request.app.state.clock
    now: datetime = clock()
    return now


TheCity = Annotated[City, Depends(_city)]
# scope="function": committed before the answer leaves, so what was acknowledged is stored.
InSession = Annotated[Session, Depends(_session, scope="function")]
Now = Annotated[datetime, Depends(_now)]


def _view(
    request: Request, installation: TheInstallation, authorization: Annotated[str | None, Header()] = None
) -> View:
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and _same(token.strip(), installation.staff_token):
            return View.STAFF
        raise SignInNeeded("the Authorization header holds no valid staff token")
    # The cookie of the pages counts for looking only, so that no other site can act through it.
    cookie = request.cookies.get(STAFF_COOKIE)
    is_looking = request.method in {"GET", "HEAD"}
    return View.STAFF if cookie and is_looking and _same(cookie, installation.staff_token) else View.PUBLIC


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def anyone(view: Annotated[View, Depends(_view)]) -> View:
    """The view of whoever asks: this route is open to all."""
    return view


def staff(view: Annotated[View, Depends(_view)]) -> View:
    """The staff view, or a refusal."""
    if view.is_public:
        raise SignInNeeded("this is for staff; send the staff token as a bearer token")
    return view


def reporter_or_staff(
    report_id: Annotated[uuid.UUID, Path()],
    view: Annotated[View, Depends(_view)],
    installation: TheInstallation,
    x_upload_token: Annotated[str | None, Header()] = None,
) -> View:
    """The view of the one who sent the report, by its upload token, or of staff."""
    if x_upload_token is not None and _same(x_upload_token, installation.upload_token(report_id)):
        return view
    if view.is_public:
        raise Forbidden("this needs the report's upload token in X-Upload-Token, or the staff token")
    return view


Anyone = Annotated[View, Depends(anyone)]
Staff = Annotated[View, Depends(staff)]
ReporterOrStaff = Annotated[View, Depends(reporter_or_staff)]
ACCESS = (anyone, staff, reporter_or_staff)


def _by(request: Request, view: Annotated[View, Depends(_view)]) -> By:
    who = "staff token" if view is View.STAFF else "anonymous"
    return By(who=who, channel="api", request_id=request.scope.get("request_id", ""))


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
