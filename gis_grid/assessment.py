"""Assessment (考核): indicators recomputed from the log alone, compared with a month and a year before, and scored."""

import csv
import io
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.cases import Case
from gis_grid.city import City
from gis_grid.counted_steps import By, Counts, count_steps
from gis_grid.indicators import (
    INDICATORS,
    Prior,
    Score,
    fit_prior,
    official_score,
    parts,
    percent,
    shrunk,
)
from gis_grid.patrol_indicators import count_patrols
from gis_grid.periods import Period
from gis_grid.report_exports import defused
from gis_grid.score_weights import weights_at
from gis_grid.territory import Area
from gis_grid.units import Unit, first_responsible

RANKED = "closing_in_time_rate"
KEPT_PERIODS = 120
SETTLED_AFTER = timedelta(hours=1)  # a step that was dated in a period is committed by then
PATROLS_KEPT = timedelta(hours=1)
T = TypeVar("T")


@dataclass(frozen=True)
class Assessed:
    """The figures of one area, unit or person in a period.

    Attributes
    ----------
    counts, month_before, year_before
        In the period, and in those it is compared with (环比, 同比); empty for a period that is no month.
    score, rank
        Official and unshrunk, and the place it gives, 1 the best; None where there is nothing to count.
    shrunk_share, shrunk_rank
        `closing_in_time_rate` moved towards the mean of all, and the place it gives, 1 the best; None without cases.
    post
        Of a unit: its first responsible post.
    """

    key: str
    name: str
    counts: Counts
    month_before: Counts
    year_before: Counts
    score: Score | None
    rank: int | None
    shrunk_share: float | None
    shrunk_rank: int | None
    post: str | None = None


@dataclass(frozen=True)
class Assessment:
    """All figures of a period; `as_of` is up to when the log was read, `prior` what the second ranking shrinks to."""

    period: Period
    by: By
    as_of: datetime
    rows: tuple[Assessed, ...]
    prior: Prior | None


class KeptCounts:
    """What was counted of a city's periods that are over: the log of then does not change any more.

    Outings may be sent late, so what patrols saw is counted anew after a while.
    """

    def __init__(self, city: City) -> None:
        self._city = city
        self._steps: dict[tuple[Period, By], dict[str, Counts]] = {}
        self._patrols: dict[tuple[Period, By], tuple[datetime, dict[str, Counts]]] = {}
        self._lock = threading.Lock()

    def count(self, session: Session, period: Period, by: By, *, now: datetime) -> dict[str, Counts]:
        """What happened in a period, counted by measure, for each that it happened to; out of the log only once."""
        with self._lock:
            steps, patrols = self._steps.get((period, by)), self._patrols.get((period, by))
        is_settled = now >= period.until + SETTLED_AFTER
        if steps is None:
            steps = count_steps(session, period, by, now=now)
            if is_settled:
                self._keep(self._steps, (period, by), steps)
        if patrols is None or now - patrols[0] >= PATROLS_KEPT:
            patrols = now, count_patrols(session, period, by, city=self._city, now=now)
            if is_settled:
                self._keep(self._patrols, (period, by), patrols)
        return {key: {**steps.get(key, {}), **patrols[1].get(key, {})} for key in steps.keys() | patrols[1].keys()}

    def _keep(self, kept: dict[tuple[Period, By], T], key: tuple[Period, By], found: T) -> None:
        with self._lock:
            kept[key] = found
            while len(kept) > KEPT_PERIODS:
                kept.pop(next(iter(kept)))


def assess(session: Session, period: Period, by: By, *, now: datetime, kept: KeptCounts) -> Assessment:
    """The figures of a period by area, unit, post or person, recomputed from the log as it stood at its end, or now.

    Parameters
    ----------
    kept
        What was counted before.
    """
    as_of = min(period.until, now)
    found = kept.count(session, period, by, now=now)
    before: tuple[dict[str, Counts], dict[str, Counts]] = ({}, {})
    if period.is_month:
        before = tuple(  # type: ignore[assignment]
            kept.count(session, each, by, now=now) for each in (period.month_before, period.year_before)
        )
    names, weights = _names(session, by, found, at=as_of), weights_at(session, at=as_of)
    ranked = {key: parts(counts, INDICATORS[RANKED]) for key, counts in found.items()}
    prior = fit_prior([of for of, _ in ranked.values()], [due for _, due in ranked.values()])
    shares = {key: shrunk(of, due, prior) for key, (of, due) in ranked.items() if due and prior}
    scores = {key: official_score(counts, weights) for key, counts in found.items()}
    places = _places({key: score.points for key, score in scores.items() if score})
    # As exact as it is shown: where units differ no more than by chance, all have one place.
    shrunk_places = _places({key: round(value, 4) for key, value in shares.items()})
    posts = _first_posts(session, found, at=as_of) if by is By.UNIT else {}
    rows = [
        Assessed(
            key=key,
            name=names.get(key, key),
            counts=counts,
            month_before=before[0].get(key, {}),
            year_before=before[1].get(key, {}),
            score=scores[key],
            rank=places.get(key),
            shrunk_share=shares.get(key),
            shrunk_rank=shrunk_places.get(key),
            post=posts.get(key),
        )
        for key, counts in sorted(found.items())
    ]
    return Assessment(period, by, as_of, tuple(rows), prior)


def _places(values: Mapping[str, float]) -> dict[str, int]:
    """The place of each, the highest first; those that are equal share one, as in 1, 2, 2, 4."""
    places: dict[float, int] = {}
    for place, value in enumerate(sorted(values.values(), reverse=True), start=1):
        places.setdefault(value, place)
    return {key: places[value] for key, value in values.items()}


def has_synthetic(session: Session, period: Period, *, now: datetime) -> bool:
    """Whether any case that was accepted in a period, or is open, is made up."""
    accepted = (Case.accepted_at >= period.since) & (Case.accepted_at < min(period.until, now))
    made_up = (sa.exists().where(Case.is_synthetic, which) for which in (Case.closed_at.is_(None), accepted))
    return bool(session.scalar(sa.select(sa.or_(*made_up))))


def _names(session: Session, by: By, found: Iterable[str], *, at: datetime) -> dict[str, str]:
    if by is By.UNIT:
        query = sa.select(Unit.code, Unit.name).where(Unit.valid.contains(at), Unit.code.in_(list(found)))
        return dict(iter(session.execute(query)))
    if by not in {By.TOWN, By.COMMUNITY}:
        return {}
    areas = sa.select(Area.code, Area.name).where(Area.code.in_(list(found))).order_by(Area.layer_id)
    return dict(iter(session.execute(areas)))


def _first_posts(session: Session, found: Iterable[str], *, at: datetime) -> dict[str, str]:
    return {code: post.title for code, (post, _) in first_responsible(session, found, at=at).items()}


CSV_COLUMNS = (
    "key", "name", "indicator", "indicator_zh", "numerator", "denominator", "percent", "month_before_percent",
    "year_before_percent", "weight", "official_points", "platform_share", "official_contribution",
    "shrunk_closing_in_time_percent", "shrunk_rank",
)  # fmt: skip


def assessment_csv(assessment: Assessment) -> str:
    """The figures as CSV, a row an indicator, with the byte order mark that spreadsheets know UTF-8 by."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(CSV_COLUMNS)
    for row in assessment.rows:
        for name in INDICATORS:
            writer.writerow(defused(cell) for cell in _cells(row, name))
    return "\ufeff" + file.getvalue()


def _cells(row: Assessed, name: str) -> list[object]:
    indicator, score = INDICATORS[name], row.score
    of, due = parts(row.counts, indicator)
    before = [percent(*parts(counts, indicator)) for counts in (row.month_before, row.year_before)]
    scored = ["", "", "", ""]
    if score is not None:
        weight = f"{score.terms[name][0]:g}" if name in score.terms else ""
        scored = [weight, f"{score.points:.2f}", f"{score.platform_share:g}", f"{score.contribution:.2f}"]
    ranked = ["", ""] if row.shrunk_share is None else [f"{100 * row.shrunk_share:.2f}", str(row.shrunk_rank)]
    return [row.key, row.name, name, indicator.name, of, due, percent(of, due), *before, *scored, *ranked]
