"""What is kept of the days and months that are over, so that a long time is asked as quickly as a short one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime

from gis_grid.installation import Installation, utc_now
from gis_grid.repeating import repeating
from gis_grid.seen import roll_up
from gis_grid.walked_ground import keep_walked, months_walked

EVERY_S = 900.0
PATIENCE_S = 5.0


def keep_days_over(installation: Installation, *, now: datetime) -> tuple[list[date], list[date]]:
    """Keep all that is over by the city's clock; the months rolled up, and those with what each patroller saw.

    Month by month, so that nothing that was done is lost with what comes after it.
    """
    city = installation.city
    today = now.astimezone(city.zone).date()
    with installation.sessions.begin() as session:
        rolled = roll_up(session, before=today, now=now)
    with installation.sessions() as session:
        months = months_walked(session, before=today, city=city)
    walked = []
    for month in months:
        with installation.sessions.begin() as session:
            if keep_walked(session, month, city=city, now=now):
                walked.append(month.first)
    return rolled, walked


@contextmanager
def keeping_days_over(
    installation: Installation, *, every_s: float = EVERY_S, clock: Callable[[], datetime] = utc_now
) -> Iterator[None]:
    """A thread does it at once and, all the while, once a day is over."""
    done: list[date] = []

    def work() -> None:
        now = clock()
        today = now.astimezone(installation.city.zone).date()
        if done != [today]:
            keep_days_over(installation, now=now)
            done[:] = [today]

    with repeating("keeping days that are over", work, every_s=every_s, patience_s=PATIENCE_S):
        yield
