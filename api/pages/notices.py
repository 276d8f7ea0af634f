"""The page of notices: what supervision told whom, unread first, and the marks that it was read."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from api.case_access import refuse_key
from api.deps import InSession, Now
from api.pages.case_rows import words
from api.pages.case_words import VALUES
from api.pages.rendering import page
from api.pages.words import SYNTHETIC_PARTS
from api.routers.cases import Staff
from api.routers.notices import NoticeId
from gis_grid.notices import mark_read
from gis_grid.supervision import find_notices, the_notice
from gis_grid.units import find_units

router = APIRouter(prefix="/notices")
LISTED = 50


@router.get("", response_class=HTMLResponse)
def notices_page(
    *,
    request: Request,
    caller: Staff,
    session: InSession,
    now: Now,
    show: Annotated[str, Query(pattern="^(unread|all)$")] = "unread",
    whose: Annotated[str, Query(pattern="^(mine|scope)$")] = "mine",
    before: NoticeId | None = None,
) -> HTMLResponse:
    """Notices told to the caller's units or about their ground, the newest first."""
    found = find_notices(
        session,
        caller,
        now=now,
        is_unread=show == "unread",
        is_addressed=whose == "mine",
        before=before,
        limit=LISTED + 1,
    )
    shown = found[:LISTED]
    asked = {"show": show, "whose": whose}
    return page(
        request,
        "notices.html",
        caller=caller,
        notices=shown,
        units=find_units(session, {notice.unit_code for notice, _, _ in shown}, at=now),
        values=VALUES,
        asked=asked,
        query=lambda **changes: urlencode(asked | changes),
        next_before=shown[-1][0].id if len(found) > LISTED else None,
        before=before,
        synthetic=[SYNTHETIC_PARTS["cases"]] if any(case.is_synthetic for _, case, _ in shown) else [],
        **words(session, request),
    )


@router.post("/read", response_class=HTMLResponse)
def read(
    *,
    caller: Staff,
    session: InSession,
    now: Now,
    notice: Annotated[list[NoticeId], Form(max_length=LISTED)],
    show: Annotated[str, Form(pattern="^(unread|all)$")] = "unread",
    whose: Annotated[str, Form(pattern="^(mine|scope)$")] = "mine",
) -> Response:
    """Mark notices as read by the caller; again changes nothing."""
    refuse_key(caller, "read")
    for each in notice:
        mark_read(session, the_notice(session, each, caller, now=now).id, who=caller.who, now=now)
    return RedirectResponse(f"/notices?{urlencode({'show': show, 'whose': whose})}", 303)
