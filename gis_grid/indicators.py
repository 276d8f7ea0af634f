"""Indicators of how a city works: what each counts, its share, the official score, and a ranking fair to the small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import betaln

MOST_ALIKE = 1e6


class Measure(StrEnum):
    """What is counted, each thing once."""

    FILE = "file"  # accepted in the period
    DISPATCH = "dispatch"  # dispatched in the period
    TAKE = "take"  # due to be taken in the period
    HANDLE = "handle"  # due to be handled
    CHECK = "check"  # due to be checked
    ANSWER = "answer"  # due to be answered
    CLOSE = "close"  # due to be closed
    REWORK = "rework"  # cases handled in the period
    RETURN = "return"  # received in the period
    PASS = "pass"  # checks in the period  # noqa: S105 - a check is passed
    SATISFY = "satisfy"  # answers in the period that somebody gave an opinion on
    REPORT = "report"  # reports of patrols decided on in the period
    MISS = "miss"  # these, and what patrols passed and others found
    COVER = "cover"  # square metres to be patrolled


class Counted(NamedTuple):
    """How many things of a measure, how many of them were done, and how many in time."""

    due: int = 0
    done: int = 0
    in_time: int = 0


class Indicator(NamedTuple):
    """A share: of what it is counted, whether what was done in time counts, and whether less is better."""

    name: str
    name_en: str
    measure: Measure
    is_in_time: bool = False
    is_less_better: bool = False


# Names and formulas are those of CJ/T 292 and of cities' bulletins.
INDICATORS: dict[str, Indicator] = {
    "filing_rate": Indicator("立案率", "filed of accepted", Measure.FILE),
    "dispatch_accuracy": Indicator("准确派遣率", "dispatched to the right unit", Measure.DISPATCH),
    "taking_in_time_rate": Indicator("按时接单率", "taken in time", Measure.TAKE, is_in_time=True),
    "handling_rate": Indicator("处置率", "handled of due to handle", Measure.HANDLE),
    "handling_in_time_rate": Indicator("按期处置率", "handled in time of due", Measure.HANDLE, is_in_time=True),
    "checking_in_time_rate": Indicator("按时核查率", "checked in time of due", Measure.CHECK, is_in_time=True),
    "answering_in_time_rate": Indicator("按期答复率", "answered in time of due", Measure.ANSWER, is_in_time=True),
    "closing_rate": Indicator("结案率", "closed of due to close", Measure.CLOSE),
    "closing_in_time_rate": Indicator("按期结案率", "closed in time of due", Measure.CLOSE, is_in_time=True),
    "rework_rate": Indicator("返工率", "failed a check of handled", Measure.REWORK, is_less_better=True),
    "return_rate": Indicator("回退率", "returned of received", Measure.RETURN, is_less_better=True),
    "passing_rate": Indicator("核查通过率", "checks passed", Measure.PASS),
    "satisfaction_rate": Indicator("满意率", "satisfied of those who said", Measure.SATISFY),
    "valid_report_rate": Indicator("有效上报率", "valid of what patrols reported", Measure.REPORT),
    "missing_rate": Indicator("漏报率", "missed of reported and missed", Measure.MISS, is_less_better=True),
    "coverage_rate": Indicator("区域覆盖率", "patrolled of the ground", Measure.COVER),
}
PLATFORM = "platform"
# An example: the article gives the half that the platform counts for, and nothing of how that half is made up.
DEFAULT_WEIGHTS = {
    PLATFORM: Decimal("0.5"),
    "closing_rate": Decimal("0.2"),
    "closing_in_time_rate": Decimal("0.3"),
    "handling_in_time_rate": Decimal("0.2"),
    "rework_rate": Decimal("0.1"),
    "return_rate": Decimal("0.1"),
    "satisfaction_rate": Decimal("0.1"),
}


def parts(counts: Mapping[Measure, Counted], indicator: Indicator) -> tuple[int, int]:
    """Numerator and denominator of an indicator."""
    due, done, in_time = counts.get(indicator.measure, Counted())
    return (in_time if indicator.is_in_time else done), due


def share(counts: Mapping[Measure, Counted], indicator: Indicator) -> float | None:
    """The indicator, 0 to 1; None where there is nothing to count."""
    of, due = parts(counts, indicator)
    return of / due if due else None


def percent(of: int, due: int) -> str:
    """A share as bulletins write it, `93.72`; half a hundredth goes up. Empty where there is nothing to count."""
    if not due:
        return ""
    return str((Decimal(100 * of) / Decimal(due)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP))


@dataclass(frozen=True)
class Score:
    """An official score and how it came about; not shrunk, whatever the number of cases.

    Attributes
    ----------
    points
        0 to 100, from the platform's own records.
    platform_share
        What the platform counts for in the assessment of a unit or area as a whole (大联动: a half).
    terms
        By indicator: its weight, and what it gives, 0 to 1; one with nothing to count is left out with its weight.
    """

    points: float
    platform_share: float
    terms: Mapping[str, tuple[float, float]]

    @property
    def weight(self) -> float:
        """Sum of the weights of what could be counted."""
        return round(sum(weight for weight, _ in self.terms.values()), 6)

    @property
    def contribution(self) -> float:
        """Points of the whole assessment that this score brings; the rest comes from elsewhere."""
        return self.points * self.platform_share


def official_score(counts: Mapping[Measure, Counted], weights: Mapping[str, Decimal]) -> Score | None:
    """The weighted mean of the indicators; None where none of them has anything to count."""
    terms: dict[str, tuple[float, float]] = {}
    for name, weight in weights.items():
        if name == PLATFORM:
            continue
        found = share(counts, INDICATORS[name])
        if found is not None:
            terms[name] = float(weight), 1 - found if INDICATORS[name].is_less_better else found
    whole = sum(weight for weight, _ in terms.values())
    if not whole:
        return None
    points = 100 * sum(weight * value for weight, value in terms.values()) / whole
    return Score(points, float(weights.get(PLATFORM, DEFAULT_WEIGHTS[PLATFORM])), terms)


class Prior(NamedTuple):
    """The beta distribution that units' shares are drawn from: its mean, and how many cases it weighs as much as."""

    mean: float
    cases: float

    @property
    def is_flat(self) -> bool:
        """Whether the units differ no more than chance would have it."""
        return self.cases > MOST_ALIKE / 10


def fit_prior(done: Sequence[int], due: Sequence[int]) -> Prior | None:
    """The beta distribution under which the units' counts are likeliest (empirical Bayes); None without any case.

    The mean is the share of all units together. Its weight in cases is found by maximum likelihood of the beta-binomial
    distribution, between 0.01 and a million: units that differ no more than chance would have it get the latter.
    """
    k, n = np.asarray(done, float), np.asarray(due, float)
    if not n.sum():
        return None
    mean = float(k.sum() / n.sum())
    if mean in {0.0, 1.0}:
        return Prior(mean, MOST_ALIKE)
    found = minimize_scalar(
        lambda log_cases: -_likelihood(k, n, mean, np.exp(log_cases)),
        bounds=(np.log(0.01), np.log(MOST_ALIKE)),
        method="bounded",
    )
    return Prior(mean, float(np.exp(found.x)))


def _likelihood(k: npt.NDArray[np.float64], n: npt.NDArray[np.float64], mean: float, cases: float) -> float:
    a, b = mean * cases, (1 - mean) * cases
    return float((betaln(k + a, n - k + b) - betaln(a, b)).sum())


def shrunk(done: int, due: int, prior: Prior) -> float:
    """A unit's share, moved towards the mean of all by so much as its few cases prove little: the posterior mean."""
    return (done + prior.mean * prior.cases) / (due + prior.cases)
