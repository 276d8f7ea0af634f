"""A new layer: the preview says what its activation then does, and nothing that was there before is lost."""

from datetime import datetime, timedelta
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gis_grid.cases import is_rebuilt_by_its_log, log_of
from gis_grid.errors import NotFound
from gis_grid.geo.datum import LonLat
from gis_grid.layer_changes import CannotBeActivated, GridLineage, LayerChange, activate_layer, preview_layer
from gis_grid.locating import locate
from gis_grid.reports import PastPlacement, Report, place_by_hand
from gis_grid.situations import SituationKind, start_situation
from gis_grid.tenures import NewTenure, appoint, manager_of
from gis_grid.territory import GridLayer, layer_in_force, load_layer
from tests.builders import BY, NOW, areas_of, squares
from tests.db.test_blocks import halves
from tests.db.test_blocks import load as load_blocks
from tests.stored_cases import CITY, INSIDE, Desk

FIRST, SECOND = "310112001001001", "310112001001002"
DAY = timedelta(days=1)


def moved_codes() -> gpd.GeoDataFrame:
    """The nine squares, the first two of which have changed codes, and the last of which has a new one."""
    grids = squares()
    codes = grids["grid_code"].tolist()
    codes[0], codes[1], codes[8] = codes[1], codes[0], "310112001003009"
    return grids.assign(grid_code=codes)


def store(session: Session, grids: gpd.GeoDataFrame, *, at: datetime = NOW) -> GridLayer:
    layer = load_layer(
        session, grids, areas_of(grids), name="new", source="new.geojson", source_sha256=f"new {at}", is_synthetic=True,
        effective_at=at, accepted_faults=None, now=NOW, by=BY,
    )  # fmt: skip
    session.commit()
    return layer


def activate(desk: Desk, layer: GridLayer, *, now: datetime | None = None) -> LayerChange:
    changed = activate_layer(
        desk.session, layer.id, city=CITY, snap_m=50.0, photos=desk.photos, by=BY, now=now or desk.at
    )
    desk.session.commit()
    desk.session.expire_all()
    return changed


def tenure(code: str, name: str) -> NewTenure:
    return NewTenure(code, name, f"{name}的岗位", "居委会", "0-1", None, NOW - 30 * DAY, None)


def test_the_preview_counts_what_would_lie_elsewhere_and_stores_nothing(desk: Desk) -> None:
    for at in (NOW - DAY, NOW + timedelta(hours=1)):
        desk.report(at=at)
    desk.report(point=LonLat(121.4005, 31.1005))  # in the third row, whose grids stay
    desk.session.commit()

    changed = preview_layer(desk.session, moved_codes(), effective_at=NOW, snap_m=50.0)

    assert (changed.reports, changed.replaced) == (3, 2)
    assert changed.moves.to_dict("records") == [
        {"old_code": FIRST, "new_code": SECOND, "reports": 2, "replaced": 1},
    ]  # fmt: skip
    assert desk.session.scalar(sa.select(sa.func.count()).select_from(GridLayer)) == 1


def test_reports_of_drills_are_not_counted_among_those_that_move_and_their_cases_are_told_apart(desk: Desk) -> None:
    drill = start_situation(desk.session, SituationKind.DRILL, "防汛演练", "310112", reason="x", by=BY, now=NOW)
    practised, real = desk.filed(drill_id=drill.id), desk.filed()

    changed = preview_layer(desk.session, moved_codes(), effective_at=NOW, snap_m=50.0)
    activate(desk, store(desk.session, moved_codes()))

    assert (changed.reports, changed.replaced, changed.moves["reports"].tolist()) == (1, 1, [1])
    assert changed.cases[["case", "is_drill"]].to_numpy().tolist() == [[practised.serial, True], [real.serial, False]]
    assert [practised.grid_code, real.grid_code] == [SECOND, SECOND]


def test_activation_places_anew_what_was_observed_since_and_keeps_the_old_placement(desk: Desk) -> None:
    before, since = desk.report(at=NOW - DAY), desk.report(at=NOW + timedelta(hours=1))
    ids = before.id, since.id
    layer = store(desk.session, moved_codes())
    total = desk.session.scalar(sa.select(sa.func.count()).select_from(Report))

    changed = activate(desk, layer, now=NOW + DAY)

    placed = [desk.session.get_one(Report, id_).grid.code for id_ in ids]
    assert placed == [FIRST, SECOND]
    past = desk.session.scalars(sa.select(PastPlacement)).all()
    assert [(one.report_id, one.method) for one in past] == [(ids[1], "inside")]
    assert desk.session.scalar(sa.select(sa.func.count()).select_from(Report)) == total
    assert changed.moves["replaced"].sum() == 1


def test_the_layer_in_force_then_answers_whenever_it_is_asked(desk: Desk) -> None:
    layer = store(desk.session, moved_codes())
    activate(desk, layer, now=NOW + DAY)

    answers = locate(
        desk.session, [INSIDE, INSIDE], at=[NOW - timedelta(microseconds=1), NOW], accuracy_m=[None, None], snap_m=50.0
    )

    assert [answer.grid_code for answer in answers] == [FIRST, SECOND]
    assert layer_in_force(desk.session, NOW) is layer


def test_blocks_that_no_longer_tile_their_parent_are_named(desk: Desk) -> None:
    load_blocks(desk.session, halves(FIRST), halves("310112001003001"))
    grown = squares().drop(index=1).reset_index(drop=True)
    grown.loc[0, "geometry"] = shapely.union_all(squares().geometry.to_numpy()[:2])

    kept, changed, gone = (
        preview_layer(desk.session, grids, effective_at=NOW, snap_m=50.0).blocks
        for grids in (squares(), grown, squares().drop(index=6))
    )

    assert kept.empty
    assert changed[["parent_code", "beyond_m2"]].to_dict("records") == [{"parent_code": FIRST, "beyond_m2": 0.0}]
    assert changed["without_m2"].tolist() == pytest.approx([10_000], rel=2e-3)
    assert gone["parent_code"].tolist() == ["310112001003001"]
    assert gone["beyond_m2"].tolist() == pytest.approx([10_000], rel=2e-3)


def test_the_preview_and_the_activation_agree_on_every_report(desk: Desk) -> None:
    points = [LonLat(121.4 + 0.0007 * i, 31.0985 + 0.0008 * j) for i in range(-1, 5) for j in range(6)]
    for point in points:
        desk.report(point=point, at=NOW + timedelta(minutes=1))
    layer = store(desk.session, moved_codes())

    changed = activate(desk, layer, now=NOW + DAY)

    old = {one.report_id: one.grid_id for one in desk.session.scalars(sa.select(PastPlacement))}
    codes = dict(desk.session.execute(sa.text("select id, code from grids")).all())
    pairs = [
        (codes.get(old[report.id]), report.grid.code if report.grid else None)
        for report in desk.session.scalars(sa.select(Report)).unique()
    ]
    moved = [pair for pair in pairs if pair[0] != pair[1]]
    assert len(pairs) == len(points) == changed.reports == changed.replaced
    assert len(moved) == changed.moves["reports"].sum() > 0
    for row in changed.moves.to_dict("records"):
        assert moved.count((row["old_code"], row["new_code"])) == row["reports"]


def test_a_report_placed_by_hand_stays_in_the_grid_of_its_code(desk: Desk) -> None:
    report = desk.report(at=NOW + timedelta(hours=1))
    place_by_hand(desk.session, report.id, "310112001002002", reason="电话核实", by=BY, now=desk.at)
    id_ = report.id
    layer = store(desk.session, moved_codes())

    activate(desk, layer, now=NOW + DAY)

    placed = desk.session.get_one(Report, id_)
    assert (placed.grid.code, placed.method, placed.layer_id) == ("310112001002002", "manual", layer.id)


def test_an_open_case_comes_into_the_grid_of_its_place_and_who_has_it_stays(desk: Desk) -> None:
    appoint(desk.session, [tenure(FIRST, "王芳"), tenure(SECOND, "李雷")], by=BY, now=NOW)
    moved, ended, still = desk.filed(), desk.closed(), desk.filed(point=LonLat(121.4005, 31.1005))
    before = moved.read_state()
    layer = store(desk.session, moved_codes())

    changed = activate(desk, layer)

    assert changed.cases["case"].tolist() == [moved.serial]
    assert (moved.grid_code, moved.unit) == (SECOND, before.unit)
    assert moved.read_state().responsible == before.responsible
    assert [log_of(desk.session, case)[-1].action for case in (moved, ended, still)] == ["relocate", "close", "file"]
    assert still.grid.layer_id == layer.id
    assert all(is_rebuilt_by_its_log(desk.session, case) for case in (moved, ended, still))


def test_managers_go_on_with_the_ground_and_end_where_it_is_gone(desk: Desk) -> None:
    people = {FIRST: "王芳", SECOND: "李雷", "310112001003003": "韩梅"}
    appoint(desk.session, [tenure(code, name) for code, name in people.items()], by=BY, now=NOW)
    layer = store(desk.session, moved_codes())

    changed = activate(desk, layer, now=NOW + DAY)

    held = {
        code: (found.person.name if (found := manager_of(desk.session, code, at=NOW)) else None)
        for code in (FIRST, SECOND, "310112001003003", "310112001003009")
    }
    assert held == {FIRST: "李雷", SECOND: "王芳", "310112001003003": None, "310112001003009": "韩梅"}
    before = manager_of(desk.session, FIRST, at=NOW - timedelta(microseconds=1))
    assert before is not None
    assert before.person.name == "王芳"
    fates = changed.tenures["fate"].value_counts().to_dict()
    assert fates == {"vacant": 6, "moved": 3}


def test_a_manager_whose_grid_is_merged_into_anothers_ends(desk: Desk) -> None:
    appoint(desk.session, [tenure("310112001003002", "李雷"), tenure("310112001003003", "韩梅")], by=BY, now=NOW)
    grids = squares()
    shapes = [*grids.geometry[:7], shapely.union_all(grids.geometry.to_numpy()[7:])]
    layer = store(desk.session, grids[:8].set_geometry(shapes, crs=grids.crs))

    changed = activate(desk, layer, now=NOW + DAY)

    fates = changed.tenures.set_index("grid_code")["fate"]
    assert (fates["310112001003002"], fates["310112001003003"]) == ("kept", "ended")
    assert manager_of(desk.session, "310112001003003", at=NOW) is None
    assert manager_of(desk.session, "310112001003003", at=NOW - DAY) is not None


def test_the_lineage_is_stored(desk: Desk) -> None:
    layer = store(desk.session, moved_codes())

    activate(desk, layer, now=NOW + DAY)

    rows = desk.session.scalars(sa.select(GridLineage)).all()
    assert len(rows) == 9
    assert {row.descent for row in rows} == {"same"}


def test_a_layer_is_activated_once_and_not_before_its_day(desk: Desk) -> None:
    early, later = store(desk.session, moved_codes(), at=NOW), store(desk.session, squares(3, 2), at=NOW + 5 * DAY)

    with pytest.raises(CannotBeActivated, match="activate it then"):
        activate(desk, later, now=NOW + DAY)
    activate(desk, early, now=NOW + DAY)
    with pytest.raises(CannotBeActivated, match="in force already"):
        activate(desk, early, now=NOW + DAY)
    with pytest.raises(NotFound, match="no grid layer 99"):
        activate_layer(desk.session, 99, city=CITY, snap_m=50.0, photos=desk.photos, by=BY, now=NOW)


def test_a_layer_cannot_follow_one_that_began_after_it(desk: Desk) -> None:
    later, early = store(desk.session, moved_codes(), at=NOW), store(desk.session, squares(3, 2), at=NOW - DAY)
    activate(desk, later, now=NOW + DAY)

    with pytest.raises(CannotBeActivated, match="which has been in force since"):
        activate(desk, early, now=NOW + DAY)


def test_the_database_refuses_two_layers_in_force_at_one_time(desk: Desk) -> None:
    layer = store(desk.session, moved_codes())

    layer.in_force = Range(NOW, None)

    with pytest.raises(IntegrityError, match="ex_grid_layers_in_force"):
        desk.session.flush()


def test_an_activation_that_fails_leaves_everything_as_it_was(desk: Desk) -> None:
    report = desk.report(at=NOW + timedelta(hours=1))
    layer = store(desk.session, moved_codes())
    broken = CITY.__class__(**{**vars(CITY), "rules": Path("/nonexistent/rules")})

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever goes wrong on the way
        activate_layer(
            desk.session,
            layer.id,
            city=broken,
            snap_m=50.0,
            photos=desk.photos,
            by=BY,
            now=None,  # type: ignore[arg-type]
        )
    desk.session.rollback()

    assert layer.in_force is None
    assert report.grid is not None
    assert report.grid.code == FIRST
