"""A blind spot becomes a case, once while that is open, and its days until it was seen again are counted."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.blindspots import BlindKind, BlindSpot, find_blind_spots
from gis_grid.cases import Case, log_of
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.geo.datum import LonLat
from gis_grid.reports import Report
from gis_grid.seen import Window
from gis_grid.spot_cases import (
    NobodyToAnswer,
    SeenAgain,
    SpotCase,
    SpotFiledAlready,
    file_spot,
    filed_spots,
    open_spot_cases,
    pick_spot,
    seen_again,
    seen_again_figure,
    seen_again_on,
)
from tests.builders import BY, NOW, squares
from tests.db.test_blindspots import CRS, alley, see
from tests.stored_cases import CITY, Desk

TODAY = date(2026, 3, 2)
WINDOW = Window(TODAY - timedelta(days=6), TODAY)
GRID = "310112001002002"


@pytest.fixture(scope="module")
def template(furnished: str) -> str:
    return furnished


def found(session: Session, kind: BlindKind = BlindKind.UNSEEN, window: Window = WINDOW) -> list[BlindSpot]:
    return find_blind_spots(session, CITY, window, now=NOW, kinds=[kind])


def unseen_alley(session: Session) -> BlindSpot:
    for shift in (0, 1):
        see(session, but=alley(), shift=shift)
    (spot,) = found(session)
    return spot


def file(session: Session, spot: BlindSpot, photos: Path, *, window: Window = WINDOW) -> Case:
    how = {"city": CITY, "snap_m": 50.0, "photos": photos, "by": BY, "now": NOW}
    return file_spot(session, spot, window, event_type="E0601", **how)  # type: ignore[arg-type]


def test_a_blind_spot_becomes_a_case_that_knows_it(session: Session, tmp_path: Path) -> None:
    spot = unseen_alley(session)

    case = file(session, spot, tmp_path)

    report = session.get_one(Report, case.opening_report_id)
    row = session.get_one(SpotCase, case.id)
    assert (case.stage, case.grid_code, len(case.serial or "")) == ("filed", GRID, 19)
    assert (report.kind, report.source) == ("巡查", "blind_spot")
    assert spot.why in report.text
    assert spot.why_zh in report.text
    assert [entry.action for entry in log_of(session, case)] == ["accept", "file"]
    assert (row.kind, row.what, row.code, row.first_day, row.last_day) == (
        *("unseen", "unseen", GRID, WINDOW.first, WINDOW.last),
    )


def test_the_same_blind_spot_is_not_filed_twice_while_its_case_is_open(session: Session, tmp_path: Path) -> None:
    case = file(session, unseen_alley(session), tmp_path)
    see(session)  # by day somebody goes there meanwhile
    again = found(session)

    assert {one.what for one in again} == {"unseen_by_night"}
    assert {number: row.case_id for number, row in open_spot_cases(session, again).items()} == dict.fromkeys(
        range(len(again)), case.id
    )
    with pytest.raises(SpotFiledAlready, match=case.serial):
        file(session, again[0], tmp_path)
    assert session.scalar(sa.select(sa.func.count()).select_from(SpotCase)) == 1


def test_once_its_case_is_closed_it_can_be_filed_again(session: Session, tmp_path: Path) -> None:
    spot = unseen_alley(session)
    desk = Desk(session, tmp_path)
    case = file(session, spot, tmp_path)
    session.commit()
    desk.step(case, "supervisor", action="void", reason="误报")

    again = file(session, spot, tmp_path)

    assert again.id != case.id


def test_a_case_merged_into_an_open_one_is_still_open(session: Session, tmp_path: Path) -> None:
    spot = unseen_alley(session)
    desk = Desk(session, tmp_path)
    case = file(session, spot, tmp_path)
    session.commit()
    grid = squares().set_index("grid_code").geometry[GRID].centroid
    other = desk.filed(point=LonLat(grid.x, grid.y), event_type="E0601")
    desk.step(case, "operator", action="merge", into=other.name)

    with pytest.raises(SpotFiledAlready):
        file(session, spot, tmp_path)


def test_two_faults_of_one_place_are_two(session: Session, tmp_path: Path) -> None:
    unmanned = found(session, BlindKind.UNMANNED)
    vacant = pick_spot(unmanned, BlindKind.UNMANNED, unmanned[0].point, what="no_manager")
    file(session, vacant, tmp_path)
    assert file(session, replace(vacant, what="shift_gap"), tmp_path).grid_code == vacant.code


def test_ground_in_no_grid_goes_to_the_grid_that_is_nearest(session: Session, tmp_path: Path) -> None:
    west, south, _, north = squares().total_bounds
    outside = shapely.box(west - 0.01, south, west - 1e-5, north)
    spot = BlindSpot(BlindKind.GEOMETRIC, "no_grid", None, outside, 1e5, None, 1e5, "w", "为", ("310112001002001",))

    assert file(session, spot, tmp_path).grid_code == "310112001002001"


def test_what_cannot_be_filed_is_refused_and_leaves_nothing(session: Session, tmp_path: Path) -> None:
    spot = unseen_alley(session)

    session.commit()
    early = Window(TODAY - timedelta(days=20), TODAY - timedelta(days=8))

    with pytest.raises(InvalidInput, match="last 7 days"):
        file(session, spot, tmp_path, window=early)
    with pytest.raises(NobodyToAnswer):
        file(session, replace(spot, answers=()), tmp_path)
    with pytest.raises(NotFound, match="no unseen blind spot at"):
        pick_spot([spot], BlindKind.UNSEEN, LonLat(121.5, 31.2))
    assert session.scalar(sa.select(sa.func.count()).select_from(Report)) == 0


@pytest.mark.parametrize(("shift", "days"), [(0, 4), (1, 8)])
def test_a_place_not_seen_by_one_shift_is_seen_again_by_that_shift(
    session: Session, tmp_path: Path, shift: int, days: int
) -> None:
    by = {one: alley() if one == shift else None for one in (0, 1)}
    for one, but in by.items():
        see(session, but=but, shift=one)
    (spot,) = found(session)
    row = session.get_one(SpotCase, file(session, spot, tmp_path).id)

    before = seen_again(session, row, city=CITY, now=NOW + timedelta(days=3))
    see(session, day=TODAY + timedelta(days=4), shift=0)
    see(session, day=TODAY + timedelta(days=8), shift=1)
    after = seen_again(session, row, city=CITY, now=NOW + timedelta(days=30))

    assert before == SeenAgain(None, None)
    assert after == SeenAgain(TODAY + timedelta(days=days), days)


def test_the_days_until_a_place_is_seen_again_are_counted(session: Session) -> None:
    see(session, but=alley(), day=TODAY)
    see(session, day=TODAY + timedelta(days=40))

    span = {"after": TODAY, "metric_crs": CRS}
    assert seen_again_on(session, alley(), until=TODAY + timedelta(days=50), **span) == TODAY + timedelta(days=40)  # type: ignore[arg-type]
    assert seen_again_on(session, alley(), until=TODAY + timedelta(days=39), **span) is None  # type: ignore[arg-type]


def test_the_figure_leaves_out_what_is_not_about_being_seen(session: Session, tmp_path: Path) -> None:
    file(session, found(session, BlindKind.UNMANNED)[0], tmp_path)
    (row,) = filed_spots(session, now=NOW)
    told = [
        seen_again(session, row, city=CITY, now=NOW),
        SeenAgain(TODAY, 2),
        SeenAgain(TODAY, 5),
        SeenAgain(None, None),
    ]

    figure = seen_again_figure(told)

    assert told[0] is None
    assert (figure.cases, figure.not_yet, figure.median_days) == (3, 1, 3.5)
    assert seen_again_figure([]).median_days is None
    assert filed_spots(session, now=NOW, area="310112002") == []
