"""The 5 m lattice, its fixed tiles of bits, and polygons as masks over them.

The lattice lies on the absolute coordinates of the city's metric CRS: cell (row, col) is the square whose south-west
corner is (5·col, 5·row) metres, tile (tile_row, tile_col) the 128 × 128 cells from (640·tile_col, 640·tile_row). So a
tile never depends on a grid layer. Bit ``128·row + col`` of a tile is the cell `row` rows north and `col` columns east
of its south-west corner; bits are packed most significant first, which is the order of PostgreSQL's ``bit varying``:
the 2048 bytes as hex, cast to ``bit varying``, are the column's value, and ``bit_or``, ``&`` and ``bit_count`` in SQL
mean the same cells as here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

import geopandas as gpd
import numba
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from gis_grid.errors import InvalidInput
from gis_grid.geo.transformers import quick_transformer

P = ParamSpec("P")
R = TypeVar("R")

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Bits: TypeAlias = npt.NDArray[np.uint8]

CELL_M = 5.0
TILE_CELLS = 128
TILE_M = CELL_M * TILE_CELLS
TILE_BYTES = TILE_CELLS * TILE_CELLS // 8
ROW_BYTES = TILE_CELLS // 8
CELL_M2 = CELL_M * CELL_M
MAX_MASK_TILES = 250_000
"""The tiles one polygon's box may touch: 100,000 km², more than any city; beyond it lies a wrong coordinate."""


class NotMetric(InvalidInput):
    """A CRS that is unknown, missing, or not in metres."""


class UnusablePolygon(InvalidInput):
    """A geometry that cannot be laid on the lattice."""


if TYPE_CHECKING:

    def kernel(function: Callable[P, R]) -> Callable[P, R]:
        """Keep the signature, which numba's untyped decorator would lose."""
        return function
else:
    kernel = numba.njit(cache=True, nogil=True, boundscheck=False)


@dataclass(frozen=True)
class Ground:
    """Some cells of the lattice, tile by tile; no tile twice, none empty, in order of row and column.

    Attributes
    ----------
    tile_row, tile_col
        Shape (n,).
    bits
        Shape (n, 2048), one bit a cell, as the module says.
    """

    tile_row: Ints
    tile_col: Ints
    bits: Bits

    @property
    def area_m2(self) -> float:
        """Square metres in the plane of the metric CRS."""
        return count_cells(self.bits) * CELL_M2


@dataclass(frozen=True)
class SeenTiles:
    """Ground seen, by tile, local day and shift; a row is a row of the table of seen tiles.

    Attributes
    ----------
    tile_row, tile_col
        Shape (n,).
    day
        Shape (n,), ``date.toordinal()`` of the calendar day in the city's time zone.
    shift
        Shape (n,), 0 by day, 1 by night.
    bits
        Shape (n, 2048). Rows are unique, not empty, and sorted by tile_row, tile_col, day, shift.
    """

    tile_row: Ints
    tile_col: Ints
    day: Ints
    shift: Ints
    bits: Bits

    def __len__(self) -> int:
        return len(self.bits)

    def between(self, first: date, last: date, *, shift: int | None = None) -> "SeenTiles":
        """Rows of whole days, both ends included; of one shift only when it is named."""
        keep = (self.day >= first.toordinal()) & (self.day <= last.toordinal())
        if shift is not None:
            keep &= self.shift == shift
        return SeenTiles(self.tile_row[keep], self.tile_col[keep], self.day[keep], self.shift[keep], self.bits[keep])


@dataclass(frozen=True)
class GroundMask:
    """Which cells belong to which polygon, one row a polygon and tile.

    Attributes
    ----------
    polygon
        Shape (n,), position of the polygon in what was given, ascending.
    tile_row, tile_col
        Shape (n,).
    bits
        Shape (n, 2048); no row is empty.
    n_polygons
        How many polygons there were, those without any cell included.
    """

    polygon: Ints
    tile_row: Ints
    tile_col: Ints
    bits: Bits
    n_polygons: int

    def without(self, ground: Ground) -> "GroundMask":
        """Return the mask less some ground; rows stay in place, even where nothing is left."""
        return GroundMask(self.polygon, self.tile_row, self.tile_col, self.bits & ~self.found(ground), self.n_polygons)

    def found(self, ground: Ground) -> Bits:
        """Return the bits of `ground` under each row of this mask, shape (n, 2048), cut to the mask."""
        bits = np.zeros_like(self.bits)
        if len(ground.bits) and len(self.bits):
            theirs = _tile_key(ground.tile_row, ground.tile_col)
            ours = _tile_key(self.tile_row, self.tile_col)
            at = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
            hit = theirs[at] == ours
            bits[hit] = ground.bits[at[hit]] & self.bits[hit]
        return bits

    def cells(self) -> Ints:
        """Return the number of cells of each polygon, shape (n_polygons,)."""
        counts = np.bitwise_count(self.bits).sum(axis=1, dtype=np.int64)
        return np.bincount(self.polygon, weights=counts, minlength=self.n_polygons).astype(np.int64)


def union(seen: SeenTiles) -> Ground:
    """Ground seen on any of the days and shifts."""
    return _united(seen.tile_row, seen.tile_col, seen.bits)


def unite(parts: Sequence[Ground]) -> Ground:
    """Ground of all parts together."""
    return _united(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("tile_row", "tile_col", "bits"))
    )


def merge(parts: Sequence[SeenTiles]) -> SeenTiles:
    """All parts as one: what several uploads saw, whatever their order and however they overlap."""
    keys = [np.concatenate([getattr(p, k) for p in parts]) for k in ("tile_row", "tile_col", "day", "shift")]
    bits = np.concatenate([p.bits for p in parts])
    (row, col, day, shift), united = _or_by_key(keys, bits)
    return SeenTiles(row, col, day, shift, united)


def ground_of(mask: GroundMask) -> Ground:
    """Ground of all polygons of a mask together."""
    return _united(mask.tile_row, mask.tile_col, mask.bits)


def count_cells(bits: Bits) -> int:
    """Number of set bits."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def masks_of(polygons: gpd.GeoSeries | gpd.GeoDataFrame, metric_crs: str) -> GroundMask:
    """Cells of each polygon by the rule of the centre.

    A cell belongs to the polygon its centre lies in. On an edge the half-open rule decides (a centre on a western or
    southern edge is in, on an eastern or northern one is out), computed from the edge's own two ends in one fixed
    direction, so that an edge-matched tiling gives every cell to exactly one polygon. Area of cells over area of the
    polygon is 1 within a perimeter's noise, the scale of the metric CRS aside (4e-4 of area in Minhang).

    Parameters
    ----------
    polygons
        Polygons or MultiPolygons with a CRS, holes and all.
    metric_crs
        The city's projected CRS, for Minhang ``EPSG:4549``.

    Raises
    ------
    UnusablePolygon
        Missing, empty, invalid or not a polygon, or too large for a city; the message names the row.
    NotMetric
        `metric_crs` is unknown or not in metres, or the polygons have no CRS.
    """
    shapes = _metric_polygons(polygons.geometry, metric_crs)
    parts = [_mask_of(shape) for shape in shapes]
    if not parts:
        none = np.zeros(0, np.int64)
        return GroundMask(none, none, none, np.zeros((0, TILE_BYTES), np.uint8), 0)
    owner = np.repeat(np.arange(len(parts)), [len(part[2]) for part in parts])
    row, col, bits = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return GroundMask(owner, row, col, bits, len(parts))


@cache
def to_metric(crs: str, metric_crs: str) -> Transformer:
    """Transformer from a CRS into the city's metric CRS, x and lon first.

    Raises
    ------
    NotMetric
        A CRS is unknown, or `metric_crs` is not projected in metres.
    """
    try:
        target = CRS.from_user_input(metric_crs)
        transformer = quick_transformer(crs, metric_crs)
    except CRSError as error:
        raise NotMetric(f"CRS {metric_crs!r} (from {crs!r}): {error}") from error
    if not target.is_projected or {axis.unit_name for axis in target.axis_info} != {"metre"}:
        raise NotMetric(f"metric CRS {metric_crs!r}: expected a projected CRS in metres, such as EPSG:4549")
    return transformer


def _metric_polygons(shapes: gpd.GeoSeries, metric_crs: str) -> npt.NDArray[np.object_]:
    if shapes.crs is None:
        raise NotMetric("the polygons name no CRS: set it where they are read")
    given = np.asarray(shapes.array, dtype=object)
    usable = np.isin(shapely.get_type_id(given), (3, 6)) & ~shapely.is_empty(given)
    usable &= shapely.is_valid(given)
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        raise UnusablePolygon(f"row {shapes.index[row]}: expected a valid polygon, got {_ailment(given[row])}")
    transformer = to_metric(shapes.crs.to_wkt(), metric_crs)
    moved: npt.NDArray[np.object_] = shapely.transform(
        shapely.force_2d(given), lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))
    )
    low_x, low_y, high_x, high_y = shapely.bounds(moved).T
    tiles = ((high_x - low_x) / TILE_M + 1) * ((high_y - low_y) / TILE_M + 1)
    if not (tiles <= MAX_MASK_TILES).all():
        row = int(np.flatnonzero(~(tiles <= MAX_MASK_TILES))[0])
        raise UnusablePolygon(f"row {shapes.index[row]}: far too large for a city in {metric_crs}")
    return moved


def _ailment(shape: shapely.Geometry | None) -> str:
    if shape is None or shape.is_empty:
        return "nothing"
    return shape.geom_type if shape.is_valid else str(shapely.is_valid_reason(shape))


def _mask_of(shape: shapely.Geometry) -> tuple[Ints, Ints, Bits]:
    """Return tile_row, tile_col and bits of one polygon in metres."""
    rings = shapely.get_rings(shapely.get_parts(shape))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = ring[1:] == ring[:-1]
    ends = np.column_stack([xy[:-1][is_edge], xy[1:][is_edge]])
    # Southern end first: two neighbours must compute a shared edge's crossings from the same numbers.
    turned = ends[:, 1] > ends[:, 3]
    ends[turned] = ends[turned][:, [2, 3, 0, 1]]
    low, high = np.floor(xy.min(axis=0) / TILE_M), np.floor(xy.max(axis=0) / TILE_M)
    (col0, row0), (cols, rows) = low.astype(np.int64), (high - low).astype(np.int64) + 1
    bits = np.zeros((rows * cols, TILE_BYTES), np.uint8)
    _fill(ends, (row0 * TILE_CELLS, col0 * TILE_CELLS), cols, bits)
    tile = np.flatnonzero(bits.any(axis=1))
    return row0 + tile // cols, col0 + tile % cols, bits[tile]


@kernel
def first_centre(v_m: float) -> int:
    """Index of the first cell whose centre is at or beyond a coordinate, exactly."""
    k = math.ceil(v_m / 5.0 - 0.5)
    while (k - 0.5) * 5.0 >= v_m:
        k -= 1
    while (k + 0.5) * 5.0 < v_m:
        k += 1
    return k


@kernel
def set_run(tile: Bits, row: int, first: int, last: int) -> None:
    """Set the cells from column `first` to column `last`, both included, of one row of a tile."""
    base = row * 16
    byte0, byte1 = first >> 3, last >> 3
    head, tail = 0xFF >> (first & 7), (0xFF << (7 - (last & 7))) & 0xFF
    if byte0 == byte1:
        tile[base + byte0] |= np.uint8(head & tail)
        return
    tile[base + byte0] |= np.uint8(head)
    for byte in range(byte0 + 1, byte1):
        tile[base + byte] = 0xFF
    tile[base + byte1] |= np.uint8(tail)


@kernel
def _fill(ends: Floats, corner: tuple[int, int], tile_cols: int, bits: Bits) -> None:
    """Scan each row of cells between its pairs of crossings (even-odd) into tiles laid out row by row.

    `corner` is the (row, col) of the first tile's first cell, `tile_cols` the tiles in a row of them.
    """
    row0, col0 = corner
    tile_rows = len(bits) // tile_cols
    n_rows = tile_rows * 128
    start = np.zeros(n_rows + 1, np.int64)
    for e in range(len(ends)):
        for row in range(first_centre(ends[e, 1]), first_centre(ends[e, 3])):
            start[row - row0 + 1] += 1
    for row in range(n_rows):
        start[row + 1] += start[row]
    crossing = np.empty(start[n_rows], np.float64)
    used = start[:-1].copy()
    for e in range(len(ends)):
        ax, ay, bx, by = ends[e, 0], ends[e, 1], ends[e, 2], ends[e, 3]
        for row in range(first_centre(ay), first_centre(by)):
            crossing[used[row - row0]] = ax + ((row + 0.5) * 5.0 - ay) / (by - ay) * (bx - ax)
            used[row - row0] += 1
    for row in range(n_rows):
        xs = np.sort(crossing[start[row] : start[row + 1]])
        for pair in range(0, len(xs) - 1, 2):
            first, end = first_centre(xs[pair]) - col0, first_centre(xs[pair + 1]) - col0
            while first < end:
                stop = min(end, (first // 128 + 1) * 128)
                set_run(bits[(row // 128) * tile_cols + first // 128], row % 128, first % 128, (stop - 1) % 128)
                first = stop


def _tile_key(row: Ints, col: Ints) -> Ints:
    return (row << 32) + col + (1 << 31)


def _united(row: Ints, col: Ints, bits: Bits) -> Ground:
    (row, col), united = _or_by_key([row, col], bits)
    return Ground(row, col, united)


def _or_by_key(keys: list[Ints], bits: Bits) -> tuple[list[Ints], Bits]:
    """Return each distinct key in order with the OR of its bits; empty ones go."""
    some = bits.any(axis=1)
    bits, keys = bits[some], [key[some] for key in keys]
    if not len(bits):
        return keys, bits
    order = np.lexsort(keys[::-1])
    keys = [key[order] for key in keys]
    is_first = np.ones(len(order), bool)
    is_first[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    at = np.flatnonzero(is_first)
    return [key[at] for key in keys], np.bitwise_or.reduceat(bits[order], at, axis=0)
