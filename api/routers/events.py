"""Server-sent events: pages hear of each step of a case without asking."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from api.case_stream import CaseStream
from api.deps import Anyone, Code

router = APIRouter(prefix="/api/v1/events", tags=["cases"])


@router.get("", response_class=StreamingResponse)
async def stream_events(
    request: Request,
    _: Anyone,
    place: Annotated[Code | None, Query(description="code of a grid, community, town or district")] = None,
) -> StreamingResponse:
    """What the public sees of each step of a case as it is taken, as `event: case`; `event: reload` after a gap."""
    stream: CaseStream = request.app.state.case_stream
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream.read(place), media_type="text/event-stream", headers=headers)
