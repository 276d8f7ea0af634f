"""Chunks in any order, late, twice, overlapping: the ground seen is that of the whole track, in order."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from sqlalchemy.orm import Session

from gis_grid.city import load_city
from gis_grid.database import sessions
from gis_grid.geo.sight import burn_fixes
from gis_grid.geo.track_chunks import Chunk, Judge, UnusableChunk, Why, make_chunk
from gis_grid.patrols import TrackChunk
from gis_grid.seen import SeenTile, seen_in_window
from gis_grid.track_intake import Taken, Upload, chunks_of, take_in
from tests.builders import BY, NOW

CITY = load_city()
EPOCH = NOW.timestamp() - 3 * 3600
DAYS = {"first": date(2020, 1, 1), "last": date(2030, 1, 1)}
X0, Y0 = Transformer.from_crs(4326, 4549, always_xy=True).transform(121.4, 31.1)
BACK = Transformer.from_crs(4549, 4326, always_xy=True)


def walk(
    count: int = 40, *, every_s: float = 10, step_m: float = 12, track: str = "a", begin_s: float = 0
) -> pd.DataFrame:
    """Eastwards, then north, with one gap of two minutes in the middle."""
    k = np.arange(count)
    x, y = X0 + np.minimum(k, count // 2) * step_m, Y0 + np.maximum(k - count // 2, 0) * step_m
    lon, lat = BACK.transform(x, y)
    seconds = EPOCH + begin_s + k * every_s + np.where(k > count * 3 // 4, 120, 0)
    at = pd.to_datetime((seconds * 1e9).astype("int64"), utc=True)
    return pd.DataFrame({"track": track, "lon": lon, "lat": lat, "at": at})


def chunk(fixes: pd.DataFrame, sequence: int = 0, **more: object) -> Chunk:
    epoch_s = fixes["at"].astype("int64").to_numpy() / 1e9
    return make_chunk(
        str(fixes["track"].iloc[0]),
        sequence,
        epoch_s=epoch_s,
        lon=fixes["lon"],
        lat=fixes["lat"],
        **more,  # type: ignore[arg-type]
    )


def take(session: Session, chunks: Sequence[Chunk], judge: Judge | None = None) -> list[Taken]:
    return take_in(session, Upload(chunks, judge or Judge(bounds=None), "test", NOW), city=CITY)


def bits(session: Session) -> dict[tuple[int, int, date, int], bytes]:
    send = sa.func.varbit_send(SeenTile.bits, type_=sa.LargeBinary)
    rows = session.execute(sa.select(SeenTile.tile_row, SeenTile.tile_col, SeenTile.day, SeenTile.shift, send))
    return {tuple(row[:4]): bytes(row[4])[4:] for row in rows if any(bytes(row[4])[4:])}  # type: ignore[misc]


def expected(fixes: pd.DataFrame) -> dict[tuple[int, int, date, int], bytes]:
    seen = burn_fixes(fixes, metric_crs=CITY.metric_crs, time_zone=CITY.time_zone)
    keys = zip(seen.tile_row, seen.tile_col, seen.day, seen.shift, strict=True)
    return {
        (int(row), int(col), date.fromordinal(int(day)), int(shift)): part.tobytes()
        for (row, col, day, shift), part in zip(keys, seen.bits, strict=True)
    }


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return walk()


def test_a_chunk_is_stored_with_what_it_saw(session: Session, whole: pd.DataFrame) -> None:
    (taken,) = take(session, [chunk(whole)])

    assert (taken.is_new, taken.counted, taken.uncounted) == (True, 40, {})
    assert bits(session) == expected(whole)


def test_an_upload_repeated_counts_once(session: Session, whole: pd.DataFrame) -> None:
    take(session, [chunk(whole)])
    before = bits(session)

    (again,) = take(session, [chunk(whole, sequence=9)])

    assert not again.is_new
    assert bits(session) == before
    assert session.scalar(sa.select(sa.func.count()).select_from(TrackChunk)) == 1


@st.composite
def pieces(draw: st.DrawFn) -> list[list[int]]:
    """Rows of a walk of 40 fixes cut into chunks that may overlap, leave each other's ends out and be repeated."""
    rows = range(40)
    cuts = sorted(draw(st.sets(st.integers(1, 39), max_size=5)))
    parts = [list(rows[a : b + draw(st.integers(0, 4))]) for a, b in zip([0, *cuts], [*cuts, 40], strict=True)]
    scattered = draw(st.lists(st.lists(st.sampled_from(rows), min_size=1, max_size=12, unique=True), max_size=2))
    return draw(st.permutations(parts + [sorted(some) for some in scattered]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces(), st.booleans())
def test_chunks_in_any_order_see_what_the_whole_sees(
    session: Session, whole: pd.DataFrame, parts: list[list[int]], at_once: bool
) -> None:
    chunks = [chunk(whole.iloc[rows], n) for n, rows in enumerate(parts)]
    with session.begin_nested() as trial:
        for some in [chunks] if at_once else [[one] for one in chunks]:
            take(session, some)
        found = bits(session)
        trial.rollback()

    assert found == expected(whole)


def test_a_late_fix_within_a_burnt_step_undoes_it_and_nobody_elses(session: Session) -> None:
    fixes = walk(10, every_s=30)
    detour = fixes.iloc[[4]].assign(
        lon=fixes["lon"].iloc[4] + 0.0015, at=fixes["at"].iloc[4] + pd.Timedelta(seconds=10)
    )
    other = walk(10, every_s=30, track="b", begin_s=40)
    take(session, [chunk(fixes), chunk(other)])
    take(session, [chunk(detour, 1)])

    assert bits(session) == expected(pd.concat([fixes, detour, other], ignore_index=True))
    assert bits(session) != expected(pd.concat([fixes, other], ignore_index=True))


def test_concurrent_uploads_lose_no_bit(engine: sa.Engine) -> None:
    """Eight uploads at once onto the same tiles, two of them pieces of one track."""
    walks = [walk(30, track=f"w{n}", begin_s=60 * n, step_m=9 + n) for n in range(7)]
    uploads = [[chunk(one)] for one in walks[:6]] + [[chunk(walks[6].iloc[:16])], [chunk(walks[6].iloc[15:], 1)]]
    faults: list[Exception] = []

    def upload(chunks: list[Chunk]) -> None:
        try:
            with sessions(engine).begin() as session:
                take(session, chunks)
        except Exception as error:  # noqa: BLE001 - told below
            faults.append(error)

    threads = [Thread(target=upload, args=(chunks,)) for chunks in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    with sessions(engine)() as session:
        assert bits(session) == expected(pd.concat(walks, ignore_index=True))


JUDGED: Iterable[tuple[str, dict[str, object], Judge, Why]] = [
    ("accuracy", {"accuracy_m": [51.0] * 40}, Judge(None), Why.ACCURACY),
    ("ahead of our clock", {}, Judge(None, received_ms=int((EPOCH - 3600) * 1000)), Why.CLOCK),
    ("a sender's clock off", {}, Judge(None, int((EPOCH + 900) * 1000), int((EPOCH + 600) * 1000)), Why.CLOCK),
    ("late", {}, Judge(None, received_ms=int((EPOCH + 91 * 86400) * 1000)), Why.LATE),
    ("far", {}, Judge((100.0, 20.0, 101.0, 21.0)), Why.FAR),
]


@pytest.mark.parametrize(("more", "judge", "why"), [row[1:] for row in JUDGED], ids=[row[0] for row in JUDGED])
def test_what_does_not_count_is_kept_with_its_reason(
    session: Session, whole: pd.DataFrame, more: dict[str, object], judge: Judge, why: Why
) -> None:
    (taken,) = take(session, [chunk(whole, **more)], judge)

    stored = session.scalars(sa.select(TrackChunk)).one()
    assert taken.uncounted == {why: 40}
    assert bits(session) == {}
    assert stored.geom is None
    assert stored.uncounted is not None
    assert len(stored.uncounted[why]) == 40


def test_a_jump_breaks_the_line_and_is_told(session: Session) -> None:
    fixes = walk(9, every_s=2, step_m=3)
    fixes.loc[4, "lon"] += 0.0015  # 140 m in 2 s

    (taken,) = take(session, [chunk(fixes)])

    assert taken.uncounted == {Why.JUMP: 1}
    assert bits(session) == expected(fixes)
    apart = [fixes.iloc[:4].assign(track="x"), fixes.iloc[5:].assign(track="y")]
    assert bits(session) == expected(pd.concat(apart))


def test_the_months_of_tracks_are_made_as_they_come(session: Session) -> None:
    later = walk(5, track="b", begin_s=40 * 86400)

    take(session, [chunk(walk(5)), chunk(later)])

    months = session.scalars(sa.text("select distinct tableoid::regclass::text from track_chunks")).all()
    assert sorted(months) == ["track_months.track_chunks_2026_03", "track_months.track_chunks_2026_04"]


def test_whole_outings_are_cut_so_that_chunks_share_their_ends() -> None:
    chunks = chunks_of(walk(150))

    assert [len(one) for one in chunks] == [61, 61, 30]
    assert chunks[0].at_ms[-1] == chunks[1].at_ms[0]


def test_fixes_sent_out_of_order_are_the_same_chunk(whole: pd.DataFrame) -> None:
    assert chunk(whole.iloc[::-1]).sha256 == chunk(whole).sha256


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"epoch_s": [], "lon": [], "lat": []}, "0 fixes"),
        ({"epoch_s": [1.0] * 1001, "lon": [121.4] * 1001, "lat": [31.1] * 1001}, "1001 fixes"),
        ({"epoch_s": [1.0, 2.0], "lon": [121.4], "lat": [31.1]}, "one length"),
        ({"epoch_s": [float("nan")], "lon": [121.4], "lat": [31.1]}, "epoch_s"),
        ({"epoch_s": [-1.0], "lon": [121.4], "lat": [31.1]}, "epoch_s"),
        ({"epoch_s": [5e9], "lon": [121.4], "lat": [31.1]}, "epoch_s"),
        ({"epoch_s": [1.0], "lon": [31.1], "lat": [121.4]}, "turned round|swapped|lat"),
        ({"epoch_s": [1.0], "lon": [float("inf")], "lat": [31.1]}, "lon|inf"),
        ({"epoch_s": [1.0], "lon": [121.4], "lat": [31.1], "accuracy_m": [-1.0]}, "accuracy_m"),
        ({"epoch_s": [0.0, 30000.0], "lon": [121.4] * 2, "lat": [31.1] * 2}, "at most 6"),
    ],
)
def test_a_chunk_that_is_no_line_of_fixes_is_refused(columns: dict[str, list[float]], fault: str) -> None:
    with pytest.raises(UnusableChunk, match=fault):
        make_chunk("t", 0, **columns)  # type: ignore[arg-type]


def test_seen_ground_is_read_back_for_a_window(session: Session, whole: pd.DataFrame) -> None:
    take(session, [chunk(whole)])
    day = datetime.fromtimestamp(EPOCH, UTC).astimezone(CITY.zone).date()

    today, before = (seen_in_window(session, first=one, last=one) for one in (day, day - timedelta(days=1)))

    assert today.area_m2 > 0
    assert before.area_m2 == 0
    assert BY.who
