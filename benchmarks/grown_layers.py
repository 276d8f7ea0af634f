"""Layers of any number of grids: an exact coverage by crooked octagons, of one size or of sizes that differ 20-fold."""

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

WEST, SOUTH, SIDE = 120.9, 30.9, 1.0


def grown_layer(side: int, *, fold: float = 1.0, seed: int = 1) -> npt.NDArray[Any]:
    """`side` × `side` polygons of 8 vertices, row by row, shape (side²,).

    Parameters
    ----------
    fold
        How much longer the sides are at the rim than in the middle.
    """
    rng = np.random.default_rng(seed)
    lines = _lines(2 * side + 1, fold)
    x, y = np.meshgrid(lines, lines)
    step = np.minimum.outer(np.gradient(lines), np.gradient(lines))
    x += rng.uniform(-0.3, 0.3, x.shape) * step
    y += rng.uniform(-0.3, 0.3, y.shape) * step
    nodes = np.stack([WEST + SIDE * x, SOUTH + SIDE * y], axis=-1)
    rows, columns = (2 * axis.ravel() for axis in np.mgrid[0:side, 0:side])
    around = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    rings = np.stack([nodes[rows + r, columns + c] for r, c in around], axis=1)
    polygons: npt.NDArray[Any] = shapely.polygons(rings)
    return polygons


def _lines(count: int, fold: float) -> npt.NDArray[np.float64]:
    """Positions from 0 to 1 that grow apart from the middle to both ends, up to `fold` times."""
    steps = fold ** np.abs(np.linspace(-1, 1, count - 1))
    return np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])
