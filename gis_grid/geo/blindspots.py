"""What no patrol has seen: shares by grid, and the unseen ground itself as polygons.

Ground on a list of exclusions (water, an airfield, a walled yard) is neither seen nor unseen: it is shown apart and
counts in neither numerator nor denominator.
"""

from dataclasses import replace
from datetime import date

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from gis_grid.errors import InvalidInput
from gis_grid.geo.patches import polygonise, to_degrees
from gis_grid.geo.tiles import CELL_M2, Ground, GroundMask, Ints, SeenTiles, ground_of, masks_of, union


class UnusableExclusions(InvalidInput):
    """Excluded ground without a reason, or with dates that cannot be judged."""


def exclusions_in_force(excluded: gpd.GeoDataFrame, *, as_of: date | None) -> gpd.GeoDataFrame:
    """Rows whose `until` is null or not before a date.

    Parameters
    ----------
    excluded
        Polygons with `reason` and, if any of them ends, `until` (a date or ISO text, the last day it holds; null for
        ever).
    as_of
        The day to judge by; None only if no row has an end.

    Raises
    ------
    UnusableExclusions
        No `reason`, an `until` that is no date, or an `until` without `as_of`.
    """
    if "reason" not in excluded.columns or excluded["reason"].isna().any():
        raise UnusableExclusions("excluded ground: expected a reason for each polygon")
    if "until" not in excluded.columns:
        return excluded
    given = excluded["until"].replace("", None)
    until = pd.to_datetime(given.astype("object"), errors="coerce", format="ISO8601")
    if (until.isna() & given.notna()).any():
        wrong = given[until.isna() & given.notna()].iloc[0]
        raise UnusableExclusions(f"excluded ground: until {wrong!r}: expected a date such as 2025-12-31, or nothing")
    if until.isna().all():
        return excluded
    if as_of is None:
        raise UnusableExclusions("excluded ground has dates until when it holds: name the day to judge them by")
    return excluded[until.isna() | (until.dt.date >= as_of)]


def seen_shares(
    grids: gpd.GeoDataFrame,
    seen: SeenTiles | Ground,
    *,
    metric_crs: str,
    excluded: gpd.GeoDataFrame | None = None,
    as_of: date | None = None,
) -> pd.DataFrame:
    """How much of each grid was seen.

    Parameters
    ----------
    grids
        Polygons with a CRS.
    seen
        What was seen; of tiles with days and shifts, on any of them (cut a window with `SeenTiles.between`).
    metric_crs
        The CRS `seen` was burnt in.
    excluded, as_of
        As in `exclusions_in_force`.

    Returns
    -------
    shares
        On the index of `grids`: `seen_share` (0 to 1; nan where no ground is left to see), `seen_m2`, `ground_m2`
        (without excluded ground), `excluded_m2`; areas are whole cells of 25 m².
    """
    whole = masks_of(grids, metric_crs)
    mask = _without_excluded(whole, excluded, metric_crs=metric_crs, as_of=as_of)
    ground = mask.cells()
    found = GroundMask(mask.polygon, mask.tile_row, mask.tile_col, mask.found(_ground(seen)), mask.n_polygons).cells()
    share = np.full(len(ground), np.nan)
    np.divide(found, ground, out=share, where=ground > 0)
    columns = {
        "seen_share": share,
        "seen_m2": found * CELL_M2,
        "ground_m2": ground * CELL_M2,
        "excluded_m2": (whole.cells() - ground) * CELL_M2,
    }
    return pd.DataFrame(columns, index=grids.index)


def unseen_ground(
    grids: gpd.GeoDataFrame,
    seen: SeenTiles | Ground,
    *,
    metric_crs: str,
    excluded: gpd.GeoDataFrame | None = None,
    as_of: date | None = None,
    within: Ground | None = None,
    min_area_m2: float = 500.0,
    simplify_m: float = 0.0,
) -> gpd.GeoDataFrame:
    """Polygons of ground inside each grid that nobody saw, largest first.

    A polygon is one patch of cells joined by their sides; two that meet in a corner are two. Where accepted faults
    let grids overlap, a cell goes to the lowest grid code.

    Parameters
    ----------
    grids
        Polygons with a CRS and `grid_code`.
    seen, metric_crs, excluded, as_of
        As in `seen_shares`.
    within
        Only this ground is looked at: what the other shift saw, say.
    min_area_m2
        Smaller patches are left out.
    simplify_m
        0 keeps the 5 m steps exactly. Otherwise steps are smoothed away by Visvalingam's rule (triangles below
        ``simplify_m``² go), borders between patches staying shared. Over Minhang 10 made the file 6 times smaller and
        20 twelve times, with 0.1 % less area in all; a small patch's outline may enclose a third more or less.

    Returns
    -------
    patches
        EPSG:4326, 6 decimals (0.1 m): `grid_code`, `area_m2` (of the cells, whatever the smoothing), geometry Polygon.
    """
    mask = masks_of(grids, metric_crs)
    mask = _without_excluded(mask, excluded, metric_crs=metric_crs, as_of=as_of)
    mask = mask.without(_ground(seen))
    if within is not None:
        mask = replace(mask, bits=mask.found(within))
    codes = grids["grid_code"].to_numpy(dtype=object)
    return _patches(mask, codes, metric_crs=metric_crs, min_area_m2=min_area_m2, simplify_m=simplify_m)


def unseen_by_shift(
    grids: gpd.GeoDataFrame,
    by_day: Ground,
    by_night: Ground,
    *,
    metric_crs: str,
    excluded: gpd.GeoDataFrame | None = None,
    as_of: date | None = None,
    min_area_m2: float = 500.0,
    simplify_m: float = 0.0,
) -> gpd.GeoDataFrame:
    """`unseen_ground` of both shifts at once, each cell in one patch: in the time of one, what takes three alone.

    Parameters
    ----------
    by_day, by_night
        What each shift saw.

    Returns
    -------
    patches
        As `unseen_ground`, and `shift`: 0 where only the day did not see it, 1 where only the night did not, -1 where
        neither saw it.
    """
    mask = masks_of(grids, metric_crs)
    mask = _without_excluded(mask, excluded, metric_crs=metric_crs, as_of=as_of)
    day, night = mask.found(by_day), mask.found(by_night)
    shifts = {-1: mask.bits & ~day & ~night, 0: night & ~day, 1: day & ~night}
    count = mask.n_polygons
    stacked = GroundMask(
        np.concatenate([mask.polygon + k * count for k in range(len(shifts))]),
        np.tile(mask.tile_row, len(shifts)),
        np.tile(mask.tile_col, len(shifts)),
        np.concatenate(list(shifts.values())),
        count * len(shifts),
    )
    codes = np.tile(grids["grid_code"].to_numpy(dtype=object), len(shifts))
    of_shift = np.repeat(list(shifts), count)
    return _patches(
        stacked, codes, metric_crs=metric_crs, min_area_m2=min_area_m2, simplify_m=simplify_m, of_shift=of_shift
    )


def _patches(
    mask: GroundMask,
    codes: npt.NDArray[np.object_],
    *,
    metric_crs: str,
    min_area_m2: float,
    simplify_m: float,
    of_shift: Ints | None = None,
) -> gpd.GeoDataFrame:
    """The patches of a mask whose polygons have these codes (and shifts), largest first."""
    rank = np.argsort(np.argsort(codes, kind="stable"), kind="stable")
    shapes, owner = polygonise(mask, rank=rank, min_area_m2=min_area_m2)
    area_m2 = shapely.area(shapes)
    order = np.lexsort([codes[owner], -area_m2])
    shapes, owner, area_m2 = shapes[order], owner[order], area_m2[order]
    if simplify_m > 0 and len(shapes):
        shapes = shapely.coverage_simplify(shapes, simplify_m)
    columns = {"grid_code": codes[owner], "area_m2": area_m2}
    if of_shift is not None:
        columns["shift"] = of_shift[owner]
    return gpd.GeoDataFrame(columns, geometry=to_degrees(shapes, metric_crs), crs="EPSG:4326")


def _ground(seen: SeenTiles | Ground) -> Ground:
    return union(seen) if isinstance(seen, SeenTiles) else seen


def _without_excluded(
    mask: GroundMask, excluded: gpd.GeoDataFrame | None, *, metric_crs: str, as_of: date | None
) -> GroundMask:
    if excluded is None or excluded.empty:
        return mask
    return mask.without(ground_of(masks_of(exclusions_in_force(excluded, as_of=as_of), metric_crs)))
