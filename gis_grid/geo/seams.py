"""Seams: strips along common edges of grids, and ground that is nobody's. Pure."""

import geopandas as gpd
import numpy as np
import shapely

from gis_grid.geo.metres import area_and_width_m
from gis_grid.geo.tiles import to_metric

SEAM_M = 10.0
LEAST_M = 50.0
LEAST_M2 = 100.0


def edge_seams(
    grids: gpd.GeoDataFrame, *, by: str, metric_crs: str, seam_m: float = SEAM_M, least_m: float = LEAST_M
) -> gpd.GeoDataFrame:
    """Strips of `seam_m` to both sides of the edges that grids of two owners share, one a pair of grids.

    Parameters
    ----------
    grids
        EPSG:4326; `grid_code` and the column `by`, whose values are owners (a town, say).
    least_m
        Shorter common edges are left out.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns first, second (grid codes, ascending), length_m, geometry (Polygon or MultiPolygon).
    """
    metric = grids.to_crs(metric_crs)
    shapes, codes, owners = metric.geometry.to_numpy(), grids["grid_code"].to_numpy(), grids[by].to_numpy()
    first, second = shapely.STRtree(shapes).query(shapes, predicate="touches")
    apart = (first < second) & (owners[first] != owners[second])
    first, second = first[apart], second[apart]
    # Edges match vertex for vertex in degrees; in metres they still do, since each vertex is moved by itself.
    shared = shapely.intersection(shapely.boundary(shapes[first]), shapely.boundary(shapes[second]))
    length_m = shapely.length(shared)
    long = length_m >= least_m
    strips = shapely.buffer(shared[long], seam_m, cap_style="flat", quad_segs=4)
    low, high = np.minimum(codes[first], codes[second]), np.maximum(codes[first], codes[second])
    frame = {"first": low[long], "second": high[long], "length_m": length_m[long]}
    return gpd.GeoDataFrame(frame, geometry=strips, crs=metric_crs).to_crs("EPSG:4326")


def unowned_ground(
    whole: shapely.Geometry, parts: gpd.GeoSeries, *, least_m2: float = LEAST_M2
) -> list[tuple[shapely.Polygon, float]]:
    """Pieces of a ground in none of its parts, with their m², the largest first; EPSG:4326."""
    left = shapely.difference(whole, shapely.union_all(parts.to_numpy()))
    pieces = [piece for piece in shapely.get_parts(left) if piece.geom_type == "Polygon"]
    sized = [(piece, float(area_and_width_m(piece)[0])) for piece in pieces]
    return sorted((one for one in sized if one[1] >= least_m2), key=lambda one: -one[1])


def metric_shape(shape: shapely.Geometry, metric_crs: str) -> shapely.Geometry:
    """A geometry of EPSG:4326 in metres."""
    transformer = to_metric("EPSG:4326", metric_crs)
    return shapely.transform(shape, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
