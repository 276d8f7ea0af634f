"""A token for a program whose user knows a password."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import Address, Anyone, Filled, InSession, Json, Now, Plain, TheInstallation
from gis_grid.errors import Forbidden
from gis_grid.installation import Installation
from gis_grid.rate_limits import RateLimit, spend
from gis_grid.sign_in import SessionKind, SignedIn, sign_in, sign_out

router = APIRouter(prefix="/api/v1", tags=["sign in"])


class SignInIn(BaseModel):
    """A login and its password."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"login": "dispatcher", "password": "correct-horse-battery"}]},
    )

    login: Annotated[str, Field(max_length=100), Plain, Filled]
    password: Annotated[str, Field(min_length=1, max_length=200), Plain]


@router.post("/sign-in")
def get_token(sent: SignInIn, _: Anyone, installation: TheInstallation, now: Now, address: Address) -> Json:
    """A bearer token that lasts 12 hours; 401 for a wrong password, 429 after too many of them."""
    signed_in = signed_in_or_raise(
        installation, sent.login, sent.password, kind=SessionKind.BEARER, address=address, now=now
    )
    return {"token": signed_in.secret, "login": signed_in.login, "expires_at": signed_in.expires_at.isoformat()}


@router.post("/sign-out", status_code=204)
def end_token(caller: Anyone, session: InSession, now: Now) -> Response:
    """The token that was sent counts no more."""
    if caller.session_id is None:
        raise Forbidden("no sign-in was sent that could be ended")
    sign_out(session, caller.session_id, now=now)
    return Response(status_code=204)


def signed_in_or_raise(
    installation: Installation, login: str, password: str, *, kind: SessionKind, address: str, now: datetime
) -> SignedIn:
    """A new session; what was tried is committed before a refusal is raised."""
    limit = RateLimit("sign-ins", installation.settings.sign_ins_per_quarter_hour, timedelta(minutes=15))
    with installation.sessions.begin() as session:
        refusal = spend(session, limit, address, now=now)
    if refusal is not None:
        raise refusal
    with installation.sessions.begin() as session:
        answer = sign_in(
            session, login, password, kind=kind, address=address, passwords=installation.passwords, now=now
        )
    if not isinstance(answer, SignedIn):
        raise answer
    return answer
