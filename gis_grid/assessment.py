"""Assessment (考核): indicators recomputed from the log alone, compared with a month and a year before, and scored."""

import csv
import io
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.cases import Case, CaseLogEntry
from gis_grid.database import sql
from gis_grid.event_types import EventType
from gis_grid.indicators import (
    INDICATORS,
    Counted,
    Measure,
    Prior,
    Score,
    fit_prior,
    official_score,
    parts,
    percent,
    shrunk,
)
from gis_grid.periods import Period
from gis_grid.report_exports import defused
from gis_grid.reports import Report
from gis_grid.score_weights import weights_at
from gis_grid.territory import Area
from gis_grid.units import Unit, posts_of

RANKED = "closing_in_time_rate"
AND_POST = " · "  # between a unit and a post in it
KEPT_PERIODS = 120
SETTLED_AFTER = timedelta(hours=1)  # a step that was dated in a period is committed by then
ROWS = {
    "measure": sa.Text,
    "case_id": sa.BigInteger,
    "seq": sa.Integer,
    "is_done": sa.Boolean,
    "is_in_time": sa.Boolean,
    "unit": sa.Text,
    "who": sa.Text,
    "grid": sa.Text,
    "community": sa.Text,
    "town": sa.Text,
    "event_type": sa.Text,
    "report_id": sa.Uuid,
}


class By(StrEnum):
    """Whom or what the figures are for."""

    CITY = "city"
    TOWN = "town"
    COMMUNITY = "community"
    GRID = "grid"
    UNIT = "unit"
    POST = "post"  # who answered for the ground when the case was filed
    PERSON = "person"
    FAMILY = "family"  # event or component
    SOURCE = "source"
    REPORTER_CLASS = "reporter_class"  # residents, volunteers, stairwell heads, committees, staff


Counts = Mapping[Measure, Counted]


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


class LogRow(NamedTuple):
    """One thing that was counted, and the step of a case's log that says so."""

    measure: Measure
    case: str
    seq: int
    is_done: bool
    is_in_time: bool
    unit: str | None
    who: str | None


class KeptCounts:
    """What was counted in periods that are over: the log of then does not change any more."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Period, By], dict[str, Counts]] = {}
        self._lock = threading.Lock()

    def count(self, session: Session, period: Period, by: By, *, now: datetime) -> dict[str, Counts]:
        """As `count`, out of the log only once."""
        with self._lock:
            found = self._kept.get((period, by))
        if found is None:
            found = count(session, period, by, now=now)
            if now >= period.until + SETTLED_AFTER:
                with self._lock:
                    self._kept[period, by] = found
                    while len(self._kept) > KEPT_PERIODS:
                        self._kept.pop(next(iter(self._kept)))
        return found


def assess(session: Session, period: Period, by: By, *, now: datetime, kept: KeptCounts | None = None) -> Assessment:
    """The figures of a period by area, unit, post or person, recomputed from the log as it stood at its end, or now.

    Parameters
    ----------
    kept
        What was counted before; nothing is kept without it.
    """
    as_of, counting = min(period.until, now), kept or KeptCounts()
    found = counting.count(session, period, by, now=now)
    before: tuple[dict[str, Counts], dict[str, Counts]] = ({}, {})
    if period.is_month:
        before = tuple(  # type: ignore[assignment]
            counting.count(session, each, by, now=now) for each in (period.month_before, period.year_before)
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
    ordered = sorted(values.values(), reverse=True)
    return {key: ordered.index(value) + 1 for key, value in values.items()}


def count(session: Session, period: Period, by: By, *, now: datetime) -> dict[str, Counts]:
    """What happened in a period, counted by measure, for each area, unit or person that it happened to."""
    facts, joined, key = _facts(by)
    counted = (
        sa.select(
            key,
            facts.c.measure,
            sa.func.count(),
            sa.func.count().filter(facts.c.is_done),
            sa.func.count().filter(facts.c.is_in_time),
        )
        .select_from(joined)
        .where(key.is_not(None))
        .group_by(key, facts.c.measure)
    )
    found: dict[str, dict[Measure, Counted]] = {}
    for name, measure, due, done, in_time in session.execute(counted, _window(period, now)):
        found.setdefault(name, {})[Measure(measure)] = Counted(due, done, in_time)
    return dict(found)


def log_rows(
    session: Session, period: Period, by: By, key: str, *, measure: Measure | None = None, now: datetime, limit: int
) -> list[LogRow]:
    """The steps behind the figures of one area, unit or person: each thing counted, by measure and case."""
    facts, joined, column = _facts(by)
    query = (
        sa.select(
            facts.c.measure,
            sa.func.coalesce(Case.serial, sa.cast(Case.id, sa.Text)),
            facts.c.seq,
            facts.c.is_done,
            facts.c.is_in_time,
            facts.c.unit,
            facts.c.who,
        )
        .select_from(joined.join(Case, Case.id == facts.c.case_id))
        .where(column == key)
        .order_by(facts.c.measure, facts.c.case_id, facts.c.seq)
        .limit(limit)
    )
    asked = _window(period, now) | ({"measures": [measure.value]} if measure is not None else {})
    return [LogRow(Measure(row[0]), *row[1:]) for row in session.execute(query, asked)]


def _facts(by: By) -> tuple[sa.Subquery, Any, sa.ColumnElement[Any]]:
    """The rows that are counted, what they are joined with, and the column that says for whom."""
    facts = sql("assessed_steps").columns(**ROWS).subquery("facts")
    match by:
        case By.CITY:
            # Not a constant, by which nothing can be grouped.
            return facts, facts, sa.literal_column("case when facts.measure <> '' then 'city' end")
        case By.PERSON:
            return facts, facts, facts.c.who
        case By.POST:
            post = _post_of(facts)
            return facts, facts.join(post, sa.true()), post.c.post
        case By.FAMILY:
            kinds = EventType.__table__
            return facts, facts.join(kinds, kinds.c.code == facts.c.event_type), kinds.c.family
        case By.SOURCE | By.REPORTER_CLASS:
            reports = Report.__table__
            return facts, facts.join(reports, reports.c.id == facts.c.report_id), reports.c[by.value]
        case _:
            return facts, facts, facts.c[by.value]


def _post_of(facts: sa.Subquery) -> Any:
    """The post that answered for the ground of each row's case, as the case's log says: unit and title."""
    log, said = CaseLogEntry, CaseLogEntry.changed["responsible"]
    named = sa.func.concat_ws(AND_POST, said["unit"].astext, said["post"].astext)
    query = (
        sa.select(sa.func.nullif(named, "").label("post"))
        .where(log.case_id == facts.c.case_id, log.at < sa.bindparam("as_of"), log.changed.has_key("responsible"))
        .order_by(log.seq.desc())
        .limit(1)
    )
    return query.lateral("answered")


def has_synthetic(session: Session, period: Period, *, now: datetime) -> bool:
    """Whether any case that was accepted in a period, or is open, is made up."""
    accepted = (Case.accepted_at >= period.since) & (Case.accepted_at < min(period.until, now))
    made_up = (sa.exists().where(Case.is_synthetic, which) for which in (Case.closed_at.is_(None), accepted))
    return bool(session.scalar(sa.select(sa.or_(*made_up))))


def _window(period: Period, now: datetime) -> dict[str, Any]:
    as_of = min(period.until, now)
    texts = {"since_text": f"{period.since:%Y-%m-%dT%H:%M:%S}", "until_text": f"{period.until:%Y-%m-%dT%H:%M:%S}"}
    return {"since": period.since, "as_of": as_of, "measures": [each.value for each in Measure], **texts}


def _names(session: Session, by: By, found: Iterable[str], *, at: datetime) -> dict[str, str]:
    if by is By.UNIT:
        query = sa.select(Unit.code, Unit.name).where(Unit.valid.contains(at), Unit.code.in_(list(found)))
        return dict(iter(session.execute(query)))
    if by not in {By.TOWN, By.COMMUNITY}:
        return {}
    areas = sa.select(Area.code, Area.name).where(Area.code.in_(list(found))).order_by(Area.layer_id)
    return dict(iter(session.execute(areas)))


def _first_posts(session: Session, found: Iterable[str], *, at: datetime) -> dict[str, str]:
    return {
        code: post.title
        for code in found
        for post, _ in posts_of(session, code, at=at)[:1]
        if post.is_first_responsible
    }


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
