"""Uploads that arrive together: one transaction, and each is answered as if it had come alone."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.database import sessions
from gis_grid.errors import Conflict
from gis_grid.geo.track_chunks import Judge
from gis_grid.joint_intake import TRANSACTIONS, JointIntake
from gis_grid.patrols import TrackChunk
from gis_grid.track_intake import Taken, Upload
from gis_grid.track_keeping import ForgottenTracks
from tests.builders import BY, NOW
from tests.db.test_track_intake import CITY, bits, chunk, expected, walk


class Door:
    """Sessions that begin only once the door is open."""

    def __init__(self, engine: sa.Engine) -> None:
        self._make, self._is_open = sessions(engine), threading.Event()
        self.began = 0

    def begin(self) -> object:
        self.began += 1
        assert self._is_open.wait(30)
        return self._make.begin()

    def open(self) -> None:
        self._is_open.set()


@pytest.fixture
def door(engine: sa.Engine) -> Door:
    return Door(engine)


@pytest.fixture
def intake(door: Door) -> JointIntake:
    return JointIntake(door, city=CITY)  # type: ignore[arg-type]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def upload(fixes: pd.DataFrame, sequence: int = 0) -> Upload:
    return Upload([chunk(fixes, sequence)], Judge(bounds=None), "test", NOW)


def send(
    pool: ThreadPoolExecutor, intake: JointIntake, door: Door, uploads: list[Upload]
) -> list["Future[list[Taken]]"]:
    """Uploads that all wait behind others, which are being stored."""
    for n in range(TRANSACTIONS):
        pool.submit(intake.take_in, upload(walk(track=f"first {n}")))
        while door.began <= n:
            time.sleep(0.01)
    answers = [pool.submit(intake.take_in, one) for one in uploads]
    while intake.waiting < len(uploads):
        time.sleep(0.01)
    door.open()
    return answers


def test_uploads_that_wait_are_stored_together_and_see_what_each_would_have_seen(
    session: Session, intake: JointIntake, door: Door, pool: ThreadPoolExecutor
) -> None:
    walks = [walk(30, track=f"w{n}", begin_s=60 * n, step_m=9 + n) for n in range(6)]
    halves = [upload(walks[5].iloc[15:], 1), upload(walks[5].iloc[:16])]

    answers = send(pool, intake, door, [*(upload(one) for one in walks[:5]), *halves])

    assert all(one.is_new for answer in answers for one in answer.result(30))
    assert bits(session) == expected(pd.concat([*walks, walk(track="first 0")], ignore_index=True))
    assert door.began == TRANSACTIONS + 1


def test_the_same_sent_twice_at_once_is_new_once(
    session: Session, intake: JointIntake, door: Door, pool: ThreadPoolExecutor
) -> None:
    answers = send(pool, intake, door, [upload(walk()), upload(walk())])

    assert sorted(one.is_new for answer in answers for one in answer.result(30)) == [False, True]
    assert session.scalar(sa.select(sa.func.count()).where(TrackChunk.track == "a")) == 1


def test_one_that_is_refused_takes_nobody_with_it(
    owner: Session, session: Session, intake: JointIntake, door: Door, pool: ThreadPoolExecutor
) -> None:
    """A late fix undoes a step of a day whose raw fixes are gone."""
    whole = walk()
    JointIntake(sessions(session.get_bind()), city=CITY).take_in(upload(whole.drop(index=5)))  # type: ignore[arg-type]
    owner.add(ForgottenTracks(before=whole["at"].iloc[0].to_pydatetime(), at=NOW, who=BY.who, chunks=0))
    owner.commit()

    undoing, other = send(pool, intake, door, [upload(whole.iloc[4:7], 1), upload(walk(track="b"))])

    with pytest.raises(Conflict, match="have been dropped"):
        undoing.result(30)
    assert [one.is_new for one in other.result(30)] == [True]
    assert session.scalar(sa.select(sa.func.count()).where(TrackChunk.track == "b")) == 1


def test_nothing_is_stored_of_an_upload_without_chunks(intake: JointIntake) -> None:
    assert intake.take_in(Upload([], Judge(bounds=None), "test", NOW)) == []
