import pandas as pd
import pytest

from gis_grid.errors import InvalidInput
from maps.assets import Inline, render
from maps.layer_change import layer_change_map
from tests.builders import NOW, squares


def test_the_map_of_a_change_shows_new_grids_their_counts_and_the_limits_that_go() -> None:
    old = squares()
    new = old.dissolve("community_code", as_index=False)[["community_code", "geometry"]].rename(
        columns={"community_code": "grid_code"}
    )

    text = render(
        layer_change_map(old, new, pd.Series({new["grid_code"][0]: 7}), title="<b>新图层</b>", as_of=NOW),
        assets=Inline(),
    )

    assert all(name in text for name in ("改变网格的上报", "取消的界线", new["grid_code"][2]))
    assert "<b>新图层</b>" not in text


def test_a_layer_that_changes_nothing_can_be_drawn() -> None:
    grids = squares()

    assert render(layer_change_map(grids, grids, pd.Series(dtype=int), title="x", as_of=NOW), assets=Inline())


def test_another_crs_is_refused() -> None:
    with pytest.raises(InvalidInput, match="new"):
        layer_change_map(squares(), squares().to_crs(4549), pd.Series(dtype=int), title="x", as_of=NOW)
