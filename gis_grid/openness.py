"""What everybody may see of the work: progress of one's own report, counts, red cases by unit, busy squares."""

import secrets
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.bulletin import RedRun
from gis_grid.cases import Case, CaseLogEntry, log_of, the_case
from gis_grid.database import Base
from gis_grid.errors import NotFound
from gis_grid.event_types import EventType
from gis_grid.geo.privacy import LEAST_SHOWN
from gis_grid.reports import Report, ReportFilter
from gis_grid.units import Unit

CODE_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that is misread for another
CODE_LENGTH = 10  # 49 bits; wrong ones are counted at the edge


class QueryCode(Base):
    """What lets a reporter follow their report without signing in."""

    __tablename__ = "query_codes"

    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), primary_key=True)
    code: Mapped[str]


class NoSuchProgress(NotFound):
    """No case or report has this number and code together; which of the two is wrong is not told."""


@dataclass(frozen=True)
class Progress:
    """How far a report has come.

    Attributes
    ----------
    case
        None while nobody has accepted the report.
    log
        Its steps, in order; after a merge those of the case that goes on.
    going_on
        The case that goes on in its place after a merge, else the case itself.
    unit
        Who has that now.
    """

    report: Report
    case: Case | None
    log: list[CaseLogEntry]
    going_on: Case | None
    unit: Unit | None

    @property
    def merged_into(self) -> str | None:
        """The serial number of the case that goes on after a merge."""
        return self.going_on.serial if self.going_on is not None and self.going_on is not self.case else None

    @property
    def answer(self) -> str | None:
        """What the reporter was told last."""
        said = [entry.said.get("text") for entry in self.log if entry.action == "answer"]
        return said[-1] if said else None


class PublicCount(NamedTuple):
    """How many cases of one event type a town had in a time, and how many of them are open and ended now."""

    town_code: str
    event_type: str
    accepted: int
    open: int
    ended: int


class UnitReds(NamedTuple):
    """How many cases turned red with a unit in a period, and how many of their limits ran out."""

    unit: str | None
    unit_name: str | None
    cases: int
    limits: int


class BusySquare(NamedTuple):
    """A square of 100 m with enough reports to be shown; its centre in WGS84 degrees."""

    lon: float
    lat: float
    reports: int


def query_codes(session: Session, report_ids: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The query code of each report, made now where there is none yet."""
    rows = [
        {"report_id": id_, "code": "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))}
        for id_ in report_ids
    ]
    if not rows:
        return {}
    session.execute(insert(QueryCode).on_conflict_do_nothing(), rows)
    query = sa.select(QueryCode.report_id, QueryCode.code).where(QueryCode.report_id.in_(report_ids))
    return {row.report_id: row.code for row in session.execute(query)}


def progress_of(session: Session, number: str, code: str, *, now: datetime) -> Progress:
    """How far the report with this number and code has come.

    Parameters
    ----------
    number
        A case's serial number, or the id of a report.

    Raises
    ------
    NoSuchProgress
        See there.
    """
    report_id = _report_of(session, number.strip())
    known = session.get(QueryCode, report_id) if report_id else None
    # Compared in a time that does not tell where they differ.
    if known is None or not secrets.compare_digest(known.code.encode(), code.strip().lower().encode()):
        raise NoSuchProgress("no report has this number and query code together")
    report = session.get_one(Report, known.report_id)
    case = session.scalar(sa.select(Case).where(Case.opening_report_id == report.id))
    if case is None:
        return Progress(report, None, [], None, None)
    log, going_on = log_of(session, case), case
    while (into := going_on.read_state().merged_into) is not None:
        merged_at, going_on = log[-1].at, the_case(session, into)
        log += [entry for entry in log_of(session, going_on) if entry.at > merged_at]
    unit = None
    if going_on.unit is not None:
        unit = session.scalar(sa.select(Unit).where(Unit.code == going_on.unit, Unit.valid.contains(now)))
    return Progress(report, case, log, going_on, unit)


def _report_of(session: Session, number: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(number)
    except ValueError:
        return session.scalar(sa.select(Case.opening_report_id).where(Case.serial == number))


def public_counts(session: Session, *, since: datetime) -> list[PublicCount]:
    """Cases accepted since a time, by town and event type, ascending; merged and void ones are counted as ended."""
    is_open = Case.closed_at.is_(None)
    count = sa.func.count()
    query = (
        sa.select(Case.town_code, Case.event_type, count, count.filter(is_open), count.filter(~is_open))
        .join(EventType, EventType.code == Case.event_type)
        .where(Case.accepted_at >= since, Case.drill_id.is_(None))
        .group_by(Case.town_code, Case.event_type)
        .order_by(Case.town_code, Case.event_type)
    )
    return [PublicCount(*row) for row in session.execute(query)]


def busy_squares(session: Session, which: ReportFilter) -> list[BusySquare]:
    """Squares of 100 m with at least five reports of a filter, the busiest first; fewer are told to nobody."""
    count = sa.func.count()
    query = (
        sa.select(sa.func.ST_X(Report.public_geom), sa.func.ST_Y(Report.public_geom), count)
        .where(*which.conditions())
        .group_by(Report.public_geom)
        .having(count >= LEAST_SHOWN)
        .order_by(count.desc(), sa.func.ST_X(Report.public_geom), sa.func.ST_Y(Report.public_geom))
    )
    return [BusySquare(*row) for row in session.execute(query)]


def reds_by_unit(runs: Iterable[RedRun]) -> list[UnitReds]:
    """What of a bulletin is for everybody: numbers by unit, the most first; no person and no single case."""
    found: dict[tuple[str | None, str | None], list[int]] = defaultdict(list)
    for run in runs:
        found[run.unit, run.unit_name].append(run.case_id)
    counted = [UnitReds(unit, name, len(set(cases)), len(cases)) for (unit, name), cases in found.items()]
    return sorted(counted, key=lambda one: (-one.cases, one.unit or ""))
