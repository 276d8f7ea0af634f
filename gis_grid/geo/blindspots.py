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
from gis_grid.geo.tiles import (
    CELL_M,
    CELL_M2,
    TILE_CELLS,
    Bits,
    Bools,
    Floats,
    Ground,
    GroundMask,
    Ints,
    SeenTiles,
    ground_of,
    kernel,
    masks_of,
    to_metric,
    union,
)

NOBODY = -1


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
    shapes, owner = polygonise(mask, rank=np.argsort(np.argsort(codes, kind="stable"), kind="stable"))
    area_m2 = shapely.area(shapes)
    keep = np.flatnonzero(area_m2 >= min_area_m2)
    order = keep[np.lexsort([codes[owner[keep]], -area_m2[keep]])]
    shapes, owner, area_m2 = shapes[order], owner[order], area_m2[order]
    if simplify_m > 0 and len(shapes):
        shapes = shapely.coverage_simplify(shapes, simplify_m)
    columns = {"grid_code": codes[owner], "area_m2": area_m2}
    if of_shift is not None:
        columns["shift"] = of_shift[owner]
    return gpd.GeoDataFrame(columns, geometry=to_degrees(shapes, metric_crs), crs="EPSG:4326")


def polygonise(mask: GroundMask, *, rank: Ints) -> tuple[npt.NDArray[np.object_], Ints]:
    """Polygons of the cells of a mask, exactly.

    Parameters
    ----------
    mask
        Cells by polygon.
    rank
        Shape (n_polygons,): where two polygons claim a cell, the lower rank has it.

    Returns
    -------
    shapes
        Polygons in metres, one a patch of side-joined cells of one owner; together a valid coverage.
    owner
        The polygon each patch is of, a position as in `mask.polygon`.
    """
    if not mask.bits.any():
        return np.zeros(0, dtype=object), np.zeros(0, np.int64)
    col0, row0 = int(mask.tile_col.min()), int(mask.tile_row.min())
    tile_cols = int(mask.tile_col.max()) - col0 + 1
    width = tile_cols * TILE_CELLS
    below, risen = np.full(width, NOBODY, np.int32), np.zeros(width + 1, np.int64)
    pieces = []
    order = np.lexsort([-rank[mask.polygon], mask.tile_row])  # the lowest rank paints last
    rows = mask.tile_row[order]
    # One empty band past the last closes what still stands open.
    for band in range(row0, int(mask.tile_row.max()) + 2):
        members = order[np.searchsorted(rows, band) : np.searchsorted(rows, band, side="right")]
        owners = _paint(mask, members, col0, width)
        pieces.append(_trace(owners, below, risen, band * TILE_CELLS, col0 * TILE_CELLS))
        below = owners[-1]
    borders = np.concatenate(pieces).reshape(-1, 2, 2) * CELL_M
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(borders)))
    owner = _owner_at(mask, rank, *_inner_cells(faces))
    return faces[owner != NOBODY], owner[owner != NOBODY]


def _ground(seen: SeenTiles | Ground) -> Ground:
    return union(seen) if isinstance(seen, SeenTiles) else seen


def _without_excluded(
    mask: GroundMask, excluded: gpd.GeoDataFrame | None, *, metric_crs: str, as_of: date | None
) -> GroundMask:
    if excluded is None or excluded.empty:
        return mask
    return mask.without(ground_of(masks_of(exclusions_in_force(excluded, as_of=as_of), metric_crs)))


def _paint(mask: GroundMask, members: Ints, col0: int, width: int) -> npt.NDArray[np.int32]:
    """Return who owns each cell of one row of tiles, shape (128, width); NOBODY elsewhere."""
    owners = np.full((TILE_CELLS, width), NOBODY, np.int32)
    for member in members:
        at = (int(mask.tile_col[member]) - col0) * TILE_CELLS
        cells = np.unpackbits(mask.bits[member]).reshape(TILE_CELLS, TILE_CELLS).view(bool)
        owners[:, at : at + TILE_CELLS][cells] = mask.polygon[member]
    return owners


@kernel
def _trace(owners: npt.NDArray[np.int32], below: npt.NDArray[np.int32], risen: Ints, row0: int, col0: int) -> Ints:
    """Return borders between owners as (x0, y0, x1, y1) in cells, sweeping the rows of a band northwards.

    A border runs from one node to the next, a node being a lattice point where it turns or meets another. `below` is
    the last row of the band before, `risen` the row in which each open upright border began; it is updated.
    """
    rows, width = owners.shape
    borders = np.empty((2 * rows * (width + 1), 4), np.int64)
    n = 0
    for r in range(rows):
        north = owners[r]
        south = below if r == 0 else owners[r - 1]
        run = 0
        for c in range(width + 1):
            nw, sw = (north[c - 1], south[c - 1]) if c > 0 else (NOBODY, NOBODY)
            ne, se = (north[c], south[c]) if c < width else (NOBODY, NOBODY)
            is_straight = (nw == ne and sw == se) or (nw == sw and ne == se)
            if is_straight:
                continue
            if nw != sw:
                borders[n] = (run, row0 + r, col0 + c, row0 + r)
                n += 1
            run = col0 + c
            if sw != se:
                borders[n] = (col0 + c, risen[c], col0 + c, row0 + r)
                n += 1
            risen[c] = row0 + r
    return borders[:n]


def _inner_cells(faces: npt.NDArray[np.object_]) -> tuple[Ints, Ints]:
    """Return (row, col) of a cell within each face: the one beside the start of its outer ring."""
    rings = shapely.get_exterior_ring(faces)
    start, after = (shapely.get_coordinates(shapely.get_point(rings, k)) for k in (0, 1))
    ahead = np.sign(after - start) * CELL_M / 2
    turn = np.where(shapely.is_ccw(rings), 1.0, -1.0)[:, None]
    inward = np.column_stack([-ahead[:, 1], ahead[:, 0]]) * turn
    col, row = np.floor((start + ahead + inward) / CELL_M).astype(np.int64).T
    return row, col


def _owner_at(mask: GroundMask, rank: Ints, row: Ints, col: Ints) -> Ints:
    """Return the owner of each cell, NOBODY where there is none."""
    order = np.lexsort([rank[mask.polygon], mask.tile_col, mask.tile_row])
    key = ((mask.tile_row << 32) + mask.tile_col)[order]
    wanted = ((row // TILE_CELLS) << 32) + col // TILE_CELLS
    bit = (row % TILE_CELLS) * TILE_CELLS + col % TILE_CELLS
    first, end = np.searchsorted(key, wanted), np.searchsorted(key, wanted, side="right")
    owner = np.full(len(row), NOBODY, np.int64)
    for nth in range(int((end - first).max(initial=0))):
        open_ = np.flatnonzero((owner == NOBODY) & (first + nth < end))
        at = order[first[open_] + nth]
        hit = _has_bit(mask.bits, at, bit[open_])
        owner[open_[hit]] = mask.polygon[at[hit]]
    return owner


def _has_bit(bits: Bits, row: Ints, bit: Ints) -> Bools:
    found: Bools = (bits[row, bit >> 3] >> (7 - (bit & 7)).astype(np.uint8)) & 1 == 1
    return found


def to_degrees(shapes: npt.NDArray[np.object_], metric_crs: str) -> npt.NDArray[np.object_]:
    """Polygons in metres as WGS84 degrees, 6 decimals."""
    transformer = to_metric("EPSG:4326", metric_crs)

    def back(xy: Floats) -> Floats:
        return np.round(np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], direction="INVERSE")), 6)

    turned: npt.NDArray[np.object_] = shapely.transform(shapes, back)
    return turned
