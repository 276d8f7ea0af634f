"""On simulated districts with planted silent grids: what is found, and what is called by mistake."""

import numpy as np
import pytest

from gis_grid.errors import InvalidInput
from gis_grid.geo.silence import silent_grids
from gis_grid.geo.simulated import SIDE, SimulatedDistrict, simulate_district, try_silence

DISTRICTS = 20


@pytest.fixture(scope="module")
def district() -> SimulatedDistrict:
    return simulate_district(3, planted=0)


def test_planted_silent_grids_are_found_and_few_others() -> None:
    told = try_silence(districts=DISTRICTS)

    assert told["recall"] > 0.85
    assert told["false_share"] < 0.1


def test_area_and_neighbours_alone_find_most_of_them() -> None:
    told = try_silence(districts=DISTRICTS, with_people=False)

    assert told["recall"] > 0.6
    assert told["false_share"] < 0.1


def test_where_counts_vary_wildly_silence_is_not_guessed_at() -> None:
    told = try_silence(districts=DISTRICTS, alpha=0.4)

    assert (told["found"], told["false_alarms"]) == (0, 0)


def test_where_nothing_is_planted_hardly_a_district_has_a_call() -> None:
    alarms = sum(
        try_silence(districts=1, planted=0, first_seed=seed)["false_alarms"] > 0 for seed in range(500, 500 + DISTRICTS)
    )

    assert alarms <= 0.1 * DISTRICTS


def test_quiet_country_is_not_silent(district: SimulatedDistrict) -> None:
    table = silent_grids(district.grids, district.counts, people=district.people)

    quiet = (district.counts <= 1) & (table["expected"] < 8)
    assert quiet.sum() >= 10
    assert not table.loc[quiet, "is_silent"].any()


def test_no_reports_at_all_call_nobody_silent(district: SimulatedDistrict) -> None:
    assert not silent_grids(district.grids, np.zeros(SIDE * SIDE))["is_silent"].any()


def test_order_of_rows_does_not_matter() -> None:
    one = simulate_district(5)
    turned = np.random.default_rng(0).permutation(SIDE * SIDE)

    straight = silent_grids(one.grids, one.counts, people=one.people)
    other = silent_grids(one.grids.iloc[turned], one.counts[turned], people=one.people[turned]).sort_index()

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
    district: SimulatedDistrict, counts: list[float], more: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        silent_grids(district.grids, counts, **more)  # type: ignore[arg-type]
