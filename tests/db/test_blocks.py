from datetime import timedelta
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.blocks import BlocksOf, FaultyBlocks, ParentLevel, blocks_frame, load_blocks, read_blocks
from gis_grid.city import load_city
from gis_grid.errors import InvalidInput, NotFound
from tests.builders import BY, NOW, load_squares, squares

GRID = "310112001001001"
CITY = load_city()


def halves(code: str = GRID, *, least: int = 1) -> BlocksOf:
    """A square cut from corner to corner, which needs no new corner."""
    ring = shapely.get_coordinates(squares().set_index("grid_code").geometry[code].exterior)
    parts = [shapely.Polygon(ring[[0, 1, 2]]), shapely.Polygon(ring[[0, 2, 3]])]
    rows = {
        "block_code": [f"{code}-{n}" for n in (1, 2)],
        "parent_level": "grid",
        "parent_code": code,
        "name": ["一块", "二块"],
        "kinds": [["estate"], ["shops"]],
        "least_people": least,
    }
    return BlocksOf(ParentLevel.GRID, code, gpd.GeoDataFrame(rows, geometry=parts, crs="EPSG:4326"))


def load(session: Session, *blocks: BlocksOf, after_days: int = 0) -> int:
    now = NOW + timedelta(days=after_days)
    return load_blocks(session, blocks, city=CITY, source="b.geojson", is_synthetic=True, by=BY, now=now)


def test_blocks_that_tile_their_grid_are_stored(session: Session) -> None:
    load_squares(session)

    assert load(session, halves()) == 1

    frame = blocks_frame(session, at=NOW)
    assert frame["block_code"].tolist() == [f"{GRID}-1", f"{GRID}-2"]
    assert frame["area_m2"].tolist() == pytest.approx([5000, 5000], rel=2e-3)


def test_the_same_blocks_again_change_nothing(session: Session) -> None:
    load_squares(session)

    assert [load(session, halves()), load(session, halves(), after_days=1)] == [1, 0]


def test_a_gap_between_blocks_is_refused_with_its_place(session: Session) -> None:
    load_squares(session)
    blocks = halves()
    short = BlocksOf(blocks.level, blocks.code, blocks.frame.iloc[:1])

    with pytest.raises(FaultyBlocks, match=r"in no grid.* at .*121\.4"):
        load(session, short)

    assert blocks_frame(session, at=NOW).empty


def test_a_block_outside_its_parent_is_refused(session: Session) -> None:
    load_squares(session)
    blocks = halves()
    moved = blocks.frame.set_geometry(blocks.frame.geometry.translate(0.0002, 0))

    with pytest.raises(FaultyBlocks, match="do not tile"):
        load(session, BlocksOf(blocks.level, blocks.code, moved))


def test_blocks_of_an_unknown_parent_are_refused(session: Session) -> None:
    load_squares(session)
    blocks = halves()

    with pytest.raises(NotFound):
        load(session, BlocksOf(ParentLevel.COMMUNITY, "310112999999", blocks.frame))


def test_new_blocks_supersede_and_the_old_stay_known(session: Session) -> None:
    load_squares(session)
    load(session, halves())
    load(session, halves(least=4), after_days=10)

    least = [blocks_frame(session, at=NOW + timedelta(days=days))["least_people"].max() for days in (9, 10)]

    assert least == [1, 4]


def test_two_layers_of_one_parent_are_never_in_force_at_once(session: Session) -> None:
    load_squares(session)
    load(session, halves())

    with pytest.raises(sa.exc.IntegrityError):
        session.execute(
            sa.text(
                "insert into block_layers (parent_level, parent_code, source, content_sha256, in_force) "
                "values ('grid', :code, '', '', '[2020-01-01,)')"
            ),
            {"code": GRID},
        )


def test_every_fault_of_a_file_is_named(tmp_path: Path) -> None:
    frame = halves().frame.assign(kinds="lake", least_people=-1)
    path = tmp_path / "b.geojson"
    frame.to_file(path)

    with pytest.raises(InvalidInput, match=r"row 1: kinds 'lake'.*row 1: least_people -1.*row 2: kinds"):
        read_blocks(path)


def test_the_shipped_blocks_are_eight_and_five() -> None:
    assert CITY.rules is not None

    layers = read_blocks(CITY.rules / "blocks.geojson")

    assert {blocks.code: len(blocks.frame) for blocks in layers} == {"310112102204": 8, "310112001046": 5}
