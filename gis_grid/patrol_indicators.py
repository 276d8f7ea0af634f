"""Indicators of patrollers (collectors): what they report, miss and cover; told as long as it can be.

What somebody passed and saw is only in their raw fixes, which are dropped some day. The sums of the months that are
over are kept then, and nothing of where anybody went.
"""

from collections import defaultdict
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.city import City
from gis_grid.counted_steps import LOOK_BACK, PATROLLED, By, Counts, count_patrolled
from gis_grid.coverage import count_covered
from gis_grid.database import Base
from gis_grid.dated import one_of
from gis_grid.geo.track_chunks import MAX_SPAN_MS
from gis_grid.indicators import Counted, Measure
from gis_grid.periods import Period
from gis_grid.rebuilding import forgotten_before
from gis_grid.seen import first_seen_day


class PatrolFigure(Base):
    """What was counted of a month whose raw fixes were to be dropped; rows are only ever added."""

    __tablename__ = "patrol_figures"

    month: Mapped[date] = mapped_column(primary_key=True)
    by: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    measure: Mapped[str] = mapped_column(primary_key=True)
    due: Mapped[int] = mapped_column(sa.BigInteger)
    done: Mapped[int] = mapped_column(sa.BigInteger)
    kept_at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint(one_of("by", sorted(PATROLLED)), name="by"),
        sa.CheckConstraint(one_of("measure", (Measure.MISS, Measure.COVER)), name="measure"),
        sa.CheckConstraint("done between 0 and due", name="done"),
    )


def count_patrols(session: Session, period: Period, by: By, *, city: City, now: datetime) -> dict[str, Counts]:
    """What patrols reported, missed and covered in a period, for each area, unit, post or patroller.

    Where raw fixes of the period have been dropped, what rests on them is as it was kept then, and not told otherwise.
    """
    if by not in PATROLLED:
        return {}
    if not _are_dropped(session, period):
        return _counted(session, period, by, city=city, now=now)
    found = _by_key(count_patrolled(session, period, by, now=now, measures=[Measure.REPORT]))
    if by is not By.PATROLLER:
        for key, covered in count_covered(session, period, by, city=city, now=now).items():
            found[key][Measure.COVER] = covered
    if period.is_month:
        for row in session.scalars(_kept(period, by)):
            found[row.key][Measure(row.measure)] = Counted(row.due, row.done)
    return dict(found)


def _counted(session: Session, period: Period, by: By, *, city: City, now: datetime) -> dict[str, Counts]:
    found = _by_key(count_patrolled(session, period, by, now=now))
    for key, covered in count_covered(session, period, by, city=city, now=now).items():
        found[key][Measure.COVER] = covered
    return dict(found)


def _by_key(counts: dict[str, Counts]) -> defaultdict[str, dict[Measure, Counted]]:
    return defaultdict(dict, {key: dict(each) for key, each in counts.items()})


def _are_dropped(session: Session, period: Period) -> bool:
    """Whether raw fixes that tell of a period have been dropped."""
    before = forgotten_before(session)
    return before is not None and _rests_on(period, before)


def _rests_on(period: Period, before: datetime) -> bool:
    """Whether fixes of before a time tell of a period: what is found on its first morning was passed the day before."""
    return before > period.since - LOOK_BACK - timedelta(milliseconds=MAX_SPAN_MS)


def _kept(period: Period, by: By) -> sa.Select[PatrolFigure]:
    return sa.select(PatrolFigure).where(PatrolFigure.month == period.first, PatrolFigure.by == by.value)


def keep_patrol_figures(session: Session, *, before: datetime, city: City, now: datetime) -> list[date]:
    """Keep what rests on raw fixes that are about to be dropped, of each month that is over; the months, ascending."""
    kept = []
    for month in _months(session, before, city):
        if month.until > now or _are_dropped(session, month):
            continue
        for by in PATROLLED:
            wanted = {Measure.MISS, Measure.COVER} if by is By.PATROLLER else {Measure.MISS}
            counts = _counted(session, month, by, city=city, now=now)
            rows = [
                PatrolFigure(
                    month=month.first,
                    by=by.value,
                    key=key,
                    measure=measure.value,
                    due=one.due,
                    done=one.done,
                    kept_at=now,
                )
                for key, each in counts.items()
                for measure, one in each.items()
                if measure in wanted
            ]
            session.add_all(rows)
        session.flush()
        kept.append(month.first)
    return kept


def _months(session: Session, before: datetime, city: City) -> list[Period]:
    """The months that fixes of before a time tell of, from the first one with fixes on."""
    oldest = first_seen_day(session)
    if oldest is None:
        return []
    months = [Period.month(f"{oldest:%Y-%m}", city.zone)]
    while _rests_on(months[-1], before):
        months.append(Period.month(f"{months[-1].last + timedelta(days=1):%Y-%m}", city.zone))
    return months[:-1]
