"""Silent grids: far fewer reports than area, people and neighbours would lead one to expect. Pure.

The count model, in full. Reports of grid i in a window are negative binomial with mean μᵢ and variance μᵢ + α μᵢ²:

1. log μᵢ = a + b·log(areaᵢ) [+ c·log(peopleᵢ)], fitted by Poisson regression: what ground and people alone say.
2. The ground around corrects it: μᵢ is multiplied by (1 + τ² Σ w·n/μ) / (1 + τ² Σ w) over the grids that touch i and
   are no suspects; w = 1 / (1/μ + α) is how much each of them can tell, τ² how much neighbourhoods really differ beyond
   chance, by the moments of their means (DerSimonian and Laird, 1986). So quiet country is expected to be quiet, and a
   grid never vouches for itself.
3. α, what busy corners do to counts, is the most likely one for the grids that are not suspects: those with a lower
   tail under 0.05 are left out, and the others' likelihood is that of having stayed in, for else α would come out too
   small. Steps 2 and 3 are taken in turn, four times. Silent grids must not make silence look ordinary.
4. pᵢ = P(N ≤ nᵢ). Grids are called silent by the step-up rule of Benjamini and Hochberg at a stated false-discovery
   rate: of those called so, at most that share is expected to be called so by chance. Where counts vary wildly, or a
   grid expects only a few reports, silence cannot be told from chance, and nothing is called.

`tests/geo/test_silence.py` simulates districts with silent grids planted, and says what is found and what is not.
"""

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from scipy import optimize, stats

from gis_grid.errors import InvalidInput
from gis_grid.geo.tiles import Floats, Ints

FALSE_DISCOVERY = 0.1
SUSPECT_P = 0.05
ROUNDS = 4
LEAST_RATIO = 1e-3


def silent_grids(
    grids: gpd.GeoDataFrame,
    counts: npt.ArrayLike,
    *,
    people: npt.ArrayLike | None = None,
    false_discovery: float = FALSE_DISCOVERY,
) -> pd.DataFrame:
    """What each grid was expected to report, and which are silent.

    Parameters
    ----------
    grids
        Polygons with `area_m2`; which of them touch is read from the polygons.
    counts
        Reports of each grid, shape (n,).
    people
        People of each grid, shape (n,), over 0; area and neighbours alone without it.
    false_discovery
        The share of false alarms among those called silent that is put up with, over 0 and under 1.

    Returns
    -------
    DataFrame
        On the index of `grids`: reports, expected, p (the chance of so few), q (the least false-discovery rate at which
        the grid is called), is_silent.

    Raises
    ------
    InvalidInput
        Counts or people of another length or below 0, or a rate that is none.
    """
    n = np.asarray(counts, dtype=np.float64)
    area = grids["area_m2"].to_numpy(dtype=np.float64)
    if not 0 < false_discovery < 1:
        raise InvalidInput(f"false-discovery rate {false_discovery}: expected over 0 and under 1")
    if n.shape != area.shape or (n < 0).any() or not np.isfinite(n).all():
        raise InvalidInput(f"{n.shape} counts for {area.shape} grids: expected one a grid, 0 or more")
    covariates = [np.log(area)]
    if people is not None:
        of_people = np.asarray(people, dtype=np.float64)
        if of_people.shape != area.shape or not (of_people > 0).all():
            raise InvalidInput("people: expected a number over 0 for each grid")
        covariates.append(np.log(of_people))
    expected, alpha = _fitted(n, _regression(n, covariates), *_touching(grids))
    p = _lower_tail(n, expected, alpha)
    q = _step_up(p)
    columns = {"reports": n.astype(np.int64), "expected": expected, "p": p, "q": q, "is_silent": q <= false_discovery}
    return pd.DataFrame(columns, index=grids.index)


def _regression(n: Floats, covariates: list[Floats]) -> Floats:
    """Poisson regression on centred covariates, by Newton's steps; the mean alone where it does not settle."""
    mean = np.full(len(n), max(float(n.mean()), 1e-9)) if len(n) else n
    if len(n) < 10 or not n.any():
        return mean
    x = np.column_stack([np.ones(len(n)), *(one - one.mean() for one in covariates)])
    beta = np.zeros(x.shape[1])
    beta[0] = np.log(n.mean())
    for _ in range(50):
        mu = np.exp(np.clip(x @ beta, -30, 30))
        # A touch of ridge: a covariate that never varies must not make the step infinite.
        step = np.linalg.solve(x.T @ (x * mu[:, None]) + 1e-8 * np.eye(len(beta)), x.T @ (n - mu))
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            return np.exp(np.clip(x @ beta, -30, 30))
    return mean


def _fitted(n: Floats, mu: Floats, first: Ints, second: Ints) -> tuple[Floats, float]:
    """Expectation of each grid with its neighbours, and α; `mu` is what ground and people alone say."""
    if not len(n):
        return mu, 0.0
    expected, trusted = mu, np.ones(len(n), dtype=bool)
    alpha = _likeliest(n, mu, np.zeros(len(n)))
    for _ in range(ROUNDS):
        weight = trusted / (1 / mu + alpha)
        total: Floats = np.bincount(first, weights=weight[second], minlength=len(n)).astype(np.float64)
        told: Floats = np.bincount(first, weights=(weight * n / mu)[second], minlength=len(n)).astype(np.float64)
        between = _variance_between(total, told)
        expected = mu * np.maximum((1 + between * told) / (1 + between * total), LEAST_RATIO)
        least = _least_unsuspected(expected, alpha)
        stays = n >= least
        if not stays.any():
            break
        alpha = _likeliest(n[stays], expected[stays], least[stays])
        trusted = n >= _least_unsuspected(expected, alpha)
    return expected, alpha


def _variance_between(weight: Floats, told: Floats) -> float:
    """τ²: how much the means of neighbourhoods vary beyond what their own uncertainty, 1 / weight, makes them."""
    known = weight > 0
    if not known.any():
        return 0.0
    w = weight[known]
    off = (told[known] / w - 1) ** 2 - 1 / w
    return max(float((w * off).sum() / w.sum()), 0.0)


def _touching(grids: gpd.GeoDataFrame) -> tuple[Ints, Ints]:
    shapes = grids.geometry.to_numpy()
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    apart = first != second
    return first[apart], second[apart]


def _least_unsuspected(mu: Floats, alpha: float) -> Floats:
    """The fewest reports of each grid that are no reason for suspicion."""
    size = 1 / alpha
    least: Floats = stats.nbinom.ppf(SUSPECT_P, size, size / (size + mu))
    return least


def _likeliest(n: Floats, mu: Floats, least: Floats) -> float:
    """The most likely α of counts of which only those of at least `least` were kept."""

    def unlikeliness(log_alpha: float) -> float:
        size = np.exp(-log_alpha)
        share = size / (size + mu)
        kept = stats.nbinom.logpmf(n, size, share) - stats.nbinom.logsf(least - 1, size, share)
        return -float(kept.sum())

    found = optimize.minimize_scalar(unlikeliness, bounds=(-7.0, 2.5), method="bounded")
    return float(np.exp(found.x))


def _lower_tail(n: Floats, mu: Floats, alpha: float) -> Floats:
    if not len(n):
        return n
    size = 1 / alpha
    tail = stats.nbinom.cdf(n, size, size / (size + mu))
    return np.asarray(tail)


def _step_up(p: Floats) -> Floats:
    """The least false-discovery rate at which each would be called (Benjamini and Hochberg, 1995)."""
    order = np.argsort(p, kind="stable")
    m = len(p)
    adjusted = np.minimum.accumulate((p[order] * m / np.arange(1, m + 1))[::-1])[::-1]
    q = np.empty(m)
    q[order] = np.minimum(adjusted, 1.0)
    return q
