"""What staff do in a browser: sign in with the token, and place by hand what lies outside."""

import hashlib
import hmac
import uuid
from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Cookie, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from api.deps import STAFF_COOKIE, Anyone, InSession, Now, Plain, Staff, TheInstallation, View
from api.errors import SignInNeeded
from api.pages import figures
from api.pages.rendering import page, say
from api.pages.territory import type_names
from gis_grid.database import By
from gis_grid.errors import Forbidden, GridError
from gis_grid.installation import Installation
from gis_grid.reports import ReportFilter, find_reports, place_by_hand
from gis_grid.territory import layer_in_force

router = APIRouter(prefix="/staff")
LISTED = 100
SIGNED_IN_S = 12 * 3600
Field = Annotated[str, Form(max_length=1000), Plain]


@router.get("", response_class=HTMLResponse)
def sign_in_page(*, request: Request, view: Anyone, installation: TheInstallation, after: str = "/") -> HTMLResponse:
    """Where the staff token is entered; who has entered it finds the way to the queue and out."""
    return page(request, "staff.html", view=view, fault=None, after=_local(after), seal=_seal(installation))


@router.post("", response_class=HTMLResponse)
def sign_in(
    *, request: Request, _: Anyone, installation: TheInstallation, token: Field = "", after: Field = "/"
) -> Response:
    """Keep the token in a cookie that no script and no other site can use; it counts for looking only."""
    if not _same(token.strip(), installation.staff_token):
        fault = say(request, "口令不对。请核对安装目录下 staff-token 文件中的内容。")
        return page(request, "staff.html", view=View.PUBLIC, status=403, fault=fault, after=_local(after), seal="")
    answer = RedirectResponse(_local(after), 303)
    answer.set_cookie(
        STAFF_COOKIE,
        installation.staff_token,
        max_age=SIGNED_IN_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


def _seal(installation: Installation) -> str:
    """What a form of ours carries and no other site can know.

    The cookie alone never lets anybody act (see `api.deps`): SameSite=Strict keeps it from requests that other sites
    start, and this keeps it so where a browser knows no SameSite or a neighbouring port counts as the same site.
    """
    key = installation.secret
    return hashlib.blake2b(f"staff form {installation.staff_token}".encode(), key=key[:64], digest_size=24).hexdigest()


def staff_form(
    request: Request,
    installation: TheInstallation,
    seal: Field = "",
    cookie: Annotated[str | None, Cookie(alias=STAFF_COOKIE)] = None,
) -> By:
    """Who acts through a form: the cookie and the form's seal together, or a refusal."""
    if cookie is None or not _same(cookie, installation.staff_token):
        raise SignInNeeded("this is for staff; sign in first")
    if not _same(seal, _seal(installation)):
        raise Forbidden("this form did not come from a page of ours; open the page again")
    return By(who="staff token", channel="page", request_id=request.scope.get("request_id", ""))


StaffForm = Annotated[By, Depends(staff_form)]


@router.post("/sign-out")
def sign_out(*, _: Anyone, __: StaffForm) -> Response:
    """Forget the token in this browser."""
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(STAFF_COOKIE, httponly=True, samesite="strict")
    return answer


@router.get("/unplaced", response_class=HTMLResponse)
def unplaced(
    *,
    request: Request,
    view: Staff,
    session: InSession,
    installation: TheInstallation,
    now: Now,
    placed: Annotated[str | None, Query(max_length=40)] = None,
) -> HTMLResponse:
    """What lies in no grid, with the nearest grids and the means to place it."""
    return _queue(request, view, session, installation=installation, now=now, placed=placed)


def _queue(
    request: Request,
    view: View,
    session: Session,
    *,
    installation: Installation,
    now: datetime,
    placed: str | None = None,
    fault: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    outside = ReportFilter(method="outside", is_public=False)
    reports = find_reports(session, outside, limit=LISTED)
    layer = layer_in_force(session, now)
    return page(
        request,
        "unplaced.html",
        view=view,
        status=status,
        reports=reports,
        total=figures.count_reports(session, outside).total,
        types=type_names(session, request),
        contacts=figures.contacts_of(session, reports),
        photos=figures.photos_by_report(session, reports),
        near=figures.nearest_grids(session, reports, layer) if layer and reports else {},
        seal=_seal(installation),
        placed=placed,
        fault=fault,
    )


@router.post("/unplaced/{report_id}", response_class=HTMLResponse)
def place(
    *,
    report_id: uuid.UUID,
    request: Request,
    _: Anyone,
    by: StaffForm,
    session: InSession,
    installation: TheInstallation,
    now: Now,
    grid_code: Field = "",
    reason: Field = "",
) -> Response:
    """Put a report into a grid by hand."""
    if not reason.strip():
        fault = say(request, "请写明归格理由。")
        return _queue(request, View.STAFF, session, installation=installation, now=now, fault=fault, status=422)
    try:
        with session.begin_nested():
            place_by_hand(session, report_id, _digits(grid_code), reason=reason.strip(), by=by, now=now)
    except GridError as error:
        fault = say(request, "没有归格：%(why)s", why=str(error))
        return _queue(request, View.STAFF, session, installation=installation, now=now, fault=fault, status=422)
    return RedirectResponse(f"/staff/unplaced?{urlencode({'placed': str(report_id)})}", 303)


def _digits(code: str) -> str:
    """A code as people paste it: with blanks between its parts."""
    return "".join(code.split())


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _local(address: str) -> str:
    """The address, if it is a page of ours; the queue else."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours and address != "/" else "/staff/unplaced"
