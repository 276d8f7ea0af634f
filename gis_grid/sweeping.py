"""The sweep of supervision, run again and again while the service runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from gis_grid.installation import Installation, utc_now
from gis_grid.repeating import repeating
from gis_grid.supervision import Swept, sweep

EVERY_S = 60.0


def sweep_all(installation: Installation, *, now: datetime) -> Swept:
    """Issue every act that has fallen due, committed in portions; what was done in all."""
    issued, after = 0, None
    faults: dict[str, str] = {}
    while True:
        with installation.sessions.begin() as session:
            done = sweep(session, city=installation.city, now=now, after=after)
        issued, faults, after = issued + done.issued, faults | done.faults, done.after
        if after is None:
            return Swept(issued, faults, None)


@contextmanager
def keep_sweeping(
    installation: Installation, *, every_s: float = EVERY_S, clock: Callable[[], datetime] = utc_now
) -> Iterator[None]:
    """A thread sweeps at once and then every so often, all the while."""
    with repeating("the sweep of supervision", lambda: sweep_all(installation, now=clock()), every_s=every_s):
        yield
