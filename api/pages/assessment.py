"""The pages of the assessment: a ranking of a month, and how the score of one area, unit or person came about."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.deps import InSession, Now, Plain, TheActor, TheCity, TheCounts
from api.pages.figures import type_names
from api.pages.months import Month, month_links, month_text, period_of
from api.pages.rendering import page
from api.pages.supervision_words import (
    BY,
    DIRECTIONS,
    INDICATOR_NAMES,
    LESS_IS_BETTER,
    MEASURES,
    OF_PATROLS,
    RANKED,
    REPORTER_CLASSES,
)
from api.pages.words import FAMILIES, NAMES, SYNTHETIC_PARTS
from api.routers.bulletin import Assessor
from gis_grid.assessment import Assessed, assess, has_synthetic
from gis_grid.assessment_scope import (
    OF_ALL,
    OF_PERSONS,
    demand_figures,
    demand_kind,
    demand_rows,
    in_scope,
    note_passes,
)
from gis_grid.counted_steps import PATROLLED, By, LogRow, log_rows
from gis_grid.errors import NotFound
from gis_grid.evaluations import Direction, evaluated
from gis_grid.indicators import INDICATORS, Measure, Score, parts, percent, share
from gis_grid.patrols import has_synthetic_tracks
from gis_grid.periods import Period
from gis_grid.permissions import Caller, Permission
from gis_grid.units import UnitKind, units_at

router = APIRouter(prefix="/assessment")
LISTED = 300
ROWS_LISTED = 500
Key = Annotated[str, Query(max_length=200, description="as the assessment names it"), Plain]


class Figure(NamedTuple):
    """An indicator as a table tells it: shares in percent, changes in percentage points, empty where there is none.

    Attributes
    ----------
    weight, value, brings
        In the official score: its weight, what it counts as (0 to 1), and the points that it brings.
    """

    name: str
    of: int
    due: int
    percent: str
    measure: Measure
    month_before: str
    year_before: str
    month_change: str
    year_change: str
    weight: float | None
    value: float | None
    brings: float | None


def figures_of(row: Assessed, names: Sequence[str]) -> list[Figure]:
    """The indicators of one row, with what they were and how much they changed since."""
    return [_figure(row, name) for name in names]


def _figure(row: Assessed, name: str) -> Figure:
    indicator = INDICATORS[name]
    now = share(row.counts, indicator)
    month, year = (share(counts, indicator) for counts in (row.month_before, row.year_before))
    weight, value = row.score.terms.get(name, (None, None)) if row.score else (None, None)
    of, due = parts(row.counts, indicator)
    return Figure(
        name,
        of,
        due,
        percent(of, due),
        indicator.measure,
        percent(*parts(row.month_before, indicator)),
        percent(*parts(row.year_before, indicator)),
        _change(now, month),
        _change(now, year),
        weight,
        value,
        _brings(row.score, weight, value),
    )


def _change(now: float | None, was: float | None) -> str:
    return "" if now is None or was is None else f"{100 * (now - was):+.2f}"


def _brings(score: Score | None, weight: float | None, value: float | None) -> float | None:
    if score is None or weight is None or value is None:
        return None
    return 100 * weight * value / score.weight


@router.get("", response_class=HTMLResponse)
def ranking(
    *,
    request: Request,
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    kept: TheCounts,
    month: Month = "",
    by: By = By.TOWN,
) -> HTMLResponse:
    """Scores and indicators of a month, the best score first."""
    demand_kind(caller, by)
    period = period_of(month, city, now)
    whole = assess(session, period, by, now=now, kept=kept)
    seen = in_scope(session, caller, whole, now=now)
    rows = sorted(seen.rows, key=lambda row: (row.rank or len(seen.rows) + 1, row.key))
    ranked = OF_PATROLS if by is By.PATROLLER else RANKED
    return page(
        request,
        "assessment.html",
        caller=caller,
        **_common(session, request, caller, period, by, now=now),
        months=month_links(period, now, lambda month: f"/assessment?{_asked(month, by)}"),
        rows=[(row, figures_of(row, ranked)) for row in rows[:LISTED]],
        columns=ranked,
        hidden=len(rows) - min(len(rows), LISTED),
        of=len(whole.rows),
        prior=whole.prior,
        as_of=whole.as_of,
        opens=by not in OF_ALL or caller.may(Permission.SEE_ASSESSMENT),
        is_scored=by is not By.PATROLLER or any(row.score for row in rows),
        most_weight=max((row.score.weight for row in whole.rows if row.score), default=0.0),
        platform=next((row.score.platform_share for row in whole.rows if row.score), None),
        download=_asked(period, by, format="csv"),
    )


@router.get("/of", response_class=HTMLResponse)
def one(
    *,
    request: Request,
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    actor: TheActor,
    kept: TheCounts,
    key: Key,
    month: Month = "",
    by: By = By.UNIT,
    measure: Measure | None = None,
) -> HTMLResponse:
    """How the score of one area, unit, post or person came about, down to the rows of the log."""
    demand_figures(session, caller, by, key, now=now)
    period = period_of(month, city, now)
    whole = assess(session, period, by, now=now, kept=kept)
    row = next((row for row in whole.rows if row.key == key), None)
    if row is None:
        raise NotFound(f"nothing was counted for {key[:60]!r} in {month_text(period)}")
    rows: list[LogRow] = []
    if measure is not None:
        demand_rows(session, caller, by, key, measure=measure, now=now)
        rows = log_rows(session, period, by, key, measure=measure, now=now, limit=ROWS_LISTED + 1)
    if by is By.PATROLLER:
        note_passes(session, key, period, rows, by=actor, now=now)
    return page(
        request,
        "assessment_of.html",
        caller=caller,
        **_common(session, request, caller, period, by, now=now),
        row=row,
        figures=figures_of(row, list(INDICATORS)),
        of=len(whole.rows),
        prior=whole.prior,
        as_of=whole.as_of,
        measure=measure,
        measures=MEASURES,
        evaluations=_evaluations(session, period, by, key, at=whole.as_of),
        directions=DIRECTIONS,
        log=rows[:ROWS_LISTED],
        has_more=len(rows) > ROWS_LISTED,
        sees_persons=caller.may(Permission.SEE_ASSESSMENT),
    )


def _evaluations(session: Session, period: Period, by: By, key: str, *, at: datetime) -> dict[Direction, float]:
    """What others think of a unit, or of the sub-centre of a town, in the month: beside the score, not in it."""
    if by is By.TOWN:
        codes = [unit.code for unit in units_at(session, at=at, kinds=[UnitKind.SUB_CENTRE], area_code=key)]
    else:
        codes = [key] if by is By.UNIT else []
    found = evaluated(session, month_text(period), at=at) if codes else {}
    return next((found[code] for code in codes if code in found), {})


def _common(session: Session, request: Request, caller: Caller, period: Period, by: By, *, now: Any) -> dict[str, Any]:
    """What both pages need."""
    words = dict(BY)
    if not caller.may(Permission.SEE_ASSESSMENT):
        words = {each: word for each, word in words.items() if each not in OF_PERSONS}
    made_up = {
        "cases": has_synthetic(session, period, now=now),
        "patrols": by in PATROLLED and has_synthetic_tracks(session),
    }
    return {
        "period": period,
        "month": month_text(period),
        "by": by,
        "words_of": words,
        "indicator_names": INDICATOR_NAMES,
        "less_is_better": LESS_IS_BETTER,
        "is_over": period.until <= now,
        "opened": _opened(caller, by),
        "kinds": {**FAMILIES, **NAMES, **REPORTER_CLASSES, "city": BY[By.CITY], **type_names(session, request)},
        "query": lambda **changes: _asked(period, by, **changes),
        "synthetic": [SYNTHETIC_PARTS[part] for part, is_made_up in made_up.items() if is_made_up],
    }


def _opened(caller: Caller, by: By) -> frozenset[Measure]:
    """What has rows that the caller may see: ground has none; where a patroller passed is for who may read tracks."""
    is_hidden = by is By.PATROLLER and not caller.may(Permission.READ_TRACKS)
    return frozenset(Measure) - {Measure.COVER} - ({Measure.MISS} if is_hidden else set())


def _asked(period: Period, by: By, **more: str) -> str:
    return urlencode({"month": month_text(period), "by": by.value} | more)
