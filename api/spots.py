"""Blind spots as the API and the pages ask for them: found once, and kept while what they come from stays the same."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from fastapi import Request
from sqlalchemy.orm import Session

from api.days import days_asked
from gis_grid.blindspots import BlindKind, BlindSpot, find_blind_spots
from gis_grid.city import City
from gis_grid.database import Change
from gis_grid.patrols import TrackChunk
from gis_grid.permissions import Caller, Permission
from gis_grid.seen import Window
from gis_grid.spot_cases import SeenAgain, SpotCase, seen_again
from gis_grid.territory import GridLayer, ground_of, the_grid

WINDOW_DAYS = 7
KEPT = 16
# Reports come in all the time and make little difference: those of the last hour may be left out.
FRESH = timedelta(hours=1)
# Patrols come in all the time too, a district's some sixty a second: those of the last minutes may be left out.
FRESH_PATROLS = timedelta(minutes=5)
MADE_OF = ("tenure", "block_layer", "excluded_ground", "grid_layer", "teams", "rules", "track")


class Found:
    """Blind spots found lately: finding them again takes seconds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, list[BlindSpot]] = OrderedDict()
        self._lock, self._finding = threading.Lock(), threading.Lock()

    def get(
        self,
        key: Hashable,
        kinds: Collection[BlindKind],
        area: str | None,
        find: Callable[[], list[BlindSpot]],
    ) -> list[BlindSpot]:
        """The spots of some kinds in an area; `key` names all else that they depend on.

        One is looked for at a time; who asks for what is kept does not wait for that.
        """
        names = (key, tuple(BlindKind), None), (key, tuple(kinds), area)
        held = self._held(*names)
        if held is None:
            with self._finding:
                held = self._held(*names)  # found meanwhile, by whom this one waited for
                if held is None:
                    held = self._keep(names[1], find())
        return [spot for spot in held if spot.kind in set(kinds) and spot.is_of(area)]

    def _held(self, *names: Hashable) -> list[BlindSpot] | None:
        with self._lock:
            for name in names:
                if name in self._kept:
                    self._kept.move_to_end(name)
                    return self._kept[name]
        return None

    def _keep(self, name: Hashable, found: list[BlindSpot]) -> list[BlindSpot]:
        with self._lock:
            self._kept[name] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found


def spots_in(
    request: Request,
    session: Session,
    city: City,
    window: Window,
    *,
    now: datetime,
    kinds: Iterable[BlindKind] = tuple(BlindKind),
    area: str | None = None,
) -> list[BlindSpot]:
    """The blind spots of a window, each kind worst first."""
    asked = tuple(kind for kind in BlindKind if kind in set(kinds))
    kept: Found = request.app.state.blind_spots
    return kept.get(
        spots_key(session, window, now=now),
        asked,
        area,
        lambda: find_blind_spots(session, city, window, now=now, kinds=asked, area=area),
    )


def spots_key(session: Session, window: Window, *, now: datetime) -> Hashable:
    """What changes when blind spots may have."""
    newest = sa.select(
        _newest_patrol(now),
        sa.select(sa.func.max(GridLayer.id)).scalar_subquery(),
        sa.select(sa.func.max(Change.id)).where(Change.thing.in_(MADE_OF)).scalar_subquery(),
    )
    return window, int(now.timestamp() // FRESH.total_seconds()), tuple(session.execute(newest).one())


def _newest_patrol(now: datetime) -> sa.ScalarSelect[int]:
    """The newest chunk that had come in when the last `FRESH_PATROLS` were over."""
    since = now - timedelta(seconds=now.timestamp() % FRESH_PATROLS.total_seconds())
    newest = sa.select(TrackChunk.id).where(TrackChunk.received_at < since).order_by(TrackChunk.id.desc()).limit(1)
    return newest.scalar_subquery()


def seen_again_of(
    request: Request, session: Session, rows: Sequence[SpotCase], *, city: City, now: datetime
) -> list[SeenAgain | None]:
    """`seen_again` of many filed blind spots, kept as `spots_key` says."""
    newest = sa.select(
        _newest_patrol(now),
        sa.select(sa.func.max(Change.id)).where(Change.thing == "track").scalar_subquery(),
    )
    patrols = tuple(session.execute(newest).one())
    key = (tuple(row.case_id for row in rows), now.astimezone(city.zone).date(), patrols)
    kept: dict[Hashable, list[SeenAgain | None]] = request.app.state.seen_again
    if key not in kept:
        told = [seen_again(session, row, city=city, now=now) for row in rows]
        if len(kept) >= KEPT:
            kept.clear()
        kept[key] = told
        return told
    return kept[key]


def window_of(since: date | None, until: date | None, shift: int | None, *, today: date) -> Window:
    """Whole days and a shift; the last `WINDOW_DAYS` days where nothing is asked.

    Raises
    ------
    InvalidInput
        As `days_asked`.
    """
    first, last = days_asked(since, until, today=today, days=WINDOW_DAYS)
    return Window(first, last, shift)


def demand_filing(session: Session, caller: Caller, spot: BlindSpot, *, now: datetime) -> None:
    """Raise `OutOfScope` unless a caller may accept and file where a blind spot's case would lie."""
    ground = ground_of(the_grid(session, spot.answers[0], at=now)) if spot.answers else ()
    for permission in (Permission.ACCEPT, Permission.FILE):
        caller.demand(permission, area=ground)
