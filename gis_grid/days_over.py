"""What is kept of the days and months that are over, so that a long time is asked as quickly as a short one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

from gis_grid.installation import Installation, utc_now
from gis_grid.repeating import repeating
from gis_grid.seen import roll_up
from gis_grid.walked_ground import keep_walked, months_walked

SETTLED = timedelta(hours=6)  # what reaches past midnight is there by then, and not late: nothing is made twice for it
EVERY_S = 900.0
PATIENCE_S = 5.0


def keep_days_over(installation: Installation, *, now: datetime) -> tuple[list[date], list[date]]:
    """Keep the days that are over and settled; the months rolled up, and those with what each patroller saw.

    Month by month, so that nothing that was done is lost with what comes after it.
    """
    city, before = installation.city, _unsettled(installation, now)
    with installation.sessions.begin() as session:
        rolled = roll_up(session, before=before, now=now)
    with installation.sessions() as session:
        months = months_walked(session, before=before, city=city)
    walked = []
    for month in months:
        with installation.sessions.begin() as session:
            if keep_walked(session, month, city=city, now=now):
                walked.append(month.first)
    return rolled, walked


def _unsettled(installation: Installation, now: datetime) -> date:
    """The first day that is not to be kept yet, on the city's clock."""
    return (now - SETTLED).astimezone(installation.city.zone).date()


@contextmanager
def keeping_days_over(
    installation: Installation, *, every_s: float = EVERY_S, clock: Callable[[], datetime] = utc_now
) -> Iterator[None]:
    """A thread does it at once and, all the while, once another day is over and settled."""
    done: date | None = None

    def work() -> None:
        nonlocal done
        now = clock()
        before = _unsettled(installation, now)
        if done != before:
            keep_days_over(installation, now=now)
            done = before

    with repeating("keeping days that are over", work, every_s=every_s, patience_s=PATIENCE_S):
        yield
