"""Indicators, the official score and the ranking that shrinks, without a database."""

from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from gis_grid.indicators import (
    DEFAULT_WEIGHTS,
    INDICATORS,
    Counted,
    Measure,
    fit_prior,
    official_score,
    parts,
    percent,
    share,
    shrunk,
)
from gis_grid.score_weights import read_weights

ZONE = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("of", "due", "text"),
    [
        (996, 1054, "94.50"), (911, 972, "93.72"), (737, 972, "75.82"), (902, 956, "94.35"), (9, 16, "56.25"),
        (953, 996, "95.68"), (43, 996, "4.32"), (1, 3, "33.33"), (0, 7, "0.00"), (7, 7, "100.00"), (0, 0, ""), (1, 20000, "0.01"),
    ],
)  # fmt: skip
def test_a_share_is_written_as_bulletins_write_it(of: int, due: int, text: str) -> None:
    assert percent(of, due) == text


def test_an_indicator_without_anything_to_count_is_none() -> None:
    assert share({}, INDICATORS["closing_rate"]) is None
    assert parts({}, INDICATORS["closing_rate"]) == (0, 0)


def test_the_official_score_is_the_weighted_mean_and_half_of_the_whole_assessment() -> None:
    counts = {
        Measure.CLOSE: Counted(10, 8, 6),
        Measure.HANDLE: Counted(10, 10, 9),
        Measure.REWORK: Counted(10, 1),
        Measure.RETURN: Counted(10, 2),
        Measure.SATISFY: Counted(10, 7),
    }

    score = official_score(counts, DEFAULT_WEIGHTS)

    # 0.2 x 0.8 + 0.3 x 0.6 + 0.2 x 0.9 + 0.1 x 0.9 + 0.1 x 0.8 + 0.1 x 0.7
    assert score is not None
    assert score.points == pytest.approx(76)
    assert (score.platform_share, score.contribution) == (0.5, pytest.approx(38))
    assert score.terms["return_rate"] == (0.1, 0.8)


def test_an_indicator_with_nothing_to_count_takes_its_weight_out() -> None:
    score = official_score({Measure.CLOSE: Counted(2, 2, 1)}, DEFAULT_WEIGHTS)

    assert score is not None
    assert score.points == pytest.approx(100 * (0.2 * 1 + 0.3 * 0.5) / 0.5)
    assert set(score.terms) == {"closing_rate", "closing_in_time_rate"}


def test_who_has_nothing_to_count_has_no_score() -> None:
    assert official_score({}, DEFAULT_WEIGHTS) is None


COUNTS = st.lists(
    st.integers(0, 200).flatmap(lambda due: st.tuples(st.integers(0, due), st.just(due))), min_size=2, max_size=20
)


@given(COUNTS)
def test_a_shrunk_share_lies_between_the_units_own_and_the_mean(counts: list[tuple[int, int]]) -> None:
    prior = fit_prior([of for of, _ in counts], [due for _, due in counts])
    if prior is None:
        assert not any(due for _, due in counts)
        return

    for of, due in counts:
        low, high = sorted([of / due if due else prior.mean, prior.mean])
        assert low - 1e-9 <= shrunk(of, due, prior) <= high + 1e-9


def test_a_small_unit_is_moved_more_than_a_large_one_with_the_same_share() -> None:
    prior = fit_prior([1, 100, 50, 80], [1, 100, 100, 100])

    assert prior is not None
    assert shrunk(1, 1, prior) < shrunk(100, 100, prior)


def test_one_lucky_case_does_not_lead_the_shrunk_ranking_as_it_leads_the_raw_one() -> None:
    done, due = [1, 95, 190, 60], [1, 100, 200, 100]
    prior = fit_prior(done, due)

    assert prior is not None
    assert not prior.is_flat
    raw = [of / all_ for of, all_ in zip(done, due, strict=True)]
    fair = [shrunk(of, all_, prior) for of, all_ in zip(done, due, strict=True)]
    assert raw.index(max(raw)) == 0
    assert fair.index(max(fair)) != 0


def test_units_that_differ_no_more_than_chance_are_told_apart_hardly_at_all() -> None:
    prior = fit_prior([5, 5, 5, 5], [10, 10, 10, 10])

    assert prior is not None
    assert prior.mean == 0.5
    assert prior.cases > 1e5
    assert prior.is_flat


@pytest.mark.parametrize("name", list(INDICATORS))
def test_every_indicator_may_be_weighed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "score_weights.csv"
    path.write_text(f"name,weight,since,until,is_example\n{name},0.25,,,false\n", encoding="utf-8")

    ((_, stretch),) = read_weights(path, zone=ZONE)

    assert (stretch.key, stretch.values) == ((name,), (Decimal("0.25"), False))


@pytest.mark.parametrize("row", ["luck,0.5", "platform,0", "platform,1.5", "platform,-1", "platform,nan", "platform,"])
def test_a_weight_that_is_none_is_refused(tmp_path: Path, row: str) -> None:
    path = tmp_path / "score_weights.csv"
    path.write_text(f"name,weight,since,until,is_example\n{row},,,false\n", encoding="utf-8")

    with pytest.raises(InvalidInput):
        read_weights(path, zone=ZONE)
