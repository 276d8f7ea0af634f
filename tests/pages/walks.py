"""A patroller with a phone, for the tests of the page of outings."""

from datetime import time
from typing import Any

import shapely
import sqlalchemy as sa
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from api.deps import SESSION_COOKIE
from gis_grid.dated import Stretch
from gis_grid.patrols import TrackChunk
from gis_grid.teams import Teams, load_teams
from tests.builders import BY, NOW

TOWN = "310112001"
# Tells the test each position that the browser hands to the page, before the page sees it.
TELL = """
const watch = navigator.geolocation.watchPosition.bind(navigator.geolocation);
navigator.geolocation.watchPosition = (take, ...rest) => watch((position) => {
  const {longitude, latitude, accuracy} = position.coords;
  window.tellTest([longitude, latitude, Math.round(position.timestamp), accuracy]);
  take(position);
}, ...rest);
"""


def add_team(session: Session) -> None:
    always = Stretch(("s", "daily", time(0)), (time(0), "day", "appearance", "security", False))
    team = Stretch(("s",), ("街面队", "Street patrol", "street", None, False))
    ground = Stretch(("s", "grid", "310112001002002"), (False,))
    load_teams(session, Teams([(0, team)], [], [(0, ground)], [(0, always)]), by=BY, now=NOW)
    session.commit()


class Walk:
    """A patroller with a phone: every fix is 14 m east of the one before."""

    def __init__(self, visit: Any) -> None:
        self.visit, self.page = visit, visit.page
        self.told: dict[tuple[float, ...], None] = {}  # in order; a browser may tell one position twice
        self.steps = self.fixes = 0
        visit.context.expose_function("tellTest", lambda fix: self.told.setdefault(tuple(fix)))
        visit.context.add_init_script(TELL)
        visit.page.on("dialog", lambda dialog: dialog.accept())

    def move(self, **more: Any) -> None:
        self.steps += 1
        place = {"longitude": round(121.4 + 0.00015 * self.steps, 7), "latitude": 31.1011, "accuracy": 8} | more
        self.visit.context.set_geolocation(place)

    def open(self, page: Page | None = None) -> Page:
        page = page or self.page
        page.goto(self.visit.site + "/patrol")
        page.wait_for_selector("body[data-ready]")
        return page

    def reopen(self, page: Page) -> Page:
        """Go on in another tab."""
        self.page = self.open(page)
        return self.page

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("body[data-ready]")

    def start(self, button: str = "#begin", **more: Any) -> None:
        self.move(**more)
        self.page.click(button)
        self.counted(1)

    def counted(self, more: int) -> None:
        self.fixes += more
        expect(self.page.locator("#fixes")).to_have_text(str(self.fixes))

    def walk(self, fixes: int, **more: Any) -> None:
        for _ in range(fixes):
            self.move(**more)
            self.counted(1)

    def unacknowledged(self, count: int) -> None:
        expect(self.page.locator("#unacknowledged")).to_have_text(str(count), timeout=15_000)

    def stop(self) -> None:
        self.page.click("#stop")
        expect(self.page.locator("#outbox li[data-done=true]")).to_have_count(1, timeout=15_000)


def sign_in(visit: Any, secret: str) -> None:
    visit.context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": visit.site}])


def chunks(session: Session) -> list[TrackChunk]:
    found = list(session.scalars(sa.select(TrackChunk).order_by(TrackChunk.sequence)))
    session.expunge_all()
    session.rollback()  # a month's table is made under a lock that no reader may hold
    return found


def stored(session: Session) -> list[tuple[float, ...]]:
    """Every stored fix, each chunk without the one it shares with its predecessor."""
    found: list[tuple[float, ...]] = []
    for chunk in chunks(session):
        xym = shapely.get_coordinates(shapely.from_wkb(bytes(chunk.geom.data)), include_m=True)
        off = chunk.accuracy_m or []  # a lone fix is a line of two vertices
        fixes = [(float(x), float(y), round(m * 1000), off[i]) for i, (x, y, m) in enumerate(xym[: len(off)])]
        found += fixes[1:] if found and fixes[0] == found[-1] else fixes
    return found
