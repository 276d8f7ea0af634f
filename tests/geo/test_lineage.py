"""Where the ground of new grids comes from, on squares of 100 m that can be checked by hand."""

import geopandas as gpd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis_grid.geo.lineage import trace_ground
from tests.builders import squares

SQUARE_M2 = 10_000 / 1.000_220_5**2  # 100 m in EPSG:4549 at 121.4° E, by that projection's scale there


def merged(grids: gpd.GeoDataFrame, groups: dict[str, list[int]]) -> gpd.GeoDataFrame:
    """A layer of unions of some grids."""
    shapes = [shapely.union_all(grids.geometry.to_numpy()[rows]) for rows in groups.values()]
    return gpd.GeoDataFrame({"grid_code": list(groups)}, geometry=shapes, crs="EPSG:4326")


def test_a_layer_comes_from_itself() -> None:
    grids = squares()

    lineage = trace_ground(grids, grids)

    assert set(lineage["descent"]) == {"same"}
    assert (lineage["old_code"] == lineage["new_code"]).all()
    assert len(lineage) == 9


def test_two_grids_that_become_one_are_merged_and_one_that_becomes_two_is_split() -> None:
    one, two = squares(2, 1), merged(squares(2, 1), {"m": [0, 1]})

    joined, parted = trace_ground(one, two), trace_ground(two, one)

    assert joined["descent"].tolist() == ["merge", "merge"]
    assert joined["share_of_new"].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    assert joined["area_m2"].tolist() == pytest.approx([SQUARE_M2] * 2, rel=1e-5)
    assert parted["descent"].tolist() == ["split", "split"]


def test_a_strip_that_moves_to_the_neighbour_is_a_transfer() -> None:
    old = squares(4, 1, side_m=50.0)
    before, after = merged(old, {"a": [0, 1], "b": [2, 3]}), merged(old, {"a": [0], "b": [1, 2, 3]})

    lineage = trace_ground(before, after).set_index(["old_code", "new_code"])

    assert lineage.loc[("a", "b"), "descent"] == "transfer"
    assert lineage.loc[("a", "b"), "share_of_old"] == pytest.approx(0.5, abs=1e-6)
    assert lineage.loc[("a", "a"), "descent"] == "split"
    assert lineage.loc[("b", "b"), "descent"] == "merge"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=9, max_size=9))
def test_shares_add_up_where_both_layers_tile_the_same_ground(groups: list[int]) -> None:
    grids = squares()
    new = merged(grids, {str(g): [i for i in range(9) if groups[i] == g] for g in sorted(set(groups))})

    lineage = trace_ground(grids, new)

    assert lineage.groupby("old_code")["share_of_old"].sum().tolist() == pytest.approx([1.0] * 9, abs=1e-9)
    assert lineage.groupby("new_code")["share_of_new"].sum().tolist() == pytest.approx([1.0] * len(new), abs=1e-9)
