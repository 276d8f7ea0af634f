"""Ground of a layer: where grids overlap, and where no grid lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.geo.edges import ON_EDGE_DEG
from gis_grid.geo.faults import GAP_WIDTH_M, NOISE_M, Fault, Kind, area_fault
from gis_grid.geo.metres import Plane, area_and_width_m, is_strip, length_m

OPEN_GAP_WIDTH_M = 1.0
"""Without a district outline, ground open to the outside is a gap only below this width (class B of component surveys)
and beyond `OPEN_GAP_RATIO`: wider and shorter notches are what real outlines look like."""

OPEN_GAP_RATIO = 10.0

ECHO_WIDTH_M = 1e-4
"""Ground thinner than this that touches a larger fault is its echo: a vertex moved along a line that was straight in a
projection leaves a wedge, since straight lines in lon/lat are up to 0.1 mm off over 100 m."""

RIM_SHARE = 0.25
"""A strip with more of its perimeter than this on the district's outline is not between grids."""


@dataclass(frozen=True)
class Ground:
    """Valid polygons of a layer with their labels, indexed.

    Attributes
    ----------
    labels
        Grid codes, shape (n,), strings.
    polygons
        Shape (n,), EPSG:4326.
    is_repaired
        Whether a polygon stands for an invalid one: it owns ground, but its own edges say nothing.
    """

    labels: npt.NDArray[np.object_]
    polygons: npt.NDArray[np.object_]
    is_repaired: npt.NDArray[np.bool_]

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Index of the polygons."""
        return shapely.STRtree(self.polygons)

    @cached_property
    def invalid_edges(self) -> npt.NDArray[np.object_]:
        """Edges that break the coverage, a MultiLineString or None for each polygon."""
        edges: npt.NDArray[np.object_] = np.array(shapely.coverage_invalid_edges(self.polygons), dtype=object)
        edges[shapely.is_empty(edges)] = None
        return edges

    @cached_property
    def union(self) -> Any:
        """All ground, one (Multi)Polygon; along shared edges exact where the layer is a coverage."""
        if all(edges is None for edges in self.invalid_edges):
            return shapely.coverage_union_all(self.polygons)
        return shapely.union_all(self.polygons)


def solid_parts(geometry: Any) -> npt.NDArray[np.object_]:
    """Polygons of a geometry that are wider than rounding, shape (n,)."""
    parts: npt.NDArray[np.object_] = shapely.get_parts(shapely.get_parts(geometry))
    parts = parts[shapely.get_dimensions(parts) == 2]
    _, width = area_and_width_m(parts)
    solid: npt.NDArray[np.object_] = parts[width >= NOISE_M]
    return solid


def overlap_faults(ground: Ground) -> list[Fault]:
    """One fault for each pair of grids whose interiors meet in ground wider than `faults.NOISE_M`."""
    own = np.flatnonzero(~ground.is_repaired)
    first, second = ground.tree.query(ground.polygons[own], predicate="intersects")
    first = own[first]
    keep = (first < second) & ~ground.is_repaired[second]
    first, second = first[keep], second[keep]
    meets = shapely.relate_pattern(ground.polygons[first], ground.polygons[second], "2********")
    faults = []
    for a, b in zip(first[meets], second[meets], strict=True):
        parts = solid_parts(shapely.intersection(ground.polygons[a], ground.polygons[b]))
        if len(parts):
            codes = (ground.labels[a], ground.labels[b])
            text = f"{min(codes)} and {max(codes)} both hold {{area}}, {{width}} wide"
            faults.append(area_fault(Kind.OVERLAP, codes, _together(parts), text))
    return faults


def unowned_faults(ground: Ground, district: shapely.Geometry | None) -> tuple[list[Fault], list[shapely.Geometry]]:
    """Gaps, holes and district ground in no grid; and the pieces beside invalid grids, which are not judged."""
    enclosed = solid_parts(_unowned(ground.union, district))
    open_gaps = _open_gaps(ground) if district is None else []
    faults, beside_invalid = [], []
    for piece, is_open in [*((piece, False) for piece in enclosed), *((piece, True) for piece in open_gaps)]:
        shared_m, rim_m = _neighbours(piece, ground)
        if ground.is_repaired[list(shared_m)].any():
            beside_invalid.append(piece)
        elif not is_open or len(_on_both_sides(shared_m, _width_m(piece))) > 1:
            faults.append(_unowned_fault(piece, shared_m, 0.0 if is_open else rim_m, ground))
    return faults, beside_invalid


def outside_faults(ground: Ground, district: shapely.Geometry) -> list[Fault]:
    """One fault for each piece of grid ground outside the district."""
    faults = []
    for piece in solid_parts(shapely.difference(ground.union, district)):
        near = ground.tree.query(piece, predicate="intersects")
        held = shapely.intersection(ground.polygons[near], piece)
        codes = [ground.labels[i] for i, part in zip(near, held, strict=True) if len(solid_parts(part))]
        text = f"{_listed(codes)}: {{area}} outside the district, {{width}} wide"
        faults.append(area_fault(Kind.OUTSIDE_DISTRICT, codes, piece, text))
    return faults


def without_echoes(faults: list[Fault]) -> tuple[list[Fault], list[Fault]]:
    """Faults that stand for themselves, and those thinner than `ECHO_WIDTH_M` that touch a wider one."""
    wide = [fault for fault in faults if fault.width_m >= ECHO_WIDTH_M]
    thin = [fault for fault in faults if fault.width_m < ECHO_WIDTH_M]
    if not wide or not thin:
        return faults, []
    tree = shapely.STRtree([fault.geometry for fault in wide])
    touching, _ = tree.query([fault.geometry for fault in thin], predicate="dwithin", distance=ON_EDGE_DEG)
    echoes = set(touching.tolist())
    return (
        wide + [fault for i, fault in enumerate(thin) if i not in echoes],
        [fault for i, fault in enumerate(thin) if i in echoes],
    )


def _unowned(union: Any, district: shapely.Geometry | None) -> Any:
    if district is not None:
        return shapely.difference(district, union)
    rings = [ring for part in shapely.get_parts(union) for ring in part.interiors]
    return shapely.difference(shapely.union_all(shapely.polygons(rings)), union) if rings else shapely.Polygon()


def _unowned_fault(piece: Any, shared_m: dict[int, float], rim_m: float, ground: Ground) -> Fault:
    area, width = (float(value) for value in area_and_width_m(piece))
    perimeter = float(length_m(piece))
    sides = _on_both_sides(shared_m, width)
    is_between = len(sides) > 1 and rim_m <= RIM_SHARE * perimeter
    if is_between and width < GAP_WIDTH_M and is_strip(area, width):
        codes = [ground.labels[i] for i in sides]
        text = f"{{area}} between {_listed(codes)} in no grid, {{width}} wide"
        return area_fault(Kind.GAP, codes, piece, text)
    codes = [ground.labels[i] for i in shared_m]
    if rim_m > NOISE_M:
        text = f"{{area}} of the district in no grid, beside {_listed(codes)}"
        return area_fault(Kind.UNCOVERED, codes, piece, text)
    text = f"{{area}} inside {_listed(codes)} in no grid"
    return area_fault(Kind.HOLE, codes, piece, text)


def _on_both_sides(shared_m: dict[int, float], width_m: float) -> list[int]:
    """Grids along a strip: those at its ends share no more than its width."""
    return [i for i, length_m in shared_m.items() if length_m > 2 * width_m]


def _neighbours(piece: Any, ground: Ground) -> tuple[dict[int, float], float]:
    """Metres of the piece's edge that each grid shares, by index; and the metres that none does."""
    rings = shapely.get_rings(piece)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = ring[1:] == ring[:-1]
    lines = shapely.linestrings(np.stack([xy[:-1][is_edge], xy[1:][is_edge]], axis=1))
    middles = shapely.points((xy[:-1][is_edge] + xy[1:][is_edge]) / 2)
    lengths_m = length_m(lines)
    edge, owner = ground.tree.query(middles, predicate="dwithin", distance=ON_EDGE_DEG)
    owners, which = np.unique(owner, return_inverse=True)
    shared = np.bincount(which, weights=lengths_m[edge], minlength=len(owners))
    is_rim = ~np.isin(np.arange(len(lines)), edge)
    # a piece 1 µm wide has ends of 1 µm: below rounding nothing is shared
    found = {int(i): float(m) for i, m in zip(owners, shared, strict=True) if m > NOISE_M}
    return found, float(lengths_m[is_rim].sum())


def _open_gaps(ground: Ground) -> list[Any]:
    """Narrow strips between parts of the layer that are open to the outside, found by closing its outline."""
    shells = shapely.union_all(shapely.polygons(shapely.get_exterior_ring(shapely.get_parts(ground.union))))
    plane = Plane.around(shells)
    outline = plane.to_metres(shells)
    half = OPEN_GAP_WIDTH_M / 2
    grown = shapely.buffer(outline, half, join_style="mitre", mitre_limit=20)
    closed = shapely.buffer(grown, -half, join_style="mitre", mitre_limit=20)
    pieces = [
        plane.to_degrees(piece)
        for piece in shapely.get_parts(shapely.difference(closed, outline))
        if piece.length > OPEN_GAP_WIDTH_M and piece.area > NOISE_M * piece.length / 2
    ]
    return [piece for piece in pieces if _is_open_gap(piece)]


def _is_open_gap(piece: Any) -> bool:
    area, width = area_and_width_m(piece)
    return bool(NOISE_M <= width < OPEN_GAP_WIDTH_M and area >= OPEN_GAP_RATIO * width**2)


def _width_m(piece: Any) -> float:
    return float(area_and_width_m(piece)[1])


def _together(parts: npt.NDArray[np.object_]) -> Any:
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def _listed(codes: Iterable[str], most: int = 6) -> str:
    """Codes in words, the rest counted."""
    ordered = sorted(codes)
    rest = len(ordered) - most
    shown = ordered[:most] + ([f"{rest} more"] if rest > 0 else [])
    if len(shown) < 2:
        return "".join(shown) or "no grid"
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
