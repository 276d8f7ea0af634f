"""The map of an assessment, and the bare sheet that stands in its frame."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api.deps import InSession, Now, TheCity, TheCounts
from api.pages import drawing
from api.pages.assessment import Month, period_of
from api.pages.rendering import page, sheet
from api.pages.supervision_words import BY, INDICATOR_NAMES
from api.routers.bulletin import Assessor
from gis_grid.assessment import By, assess, has_synthetic
from gis_grid.assessment_scope import in_scope
from maps.assets import Served, render

router = APIRouter(prefix="/maps/assessment")
GroundBy = Annotated[str, Query(pattern="^(town|grid)$")]
Named = Annotated[str, Query(pattern=f"^({'|'.join(INDICATOR_NAMES)})$")]


@router.get("", response_class=HTMLResponse)
def assessment_map_page(
    *,
    request: Request,
    caller: Assessor,
    city: TheCity,
    now: Now,
    _: InSession,
    month: Month = "",
    by: GroundBy = "town",
    indicator: Named = "closing_in_time_rate",
) -> HTMLResponse:
    """One indicator of a month on the map."""
    text = f"{period_of(month, city, now).first:%Y-%m}"
    asked = {"month": text, "by": by, "indicator": indicator}
    return page(
        request,
        "map_assessment.html",
        caller=caller,
        month=text,
        by=by,
        words_of={each.value: BY[each] for each in (By.TOWN, By.GRID)},
        indicator=indicator,
        indicator_names=INDICATOR_NAMES,
        sheet_url=f"/maps/assessment/sheet?{urlencode(asked)}",
    )


@router.get("/sheet", response_class=HTMLResponse)
def assessment_sheet(
    *,
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    kept: TheCounts,
    month: Month = "",
    by: GroundBy = "town",
    indicator: Named = "closing_in_time_rate",
) -> HTMLResponse:
    """The bare map; whose role counts on some ground only sees figures there and nothing elsewhere."""
    period = period_of(month, city, now)
    whole = assess(session, period, By(by), now=now, kept=kept)
    seen = in_scope(session, caller, whole, now=now)
    drawn = drawing.draw_assessment(
        session,
        city,
        seen,
        indicator=indicator,
        is_synthetic=has_synthetic(session, period, now=now),
        now=now,
    )
    return sheet(render(drawn, assets=Served()), city=city, caller=caller)
