"""Simulated districts with silent grids planted, to see how many of them `gis_grid.geo.silence` finds. Pure."""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from gis_grid.geo.silence import FALSE_DISCOVERY, silent_grids
from gis_grid.geo.tiles import Bools, Floats, Ints

SIDE = 16
SIDE_M = 500.0
SILENT_SHARE = 1 / 20


@dataclass(frozen=True)
class SimulatedDistrict:
    """A square district: a town of some 30 reports a grid in the middle of country of 1.

    Attributes
    ----------
    grids
        Squares of 500 m, planar metres, `area_m2`; all arrays have one element for each.
    counts
        Reports, overdispersed (gamma-Poisson).
    people
        Some 60 for each report to be expected, give or take a fifth.
    is_silent
        Planted: in town, and with a twentieth of the reports to be expected.
    """

    grids: gpd.GeoDataFrame
    counts: Ints
    people: Floats
    is_silent: Bools


def simulate_district(seed: int, *, planted: int = 8, alpha: float = 0.05) -> SimulatedDistrict:
    """A district of 256 grids; `alpha` is the overdispersion: variance μ + alpha μ²."""
    rng = np.random.default_rng(seed)
    row, col = np.divmod(np.arange(SIDE * SIDE), SIDE)
    mean = 1 + 30 * np.exp(-((row - SIDE / 2) ** 2 + (col - SIDE / 2) ** 2) / 30)
    people = 60 * mean * rng.lognormal(0, 0.2, len(mean))
    is_silent = np.zeros(len(mean), dtype=bool)
    is_silent[rng.choice(np.flatnonzero(mean > 15), planted, replace=False)] = True
    rate = np.where(is_silent, mean * SILENT_SHARE, mean)
    counts = rng.poisson(rng.gamma(1 / alpha, alpha * rate))
    squares = shapely.box(col * SIDE_M, -row * SIDE_M, (col + 1) * SIDE_M, (1 - row) * SIDE_M)
    grids = gpd.GeoDataFrame({"area_m2": np.full(len(mean), SIDE_M**2)}, geometry=squares)
    return SimulatedDistrict(grids, counts, people, is_silent)


def try_silence(
    *,
    districts: int,
    planted: int = 8,
    alpha: float = 0.05,
    with_people: bool = True,
    false_discovery: float = FALSE_DISCOVERY,
    first_seed: int = 0,
) -> pd.Series:
    """What is found in some simulated districts.

    Returns
    -------
    Series
        planted, found, false_alarms, recall (nan where nothing is planted), false_share (of those called; 0 where
        nobody is).
    """
    found = false = 0
    for seed in range(first_seed, first_seed + districts):
        one = simulate_district(seed, planted=planted, alpha=alpha)
        people = one.people if with_people else None
        table = silent_grids(one.grids, one.counts, people=people, false_discovery=false_discovery)
        is_called = table["is_silent"].to_numpy()
        found += int((is_called & one.is_silent).sum())
        false += int((is_called & ~one.is_silent).sum())
    total = districts * planted
    return pd.Series(
        {
            "planted": total,
            "found": found,
            "false_alarms": false,
            "recall": found / total if total else np.nan,
            "false_share": false / max(found + false, 1),
        }
    )
