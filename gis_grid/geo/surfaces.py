"""How often and how lately each cell was seen, and such surfaces as polygons. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import geopandas as gpd
import numpy as np
import numpy.typing as npt

from gis_grid.geo.patches import polygonise, to_degrees
from gis_grid.geo.tiles import TILE_CELLS, Ground, GroundMask, Ints, SeenTiles

NEVER = 0


@dataclass(frozen=True)
class SeenSurface:
    """What is known of each cell of some tiles in a window.

    Attributes
    ----------
    tile_row, tile_col
        Shape (n,), by row and column.
    count
        Shape (n, 16384): in how many shifts of days the cell was seen.
    last
        Shape (n, 16384): `date.toordinal()` of the last day it was, `NEVER` where it was not.
    """

    tile_row: Ints
    tile_col: Ints
    count: npt.NDArray[np.uint16]
    last: npt.NDArray[np.int32]


def seen_surface(seen: SeenTiles) -> SeenSurface:
    """Count and last day of each cell of the tiles seen."""
    tiles, at = np.unique(np.column_stack([seen.tile_row, seen.tile_col]), axis=0, return_inverse=True)
    count = np.zeros((len(tiles), TILE_CELLS * TILE_CELLS), np.uint16)
    last = np.zeros(count.shape, np.int32)
    for tile, day, bits in zip(at.ravel(), seen.day, seen.bits, strict=True):
        cells = np.unpackbits(bits)
        count[tile] += cells
        np.maximum(last[tile], cells * np.int32(day), out=last[tile])
    return SeenSurface(tiles[:, 0], tiles[:, 1], count, last)


def count_classes(surface: SeenSurface, mask: GroundMask, least: Sequence[int], *, metric_crs: str) -> gpd.GeoDataFrame:
    """Polygons of a mask's ground by how often it was seen.

    Parameters
    ----------
    least
        The least count of each class, ascending from 0.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns at_least, area_m2, geometry (Polygon), one a patch.
    """
    values = np.searchsorted(np.asarray(least), surface.count, side="right") - 1
    return _classes(surface, values, mask, np.asarray(least), name="at_least", metric_crs=metric_crs)


def age_classes(
    surface: SeenSurface, mask: GroundMask, most_days: Sequence[int], *, as_of: date, metric_crs: str
) -> gpd.GeoDataFrame:
    """Polygons of a mask's ground by how many days ago it was last seen.

    Parameters
    ----------
    most_days
        The most days of each class, ascending; ground seen longer ago, or never in the window, has -1.

    Returns
    -------
    GeoDataFrame
        EPSG:4326; columns within_days, area_m2, geometry (Polygon), one a patch.
    """
    ago = np.where(surface.last == NEVER, np.iinfo(np.int32).max, as_of.toordinal() - surface.last)
    values = np.searchsorted(np.asarray(most_days), ago, side="left")
    names = np.r_[np.asarray(most_days), -1]
    return _classes(surface, values, mask, names, name="within_days", metric_crs=metric_crs, unseen=len(most_days))


def _classes(
    surface: SeenSurface,
    values: npt.NDArray[np.intp],
    mask: GroundMask,
    names: npt.NDArray[np.int_],
    *,
    name: str,
    metric_crs: str,
    unseen: int = 0,
) -> gpd.GeoDataFrame:
    """Patches of ground by class; ground in no tile of the surface is of the class `unseen`."""
    tiles, classes, bits = [], [], []
    for k in range(len(names)):
        packed = np.packbits(values == k, axis=1)
        found = mask.found(Ground(surface.tile_row, surface.tile_col, packed))
        if k == unseen:
            whole = np.full_like(packed, 0xFF)
            found |= mask.without(Ground(surface.tile_row, surface.tile_col, whole)).bits
        some = found.any(axis=1)
        tiles.append(np.column_stack([mask.tile_row, mask.tile_col])[some])
        classes.append(np.full(int(some.sum()), k, np.int64))
        bits.append(found[some])
    rows, owner = np.concatenate(tiles), np.concatenate(classes)
    of_class = GroundMask(owner, rows[:, 0], rows[:, 1], np.concatenate(bits), len(names))
    shapes, which = polygonise(of_class, rank=np.arange(len(names)))
    frame = {name: names[which], "area_m2": [shape.area for shape in shapes]}
    return gpd.GeoDataFrame(frame, geometry=to_degrees(shapes, metric_crs), crs="EPSG:4326")
