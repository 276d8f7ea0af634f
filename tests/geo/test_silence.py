"""On simulated districts with planted silent grids: what is found, and what is called by mistake."""

import geopandas as gpd
import numpy as np
import pytest

from gis_grid.errors import InvalidInput
from gis_grid.geo.silence import silent_grids
from tests.builders import squares

SIDE = 16
DISTRICTS = 20
PLANTED = 8


@pytest.fixture(scope="module")
def grids() -> gpd.GeoDataFrame:
    return squares(SIDE, SIDE, side_m=500.0)


def district(seed: int, *, planted: int = PLANTED, alpha: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts, people and which grids are planted: a town of 30 reports a grid amid country of 1.

    Counts are overdispersed (gamma-Poisson); a planted grid lies in town and reports a twentieth.
    """
    rng = np.random.default_rng(seed)
    row, col = np.divmod(np.arange(SIDE * SIDE), SIDE)
    mean = 1 + 30 * np.exp(-((row - 8) ** 2 + (col - 8) ** 2) / 30)
    people = 60 * mean * rng.lognormal(0, 0.2, len(mean))
    silent = np.zeros(len(mean), dtype=bool)
    silent[rng.choice(np.flatnonzero(mean > 15), planted, replace=False)] = True
    rate = np.where(silent, mean / 20, mean)
    return rng.poisson(rng.gamma(1 / alpha, alpha * rate)), people, silent


def called(grids: gpd.GeoDataFrame, *, alpha: float, with_people: bool = True) -> tuple[float, float]:
    """Return recall, and the share of false ones among those called."""
    found = false = 0
    for seed in range(DISTRICTS):
        counts, people, silent = district(seed, alpha=alpha)
        is_called = silent_grids(grids, counts, people=people if with_people else None)["is_silent"].to_numpy()
        found += int((is_called & silent).sum())
        false += int((is_called & ~silent).sum())
    return found / (DISTRICTS * PLANTED), false / max(found + false, 1)


def test_planted_silent_grids_are_found_and_few_others(grids: gpd.GeoDataFrame) -> None:
    recall, false_share = called(grids, alpha=0.05)

    assert recall > 0.85
    assert false_share < 0.1


def test_area_and_neighbours_alone_find_most_of_them(grids: gpd.GeoDataFrame) -> None:
    recall, false_share = called(grids, alpha=0.05, with_people=False)

    assert recall > 0.6
    assert false_share < 0.1


def test_where_counts_vary_wildly_silence_is_not_guessed_at(grids: gpd.GeoDataFrame) -> None:
    assert called(grids, alpha=0.4) == (0, 0)


def test_where_nothing_is_planted_hardly_a_district_has_a_call(grids: gpd.GeoDataFrame) -> None:
    alarms = 0
    for seed in range(500, 500 + DISTRICTS):
        counts, people, _ = district(seed, planted=0)
        alarms += bool(silent_grids(grids, counts, people=people)["is_silent"].any())

    assert alarms <= 0.1 * DISTRICTS


def test_quiet_country_is_not_silent(grids: gpd.GeoDataFrame) -> None:
    counts, people, _ = district(3, planted=0)
    table = silent_grids(grids, counts, people=people)

    quiet = (counts <= 1) & (table["expected"] < 8)
    assert quiet.sum() >= 10
    assert not table.loc[quiet, "is_silent"].any()


def test_no_reports_at_all_call_nobody_silent(grids: gpd.GeoDataFrame) -> None:
    assert not silent_grids(grids, np.zeros(len(grids)))["is_silent"].any()


def test_order_of_rows_does_not_matter(grids: gpd.GeoDataFrame) -> None:
    counts, people, _ = district(5)
    turned = np.random.default_rng(0).permutation(len(grids))

    straight = silent_grids(grids, counts, people=people)
    other = silent_grids(grids.iloc[turned], counts[turned], people=people[turned]).sort_index()

    assert np.allclose(straight["q"], other["q"])
    assert (straight["is_silent"] == other["is_silent"]).all()


@pytest.mark.parametrize(
    ("counts", "more"),
    [
        ([1.0], {}),
        ([-1.0] * SIDE * SIDE, {}),
        ([float("nan")] * SIDE * SIDE, {}),
        ([1.0] * SIDE * SIDE, {"people": [0.0] * SIDE * SIDE}),
        ([1.0] * SIDE * SIDE, {"false_discovery": 1.0}),
    ],
)
def test_what_cannot_be_counted_is_refused(
    grids: gpd.GeoDataFrame, counts: list[float], more: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        silent_grids(grids, counts, **more)  # type: ignore[arg-type]
