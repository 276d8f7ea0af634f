"""Assessment: the figures of a month, and the log rows behind each of them."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from api.deps import InSession, Json, Now, Plain, TheActor, TheCity, TheCounts
from api.routers.bulletin import Assessor
from gis_grid.assessment import Assessed, Assessment, assess, assessment_csv
from gis_grid.assessment_scope import demand_kind, demand_rows, in_scope, note_passes
from gis_grid.counted_steps import By, Counts, log_rows
from gis_grid.indicators import INDICATORS, Measure, Score, parts, percent, share
from gis_grid.periods import Period
from gis_grid.permissions import Permission

router = APIRouter(prefix="/api/v1/assessment", tags=["assessment"])
Month = Annotated[str, Query(description="such as 2026-03", max_length=20)]


class Form(StrEnum):
    """How figures are sent."""

    JSON = "json"
    CSV = "csv"


@router.get("", response_class=JSONResponse)
def get_assessment(
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    kept: TheCounts,
    month: Month,
    by: By = By.UNIT,
    form: Annotated[Form, Query(alias="format")] = Form.JSON,
) -> Response:
    """Indicators and scores of a month, with the month before and the same month a year before.

    Areas, units and posts of the caller's scope, with their ranks among all; persons and patrollers for those who may
    everywhere.
    """
    demand_kind(caller, by)
    whole = assess(session, Period.month(month, city.zone), by, now=now, kept=kept)
    assessment = in_scope(session, caller, whole, now=now)
    if form is Form.CSV:
        headers = {"Content-Disposition": f'attachment; filename="assessment-{month}-{by}.csv"'}
        return Response(assessment_csv(assessment), media_type="text/csv; charset=utf-8", headers=headers)
    return JSONResponse(_assessment_json(assessment))


@router.get("/rows")
def get_rows(
    caller: Assessor,
    session: InSession,
    city: TheCity,
    now: Now,
    actor: TheActor,
    month: Month,
    key: Annotated[str, Query(max_length=100, description="as the assessment names it"), Plain],
    by: By = By.UNIT,
    measure: Measure | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> list[Json]:
    """How the figures of one area, unit or person came about: every thing counted, with its row in a case's log.

    What a patroller passed and others found is for who may read their outings, and the reading is written down.
    """
    period = Period.month(month, city.zone)
    demand_rows(session, caller, by, key, measure=measure, now=now)
    rows = log_rows(session, period, by, key, measure=measure, now=now, limit=limit)
    if by is By.PATROLLER:
        note_passes(session, key, period, rows, by=actor, now=now)
    is_whole = caller.may(Permission.SEE_ASSESSMENT)
    return [row._asdict() | ({} if is_whole else {"who": None}) for row in rows]


def _assessment_json(assessment: Assessment) -> Json:
    prior = assessment.prior
    return {
        "since": assessment.period.first.isoformat(),
        "until": assessment.period.last.isoformat(),
        "as_of": assessment.as_of.isoformat(),
        "by": assessment.by,
        "rows": [_row_json(row) for row in assessment.rows],
        "shrunk": {
            "indicator": "closing_in_time_rate",
            "method": "empirical Bayes, beta-binomial, posterior mean",
            "mean": prior.mean if prior else None,
            "weighs_as_cases": prior.cases if prior else None,
        },
    }


def _row_json(row: Assessed) -> Json:
    return {
        "key": row.key,
        "name": row.name,
        "post": row.post,
        "indicators": _indicators_json(row.counts),
        "month_before": _indicators_json(row.month_before),
        "year_before": _indicators_json(row.year_before),
        "official": _score_json(row.score) if row.score else None,
        "official_rank": row.rank,
        "shrunk_closing_in_time_share": row.shrunk_share,
        "shrunk_rank": row.shrunk_rank,
    }


def _indicators_json(counts: Counts) -> Json:
    found = {name: (*parts(counts, indicator), share(counts, indicator)) for name, indicator in INDICATORS.items()}
    return {
        name: {"numerator": of, "denominator": due, "share": value, "percent": percent(of, due)}
        for name, (of, due, value) in found.items()
        if due
    }


def _score_json(score: Score) -> Json:
    return {
        "points": score.points,
        "platform_share": score.platform_share,
        "contribution": score.contribution,
        "terms": {name: {"weight": weight, "value": value} for name, (weight, value) in score.terms.items()},
    }
