"""Notices of supervision: who was told of which act, and what a unit has read."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from api.case_access import refuse_key
from api.deps import InSession, Json, Now
from api.routers.cases import Staff
from gis_grid.cases import Case
from gis_grid.notices import Notice, mark_read
from gis_grid.supervision import find_notices, the_notice

router = APIRouter(prefix="/api/v1/notices", tags=["supervision"])
NoticeId = Annotated[int, Field(ge=1, le=2**63 - 1)]


@router.get("")
def list_notices(
    caller: Staff,
    session: InSession,
    now: Now,
    unread: Annotated[bool, Query(description="only those that the caller has not read")] = False,
    before: Annotated[NoticeId | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """Notices told to the caller's units, or about cases on the caller's ground; the newest first."""
    found = find_notices(session, caller, now=now, is_unread=unread, before=before, limit=limit + 1)
    page = found[:limit]
    return {
        "notices": [
            _notice_json(notice, case) | {"read_at": read_at.isoformat() if read_at else None}
            for notice, case, read_at in page
        ],
        "next": page[-1][0].id if len(found) > limit else None,
    }


@router.post("/{notice_id}/read")
def read_notice(notice_id: NoticeId, caller: Staff, session: InSession, now: Now) -> Json:
    """Mark a notice as read by the caller; again changes nothing."""
    refuse_key(caller, "read")
    notice = the_notice(session, notice_id, caller, now=now)
    return {"id": notice.id, "read_at": mark_read(session, notice.id, who=caller.who, now=now).isoformat()}


def _notice_json(notice: Notice, case: Case) -> Json:
    return {
        "id": notice.id,
        "case": case.name,
        "seq": notice.seq,
        "act": notice.act,
        "clock": notice.clock,
        "started_at": notice.started_at.isoformat(),
        "fell_due_at": notice.fell_due_at.isoformat() if notice.fell_due_at else None,
        "issued_at": notice.issued_at.isoformat(),
        "unit": notice.unit_code,
        "post": notice.post,
        "is_synthetic": case.is_synthetic,
        "is_drill": case.is_drill,
    }
