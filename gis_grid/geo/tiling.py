"""Is this layer an exact tiling? Every gap, overlap, sliver, hole and duplicate, with its place and size.

Topology is decided in lon/lat, vertex for vertex; what is found is then measured in metres. One cause is one fault: an
edge that does not match because two grids overlap is part of the overlap.
"""

import re
from collections import Counter
from dataclasses import replace
from typing import Any, TypeAlias

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS

from gis_grid.errors import InvalidInput
from gis_grid.geo.edges import ON_EDGE_DEG, LooseVertex, loose_vertices, ring_segments, unmatched_segments
from gis_grid.geo.faults import (
    SLIVER_WIDTH_M,
    Codes,
    Fault,
    Kind,
    TilingReport,
    area_fault,
    format_length,
    place_in,
)
from gis_grid.geo.ground import Ground, outside_faults, overlap_faults, unowned_faults, without_echoes
from gis_grid.geo.metres import area_and_width_m, length_m
from gis_grid.geo.references import (
    datum_fault,
    is_in_degrees,
    is_swapped,
    not_degrees_fault,
    swapped_fault,
    town_codes,
    town_faults,
)

Labels: TypeAlias = npt.NDArray[np.object_]
Shapes: TypeAlias = npt.NDArray[np.object_]
Bools: TypeAlias = npt.NDArray[np.bool_]
_INVALID_AT = re.compile(r"^(?P<why>.*)\[(?P<lon>\S+) (?P<lat>\S+)\]$")
_NAN = float("nan")


def check_tiling(
    grids: gpd.GeoDataFrame,
    *,
    code_pattern: str | None,
    metric_crs: str,
    count: int | None = None,
    district: Any = None,
    towns: gpd.GeoDataFrame | None = None,
) -> TilingReport:
    """Every fault of a grid layer, and what could not be checked.

    Parameters
    ----------
    grids
        Grid frame, EPSG:4326; only `grid_code` and the geometry are needed. Unchanged.
    code_pattern
        Regular expression of a whole grid code; None leaves codes' form unchecked.
    metric_crs
        The city's projected CRS: without a district, its area of use tells whether axes are swapped. Faults are
        measured by `geo.metres` instead, since a projection bends edges that are straight in lon/lat.
    count
        How many grids there must be.
    district
        The district's ground, a (Multi)Polygon, EPSG:4326.
    towns
        Areas frame, or a frame with `code` and polygons, EPSG:4326.

    Raises
    ------
    InvalidInput
        A frame without `grid_code` or in another CRS.
    """
    _require_grid_frame(grids)
    labels = grid_labels(grids)
    shapes = shapely.force_2d(grids.geometry.to_numpy())
    shape_faults, is_polygonal = _shape_faults(labels, shapes)
    shapes, is_placed, frame_faults = _in_degrees(labels, shapes, is_polygonal, metric_crs, district)
    faults = [
        *_count_faults(len(grids), count),
        *_code_faults(grids["grid_code"].to_numpy(dtype=object), labels, shapes, is_placed, code_pattern),
        *shape_faults,
        *frame_faults,
    ]
    unchecked = _unchecked(code_pattern, count, district, towns)
    if is_placed.any():
        keep = is_placed & ~_is_twin(grids["grid_code"].to_numpy(dtype=object), _only(shapes, is_placed))
        found, unsure = _ground_faults(labels[keep], shapes[keep], district)
        faults += found
        unchecked += unsure
        if towns is not None:
            found, unsure = _against_towns(grids[keep], labels[keep], shapes[keep], towns, code_pattern)
            faults += found
            unchecked += unsure
    if not is_placed.all():
        left_out = int((~is_placed).sum())
        unchecked.append(f"overlaps, gaps, holes and edges of {left_out} grids: they have no polygon in degrees")
    order = {kind: i for i, kind in enumerate(Kind)}
    faults.sort(key=lambda fault: (order[fault.kind], -fault.size, fault.codes))
    return TilingReport(tuple(faults), tuple(unchecked), tuple(grids.attrs.get("notes", ())), len(grids))


def grid_labels(grids: gpd.GeoDataFrame) -> Labels:
    """What to call each grid: its code, or `#7` for the seventh feature of its file where it has none."""
    codes = grids["grid_code"].to_numpy(dtype=object)
    features = grids.attrs.get("features", ())
    if len(features) != len(grids):  # not read from a file, or not all of it
        features = range(1, len(grids) + 1)
    labels = [code if _has_code(code) else f"#{feature}" for code, feature in zip(codes, features, strict=True)]
    return np.array(labels, dtype=object)


def _require_grid_frame(grids: gpd.GeoDataFrame) -> None:
    if "grid_code" not in grids.columns:
        raise InvalidInput(f"a grid layer needs a column grid_code, it has {', '.join(map(str, grids.columns))}")
    if grids.crs is None or not grids.crs.equals("EPSG:4326", ignore_axis_order=True):
        raise InvalidInput(f"a grid layer is checked in EPSG:4326, this one is in {grids.crs}")


def _has_code(code: object) -> bool:
    return isinstance(code, str) and bool(code.strip())


def _unchecked(code_pattern: str | None, count: int | None, district: Any, towns: Any) -> list[str]:
    wanted = {
        "the form of the codes: no pattern given": code_pattern,
        "the number of grids: no count given": count,
        "ground outside the district, district ground in no grid, datum: no district outline given": district,
        "grids outside their town: no towns given": towns,
    }
    return [text for text, reference in wanted.items() if reference is None]


def _count_faults(found: int, expected: int | None) -> list[Fault]:
    if expected is None or found == expected:
        return []
    text = f"{found} grids, {expected} expected"
    return [Fault(Kind.WRONG_COUNT, (), float(abs(found - expected)), "count", _NAN, (_NAN, _NAN), text, None)]


def _code_faults(
    codes: npt.NDArray[np.object_], labels: Labels, shapes: Shapes, is_placed: Bools, pattern: str | None
) -> list[Fault]:
    def fault(kind: Kind, of: list[int], text: str) -> Fault:
        parts = shapely.get_parts(shapes[[i for i in of if is_placed[i]]])
        parts = parts[shapely.get_dimensions(parts) == 2]
        ground = (shapely.multipolygons(parts) if len(parts) > 1 else parts[0]) if len(parts) else None
        at = place_in(ground) if ground is not None else (_NAN, _NAN)
        return Fault(kind, (labels[of[0]],), float(len(of)), "count", _NAN, at, text, ground)

    compiled = re.compile(pattern) if pattern is not None else None
    faults = []
    for i, code in enumerate(codes):
        if not _has_code(code):
            faults.append(fault(Kind.MISSING_CODE, [i], f"feature {labels[i].removeprefix('#')} has no grid code"))
        elif compiled is not None and not compiled.fullmatch(code):
            faults.append(fault(Kind.MALFORMED_CODE, [i], f"{code!r} is not a grid code: it must match {pattern}"))
    for code, times in Counter(code for code in codes if _has_code(code)).items():
        if times > 1:
            of = [i for i, other in enumerate(codes) if other == code]
            faults.append(fault(Kind.DUPLICATE_CODE, of, f"{code} is the code of {times} grids"))
    return faults


def _shape_faults(labels: Labels, shapes: Shapes) -> tuple[list[Fault], Bools]:
    """Faults of single shapes that need no metres, and which shapes are polygons with finite coordinates."""
    is_polygon = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    faults = []
    for i in np.flatnonzero(~is_polygon):
        is_nothing = shapes[i] is None or shapes[i].is_empty
        kind = Kind.NO_GEOMETRY if is_nothing else Kind.NOT_POLYGON
        what = "has no geometry" if is_nothing else f"is a {shapes[i].geom_type}, not a polygon"
        at = (_NAN, _NAN) if is_nothing else place_in(shapes[i])
        faults.append(
            Fault(kind, (labels[i],), 1.0, "count", _NAN, at, f"{labels[i]} {what}", None if is_nothing else shapes[i])
        )
    is_finite = np.array([np.isfinite(shapely.get_coordinates(shape)).all() for shape in shapes], dtype=np.bool_)
    for i in np.flatnonzero(is_polygon & ~is_finite):
        text = f"{labels[i]} has a coordinate that is not a number"
        faults.append(Fault(Kind.INVALID_GEOMETRY, (labels[i],), 1.0, "count", _NAN, (_NAN, _NAN), text, None))
    return faults, is_polygon & is_finite


def _in_degrees(
    labels: Labels, shapes: Shapes, is_polygonal: Bools, metric_crs: str, district: Any
) -> tuple[Shapes, Bools, list[Fault]]:
    """Shapes with swapped axes turned round, which of them are in degrees, and faults."""
    bounds = shapely.bounds(_only(shapes, is_polygonal))
    faults = []
    turned = is_polygonal & is_swapped(bounds, district=district, crs=CRS.from_user_input(metric_crs))
    if turned.any():
        shapes = shapes.copy()
        shapes[turned] = shapely.transform(shapes[turned], lambda xy: xy[:, ::-1])
        faults.append(swapped_fault(labels[turned], shapes[turned], is_all=bool(turned[is_polygonal].all())))
    is_placed = is_polygonal & (turned | is_in_degrees(bounds))
    lying = is_polygonal & ~is_placed
    if lying.any():
        faults.append(not_degrees_fault(labels[lying], bounds[lying], is_all=bool(lying[is_polygonal].all())))
    return shapes, is_placed, faults


def _is_twin(codes: npt.NDArray[np.object_], shapes: Shapes) -> Bools:
    """Whether a grid repeats an earlier one, code and shape: the duplicate code says it all."""
    seen: set[tuple[object, bytes]] = set()
    is_twin = np.zeros(len(codes), dtype=np.bool_)
    for i, key in enumerate(zip(codes, shapely.to_wkb(shapely.normalize(shapes)), strict=True)):
        is_twin[i] = key in seen and _has_code(key[0])
        seen.add(key)
    return is_twin


def _ground_faults(labels: Labels, shapes: Shapes, district: Any) -> tuple[list[Fault], list[str]]:
    is_valid = shapely.is_valid(shapes)
    whole = shapes.copy()
    whole[~is_valid] = [_polygonal(shape) for shape in shapely.make_valid(shapes[~is_valid])]
    ground = Ground(labels, whole, ~is_valid)
    faults = [_invalid_fault(labels[i], shapes[i], whole[i]) for i in np.flatnonzero(~is_valid)]
    faults += _sliver_faults(ground)
    outline, datum, unchecked = _judged_outline(ground, district)
    faults += datum
    unowned, beside_invalid = unowned_faults(ground, outline)
    if beside_invalid:
        unchecked.append(f"{len(beside_invalid)} pieces of ground in no grid, beside invalid grids that may hold them")
    areal, echoes = without_echoes([*overlap_faults(ground), *unowned])
    if outline is not None:
        areal += outside_faults(ground, outline)
    explained = [fault.geometry for fault in [*areal, *echoes]] + beside_invalid
    return [*faults, *areal, *_edge_faults(ground, explained)], unchecked


def _judged_outline(ground: Ground, district: Any) -> tuple[Any, list[Fault], list[str]]:
    """The district to compare with, None where its datum makes that pointless."""
    if district is None:
        return None, [], []
    if not is_in_degrees(np.array([district.bounds]))[0] or not district.is_valid:
        return None, [], ["the district: its outline is not a valid polygon in degrees"]
    fault = datum_fault(ground.union, district)
    if fault is None:
        return district, [], []
    return None, [fault], ["ground outside the district, district ground in no grid: the datums differ"]


def _invalid_fault(label: str, shape: Any, repaired: Any) -> Fault:
    reason = shapely.is_valid_reason(shape)
    found = _INVALID_AT.match(reason)
    at = (float(found["lon"]), float(found["lat"])) if found else place_in(repaired)
    fault = area_fault(Kind.INVALID_GEOMETRY, (label,), repaired, "")
    why = found["why"].lower() if found else reason
    return fault._replace(
        at=at, width_m=_NAN, message=f"{label} is not a valid polygon: {why}", geometry=shapely.Point(at)
    )


def _sliver_faults(ground: Ground) -> list[Fault]:
    parts, of = shapely.get_parts(ground.polygons, return_index=True)
    _, width = area_and_width_m(parts)
    thin = np.flatnonzero((width < SLIVER_WIDTH_M) & ~ground.is_repaired[of])
    return [
        area_fault(
            Kind.SLIVER,
            (ground.labels[of[i]],),
            parts[i],
            f"{ground.labels[of[i]]} has ground of {{area}} only {{width}} wide",
        )
        for i in thin
    ]


def _edge_faults(ground: Ground, explained: list[Any]) -> list[Fault]:
    """Edges that meet without sharing their vertices, where no overlap or gap explains it."""
    own = np.flatnonzero(~ground.is_repaired)
    loose = loose_vertices(unmatched_segments(ring_segments(ground.polygons[own])))
    loose = [replace(vertex, owners=tuple(int(own[i]) for i in vertex.owners)) for vertex in loose]
    touched = _touching(np.array([shapely.Point(vertex.at) for vertex in loose], dtype=object), explained)
    by_codes: dict[Codes, list[LooseVertex]] = {}
    for vertex, is_explained in zip(loose, touched, strict=True):
        if not is_explained:
            codes = tuple(sorted(ground.labels[i] for i in vertex.owners))
            by_codes.setdefault(codes, []).append(vertex)
    faults = [_edge_fault(codes, vertices) for codes, vertices in by_codes.items()]
    edges = [edge for vertex in loose for edge in vertex.edges]
    return faults + _remaining_edge_faults(ground, [*explained, *edges])


def _edge_fault(codes: Codes, vertices: list[LooseVertex]) -> Fault:
    edges = shapely.union_all([edge for vertex in vertices for edge in vertex.edges])
    along_m = float(length_m(edges))
    at = shapely.multipoints([vertex.at for vertex in vertices]) if len(vertices) > 1 else shapely.Point(vertices[0].at)
    text = (
        f"{' and '.join(codes)} meet along {format_length(along_m)} with"
        f" {len(vertices)} {'vertex' if len(vertices) == 1 else 'vertices'} that the other side lacks"
    )
    return Fault(Kind.UNMATCHED_EDGE, codes, along_m, "m", 0.0, vertices[0].at, text, at)


def _remaining_edge_faults(ground: Ground, explained: list[Any]) -> list[Fault]:
    """What GEOS finds wrong beyond all that: nothing is known to get here, and nothing shall go unsaid."""
    wrong = [i for i, edges in enumerate(ground.invalid_edges) if edges is not None and not ground.is_repaired[i]]
    lines = ground.invalid_edges[wrong]
    faults = []
    for i, line, is_explained in zip(wrong, lines, _touching(lines, explained), strict=True):
        if not is_explained:
            along_m = float(length_m(line))
            text = f"{ground.labels[i]} does not match its neighbours along {format_length(along_m)}"
            codes = (ground.labels[i],)
            faults.append(Fault(Kind.UNMATCHED_EDGE, codes, along_m, "m", 0.0, place_in(line), text, line))
    return faults


def _touching(shapes: Shapes, explained: list[Any]) -> Bools:
    """Whether each shape touches any of the explained ones."""
    is_touching = np.zeros(len(shapes), dtype=np.bool_)
    if explained and len(shapes):
        hits, _ = shapely.STRtree(explained).query(shapes, predicate="dwithin", distance=ON_EDGE_DEG)
        is_touching[hits] = True
    return is_touching


def _only(shapes: Shapes, keep: Bools) -> Shapes:
    """Shapes to keep, None in place of the others."""
    kept = shapes.copy()
    kept[~keep] = None
    return kept


def _polygonal(shape: Any) -> Any:
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.multipolygons(parts[shapely.get_dimensions(parts) == 2])


def _against_towns(
    grids: gpd.GeoDataFrame,
    labels: Labels,
    shapes: Shapes,
    towns: gpd.GeoDataFrame,
    code_pattern: str | None,
) -> tuple[list[Fault], list[str]]:
    town_of = town_codes(grids, code_pattern)
    if town_of is None:
        return [], ["grids outside their town: neither a column town_code nor the code pattern names a grid's town"]
    is_valid = shapely.is_valid(shapes)
    ground = Ground(labels[is_valid], shapes[is_valid], np.zeros(int(is_valid.sum()), dtype=np.bool_))
    return town_faults(ground, town_of[is_valid], towns), []
