"""Shares worked out in SQL: against exact figures, and against the same worked out in Python."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from gis_grid.errors import InvalidInput, NotFound
from gis_grid.geo.sight import burn_fixes, seen_shares
from gis_grid.seen import Window, add_seen, roll_up, seen_in_window, split_window
from gis_grid.seen_shares import (
    NewExclusion,
    PlaceLevel,
    exclude_ground,
    excluded_frame,
    read_exclusions,
    seen_shares_at,
)
from gis_grid.territory import grids_frame, the_layer
from tests.builders import BY, NOW, load_squares, squares
from tests.db.test_blocks import GRID, halves
from tests.db.test_blocks import load as load_some_blocks
from tests.db.test_track_intake import CITY, bits, expected, walk

DAY = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)  # ten in the morning
ALL = Window(date(2026, 1, 1), date(2026, 12, 31))


def strip(column: int, *, at: datetime = DAY, north_m: float = 50, track: str = "s") -> pd.DataFrame:
    """Up the middle of a column of three squares, from `north_m` below to 50 m beyond."""
    centre = squares().set_index("grid_code").geometry[f"31011200100300{column}"].centroid
    top = squares().set_index("grid_code").geometry[f"31011200100100{column}"].centroid
    lat = np.linspace(centre.y - north_m / 110_900, top.y + 0.001, 40)
    times = pd.date_range(at, periods=40, freq="10s")
    return pd.DataFrame({"track": track, "lon": centre.x, "lat": lat, "at": times})


def burn(session: Session, *walks: pd.DataFrame, sight_m: float = 50.0) -> None:
    for one in walks:
        add_seen(session, burn_fixes(one, metric_crs=CITY.metric_crs, time_zone=CITY.time_zone, sight_m=sight_m))


def shares(session: Session, level: PlaceLevel = PlaceLevel.GRID, window: Window = ALL) -> pd.Series:
    return seen_shares_at(session, level, window, city=CITY, at=NOW)["seen_share"]


def test_a_walk_up_the_middle_sees_a_whole_column_and_a_third_of_the_town(session: Session) -> None:
    load_squares(session)
    burn(session, strip(2, north_m=120))

    of_grids = shares(session)

    # North is 0.7° off the lattice's up here: over the 300 m a meridian leaves the middle by 4 m.
    assert of_grids[[f"31011200100{row}002" for row in (1, 2, 3)]].tolist() == pytest.approx([1, 1, 1], abs=0.03)
    assert of_grids[[f"31011200100{row}001" for row in (1, 2, 3)]].max() < 0.06
    assert shares(session, PlaceLevel.TOWN)["310112001"] == pytest.approx(1 / 3, abs=0.01)
    assert shares(session, PlaceLevel.DISTRICT)["310112"] == shares(session, PlaceLevel.TOWN)["310112001"]


def test_half_a_grid_is_one_of_its_blocks(session: Session) -> None:
    load_squares(session)
    load_some_blocks(session, halves())
    frame = halves().frame
    exclude_ground(
        session, [NewExclusion("water", date(2026, 1, 1), None, frame.geometry[0])], city=CITY, by=BY, now=NOW
    )
    burn(session, strip(1, north_m=120))

    told = seen_shares_at(session, PlaceLevel.BLOCK, ALL, city=CITY, at=NOW)

    assert np.isnan(told["seen_share"].iloc[0])
    assert told["seen_share"].iloc[1] == pytest.approx(1, abs=0.02)
    grid = seen_shares_at(session, PlaceLevel.GRID, ALL, city=CITY, at=NOW, codes=[GRID]).loc[GRID]
    assert (grid["ground_m2"], grid["excluded_m2"]) == pytest.approx((5000, 5000), rel=0.05)


def test_a_window_has_its_days_and_its_shift_alone(session: Session) -> None:
    load_squares(session)
    burn(session, strip(1), strip(2, at=DAY + timedelta(hours=13)), strip(3, at=DAY + timedelta(days=1)))
    first = date(2026, 3, 1)

    seen = {
        key: [round(share) for share in shares(session, window=window)[:3]]
        for key, window in {
            "day": Window(first, first, 0),
            "night": Window(first, first, 1),
            "both": Window(first, first),
            "next": Window(first + timedelta(days=1), first + timedelta(days=1)),
        }.items()
    }

    assert seen == {"day": [1, 0, 0], "night": [0, 1, 0], "both": [1, 1, 0], "next": [0, 0, 1]}


def test_sql_and_python_agree(session: Session) -> None:
    layer = load_squares(session)
    pond = shapely.box(121.4002, 31.1001, 121.4012, 31.1016)
    exclude_ground(session, [NewExclusion("pond", date(2026, 1, 1), None, pond)], city=CITY, by=BY, now=NOW)
    burn(session, strip(1), walk(), walk(track="b", begin_s=7200, step_m=7))

    in_sql = seen_shares_at(session, PlaceLevel.GRID, ALL, city=CITY, at=NOW)
    grids = grids_frame(session, layer).set_index("grid_code", drop=False)
    seen = seen_in_window(session, first=ALL.first, last=ALL.last)
    water = gpd.GeoDataFrame({"reason": ["pond"]}, geometry=[pond], crs="EPSG:4326")
    in_python = seen_shares(grids, seen, metric_crs=CITY.metric_crs, excluded=water)

    columns = ["seen_share", "seen_m2", "ground_m2", "excluded_m2"]
    pd.testing.assert_frame_equal(in_sql[columns], in_python[columns], check_names=False)


def test_a_rolled_up_year_says_what_its_days_say(session: Session) -> None:
    load_squares(session)
    for month in range(1, 7):
        burn(session, strip(month % 3 + 1, at=datetime(2026, month, 9, 2, tzinfo=UTC), north_m=20.0 * month))
    windows = [ALL, Window(date(2026, 2, 10), date(2026, 5, 8)), Window(date(2026, 2, 1), date(2026, 4, 30), 0)]
    before = [shares(session, window=window) for window in windows]

    rolled = roll_up(session, before=date(2026, 6, 15), now=NOW)

    assert rolled == [date(2026, month, 1) for month in range(1, 6)]
    assert split_window(session, windows[1])[0] == [date(2026, 3, 1), date(2026, 4, 1)]
    for window, told in zip(windows, before, strict=True):
        pd.testing.assert_series_equal(shares(session, window=window), told)


def test_a_late_upload_into_a_rolled_month_is_seen_in_it(session: Session) -> None:
    load_squares(session)
    burn(session, strip(1))
    roll_up(session, before=date(2026, 4, 1), now=NOW)

    burn(session, strip(2))

    assert split_window(session, Window(date(2026, 3, 1), date(2026, 3, 31)))[1] == []
    assert shares(session, window=Window(date(2026, 3, 1), date(2026, 3, 31)))["310112001002002"] > 0.9
    assert roll_up(session, before=date(2026, 4, 1), now=NOW) == []


def test_tiles_made_again_are_made_again_in_their_month(session: Session) -> None:
    from gis_grid.track_keeping import rebuild_days
    from tests.db.test_track_intake import chunk, take

    load_squares(session)
    take(session, [chunk(walk())])
    burn(session, strip(2, at=NOW - timedelta(hours=3)))  # seen by no chunk
    roll_up(session, before=date(2026, 4, 1), now=NOW)

    rebuild_days(session, first=date(2026, 3, 1), last=date(2026, 3, 31), city=CITY)

    march = seen_in_window(session, first=date(2026, 3, 1), last=date(2026, 3, 31))
    assert bits(session) == expected(walk())
    assert (
        march.area_m2
        == sum(np.bitwise_count(np.frombuffer(one, np.uint8)).sum() for one in bits(session).values()) * 25
    )


def test_a_new_grid_layer_changes_the_masks_and_not_one_stored_bit(session: Session) -> None:
    layer = load_squares(session)
    burn(session, strip(1))
    shares(session)
    before = bits(session)
    new = load_squares(session, squares(2, 2, side_m=150.0), name="larger")
    session.execute(
        sa.text("update grid_layers set in_force = '[1970-01-01,2026-03-02)' where id = :id"), {"id": layer.id}
    )
    session.execute(sa.text("update grid_layers set in_force = '[2026-03-02,)' where id = :id"), {"id": new.id})
    session.expire_all()

    told = shares(session)

    assert the_layer(session, NOW).id == new.id
    assert told.index.tolist() == squares(2, 2)["grid_code"].tolist()
    assert told.iloc[2] == pytest.approx(2 / 3, abs=0.03)
    assert bits(session) == before


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(5, 200), st.floats(1, 100), st.integers(1, 3))
def test_seeing_farther_never_sees_less(session: Session, near_m: float, more_m: float, column: int) -> None:
    if session.scalar(sa.text("select count(*) from grid_layers")) == 0:
        load_squares(session)
        shares(session)
        session.commit()
    told = []
    for sight_m in (near_m, near_m + more_m):
        with session.begin_nested() as trial:
            burn(session, strip(column), sight_m=sight_m)
            told.append(shares(session))
            trial.rollback()

    assert (told[1] >= told[0]).all()
    assert told[1].max() > 0


def test_a_code_that_is_none_is_named(session: Session) -> None:
    load_squares(session)

    with pytest.raises(NotFound, match="no grid 1 "):
        seen_shares_at(session, PlaceLevel.GRID, ALL, city=CITY, at=NOW, codes=["1"])


@pytest.mark.parametrize("days", [(date(2026, 2, 1), date(2026, 1, 1)), (date(1, 1, 1), date(9999, 12, 31))])
def test_a_window_turned_round_or_out_of_time_is_refused(days: tuple[date, date]) -> None:
    with pytest.raises(InvalidInput):
        Window(*days)


def test_exclusions_hold_from_day_to_day_and_are_kept_once(session: Session) -> None:
    box = shapely.box(121.4, 31.1, 121.401, 31.101)
    ground = NewExclusion("building site", date(2026, 1, 1), date(2026, 3, 31), box)

    counts = [exclude_ground(session, [ground], city=CITY, by=BY, now=NOW) for _ in range(2)]

    assert counts == [1, 0]
    held = [
        len(excluded_frame(session, as_of=day)) for day in (date(2025, 12, 31), date(2026, 3, 31), date(2026, 4, 1))
    ]
    assert held == [0, 1, 0]


def test_every_fault_of_a_file_of_exclusions_is_named(tmp_path: Path) -> None:
    box = shapely.box(121.4, 31.1, 121.401, 31.101)
    rows = {"reason": ["", "water", "yard"], "until": [None, "soon", "2020-01-01"]}
    path = tmp_path / "x.geojson"
    gpd.GeoDataFrame(rows, geometry=[box] * 3, crs="EPSG:4326").to_file(path)

    with pytest.raises(InvalidInput, match=r"row 1: reason.*row 2: until 'soon'.*row 3: until 2020-01-01 lies before"):
        read_exclusions(path, today=date(2026, 3, 1))
