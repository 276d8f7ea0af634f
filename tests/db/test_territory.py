from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gis_grid.errors import Conflict, NotFound
from gis_grid.territory import (
    Area,
    Grid,
    GridLayer,
    Level,
    areas_frame,
    grids_frame,
    layer_in_force,
    the_area,
    the_grid,
)
from tests.builders import NOW, load_squares, squares


def test_the_first_layer_is_in_force_since_1970_and_the_second_waits(session: Session) -> None:
    first = load_squares(session)
    second = load_squares(session, squares(2, 2), name="later")

    in_force = layer_in_force(session, datetime(1970, 1, 2, tzinfo=UTC))

    assert in_force is not None
    assert (in_force.id, second.in_force, first.in_force) == (first.id, None, Range(datetime(1970, 1, 1, tzinfo=UTC)))


def test_two_layers_in_force_at_one_time_are_refused_by_the_database(session: Session) -> None:
    load_squares(session)
    later = load_squares(session, squares(2, 2), name="later")
    later.in_force = Range(NOW, None)

    with pytest.raises(IntegrityError, match="ex_grid_layers_in_force"):
        session.commit()


def test_the_same_file_is_not_loaded_twice(session: Session) -> None:
    load_squares(session)

    with pytest.raises(Conflict, match="already loaded"):
        load_squares(session)


def test_a_layer_that_fails_half_way_leaves_nothing(session: Session) -> None:
    grids = squares()
    grids.loc[8, "grid_code"] = grids.loc[0, "grid_code"]

    with pytest.raises(IntegrityError):
        load_squares(session, grids)
    session.rollback()

    assert [session.scalar(sa.select(sa.func.count()).select_from(table)) for table in (GridLayer, Area, Grid)] == [
        0
    ] * 3


def test_grids_come_back_as_they_went_in_bit_for_bit(session: Session) -> None:
    layer = load_squares(session)

    frame = grids_frame(session, layer)

    assert (frame.geometry.to_wkb() == squares().geometry.to_wkb()).all()
    assert list(frame["grid_code"]) == list(squares()["grid_code"])
    assert set(frame["community"]) == {"社区1", "社区2", "社区3"}


def test_areas_know_their_parents(session: Session) -> None:
    layer = load_squares(session)

    parents = areas_frame(session, layer).set_index("code")["parent_code"].dropna().to_dict()

    assert parents == {
        "310112001": "310112",
        "310112001001": "310112001",
        "310112001002": "310112001",
        "310112001003": "310112001",
    }


def test_a_code_that_several_levels_share_means_the_lowest(session: Session) -> None:
    grids = squares().assign(community_code="310112", town_code="310112")
    load_squares(session, grids)

    areas = [the_area(session, "310112", at=NOW, level=level) for level in (None, *Level)]

    assert [area.level for area in areas] == ["community", "district", "town", "community"]


def test_an_unknown_grid_is_named(session: Session) -> None:
    load_squares(session)

    with pytest.raises(NotFound, match="310112999999999"):
        the_grid(session, "310112999999999", at=NOW)


def test_before_1970_nothing_was_in_force(session: Session) -> None:
    load_squares(session)

    assert layer_in_force(session, datetime(1970, 1, 1, tzinfo=UTC) - timedelta(seconds=1)) is None
