from datetime import date, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.errors import Conflict, InvalidInput, NotFound
from gis_grid.patrols import TrackChunk, read_tracks, readings_of
from gis_grid.track_keeping import forget_tracks, rebuild_days, withdraw_track
from tests.builders import BY, NOW
from tests.db.test_track_intake import CITY, bits, chunk, expected, take, walk

LATER = NOW + timedelta(days=60)


def count(session: Session) -> int | None:
    return session.scalar(sa.select(sa.func.count()).select_from(TrackChunk))


def test_dropping_raw_fixes_leaves_what_they_saw(owner: Session) -> None:
    later = walk(track="b", begin_s=40 * 86400)
    take(owner, [chunk(walk()), chunk(later)])
    seen = bits(owner)

    gone = forget_tracks(owner, days=30, city=CITY, by=BY, now=LATER)

    assert (gone, count(owner)) == (1, 1)
    assert bits(owner) == seen


def test_the_service_itself_can_drop_nothing(session: Session) -> None:
    take(session, [chunk(walk())])

    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        session.execute(sa.delete(TrackChunk))


def test_days_whose_raw_fixes_are_gone_are_not_made_again(owner: Session) -> None:
    take(owner, [chunk(walk())])
    forget_tracks(owner, days=30, city=CITY, by=BY, now=LATER)

    with pytest.raises(Conflict, match="have been dropped"):
        rebuild_days(owner, first=date(2026, 3, 1), last=date(2026, 3, 3), city=CITY)


def test_a_withdrawn_outing_leaves_what_others_saw(owner: Session) -> None:
    other = walk(30, track="b", step_m=9)
    take(owner, [chunk(walk()), chunk(other)])

    withdraw_track(owner, "a", city=CITY, by=BY, now=NOW)

    assert bits(owner) == expected(other)
    with pytest.raises(NotFound):
        withdraw_track(owner, "a", city=CITY, by=BY, now=NOW)


def test_made_again_from_the_chunks_the_tiles_are_the_same(owner: Session) -> None:
    fixes = pd.concat([walk(), walk(30, track="b", begin_s=19 * 3600)])
    take(owner, [chunk(part) for _, part in fixes.groupby("track")])
    owner.execute(sa.text("update seen_tiles set bits = ~bits"))

    rebuild_days(owner, first=date(2026, 3, 1), last=date(2026, 3, 4), city=CITY)

    assert bits(owner) == expected(fixes)


def test_each_reading_of_a_persons_tracks_is_written_down(session: Session) -> None:
    one = chunk(walk(), walker="user:wang")
    take(session, [one])
    span = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}

    found = read_tracks(session, "user:wang", **span, by=BY, now=NOW)
    none = read_tracks(session, "user:li", **span, by=BY, now=NOW)

    assert (len(found), len(none)) == (1, 0)
    (reading,) = readings_of(session, "user:wang")
    assert (reading.who, reading.chunks, reading.at) == ("test", 1, NOW)


def test_less_than_a_day_is_not_dropped(owner: Session) -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        forget_tracks(owner, days=0, city=CITY, by=BY, now=datetime.now(tz=NOW.tzinfo))
