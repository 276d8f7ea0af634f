"""Edges of a layer, vertex for vertex: where a vertex of one grid lies on an edge of another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

ON_EDGE_DEG = 4e-11
"""A vertex this near an edge (4 µm) lies on it: ground thinner than `faults.NOISE_M` is not measured as overlap or gap,
and a wedge that thin has its tip up to twice as far off."""


@dataclass(frozen=True)
class Segments:
    """Directed edges with their polygon on the left.

    Attributes
    ----------
    start, end
        Shape (n, 2), lon and lat.
    owner
        Shape (n,), index of the polygon.
    """

    start: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]
    owner: npt.NDArray[np.intp]

    def where(self, keep: npt.NDArray[np.bool_]) -> "Segments":
        """Segments that are kept."""
        return Segments(self.start[keep], self.end[keep], self.owner[keep])

    def lines(self) -> npt.NDArray[np.object_]:
        """One LineString a segment, shape (n,)."""
        lines: npt.NDArray[np.object_] = shapely.linestrings(np.stack([self.start, self.end], axis=1))
        return lines


@dataclass(frozen=True)
class LooseVertex:
    """A vertex of some grids that lies on an edge of others without being a vertex of theirs.

    Attributes
    ----------
    at
        Lon and lat.
    owners
        Polygons on both sides, sorted indices.
    edges
        The edges it lies on, as LineStrings.
    """

    at: tuple[float, float]
    owners: tuple[int, ...]
    edges: tuple[shapely.LineString, ...]


def ring_segments(polygons: npt.NDArray[np.object_]) -> Segments:
    """Every edge of (multi)polygons, zero-length ones left out."""
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(shapely.orient_polygons(parts), return_index=True)
    polygon_of_ring = polygon_of_part[part_of_ring]
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = (ring[1:] == ring[:-1]) & (xy[1:] != xy[:-1]).any(axis=1)
    return Segments(xy[:-1][is_edge], xy[1:][is_edge], polygon_of_ring[ring[:-1][is_edge]])


def unmatched_segments(segments: Segments) -> Segments:
    """Segments that are not shared by exactly two grids, one on each side."""
    if not len(segments.owner):
        return segments
    start, end = segments.start + 0.0, segments.end + 0.0  # -0.0 is 0.0
    is_forward = (start[:, 0] < end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] < end[:, 1]))
    low = np.where(is_forward[:, None], start, end)
    high = np.where(is_forward[:, None], end, start)
    keys = np.hstack([low, high])
    order = np.lexsort(keys.T)
    is_new = np.r_[True, (keys[order][1:] != keys[order][:-1]).any(axis=1)]
    group = np.empty(len(order), dtype=np.intp)
    group[order] = np.cumsum(is_new) - 1
    forward = np.bincount(group, weights=is_forward)
    backward = np.bincount(group, weights=~is_forward)
    return segments.where(~((forward == 1) & (backward == 1))[group])


def loose_vertices(segments: Segments) -> list[LooseVertex]:
    """Vertices that lie on an edge between its ends, each once, in the order of their coordinates.

    Parameters
    ----------
    segments
        The unmatched ones of a layer: a matched edge has no such vertex unless grids overlap.
    """
    if not len(segments.owner):
        return []
    ends, of = np.concatenate([segments.start, segments.end]), np.tile(segments.owner, 2)
    vertices, which = np.unique(ends, axis=0, return_inverse=True)
    lines = segments.lines()
    found, line = shapely.STRtree(lines).query(shapely.points(vertices), predicate="dwithin", distance=ON_EDGE_DEG)
    is_end = (vertices[found] == segments.start[line]).all(axis=1) | (vertices[found] == segments.end[line]).all(axis=1)
    found, line = found[~is_end], line[~is_end]
    lines_at, owners_at = _grouped(found, line), _grouped(which.reshape(-1), of)
    loose = []
    for vertex, on in sorted(lines_at.items()):
        owners = {*segments.owner[on].tolist(), *owners_at[vertex].tolist()}
        if len(owners) > 1:
            at = (float(vertices[vertex, 0]), float(vertices[vertex, 1]))
            loose.append(LooseVertex(at, tuple(sorted(owners)), tuple(lines[on])))
    return loose


def _grouped(keys: npt.NDArray[np.intp], values: npt.NDArray[np.intp]) -> dict[int, npt.NDArray[np.intp]]:
    """Values of each key, in one sort: a layer of independently rounded grids has a hundred thousand."""
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    groups = np.split(values[order], starts[1:]) if len(distinct) else []
    return dict(zip(distinct.tolist(), groups, strict=True))
