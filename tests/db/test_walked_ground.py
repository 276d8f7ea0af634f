"""What is kept of what each patroller saw is what their fixes say, whenever it is asked and however they came."""

from datetime import date, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.database import sessions
from gis_grid.geo.sight import burn_fixes
from gis_grid.geo.tiles import Ground, union
from gis_grid.geo.track_chunks import Judge
from gis_grid.rebuilding import forgotten_before
from gis_grid.seen import Window
from gis_grid.track_intake import Upload, take_in
from gis_grid.track_keeping import forget_tracks, withdraw_track
from gis_grid.walked_ground import WalkedMonth, WalkedTile, keep_walked, months_walked, teams_of_walkers, walked_ground
from tests.builders import BY, NOW
from tests.db.test_track_intake import CITY, chunk, walk

DAY_S, DAY = 86_400, timedelta(days=1)
MARCH = Window(date(2026, 3, 1), date(2026, 3, 31))
SEASON = Window(date(2026, 2, 1), date(2026, 4, 30))


def send(
    session: Session, fixes: pd.DataFrame, who: str = "user:anna", *, at: datetime = NOW, team: str = "east"
) -> None:
    take_in(session, Upload([chunk(fixes, walker=who, team=team)], Judge(bounds=None), "test", at), city=CITY)
    session.commit()


def keep(session: Session, before: date, *, now: datetime = NOW) -> list[date]:
    months = months_walked(session, before=before, city=CITY)
    assert all(keep_walked(session, month, city=CITY, now=now) for month in months)
    session.commit()
    return [month.first for month in months]


def of(fixes: pd.DataFrame, window: Window = MARCH) -> Ground:
    seen = burn_fixes(fixes, metric_crs=CITY.metric_crs, time_zone=CITY.time_zone)
    return union(seen.between(window.first, window.last))


def cells(ground: Ground) -> list[tuple[int, int, bytes]]:
    return list(
        zip(ground.tile_row.tolist(), ground.tile_col.tolist(), [b.tobytes() for b in ground.bits], strict=True)
    )


def told(session: Session, window: Window = MARCH) -> dict[str, list[tuple[int, int, bytes]]]:
    return {who: cells(ground) for who, ground in walked_ground(session, window, city=CITY)}


def without_fixes(session: Session) -> None:
    """Take the fixes away, so that only what is kept can answer."""
    session.execute(sa.text("truncate track_chunks"))


@pytest.fixture
def outings() -> list[pd.DataFrame]:
    """On the 2nd of March, on the 3rd elsewhere, and over the midnight before April."""
    midnight_s = 29 * DAY_S + 13 * 3600 - 100
    starts = ((0, 12), (DAY_S, 15), (midnight_s + 2 * 3600, 9))
    return [walk(30, track=f"t{n}", begin_s=begin, step_m=step) for n, (begin, step) in enumerate(starts)]


def test_kept_month_by_month_it_is_what_the_fixes_say(owner: Session, outings: list[pd.DataFrame]) -> None:
    for fixes in outings:
        send(owner, fixes)
    send(owner, outings[0].assign(track="b"), "key:patrols/Ä", team="west")
    raw = told(owner), told(owner, SEASON)
    teams = teams_of_walkers(owner, MARCH, city=CITY)

    assert keep(owner, date(2026, 4, 15)) == [date(2026, 3, 1), date(2026, 4, 1)]

    assert (told(owner), told(owner, SEASON)) == raw
    assert raw[0] == {"user:anna": cells(of(pd.concat(outings))), "key:patrols/Ä": cells(of(outings[0]))}
    assert teams == {"user:anna": {"east"}, "key:patrols/Ä": {"west"}}
    without_fixes(owner)
    assert (told(owner), told(owner, SEASON)) == raw
    assert teams_of_walkers(owner, MARCH, city=CITY) == teams


def test_a_day_that_goes_on_is_asked_of_the_fixes(owner: Session, outings: list[pd.DataFrame]) -> None:
    send(owner, outings[0])
    keep(owner, date(2026, 3, 3))
    send(owner, outings[1])

    assert told(owner)["user:anna"] == cells(of(pd.concat(outings[:2])))
    assert told(owner, Window(date(2026, 3, 3), date(2026, 3, 31)))["user:anna"] == cells(of(outings[1]))
    keep(owner, date(2026, 3, 4))
    without_fixes(owner)
    assert told(owner)["user:anna"] == cells(of(pd.concat(outings[:2])))


@pytest.mark.parametrize("is_late", [False, True])
def test_a_step_at_midnight_is_kept_of_both_days(owner: Session, is_late: bool) -> None:
    """One chunk ends before midnight, the next begins after it, and may come when the first day is kept already."""
    fixes = walk(20, every_s=40, step_m=150, begin_s=15 * 3600 - 580)
    assert fixes["at"].iloc[14] < pd.Timestamp("2026-03-02T16:00Z") < fixes["at"].iloc[15]
    send(owner, fixes.iloc[:15])
    if not is_late:
        send(owner, fixes.iloc[15:])
    keep(owner, date(2026, 3, 3), now=NOW + DAY)
    if is_late:
        send(owner, fixes.iloc[15:], at=NOW + DAY)
    keep(owner, date(2026, 3, 4), now=NOW + 2 * DAY)

    without_fixes(owner)
    assert told(owner) == {"user:anna": cells(of(fixes))}


def test_what_comes_late_into_days_that_are_kept_is_made_again(owner: Session) -> None:
    """The late fix undoes a step: what only that step saw is not seen any more."""
    whole = walk(12, step_m=30)
    aside = whole.assign(lat=whole["lat"].where(whole.index != 6, whole["lat"] + 0.0008))
    send(owner, aside.drop(index=6))
    send(owner, walk(track="b"), "user:berta")
    keep(owner, date(2026, 3, 10))
    send(owner, aside.iloc[5:8], at=NOW + 10 * DAY)

    keep(owner, date(2026, 3, 12), now=NOW + 11 * DAY)

    assert cells(of(aside)) != cells(of(pd.concat([aside, aside.drop(index=6).assign(track="c")])))
    without_fixes(owner)
    assert told(owner) == {"user:anna": cells(of(aside)), "user:berta": cells(of(walk()))}


def test_an_outing_that_is_taken_back_goes_from_what_is_kept(owner: Session, outings: list[pd.DataFrame]) -> None:
    send(owner, outings[0], team="west")
    send(owner, outings[1])
    keep(owner, date(2026, 4, 1))

    withdraw_track(owner, "t0", city=CITY, by=BY, now=NOW)

    without_fixes(owner)
    assert told(owner) == {"user:anna": cells(of(outings[1]))}
    assert teams_of_walkers(owner, MARCH, city=CITY) == {"user:anna": {"east"}}


def test_with_the_raw_fixes_of_a_month_goes_what_is_kept_of_it(owner: Session, outings: list[pd.DataFrame]) -> None:
    for fixes in outings:
        send(owner, fixes)
    keep(owner, date(2026, 5, 10))

    forget_tracks(owner, days=1, city=CITY, by=BY, now=datetime(2026, 3, 4, tzinfo=CITY.zone))
    owner.commit()

    assert forgotten_before(owner) is not None
    assert set(owner.scalars(sa.select(WalkedTile.month))) == {date(2026, 4, 1)}
    assert keep(owner, date(2026, 5, 11)) == [date(2026, 4, 1), date(2026, 5, 1)]
    assert set(owner.scalars(sa.select(WalkedMonth.month))) == {date(2026, 4, 1), date(2026, 5, 1)}


def test_one_process_keeps_at_a_time(owner: Session, engine: sa.Engine, outings: list[pd.DataFrame]) -> None:
    send(owner, outings[0])
    keep_walked(owner, MARCH, city=CITY, now=NOW)

    with sessions(engine).begin() as session:
        assert not keep_walked(session, MARCH, city=CITY, now=NOW)
