"""The map of an assessment, and the bare sheet that stands in its frame."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

import folium
import pandas as pd
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.deps import InSession, Now, TheCity, TheCounts
from api.pages.drawing import basemap_of, reference_of, synthetic_note
from api.pages.months import Month, month_text, period_of
from api.pages.rendering import page, sheet
from api.pages.supervision_words import BY, INDICATOR_NAMES
from api.routers.bulletin import Assessor
from gis_grid.assessment import Assessment, assess, has_synthetic
from gis_grid.assessment_scope import in_scope
from gis_grid.city import City
from gis_grid.counted_steps import By
from gis_grid.indicators import INDICATORS, parts
from gis_grid.territory import Level, areas_frame, grids_frame, the_layer
from maps.assessment import assessment_map
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
    text = month_text(period_of(month, city, now))
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
    drawn = draw_assessment(
        session,
        city,
        seen,
        indicator=indicator,
        is_synthetic=has_synthetic(session, period, now=now),
        now=now,
    )
    return sheet(render(drawn, assets=Served()), city=city, caller=caller)


def draw_assessment(
    session: Session,
    city: City,
    assessment: Assessment,
    *,
    indicator: str,
    is_synthetic: bool,
    now: datetime,
    with_links: bool = True,
) -> folium.Map:
    """One indicator of a month by grid, or else by town; those that an assessment leaves out are drawn as empty."""
    layer = the_layer(session, now)
    areas = areas_frame(session, layer, Level.TOWN, Level.COMMUNITY)
    month = month_text(assessment.period)
    if assessment.by is By.GRID:
        frame = grids_frame(session, layer)
        names = frame["town"] + " · " + frame["community"] + " " + frame["grid_code"]
        ground = frame[["geometry"]].assign(code=frame["grid_code"], name=names)
    else:
        ground = areas[areas["level"] == Level.TOWN.value][["geometry", "code", "name"]].reset_index(drop=True)
    if with_links:
        query = f"month={month}&by={assessment.by}&key="
        ground = ground.assign(url=[f"/assessment/of?{query}{code}" for code in ground["code"]])
    counted = {row.key: parts(row.counts, INDICATORS[indicator]) for row in assessment.rows}
    named = INDICATORS[indicator]
    return assessment_map(
        ground,
        pd.DataFrame.from_dict(counted, orient="index", columns=["of", "due"]),
        areas=areas,
        title=f"{city.name}考核 Assessment",
        as_of=assessment.as_of.astimezone(city.zone),
        month=month,
        indicator=f"{named.name} {named.name_en}",
        is_less_better=named.is_less_better,
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note({"网格 grids": layer.is_synthetic, "案件 cases": is_synthetic}),
    )
