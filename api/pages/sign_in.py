"""Signing in and out in a browser."""

import math
import secrets
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from api.deps import SESSION_COOKIE, Address, Anyone, InSession, Now, Plain, TheInstallation
from api.errors import SignInNeeded, status_of
from api.pages.rendering import page, say
from api.routers.sign_in import signed_in_or_raise
from api.same_site import is_from_our_page
from gis_grid.errors import Forbidden
from gis_grid.permissions import ANONYMOUS
from gis_grid.rate_limits import TooMany
from gis_grid.sign_in import LASTS, SessionKind, WrongPassword, sign_out

router = APIRouter()
# Opens nothing; scripts may read it, to tell what they keep for this sign-in from what they kept for another.
MARK_COOKIE = "gis_grid_sign_in"
Field = Annotated[str, Form(max_length=1000), Plain]


@router.get("/sign-in", response_class=HTMLResponse)
def sign_in_page(*, request: Request, caller: Anyone, after: str = "/") -> HTMLResponse:
    """Where login and password are entered; who has signed in finds the way out."""
    return page(request, "sign_in.html", caller=caller, fault=None, after=_local(after))


@router.get("/staff")
def staff_page(_: Anyone, after: str = "/") -> Response:
    """Where the sign-in page was before there were accounts."""
    return RedirectResponse(f"/sign-in?{urlencode({'after': _local(after)})}", 303)


@router.post("/sign-in", response_class=HTMLResponse)
def sign_in(
    *,
    request: Request,
    _: Anyone,
    installation: TheInstallation,
    now: Now,
    address: Address,
    login: Field = "",
    password: Field = "",
    after: Field = "/",
) -> Response:
    """Start a session, in a cookie that no script can read and no other site's form sends."""
    if not is_from_our_page(request):
        raise Forbidden("this form did not come from a page of ours; open the sign-in page again")
    try:
        signed_in = signed_in_or_raise(
            installation, login, password, kind=SessionKind.BROWSER, address=address, now=now
        )
    except (WrongPassword, TooMany) as error:
        answer: Response = page(
            request,
            "sign_in.html",
            caller=ANONYMOUS,
            status=status_of(error),
            fault=_fault(request, error),
            after=_local(after),
        )
        if isinstance(error, TooMany):
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer
    answer = RedirectResponse(_local(after), 303)
    is_secure, lasts_s = request.url.scheme == "https", int(LASTS.total_seconds())
    answer.set_cookie(
        SESSION_COOKIE, signed_in.secret, max_age=lasts_s, httponly=True, samesite="lax", secure=is_secure
    )
    answer.set_cookie(MARK_COOKIE, secrets.token_hex(8), max_age=lasts_s, samesite="lax", secure=is_secure)
    return answer


def _fault(request: Request, error: WrongPassword | TooMany) -> str:
    if isinstance(error, TooMany):
        minutes = math.ceil(error.retry_after_s / 60)
        return say(request, "尝试次数太多，请%(minutes)s分钟后再试。", minutes=minutes)
    return say(request, "登录名或密码不对。")


@router.post("/sign-out")
def leave(caller: Anyone, session: InSession, now: Now) -> Response:
    """End the session, here and in the database."""
    if caller.doubt:
        raise Forbidden(caller.doubt)
    if caller.session_id is None:
        raise SignInNeeded("nobody is signed in here")
    sign_out(session, caller.session_id, now=now)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
    answer.delete_cookie(MARK_COOKIE, samesite="lax")
    return answer


def _local(address: str) -> str:
    """The address, if it is a page of ours; the first page else."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours else "/"
