"""What a report can be about."""

import sqlalchemy as sa
from fastapi import APIRouter

from api.deps import Anyone, InSession
from gis_grid.event_types import EventType

router = APIRouter(prefix="/api/v1", tags=["event types"])


@router.get("/event-types")
def list_event_types(_: Anyone, session: InSession) -> list[dict[str, str | bool | None]]:
    """All classes and types, by code; `is_example` marks those that are not from the standard's top level."""
    return [
        {
            "code": type_.code,
            "parent_code": type_.parent_code,
            "family": type_.family,
            "name": type_.name,
            "name_en": type_.name_en,
            "is_example": type_.is_example,
        }
        for type_ in session.scalars(sa.select(EventType).order_by(EventType.code))
    ]
