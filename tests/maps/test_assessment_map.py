"""The map of an assessment: what has few cases is pale, what has none is white, and both are said."""

from datetime import UTC, datetime

import geopandas as gpd
import pandas as pd
import pytest

from gis_grid.errors import InvalidInput
from maps.assessment import LESS_IS_BETTER, MORE_IS_BETTER, SMALL, assessment_map
from maps.assets import Served, render
from tests.builders import areas_of, squares

AT = datetime(2026, 3, 31, 16, 0, tzinfo=UTC)


def draw(figures: dict[str, tuple[int, int]], *, ground: gpd.GeoDataFrame | None = None, less: bool = False) -> str:
    grids = squares()
    ground = grids[["geometry"]].assign(code=grids["grid_code"], name=grids["grid_code"]) if ground is None else ground
    frame = pd.DataFrame.from_dict(figures, orient="index", columns=["of", "due"])
    sheet = assessment_map(
        ground, frame, areas=areas_of(grids), title="考核", as_of=AT, month="2026-03", indicator="按期结案率",
        is_less_better=less,
    )  # fmt: skip
    return render(sheet, assets=Served())


def test_each_grid_tells_its_share_its_cases_and_how_little_they_prove() -> None:
    text = draw({"310112001001001": (9, 10), "310112001001002": (1, 1)})

    assert "90.00 % (9/10)" in text
    assert "100.00 % (1/1)" in text
    assert text.count("few cases") == 1
    assert "全部 All: 90.91 % (10/11)" in text
    assert "件数少 1 few, 没有 7 none, 共 9 in all" in text
    assert f"Fewer than {SMALL}: pale" in text
    assert "Nothing counted" in text


def test_a_month_with_nothing_says_so() -> None:
    assert "Nothing counted at all" in draw({})


@pytest.mark.parametrize(("less", "labels"), [(False, MORE_IS_BETTER.labels), (True, LESS_IS_BETTER.labels)])
def test_the_legend_has_the_classes_of_the_indicator(less: bool, labels: tuple[str, ...]) -> None:
    text = draw({"310112001001001": (9, 10)}, less=less)

    assert all(label in text for label in labels)


def test_the_darkest_ground_is_the_one_to_look_at() -> None:
    worst_more, worst_less = MORE_IS_BETTER.of([0.1])[0], LESS_IS_BETTER.of([0.9])[0]

    assert MORE_IS_BETTER.colors[worst_more] == LESS_IS_BETTER.colors[worst_less] == "#253494"


def test_ground_in_another_crs_is_refused() -> None:
    ground = squares()[["geometry"]].assign(code="x", name="x").to_crs(4549)

    with pytest.raises(InvalidInput, match="EPSG:4326"):
        draw({}, ground=ground)
