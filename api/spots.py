"""Blind spots as the API and the pages ask for them: found once, and kept while what they come from stays the same."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from fastapi import Request
from sqlalchemy.orm import Session

from gis_grid.blindspots import BlindKind, BlindSpot, find_blind_spots
from gis_grid.city import City
from gis_grid.database import Change
from gis_grid.errors import InvalidInput
from gis_grid.instants import FIRST, LAST
from gis_grid.patrols import TrackChunk
from gis_grid.permissions import Caller, Permission
from gis_grid.seen import Window
from gis_grid.spot_cases import SeenAgain, SpotCase, seen_again
from gis_grid.territory import GridLayer, ground_of, the_grid

WINDOW_DAYS = 7
KEPT = 16
# Reports come in all the time and make little difference: those of the last hour may be left out.
FRESH = timedelta(hours=1)
MADE_OF = ("tenure", "block_layer", "excluded_ground", "grid_layer", "teams", "rules", "track")


class Found:
    """Blind spots found lately: finding them again takes seconds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, list[BlindSpot]] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self,
        key: Hashable,
        kinds: Collection[BlindKind],
        area: str | None,
        find: Callable[[], list[BlindSpot]],
    ) -> list[BlindSpot]:
        """The spots of some kinds in an area; `key` names all else that they depend on. One is looked for at a time."""
        whole, part = (key, tuple(BlindKind), None), (key, tuple(kinds), area)
        with self._lock:
            if whole not in self._kept and part not in self._kept:
                self._kept[part] = find()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            held = whole if whole in self._kept else part
            self._kept.move_to_end(held)
            return [spot for spot in self._kept[held] if spot.kind in set(kinds) and spot.is_of(area)]


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
        sa.select(sa.func.max(TrackChunk.id)).scalar_subquery(),
        sa.select(sa.func.max(GridLayer.id)).scalar_subquery(),
        sa.select(sa.func.max(Change.id)).where(Change.thing.in_(MADE_OF)).scalar_subquery(),
    )
    return window, int(now.timestamp() // FRESH.total_seconds()), tuple(session.execute(newest).one())


def seen_again_of(
    request: Request, session: Session, rows: Sequence[SpotCase], *, city: City, now: datetime
) -> list[SeenAgain | None]:
    """`seen_again` of many filed blind spots, kept while no patrol comes in."""
    newest = sa.select(
        sa.select(sa.func.max(TrackChunk.id)).scalar_subquery(),
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
        Days out of order or out of range.
    """
    for name, day in (("since", since), ("until", until)):
        if day is not None and not FIRST.date() + timedelta(days=WINDOW_DAYS) < day < LAST.date():
            raise InvalidInput(f"{name}: {day} is not between the years 1970 and 2100", fields=(name,))
    last = until or today
    first = since or last - timedelta(days=WINDOW_DAYS - 1)
    if first > last:
        raise InvalidInput(f"since: {first} lies after until, {last}", fields=("since",))
    return Window(first, last, shift)


def demand_filing(session: Session, caller: Caller, spot: BlindSpot, *, now: datetime) -> None:
    """Raise `OutOfScope` unless a caller may accept and file where a blind spot's case would lie."""
    ground = ground_of(the_grid(session, spot.answers[0], at=now)) if spot.answers else ()
    for permission in (Permission.ACCEPT, Permission.FILE):
        caller.demand(permission, area=ground)
