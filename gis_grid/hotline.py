"""The one hotline: a call's record becomes a report, goes to the right desk, and is a case at once where it is ours."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.case_deciding import ANY_STEP
from gis_grid.cases import Case, accept_report, lock_cases, take_step
from gis_grid.city import City
from gis_grid.database import Base, By
from gis_grid.dated import one_of
from gis_grid.duplicates import Likely, likely_duplicates
from gis_grid.errors import Conflict, GridError, InvalidInput
from gis_grid.event_types import the_event_type
from gis_grid.exchange import MessageKind, enqueue, request_content
from gis_grid.reports import NewReport, Report, Source, file_reports
from gis_grid.routing import Alarm, Desk, Urgency, exchange_110, exchange_table
from gis_grid.territory import Level, ground_of, the_area
from gis_grid.units import the_hotline

SOURCES = {"12345": Source.HOTLINE_12345, "110": Source.POLICE_110}


class HotlineCall(Base):
    """What an operator took down besides the report; rows are only ever added.

    Attributes
    ----------
    number, unit_code
        The number that was called, whichever it is of those that ring here, and the unit it belongs to.
    town_code
        From the point; as the operator said where the point lies in no grid.
    desk
        Who deals with it, by the exchange table in force.
    """

    __tablename__ = "hotline_calls"

    report_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey(Report.id), primary_key=True)
    number: Mapped[str]
    unit_code: Mapped[str]
    town_code: Mapped[str]
    is_police: Mapped[bool]
    alarm: Mapped[str]
    desk: Mapped[str]
    taken_at: Mapped[datetime]
    taken_by: Mapped[str]

    __table_args__ = (
        sa.CheckConstraint(one_of("alarm", Alarm), name="alarm"),
        sa.CheckConstraint(one_of("desk", Desk), name="desk"),
        sa.Index("ix_hotline_calls_taken_at", "taken_at"),
    )


@dataclass(frozen=True)
class CallRecord:
    """A call as the operator takes it down; `report` holds content, event type, kind, place and caller.

    Attributes
    ----------
    number
        The number that was called.
    town_code
        None to take it from the point.
    same_as
        The case that it is about, of the likely ones that were offered.
    is_other
        The operator has seen the likely ones, and it is none of them.
    """

    report: NewReport
    number: str
    town_code: str | None = None
    urgency: Urgency = Urgency.NORMAL
    is_police: bool = False
    alarm: Alarm = Alarm.NONE
    same_as: str | None = None
    is_other: bool = False


@dataclass(frozen=True)
class TakenCall:
    """A stored call; `case` is None where another desk deals with it, or where its place is not known yet."""

    call: HotlineCall
    report: Report
    case: Case | None
    is_new: bool


class PossibleDuplicates(Conflict):
    """Cases that are likely the same thing: nothing is stored until the operator says which, or that it is none.

    Attributes
    ----------
    likely
        The cases, the nearest first.
    """

    def __init__(self, likely: list[Likely]) -> None:
        named = ", ".join(f"{one.case.name} ({one.distance_m:.0f} m)" for one in likely)
        super().__init__(f"likely the same: {named}; say same_as one of them, or is_other")
        self.likely = likely


def source_of(number: str) -> Source:
    """The source that a number called stands for: the hotline itself, unless it is the city's or the police's."""
    return SOURCES.get(re.sub(r"[\s-]", "", number), Source.HOTLINE_962000)


def take_call(
    session: Session, record: CallRecord, *, city: City, snap_m: float, photos: Path, by: By, now: datetime
) -> TakenCall:
    """Store a call and its report, and accept and file its case; sent again, it is answered with what is stored.

    A call that is for 110 is kept, put into the outbox for 110, and becomes no case here. One that is the same as a
    case ends in that case, which keeps whoever reported first. One whose point lies in no grid waits for somebody to
    place it. One of a drill is offered no real case as the same, and leaves the house for no 110.

    Raises
    ------
    InvalidInput
        Naming the element of the record that is missing or wrong.
    PossibleDuplicates
        The operator has not said yet whether it is one of the likely cases.
    """
    known = session.get(HotlineCall, record.report.id)
    if known is None:
        desk = _desk(session, record, now=now)
        if desk is Desk.CENTRE and record.report.drill_id is None:
            _offer(session, record, now=now)
    report = _file(session, record.report, snap_m=snap_m, by=by, now=now)
    if known is not None:
        case = session.scalar(sa.select(Case).where(Case.opening_report_id == report.id))
        return TakenCall(known, report, case, is_new=False)
    hotline = the_hotline(session, record.number, at=now)
    call = HotlineCall(
        report_id=report.id,
        number=hotline.number,
        unit_code=hotline.unit_code,
        town_code=_town(session, record, report, now=now),
        is_police=record.is_police,
        alarm=record.alarm.value,
        desk=desk.value,
        taken_at=now,
        taken_by=by.who,
    )
    session.add(call)
    session.flush()
    if desk is Desk.POLICE and not report.is_drill:
        _hand_over(session, record, report, now=now)
    is_ours = desk is Desk.CENTRE and report.grid is not None
    case = _open(session, record, city=city, photos=photos, by=by, now=now) if is_ours else None
    return TakenCall(call, report, case, is_new=True)


def _desk(session: Session, record: CallRecord, *, now: datetime) -> Desk:
    return exchange_110(exchange_table(session, at=now), is_police=record.is_police, alarm=record.alarm)


def _hand_over(session: Session, record: CallRecord, report: Report, *, now: datetime) -> None:
    content = request_content(
        report, reference=str(report.id), is_police=record.is_police, alarm=record.alarm, urgency=record.urgency
    )
    enqueue(session, "110", MessageKind.REQUEST, content, report_id=report.id, now=now)


def _offer(session: Session, record: CallRecord, *, now: datetime) -> None:
    if record.same_as is not None or record.is_other:
        return
    report = record.report
    the_event_type(session, report.event_type)
    likely = likely_duplicates(session, report.point, report.event_type, observed_at=report.observed_at or now, now=now)
    if likely:
        raise PossibleDuplicates(likely)


def _file(session: Session, report: NewReport, *, snap_m: float, by: By, now: datetime) -> Report:
    if not (report.reporter_name or report.reporter_phone):
        raise InvalidInput("caller: name or phone of the caller is missing", fields=("caller",))
    (filed,) = file_reports(session, [report], snap_m=snap_m, by=by, now=now)
    if isinstance(filed, GridError):
        raise filed
    return filed.report


def _town(session: Session, record: CallRecord, report: Report, *, now: datetime) -> str:
    said = record.town_code
    if report.grid is None:
        if said is None:
            raise InvalidInput("town: the point lies in no grid; say which town it is", fields=("town",))
        return the_area(session, said, at=now, level=Level.TOWN).code
    found = ground_of(report.grid)[2]
    if said not in {None, found}:
        raise InvalidInput(f"town: the point lies in {found}, not in {said}", fields=("town",))
    return found


def _open(session: Session, record: CallRecord, *, city: City, photos: Path, by: By, now: datetime) -> Case:
    case = accept_report(session, record.report.id, urgency=record.urgency, by=by, now=now)
    step = {"action": "merge", "into": record.same_as} if record.same_as else {"action": "file"}
    names = [case.name, record.same_as] if record.same_as else [case.name]
    cases = lock_cases(session, names)
    take_step(session, cases, ANY_STEP.validate_python(step), city=city, photos=photos, by=by, now=now)
    return case
