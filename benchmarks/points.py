"""Points to measure with, in random order: 70 % in clusters, 30 % uniform, 1 % of all outside; or real ones."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

CLUSTERS = 200
CLUSTER_SIDES = 0.5


def generated_points(
    polygons: npt.NDArray[Any], count: int, *, seed: int = 1
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Longitudes and latitudes, shape (count,).

    The clusters are normal, around the middles of 200 random polygons and as wide as half a typical polygon; what
    falls outside is drawn again as uniform, up to the 1 %.
    """
    from gis_grid.geo.lattice import LatticeIndex  # noqa: PLC0415 - not before the peers are imported

    index, rng = LatticeIndex.build(polygons), np.random.default_rng(seed)
    n_outside, n_clustered = count // 100, count * 7 // 10
    middles = shapely.get_coordinates(shapely.centroid(rng.choice(polygons, CLUSTERS)))
    width = CLUSTER_SIDES * float(np.sqrt(np.median(shapely.area(polygons))))
    clustered = rng.choice(middles, n_clustered) + rng.normal(0, width, (n_clustered, 2))
    inside = clustered[index.place(clustered[:, 0], clustered[:, 1]) >= 0]
    west, south, east, north = shapely.total_bounds(polygons)
    outside = np.empty((0, 2))
    while len(inside) < count - n_outside or len(outside) < n_outside:
        batch = rng.uniform((west - 0.005, south - 0.005), (east + 0.005, north + 0.005), (count // 2 + 1000, 2))
        is_in = index.place(batch[:, 0], batch[:, 1]) >= 0
        inside, outside = np.vstack([inside, batch[is_in]]), np.vstack([outside, batch[~is_in]])
    points = rng.permutation(np.vstack([inside[: count - n_outside], outside[:n_outside]]))
    return np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])


def real_points(file: Path, count: int, *, seed: int = 1) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Longitudes and latitudes of a CSV (columns longitude, latitude), drawn with repetition, shape (count,)."""
    known = pd.read_csv(file, usecols=["longitude", "latitude"]).dropna()
    drawn = np.random.default_rng(seed).integers(0, len(known), count)
    return known["longitude"].to_numpy(dtype=np.float64)[drawn], known["latitude"].to_numpy(dtype=np.float64)[drawn]
