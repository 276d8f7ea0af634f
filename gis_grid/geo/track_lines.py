"""Lines of timed fixes as PostGIS keeps them: LINESTRING M, the epoch in seconds in M. Pure."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.geo.tiles import Floats, Ints

NumberedFixes = tuple[npt.NDArray[np.intp], Ints, Floats, Floats]
"""Track number, milliseconds since 1970, lon and lat; each of shape (n,)."""


def no_fixes() -> NumberedFixes:
    """Nothing, in that shape."""
    return np.zeros(0, np.intp), np.zeros(0, np.int64), np.zeros(0), np.zeros(0)


def fixes_of_lines(lines: Sequence[Any], numbers: Sequence[int]) -> NumberedFixes:
    """The vertices of lines in WKB, each with its line's number."""
    if not lines:
        return no_fixes()
    shapes = shapely.from_wkb(np.array([bytes(line) for line in lines], dtype=object))
    xym, which = shapely.get_coordinates(shapes, include_m=True, return_index=True)
    at_ms = np.round(xym[:, 2] * 1000).astype(np.int64)
    return np.asarray(numbers, dtype=np.intp)[which], at_ms, xym[:, 0].copy(), xym[:, 1].copy()


def line_ewkb(lon: Floats, lat: Floats, at_ms: Ints) -> str:
    """A LINESTRING M in hex, EPSG:4326; a lone fix is stored as standing still, a line needs two vertices."""
    xym = np.empty((len(lon), 3))
    xym[:, 0], xym[:, 1], xym[:, 2] = lon, lat, at_ms / 1000.0
    if len(xym) == 1:
        xym = np.vstack([xym, xym])
    return (struct.pack("<BIII", 1, 2 | 0x40000000 | 0x20000000, 4326, len(xym)) + xym.tobytes()).hex()
