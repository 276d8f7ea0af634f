"""Points made coarse enough to be public."""

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.geo.transformers import quick_transformer

PUBLIC_CELL_M = 100.0
LEAST_SHOWN = 5
"""Of fewer reports in a square, nobody outside is told where they lie."""


def coarsen(
    lon: npt.ArrayLike, lat: npt.ArrayLike, *, metric_crs: str, cell_m: float = PUBLIC_CELL_M
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres of the squares that hold the points.

    Parameters
    ----------
    lon, lat
        WGS84 degrees, same shape.
    metric_crs
        The city's CRS in metres; the squares are aligned to its axes.
    cell_m
        Side of a square in metres.

    Returns
    -------
    lon, lat
        WGS84 degrees, rounded to 6 decimals (0.1 m).
    """
    there, back = quick_transformer("EPSG:4326", metric_crs), quick_transformer(metric_crs, "EPSG:4326")
    x, y = there.transform(np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64))
    centre_x, centre_y = ((np.floor(np.asarray(v) / cell_m) + 0.5) * cell_m for v in (x, y))
    centre_lon, centre_lat = back.transform(centre_x, centre_y)
    return np.round(centre_lon, 6), np.round(centre_lat, 6)


def public_squares(
    lon: npt.ArrayLike, lat: npt.ArrayLike, *, metric_crs: str, cell_m: float = PUBLIC_CELL_M
) -> gpd.GeoSeries:
    """The squares around centres that `coarsen` gave, as EPSG:4326 polygons."""
    there, back = quick_transformer("EPSG:4326", metric_crs), quick_transformer(metric_crs, "EPSG:4326")
    x, y = there.transform(np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64))
    half = cell_m / 2
    squares = shapely.box(x - half, y - half, x + half, y + half)
    turned = shapely.transform(squares, lambda at: np.column_stack(back.transform(at[:, 0], at[:, 1])))
    return gpd.GeoSeries(turned, crs="EPSG:4326")
