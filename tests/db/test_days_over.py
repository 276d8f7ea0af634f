"""While the service runs, days that are over are kept once a day."""

import time
from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.days_over import keep_days_over, keeping_days_over
from gis_grid.installation import Installation
from gis_grid.seen import RolledMonth
from gis_grid.walked_ground import WalkedMonth
from tests.builders import NOW
from tests.db.test_track_intake import walk
from tests.db.test_walked_ground import send

MARCH = date(2026, 3, 1)


def test_months_that_are_over_are_rolled_up_and_days_of_this_one_added(
    installation: Installation, session: Session
) -> None:
    send(session, walk())

    assert keep_days_over(installation, now=NOW) == ([], [MARCH])
    assert keep_days_over(installation, now=NOW + timedelta(days=40)) == ([MARCH], [MARCH, date(2026, 4, 1)])


def test_the_service_keeps_each_day_once_it_is_over(installation: Installation, session: Session) -> None:
    send(session, walk())
    now = NOW
    asked = 0

    def clock() -> object:
        nonlocal asked
        asked += 1
        return now

    def until(day: date) -> None:
        for _ in range(500):
            if session.scalar(sa.select(sa.func.max(WalkedMonth.until))) == day:
                return
            session.rollback()
            time.sleep(0.02)
        raise AssertionError(f"{day} was not kept")

    with keeping_days_over(installation, every_s=0.01, clock=clock):  # type: ignore[arg-type]
        until(date(2026, 3, 1))
        first = session.scalar(sa.select(WalkedMonth.kept_at))
        seen = asked
        while asked < seen + 5:
            time.sleep(0.01)
        now = NOW + timedelta(days=1)
        until(date(2026, 3, 2))

    assert first == NOW
    assert session.scalars(sa.select(RolledMonth)).all() == []
