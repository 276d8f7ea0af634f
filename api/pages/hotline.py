"""The operator's page: a call taken down in a minute, with the cases that are likely the same beside it."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from api.deps import InSession, Now, needs
from api.pages.case_words import STAGES
from api.pages.figures import event_types
from api.pages.language import Language, language_of
from api.pages.rendering import page, say
from api.pages.words import FAMILIES
from gis_grid.intake import district_bounds
from gis_grid.permissions import Caller, Permission
from gis_grid.reports import Kind
from gis_grid.routing import Alarm
from gis_grid.territory import Area, Level, layer_in_force
from gis_grid.units import hotlines

router = APIRouter()
CALL_KINDS = tuple(kind for kind in Kind if kind is not Kind.PATROL)
Accepter = Annotated[Caller, Depends(needs(Permission.ACCEPT))]


@router.get("/hotline", response_class=HTMLResponse)
def call_form(*, request: Request, caller: Accepter, session: InSession, now: Now) -> HTMLResponse:
    """The form; it is sent through the JSON API, so that likely duplicates can be answered before anything is saved."""
    is_chinese = language_of(request) is Language.CHINESE
    named = [(kind, kind.name if is_chinese else kind.name_en) for kind in event_types(session)]
    layer = layer_in_force(session, now)
    towns = []
    if layer is not None:
        query = sa.select(Area.code, Area.name).where(Area.layer_id == layer.id, Area.level == Level.TOWN.value)
        towns = [{"code": code, "name": name} for code, name in session.execute(query.order_by(Area.code))]
    setup = {
        "bounds": district_bounds(session, at=now),
        "types": [{"code": kind.code, "parent": kind.parent_code, "name": name} for kind, name in named],
        "stages": {stage.value: say(request, word) for stage, word in STAGES.items()},
    }
    classes = {
        title: [(kind.code, name) for kind, name in named if kind.parent_code is None and kind.family == family]
        for family, title in FAMILIES.items()
    }
    return page(
        request,
        "hotline.html",
        caller=caller,
        setup=setup,
        classes=classes,
        kinds=CALL_KINDS,
        numbers=sorted(hotlines(session, at=now).values(), key=lambda line: (line.role != "intake", line.number)),
        towns=towns,
        alarms=list(Alarm),
    )
