"""Steps of the log that are counted in a period, and for whom: areas, units, posts, people, patrollers."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.cases import Case, CaseLogEntry
from gis_grid.database import sql
from gis_grid.event_types import EventType
from gis_grid.indicators import Counted, Measure
from gis_grid.periods import Period
from gis_grid.reports import Kind, Report, Source
from gis_grid.track_intake import SIGHT_M

AND_POST = " · "  # between a unit and a post in it
STEPS, PATROLS = "assessed_steps", "patrolled_steps"  # the statements that find what is counted
PATROL_MEASURES = frozenset({Measure.REPORT, Measure.MISS})
LOOK_BACK = timedelta(hours=24)
# What planners file as a blind spot, or load from files, tells nothing of what a patrol passed by.
FOUND_OTHERWISE = frozenset(Source) - {Source.PATROL, Source.BLIND_SPOT, Source.IMPORT}
TO_BE_SEEN = (Kind.HELP, Kind.COMPLAINT, Kind.TIP)
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
    PATROLLER = "patroller"
    FAMILY = "family"  # event or component
    SOURCE = "source"
    REPORTER_CLASS = "reporter_class"  # residents, volunteers, stairwell heads, committees, staff


# Of whom patrols are counted: they are no source, and what persons do in cases is counted apart.
PATROLLED = frozenset({By.CITY, By.TOWN, By.COMMUNITY, By.GRID, By.UNIT, By.POST, By.PATROLLER, By.FAMILY})
Counts = Mapping[Measure, Counted]


class LogRow(NamedTuple):
    """One thing that was counted, and the step of a case's log that says so."""

    measure: Measure
    case: str
    seq: int
    is_done: bool
    is_in_time: bool
    unit: str | None
    who: str | None


def count_steps(session: Session, period: Period, by: By, *, now: datetime) -> dict[str, Counts]:
    """What happened to cases in a period, counted by measure, for each area, unit or person that it happened to."""
    if by is By.PATROLLER:
        return {}
    facts, joined, key = _facts(STEPS, by)
    of_each = (key.label("key"), facts.c.measure, facts.c.is_done, facts.c.is_in_time)
    return _counted(session, sa.select(*of_each).select_from(joined), _window(period, now))


def count_patrolled(
    session: Session, period: Period, by: By, *, now: datetime, measures: Collection[Measure] = PATROL_MEASURES
) -> dict[str, Counts]:
    """What patrols reported and missed in a period, counted by measure, each case once for each key."""
    facts, joined, key = _facts(PATROLS, by)
    of_each = (key.label("key"), facts.c.measure, facts.c.is_done, facts.c.is_in_time)
    # Several may have passed where a case was.
    once = sa.select(*of_each, facts.c.case_id).distinct()
    return _counted(
        session, once.select_from(joined), _window(period, now) | {"measures": [each.value for each in measures]}
    )


def _counted(session: Session, found: sa.Select[Any], asked: dict[str, Any]) -> dict[str, Counts]:
    each = found.subquery("each")
    counted = (
        sa.select(
            each.c.key,
            each.c.measure,
            sa.func.count(),
            sa.func.count().filter(each.c.is_done),
            sa.func.count().filter(each.c.is_in_time),
        )
        .where(each.c.key.is_not(None))
        .group_by(each.c.key, each.c.measure)
    )
    counts: dict[str, dict[Measure, Counted]] = {}
    for key, measure, due, done, in_time in session.execute(counted, asked):
        counts.setdefault(key, {})[Measure(measure)] = Counted(due, done, in_time)
    return dict(counts)


def log_rows(
    session: Session, period: Period, by: By, key: str, *, measure: Measure | None = None, now: datetime, limit: int
) -> list[LogRow]:
    """The steps behind the figures of one area, unit or person: each thing counted, by measure and case.

    Who passed by what was missed is told only of the patroller that is asked about.
    """
    statements = [STEPS] if by is not By.PATROLLER and measure not in PATROL_MEASURES else []
    statements += [PATROLS] if by in PATROLLED and (measure is None or measure in PATROL_MEASURES) else []
    asked = _window(period, now) | ({"measures": [measure.value]} if measure is not None else {})
    rows = [
        LogRow(Measure(row[0]), *row[1:])
        for statement in statements
        for row in session.execute(_rows_of(statement, by, key).limit(limit), asked)
    ]
    return sorted(rows, key=lambda row: row.measure)[:limit]


def _rows_of(statement: str, by: By, key: str) -> sa.Select[Any]:
    facts, joined, column = _facts(statement, by)
    is_told = statement == STEPS or by is By.PATROLLER
    name = sa.func.coalesce(Case.serial, sa.cast(Case.id, sa.Text)).label("name")
    step = (facts.c.seq, facts.c.is_done, facts.c.is_in_time)
    whose = (facts.c.unit, facts.c.who) if is_told else (sa.null().label("unit"), sa.null().label("who"))
    return (
        sa.select(facts.c.measure, name, *step, *whose)
        .distinct()
        .select_from(joined.join(Case, Case.id == facts.c.case_id))
        .where(column == key)
        .order_by(facts.c.measure, "name", facts.c.seq)
    )


def _facts(statement: str, by: By) -> tuple[sa.Subquery, Any, sa.ColumnElement[Any]]:
    """The rows that are counted, what they are joined with, and the column that says for whom."""
    facts = sql(statement).columns(**ROWS).subquery("facts")
    match by:
        case By.CITY:
            # Not a constant, by which nothing can be grouped.
            return facts, facts, sa.literal_column("case when facts.measure <> '' then 'city' end")
        case By.PERSON | By.PATROLLER:
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


def _window(period: Period, now: datetime) -> dict[str, Any]:
    as_of = min(period.until, now)
    texts = {"since_text": f"{period.since:%Y-%m-%dT%H:%M:%S}", "until_text": f"{period.until:%Y-%m-%dT%H:%M:%S}"}
    patrols = {
        "sight_m": SIGHT_M,
        "look_back": LOOK_BACK,
        "sources": [each.value for each in FOUND_OTHERWISE],
        "kinds": [each.value for each in TO_BE_SEEN],
    }
    return {"since": period.since, "as_of": as_of, "measures": [each.value for each in Measure], **texts, **patrols}
