"""Closes narrow gaps and overlaps of a layer, and says of every square metre where it went."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from gis_grid.errors import InvalidInput
from gis_grid.geo.ground import solid_parts
from gis_grid.geo.layer_files import geodesic_area_m2
from gis_grid.geo.metres import Plane, area_and_width_m
from gis_grid.geo.tiling import grid_labels

SNAP_M = 1e-6
"""Nodes this near are one. Not 0: without snapping GEOS 3.14 merges neighbours whose shared edge has an unmatched
vertex (libgeos/geos issue 1525)."""

Shapes: TypeAlias = npt.NDArray[np.object_]
_Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class RepairReport:
    """What a repair moved.

    Attributes
    ----------
    moves
        One row for each piece of ground that changed hands: `from_code` (None: it was in no grid), `to_code` (None: it
        is in no grid now), `area_m2`. Ground that two grids held and one keeps goes from the other to that one.
    changes
        One row for each changed grid: `grid_code`, `gained_m2`, `lost_m2`.
    untouched
        Grids left as they were, since their shape is not a valid polygon or would have vanished.
    """

    moves: pd.DataFrame
    changes: pd.DataFrame
    untouched: tuple[str, ...]

    @property
    def moved_m2(self) -> float:
        """Ground that changed hands."""
        return float(self.moves["area_m2"].sum())


def repair_tiling(grids: gpd.GeoDataFrame, *, width_m: float) -> tuple[gpd.GeoDataFrame, RepairReport]:
    """Layer with gaps and overlaps up to a width closed, edges matched, and a report of what moved.

    Ground goes to the neighbour with the longest shared border (GEOS coverage cleaning). Width here is the diameter of
    the largest circle that fits in. What is wider stays as it is, for the check to report again; a vertex that needs
    not move keeps its doubles.

    Parameters
    ----------
    grids
        Grid frame, EPSG:4326; unchanged.
    width_m
        Widest gap and overlap to close, above 0.

    Returns
    -------
    repaired, report
        The frame on the caller's index, `area_m2` computed anew where the frame has it.

    Raises
    ------
    InvalidInput
        A width that is not above 0.
    """
    if not width_m > 0:
        raise InvalidInput(f"the repair width must be above 0 m, it is {width_m}")
    labels, before = grid_labels(grids), shapely.force_2d(grids.geometry.to_numpy())
    is_usable = np.isin(shapely.get_type_id(before), (3, 6)) & shapely.is_valid(before) & ~shapely.is_empty(before)
    after = before.copy()
    if is_usable.any():
        after[is_usable] = _closed(before[is_usable], width_m)
        moves = _moves(labels, before, after, is_usable)
    else:
        moves = _moves_frame([])
    repaired = grids.set_geometry(gpd.GeoSeries(after, index=grids.index, crs=grids.crs))
    if "area_m2" in grids.columns:
        repaired["area_m2"] = geodesic_area_m2(after)
    untouched = tuple(str(label) for label in labels[~is_usable])
    return repaired, RepairReport(moves, _changes(moves), untouched)


def _closed(before: Shapes, width_m: float) -> Shapes:
    plane = Plane.around(before)
    in_metres = plane.to_metres(before)
    cut, shared, holders = _wide_overlaps_apart(in_metres, width_m)
    cleaned = shapely.coverage_clean(np.concatenate([cut, shared]), gap_width=width_m, snapping_distance=SNAP_M)
    after = cleaned[: len(before)]
    for ground, pair in zip(cleaned[len(before) :], holders, strict=True):
        for i in pair:
            after[i] = shapely.coverage_union(after[i], ground)
    after = np.where(shapely.is_empty(after), in_metres, after)
    known = np.concatenate([before, plane.to_degrees(shared)]) if len(shared) else before
    return _back_in_degrees(after, known, plane)


def _wide_overlaps_apart(shapes: Shapes, width_m: float) -> tuple[Shapes, Shapes, list[_Pair]]:
    """Shapes without the ground of too wide overlaps, that ground, and which two hold each piece of it.

    Coverage cleaning closes every overlap, however wide: as a member of its own a wide one is kept, and given back.
    """
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    first, second = first[first < second], second[first < second]
    meets = shapely.relate_pattern(shapes[first], shapes[second], "2********")
    cut, pieces, holders = shapes.copy(), [], []
    taken: Any = shapely.Polygon()
    for a, b in zip(first[meets], second[meets], strict=True):
        wide = [part for part in _parts(shapely.intersection(shapes[a], shapes[b])) if _is_wider(part, width_m)]
        ground = shapely.difference(shapely.union_all(wide), taken)
        if wide and not ground.is_empty:
            taken = shapely.union(taken, ground)
            cut[[a, b]] = shapely.difference(cut[[a, b]], ground)
            pieces.append(ground)
            holders.append((int(a), int(b)))
    return cut, np.array(pieces, dtype=object), holders


def _parts(geometry: Any) -> list[Any]:
    return [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon"]


def _is_wider(part: Any, width_m: float) -> bool:
    """Whether a circle of that diameter fits in with room to spare."""
    return not shapely.buffer(part, -width_m / 2).is_empty


def _back_in_degrees(after: Shapes, known: Shapes, plane: Plane) -> Shapes:
    """Shapes in lon/lat; a vertex within `SNAP_M` of a known one gets its doubles."""
    degrees = np.unique(shapely.get_coordinates(known), axis=0)
    metres = shapely.points(shapely.get_coordinates(plane.to_metres(shapely.points(degrees))))
    vertices = shapely.points(shapely.get_coordinates(after))
    mine, theirs = shapely.STRtree(metres).query_nearest(vertices, max_distance=SNAP_M, all_matches=False)
    xy = shapely.get_coordinates(plane.to_degrees(after))
    xy[mine] = degrees[theirs]
    shapes: Shapes = shapely.set_coordinates(after.copy(), xy)
    return shapes


def _moves(labels: Any, before: Shapes, after: Shapes, is_usable: Any) -> pd.DataFrame:
    all_before, all_after, codes = before[is_usable], after[is_usable], labels[is_usable]
    tree_before, tree_after = shapely.STRtree(all_before), shapely.STRtree(all_after)
    rows: list[tuple[str | None, str | None, float]] = []
    for i in np.flatnonzero(~shapely.equals(all_before, all_after)):
        gained = shapely.difference(all_after[i], all_before[i])
        lost = shapely.difference(all_before[i], all_after[i])
        holders = shapely.union_all(all_before[tree_before.query(gained, predicate="intersects")])
        takers = tree_after.query(lost, predicate="intersects")
        rows.append((None, codes[i], _area_m2(shapely.difference(gained, holders))))
        rows.append((codes[i], None, _area_m2(shapely.difference(lost, shapely.union_all(all_after[takers])))))
        rows += [(codes[i], codes[j], _area_m2(shapely.intersection(lost, all_after[j]))) for j in takers if j != i]
    return _moves_frame([row for row in rows if row[2] > 0])


def _area_m2(geometry: Any) -> float:
    parts = solid_parts(geometry)
    return float(np.sum(area_and_width_m(parts)[0])) if len(parts) else 0.0


def _moves_frame(rows: list[tuple[str | None, str | None, float]]) -> pd.DataFrame:
    moves = pd.DataFrame(rows, columns=["from_code", "to_code", "area_m2"]).astype({"area_m2": np.float64})
    return moves.sort_values("area_m2", ascending=False, kind="stable", ignore_index=True)


def _changes(moves: pd.DataFrame) -> pd.DataFrame:
    gained = moves.dropna(subset=["to_code"]).groupby("to_code")["area_m2"].sum()
    lost = moves.dropna(subset=["from_code"]).groupby("from_code")["area_m2"].sum()
    codes = sorted(set(gained.index) | set(lost.index))
    columns = {"gained_m2": gained.reindex(codes, fill_value=0.0), "lost_m2": lost.reindex(codes, fill_value=0.0)}
    return pd.DataFrame(columns, index=codes).rename_axis("grid_code").reset_index()
