"""The placing rule: which grid a point belongs to, and how that was decided.

A point belongs to the lowest grid code among all grids it lies in or on. In no grid, it goes to the nearest one within
`snap_m`; grids within 1 mm of the nearest tie, and the lowest code has it. Edges are straight in lon/lat.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import Bounds, LonLat, refusal_reasons

if TYPE_CHECKING:
    from gis_grid.geo.lattice import LatticeIndex

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.intp]
Bools: TypeAlias = npt.NDArray[np.bool_]
Objects: TypeAlias = npt.NDArray[np.object_]
FloatOrFloats = TypeVar("FloatOrFloats", float, Floats)

SNAP_M = 50.0
MAX_SNAP_M = 1000.0
"""Farther away the plane at the point's latitude is no plane any more, and a nearest grid means nothing."""
MAX_ACCURACY_M = 10_000.0
TIE_M = 0.001
CERTAIN_SHARE = 0.8

_SEMI_MAJOR_M = 6378137.0
_FLATTENING = 1 / 298.257223563
_ECCENTRICITY_SQ = _FLATTENING * (2 - _FLATTENING)
_POLAR_DEG = 85.0  # beyond, a degree of longitude is too short for one reach to fit all
_PAD_DEG = 1e-12  # boxes around points are candidates only: a little too wide never misses
_CHUNK = 4096
_NOWHERE = -1


class UnusableGrids(InvalidInput):
    """A frame of grids that points cannot be placed in."""


class Method(StrEnum):
    """How a point came to its grid."""

    INSIDE = "inside"
    EDGE = "edge"
    SNAPPED = "snapped"
    OUTSIDE = "outside"
    REFUSED = "refused"
    MANUAL = "manual"


@dataclass(frozen=True)
class Placement:
    """Which grid a point belongs to.

    Attributes
    ----------
    grid_code
        None outside every grid.
    method
        How it was decided.
    distance_m
        0 inside and on edges, None outside.
    shares
        Share (0 to 1) of the accuracy circle in each grid it reaches; None when no accuracy was given. What is missing
        to 1 lies in no grid.
    """

    grid_code: str | None
    method: Method
    distance_m: float | None
    shares: dict[str, float] | None = None

    @property
    def is_uncertain(self) -> bool:
        """True when under 0.8 of the accuracy circle lies in the chosen grid (for a point outside: in none)."""
        if self.shares is None:
            return False
        chosen = 1 - sum(self.shares.values()) if self.grid_code is None else self.shares.get(self.grid_code, 0.0)
        return chosen < CERTAIN_SHARE


def metres_per_degree(lat: FloatOrFloats) -> tuple[FloatOrFloats, FloatOrFloats]:
    """Metres that one degree of longitude and one of latitude are long at a latitude.

    Parameters
    ----------
    lat
        Degrees, -90 to 90.

    Returns
    -------
    mx, my
        Metres per degree east and north, the shape of `lat`.

    Notes
    -----
    Radii of curvature of the WGS84 ellipsoid: the parallel's and the meridian's.
    """
    phi = np.radians(lat)
    w_sq = 1 - _ECCENTRICITY_SQ * np.sin(phi) ** 2
    mx = math.pi / 180 * _SEMI_MAJOR_M * np.cos(phi) / np.sqrt(w_sq)
    my = math.pi / 180 * _SEMI_MAJOR_M * (1 - _ECCENTRICITY_SQ) / w_sq**1.5
    return mx, my


METHODS = (Method.INSIDE, Method.EDGE, Method.SNAPPED, Method.OUTSIDE, Method.REFUSED)
"""The methods that `Placed` counts from 0."""


@dataclass(frozen=True)
class Placed:
    """Placements of many points.

    Attributes
    ----------
    ranks
        Positions in `GridIndex.codes`, int32, shape (n,), -1 for none.
    methods
        Positions in `METHODS`, uint8.
    distances_m
        0 inside and on edges, nan outside and refused.
    """

    ranks: npt.NDArray[np.int32]
    methods: npt.NDArray[np.uint8]
    distances_m: Floats


class GridIndex:
    """Grids ready to have points placed in them; safe to share between threads.

    Parameters
    ----------
    grids
        EPSG:4326, columns `grid_code` (str) and geometry (Polygon, MultiPolygon). Overlaps and gaps are allowed.

    Raises
    ------
    UnusableGrids
        No rows, no or another CRS, a missing code, or a geometry that is no polygon.
    """

    def __init__(self, grids: geopandas.GeoDataFrame) -> None:
        _check(grids)
        ordered = grids.sort_values("grid_code", kind="stable")
        # Compiled kernels take a second to import, which a command that only shows its help need not wait for.
        from gis_grid.geo.lattice import LatticeIndex  # noqa: PLC0415

        polygons = np.array(ordered.geometry.to_numpy(), dtype=object)
        self._furnish(ordered["grid_code"].tolist(), polygons, LatticeIndex.build(polygons))

    def _furnish(self, codes: list[str], polygons: Objects, lattice: "LatticeIndex") -> None:
        self.codes: Objects = np.array(codes, dtype=object)
        self._polygons = polygons
        self._boxes: Floats = shapely.bounds(self._polygons)
        self.lattice = lattice
        self._tree = shapely.STRtree(self._polygons)
        self._tree.query(self._polygons[0])  # GEOS builds it on first use without a lock
        self._surroundings_by_reach: dict[float, shapely.Geometry] = {}

    def __getstate__(self) -> tuple[Any, ...]:
        return self.codes.tolist(), shapely.to_wkb(self._polygons), self.lattice

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take up what another process built: only the trees are made anew."""
        codes, wkb, lattice = state
        self._furnish(codes, shapely.from_wkb(wkb), lattice)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of codes and polygons: indexes of one digest place alike."""
        ground = hashlib.sha256()
        for code, wkb in zip(self.codes, shapely.to_wkb(self._polygons), strict=True):
            ground.update(f"{len(code)}:{code}{len(wkb)}:".encode() + wkb)
        return ground.hexdigest()

    def codes_of(self, ranks: npt.NDArray[np.int32]) -> pd.Categorical:
        """Grid codes of `Placed.ranks`, missing for none."""
        distinct, code_of_rank = self._distinct_codes
        return pd.Categorical.from_codes(code_of_rank[ranks], distinct)

    @cached_property
    def _distinct_codes(self) -> tuple[pd.Index, npt.NDArray[np.int32]]:
        distinct, which = np.unique(self.codes, return_inverse=True)
        return pd.Index(distinct, dtype=object), np.append(which, _NOWHERE).astype(np.int32)  # -1 is the last

    @cached_property
    def bounds(self) -> Bounds:
        """(min_lon, min_lat, max_lon, max_lat) of all grids, degrees."""
        low, high = self._boxes[:, :2].min(axis=0), self._boxes[:, 2:].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @cached_property
    def district(self) -> shapely.Polygon | shapely.MultiPolygon:
        """The ground of all grids together, EPSG:4326."""
        return cast("shapely.Polygon | shapely.MultiPolygon", shapely.union_all(made_valid(self._polygons)))

    def place(self, point: LonLat, *, snap_m: float = SNAP_M, accuracy_m: float | None = None) -> Placement:
        """Placement of one point.

        Parameters
        ----------
        point
            WGS84 degrees.
        snap_m
            How far outside every grid a point still goes to the nearest one, metres, inclusive.
        accuracy_m
            Radius of the circle the point may lie in, metres; None when unknown.

        Raises
        ------
        InvalidLonLat
            The pair is no place.
        InvalidInput
            `snap_m` or `accuracy_m` out of range.
        """
        _check_metres("snap_m", snap_m, MAX_SNAP_M)
        lon, lat = LonLat.checked(*point)
        shares = None if accuracy_m is None else self._circle_shares(lon, lat, accuracy_m)
        rank, is_edge = self.lattice.place_one_with_edge(lon, lat)
        if rank != _NOWHERE:
            return Placement(self.codes[rank], Method.EDGE if is_edge else Method.INSIDE, 0.0, shares)
        ranks, distances_m = self._snap(np.array([lon]), np.array([lat]), snap_m)
        if ranks[0] == _NOWHERE:
            return Placement(None, Method.OUTSIDE, None, shares)
        return Placement(self.codes[ranks[0]], Method.SNAPPED, float(distances_m[0]), shares)

    def place_points(self, lon: npt.ArrayLike, lat: npt.ArrayLike, *, snap_m: float = SNAP_M) -> pd.DataFrame:
        """Placements of many points, each as `place` would have it.

        Parameters
        ----------
        lon, lat
            WGS84 degrees, shape (n,).
        snap_m
            As in `place`.

        Returns
        -------
        placements
            On the index of `lon` (0 to n-1 for an array), in its order: `grid_code` (str or None), `method` (a value of
            `Method`), `distance_m` (0 inside and on edges, nan outside and refused), `reason` (why refused, or None).
        """
        x, y = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
        placed = self.place_arrays(x, y, snap_m=snap_m)
        reasons = np.full(x.shape, None, dtype=object)
        refused = np.flatnonzero(placed.methods == METHODS.index(Method.REFUSED))
        reasons[refused] = refusal_reasons(x[refused], y[refused])
        columns = {
            "grid_code": pd.Series(
                np.array([*self.codes, None], dtype=object)[placed.ranks], dtype="object"
            ),  # -1 is the None
            "method": pd.Series(np.array([method.value for method in METHODS], dtype=object)[placed.methods]),
            "distance_m": pd.Series(placed.distances_m),
            "reason": pd.Series(reasons, dtype="object"),
        }
        placements = pd.DataFrame(columns).astype({"method": "object"})
        return placements.set_axis(lon.index) if isinstance(lon, pd.Series) else placements

    def place_arrays(self, x: Floats, y: Floats, *, snap_m: float = SNAP_M, threads: int = 1) -> "Placed":
        """Placements of many points as plain arrays, for work in bulk; parameters as in `place_points`."""
        _check_metres("snap_m", snap_m, MAX_SNAP_M)
        ranks, is_edge = self.lattice.place_with_edges(x, y, threads=threads)
        methods, distances_m = is_edge.astype(np.uint8), np.zeros(x.shape)
        is_odd = ranks == _NOWHERE
        min_x, min_y, max_x, max_y = self.bounds
        if min(min_x + 180, 180 - max_x, min_y + 90, 90 - max_y) < 0:  # only then a point in a grid may be no place
            is_odd |= ~(np.abs(x) <= 180) | ~(np.abs(y) <= 90)
        odd = np.flatnonzero(is_odd)
        fits = (np.abs(x[odd]) <= 180) & (np.abs(y[odd]) <= 90)
        loose, refused = odd[fits], odd[~fits]
        ranks[loose], distances_m[loose] = self._snap(x[loose], y[loose], snap_m)
        is_snapped = ranks[loose] != _NOWHERE
        methods[loose] = np.where(is_snapped, METHODS.index(Method.SNAPPED), METHODS.index(Method.OUTSIDE))
        ranks[refused], distances_m[refused], methods[refused] = _NOWHERE, np.nan, METHODS.index(Method.REFUSED)
        return Placed(ranks, methods, distances_m)

    @cached_property
    def _edges(self) -> "_Edges":
        return _edges_of(self._polygons)

    def _snap(self, x: Floats, y: Floats, snap_m: float) -> tuple[Ints, Floats]:
        """Rank of the grid each point in no grid goes to, -1 for none, and its distance in metres, nan for none."""
        ranks, distances_m = np.full(x.shape, _NOWHERE), np.full(x.shape, np.nan)
        for rows in _chunks(self._near_district(x, y, snap_m)):
            ranks[rows], distances_m[rows] = self._edges.nearest(x[rows], y[rows], snap_m)
        return ranks, distances_m

    def _near_district(self, x: Floats, y: Floats, snap_m: float) -> Ints:
        """Rows that may lie within `snap_m` of a grid: some too many, never one too few."""
        reach_m = snap_m + TIE_M
        mx, my = metres_per_degree(y)
        reach_x, reach_y = reach_m / mx, reach_m / my
        min_x, min_y, max_x, max_y = self.bounds
        is_near = (x >= min_x - reach_x) & (x <= max_x + reach_x) & (y >= min_y - reach_y) & (y <= max_y + reach_y)
        rows: Ints = np.flatnonzero(is_near)
        if len(rows) < _CHUNK or max(-min_y, max_y) > _POLAR_DEG:
            return rows
        within: Ints = rows[shapely.intersects_xy(self._surroundings(reach_m), x[rows], y[rows])]
        return within

    def _surroundings(self, reach_m: float) -> shapely.Geometry:
        """District with at least `reach_m` around it, prepared."""
        if reach_m not in self._surroundings_by_reach:
            farthest = max(abs(self.bounds[1]), abs(self.bounds[3])) + reach_m / metres_per_degree(0.0)[1]
            reach_deg = reach_m / metres_per_degree(farthest)[0]
            # a buffer's arcs run up to 2 % inside the true circle: a fifth more covers that amply
            surroundings = self.district.buffer(1.2 * reach_deg)
            shapely.prepare(surroundings)
            self._surroundings_by_reach[reach_m] = surroundings
        return self._surroundings_by_reach[reach_m]

    def _circle_shares(self, lon: float, lat: float, accuracy_m: float) -> dict[str, float]:
        """Share of the accuracy circle in each grid it reaches, in the plane scaled at the point."""
        _check_metres("accuracy_m", accuracy_m, MAX_ACCURACY_M)
        if accuracy_m == 0:
            raise InvalidInput("accuracy_m: expected more than 0, or none when it is unknown")
        scale = np.array(metres_per_degree(lat))
        circle = shapely.Point(0, 0).buffer(accuracy_m, quad_segs=16)
        reach_x, reach_y = accuracy_m / scale + _PAD_DEG
        ranks = np.sort(self._tree.query(shapely.box(lon - reach_x, lat - reach_y, lon + reach_x, lat + reach_y)))
        in_plane = shapely.transform(self._polygons[ranks], lambda pairs: (pairs - (lon, lat)) * scale)
        areas = shapely.area(shapely.intersection(made_valid(in_plane), circle))
        return {
            str(self.codes[rank]): float(area / circle.area) for rank, area in zip(ranks, areas, strict=True) if area
        }


@dataclass(frozen=True)
class _Edges:
    """All straight edges of all grids: `ends` (n, 4) as lon, lat, lon, lat; `owners` the rank of their grid."""

    tree: shapely.STRtree
    ends: Floats
    owners: Ints

    def nearest(self, x: Floats, y: Floats, snap_m: float) -> tuple[Ints, Floats]:
        """As `GridIndex._snap`, for one chunk."""
        ranks, distances_m = np.full(x.shape, _NOWHERE), np.full(x.shape, np.nan)
        rows, edges, apart_m = self._within(x, y, self._reach_m(x, y, snap_m))
        is_within = apart_m <= snap_m
        rows, edges, apart_m = rows[is_within], edges[is_within], apart_m[is_within]
        least_m = np.full(x.shape, np.inf)
        np.minimum.at(least_m, rows, apart_m)
        is_tie = apart_m <= least_m[rows] + TIE_M
        rows, owners, apart_m = rows[is_tie], self.owners[edges[is_tie]], apart_m[is_tie]
        order = np.lexsort((apart_m, owners, rows))
        firsts, at = np.unique(rows[order], return_index=True)
        ranks[firsts], distances_m[firsts] = owners[order][at], apart_m[order][at]
        return ranks, distances_m

    def _reach_m(self, x: Floats, y: Floats, snap_m: float) -> Floats:
        """Radius that holds the nearest edge and all that tie with it, metres; negative where none is near enough.

        The edge nearest in degrees need not be the nearest in metres, but the nearest is no farther away than it.
        """
        reach_m = np.full(x.shape, -1.0)
        radius_deg = float((snap_m / metres_per_degree(y)[0]).max(initial=0.0)) + _PAD_DEG  # a degree of lon is shorter
        rows, edges = self.tree.query_nearest(shapely.points(x, y), max_distance=radius_deg, all_matches=False)
        reach_m[rows] = np.minimum(self._apart_m(x[rows], y[rows], edges) + TIE_M, snap_m)
        return reach_m

    def _within(self, x: Floats, y: Floats, reach_m: Floats) -> tuple[Ints, Ints, Floats]:
        asked = np.flatnonzero(reach_m >= 0)
        mx, my = metres_per_degree(y[asked])
        reach_x, reach_y = reach_m[asked] / mx + _PAD_DEG, reach_m[asked] / my + _PAD_DEG
        boxes = shapely.box(x[asked] - reach_x, y[asked] - reach_y, x[asked] + reach_x, y[asked] + reach_y)
        rows, edges = self.tree.query(boxes)
        rows = asked[rows]
        return rows, edges, self._apart_m(x[rows], y[rows], edges)

    def _apart_m(self, x: Floats, y: Floats, edges: Ints) -> Floats:
        """Distance from each point to each edge in the plane scaled at the point, metres, shape (n,)."""
        mx, my = metres_per_degree(y)
        ax, ay = (self.ends[edges, 0] - x) * mx, (self.ends[edges, 1] - y) * my
        dx, dy = (self.ends[edges, 2] - x) * mx - ax, (self.ends[edges, 3] - y) * my - ay
        length_sq = dx * dx + dy * dy
        along = np.clip(-(ax * dx + ay * dy) / np.where(length_sq > 0, length_sq, 1.0), 0.0, 1.0)
        apart_m: Floats = np.hypot(ax + along * dx, ay + along * dy)
        return apart_m


def _edges_of(polygons: Objects) -> _Edges:
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    vertices, ring_of_vertex = shapely.get_coordinates(rings, return_index=True)
    starts = np.flatnonzero(ring_of_vertex[:-1] == ring_of_vertex[1:])
    ends = np.column_stack([vertices[starts], vertices[starts + 1]])
    owners = polygon_of_part[part_of_ring[ring_of_vertex[starts]]]
    return _Edges(shapely.STRtree(shapely.linestrings(ends.reshape(-1, 2, 2))), ends, owners)


def _check(grids: geopandas.GeoDataFrame) -> None:
    if "grid_code" not in grids.columns:
        raise UnusableGrids(f"grids: no column grid_code among {', '.join(map(str, grids.columns))}")
    if grids.empty:
        raise UnusableGrids("grids: the layer has no grid")
    if grids.crs is None or not grids.crs.equals("EPSG:4326", ignore_axis_order=True):
        raise UnusableGrids(f"grids: expected EPSG:4326, got {grids.crs}")
    is_text = grids["grid_code"].map(lambda code: isinstance(code, str))
    is_ground = grids.geom_type.isin(["Polygon", "MultiPolygon"]) & ~grids.is_empty
    for faults, expected in ((~is_text, "a grid code as text"), (~is_ground, "a polygon")):
        if faults.any():
            raise UnusableGrids(f"grids: row {int(np.argmax(faults))}: expected {expected}")


def _check_metres(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:
        raise InvalidInput(f"{name}: {value!r}, expected 0 to {most:g} metres")


def made_valid(polygons: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Polygons with each invalid one replaced by the valid (Multi)Polygon of its ground, shape (n,)."""
    is_bad = ~shapely.is_valid(polygons)
    if not is_bad.any():
        return polygons
    fixed = polygons.copy()
    fixed[is_bad] = shapely.make_valid(polygons[is_bad], method="structure", keep_collapsed=False)
    return fixed


def _chunks(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
