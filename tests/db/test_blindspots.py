"""The four kinds, each planted, each found with its place, and not mixed."""

from datetime import date, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.orm import Session

from gis_grid.blindspots import BlindKind, BlindSpot, find_blind_spots
from gis_grid.blocks import blocks_frame
from gis_grid.city import City, load_city
from gis_grid.errors import InvalidInput
from gis_grid.geo.tiles import SeenTiles, masks_of
from gis_grid.seen import Window, add_seen
from gis_grid.seen_shares import NewExclusion, exclude_ground
from gis_grid.tenures import NewTenure, appoint
from tests.builders import BY, NOW, load_squares, squares
from tests.db.test_blocks import GRID, halves
from tests.db.test_blocks import load as load_some_blocks

CRS = "EPSG:4549"
DAY = date(2026, 3, 1)
WINDOW = Window(DAY - timedelta(days=6), DAY)


@pytest.fixture
def city(tmp_path: Path) -> City:
    """Minhang, with the outline of the nine squares."""
    from dataclasses import replace

    outline = tmp_path / "outline.geojson"
    gpd.GeoDataFrame(geometry=[shapely.union_all(squares().geometry.values)], crs="EPSG:4326").to_file(outline)
    return replace(load_city(), outline=outline)


def alley(grid: str = "310112001002002") -> shapely.Polygon:
    """25 m along the eastern edge of a square."""
    _, south, east, north = squares().to_crs(CRS).set_index("grid_code").geometry[grid].bounds
    strip = shapely.box(east - 30, south + 2, east - 5, north - 2)
    return gpd.GeoSeries([strip], crs=CRS).to_crs("EPSG:4326").iloc[0]


def see(session: Session, *, but: shapely.Geometry | None = None, day: date = DAY, shift: int = 0) -> None:
    """All squares and the ground around them, but for something."""
    ground = shapely.union_all(squares().geometry.values).buffer(0.002)
    mask = masks_of(gpd.GeoSeries([ground if but is None else ground.difference(but)], crs="EPSG:4326"), CRS)
    days, shifts = (np.full(len(mask.bits), value, np.int64) for value in (day.toordinal(), shift))
    add_seen(session, SeenTiles(mask.tile_row, mask.tile_col, days, shifts, mask.bits))


def spots(session: Session, city: City, *kinds: BlindKind, window: Window = WINDOW, **more: object) -> list[BlindSpot]:
    return find_blind_spots(session, city, window, now=NOW, kinds=kinds or tuple(BlindKind), **more)  # type: ignore[arg-type]


def test_an_alley_in_a_well_patrolled_grid_is_found(session: Session, city: City) -> None:
    load_squares(session)
    see(session, but=alley())
    see(session, but=alley(), shift=1)

    (spot,) = spots(session, city, BlindKind.UNSEEN)

    assert (spot.what, spot.code, spot.answers) == ("unseen", "310112001002002", ("310112001002002",))
    assert spot.area_m2 == pytest.approx(2400, rel=0.1)
    assert spot.place.centroid.distance(alley().centroid) < 5e-5  # one cell of 5 m
    assert "not seen from 2026-02-23 to 2026-03-01" in spot.why


def test_a_strip_seen_only_by_day_is_found(session: Session, city: City) -> None:
    load_squares(session)
    see(session)
    see(session, but=alley(), shift=1)

    both = spots(session, city, BlindKind.UNSEEN)
    by_night = spots(session, city, BlindKind.UNSEEN, window=Window(WINDOW.first, WINDOW.last, 1))

    assert [(one.what, one.code) for one in both] == [("unseen_by_night", "310112001002002")]
    assert [(one.what, one.code) for one in by_night] == [("unseen_by_night", "310112001002002")]
    assert "though the other shift saw it" in both[0].why


def test_a_spot_tells_since_when_nobody_saw_it(session: Session, city: City) -> None:
    load_squares(session)
    see(session, day=DAY - timedelta(days=20))
    see(session, but=alley())
    see(session, but=alley(), shift=1)

    (spot,) = spots(session, city, BlindKind.UNSEEN)

    assert spot.since == DAY - timedelta(days=19)


def test_an_area_narrows_what_is_looked_for(session: Session, city: City) -> None:
    load_squares(session)

    found = find_blind_spots(session, city, WINDOW, now=NOW, kinds=[BlindKind.UNSEEN], area="310112001002")

    assert {one.code for one in found} == {f"31011200100200{n}" for n in (1, 2, 3)}


def test_excluded_ground_is_no_blind_spot(session: Session, city: City) -> None:
    load_squares(session)
    see(session, but=alley())
    see(session, but=alley(), shift=1)
    pond = NewExclusion("pond", date(2026, 1, 1), None, alley().buffer(1e-5))
    exclude_ground(session, [pond], city=city, by=BY, now=NOW)

    assert spots(session, city, BlindKind.UNSEEN) == []


def test_ground_in_no_grid_is_found(session: Session, city: City) -> None:
    load_squares(session, squares().iloc[1:])

    found = [one for one in spots(session, city, BlindKind.GEOMETRIC) if one.what == "no_grid"]

    (spot,) = found
    assert spot.area_m2 == pytest.approx(10_000, rel=2e-3)
    assert spot.code is None
    assert spot.answers[0] in {"310112001001002", "310112001002001", "310112001002002"}


def test_blocks_that_tile_their_grid_leave_no_ground_without_one(session: Session, city: City) -> None:
    load_squares(session)
    load_some_blocks(session, halves())
    assert len(blocks_frame(session, at=NOW)) == 2

    assert [one for one in spots(session, city, BlindKind.GEOMETRIC) if one.what == "no_block"] == []


def test_ground_that_new_grids_left_without_a_block_is_found(session: Session, city: City) -> None:
    before = load_squares(session)
    load_some_blocks(session, halves())
    grown = squares().drop(index=1).reset_index(drop=True)
    grown.loc[0, "geometry"] = shapely.union_all(squares().geometry.to_numpy()[:2])
    after = load_squares(session, grown, name="grown")
    before.in_force = Range(before.in_force.lower, NOW - timedelta(days=1))
    session.flush()
    after.in_force = Range(NOW - timedelta(days=1), None)
    session.flush()

    (spot,) = [one for one in spots(session, city, BlindKind.GEOMETRIC) if one.what == "no_block"]

    assert (spot.code, spot.answers) == (GRID, (GRID,))
    assert spot.area_m2 == pytest.approx(10_000, rel=2e-3)


def test_the_edge_of_two_towns_is_a_joint_seam(session: Session, city: City) -> None:
    grids = squares()
    grids.loc[6:, "town_code"] = "310112006"
    grids.loc[6:, "town"] = "古美街道"
    load_squares(session, grids)
    see(session, but=alley("310112001002003"))

    found = spots(session, city, BlindKind.GEOMETRIC)

    assert {(one.what, len(one.answers)) for one in found} == {("joint_seam", 2)}
    assert len(found) == 3
    assert found[0].answers == ("310112001002003", "310112001003003")
    assert found[0].badness > found[1].badness
    assert found[0].area_m2 == pytest.approx(2000, rel=0.05)


def test_seams_of_a_file_without_one_owner_are_found(session: Session, city: City, tmp_path: Path) -> None:
    load_squares(session)
    west, south, east, north = squares().total_bounds
    lines = [shapely.LineString([(west, y), (east, y)]) for y in np.linspace(south, north, 5)[1:4]]
    rows = {"name": ["北河", "中路", "南绿带"], "owner": [None, "310112001", "路政/城管"]}
    path = tmp_path / "seams.geojson"
    gpd.GeoDataFrame(rows, geometry=lines, crs="EPSG:4326").to_file(path)

    found = spots(session, city, BlindKind.GEOMETRIC, seams=path)

    assert {(one.what, one.why.split()[0]) for one in found} == {("unowned_seam", "北河"), ("joint_seam", "南绿带")}


def test_a_grid_without_a_manager_is_unmanned_since_the_last_one_left(session: Session, city: City) -> None:
    load_squares(session)
    codes = squares()["grid_code"].tolist()
    left = NOW - timedelta(days=10)
    tenures = [
        NewTenure(code, "王芳", "书记", "居委会", "0-1", None, NOW - timedelta(days=90), None) for code in codes[1:]
    ]
    tenures.append(NewTenure(codes[0], "李雷", "书记", "居委会", "0-1", None, NOW - timedelta(days=90), left))
    appoint(session, tenures, by=BY, now=NOW)

    found = [one for one in spots(session, city, BlindKind.UNMANNED) if one.what == "no_manager"]

    assert [(one.code, one.since) for one in found] == [(codes[0], left.date())]


def test_vacant_and_short_blocks_and_shift_gaps_are_unmanned(session: Session, city: City, tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    from gis_grid.teams import load_teams, read_teams
    from tests.db.test_teams import folder_of

    load_squares(session)
    load_some_blocks(session, halves(least=2))
    folder = folder_of(tmp_path, team_members=[f"c,某,1,cadre,block,{GRID}-1,false,,,false"])
    load_teams(session, read_teams(folder, zone=ZoneInfo("Asia/Shanghai")), by=BY, now=NOW)

    found = {
        (one.what, one.code, one.answers)
        for one in spots(session, city, BlindKind.UNMANNED)
        if one.what != "no_manager"
    }

    assert found == {("short_block", f"{GRID}-1", (GRID,)), ("vacant_block", f"{GRID}-2", (GRID,))}


def test_kinds_are_not_mixed(session: Session, city: City) -> None:
    load_squares(session)

    found = spots(session, city)

    assert {one.kind for one in found} == {BlindKind.UNSEEN, BlindKind.UNMANNED}
    order = [list(BlindKind).index(one.kind) for one in found]
    assert order == sorted(order)


def test_people_are_told_for_each_grid(session: Session, city: City) -> None:
    load_squares(session)

    with pytest.raises(InvalidInput, match="no number for 9 grids"):
        spots(session, city, BlindKind.SILENT, people=pd.Series(dtype=float))
