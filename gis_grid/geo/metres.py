"""Lon/lat geometry measured in metres: areas, lengths, and the width of strips a millimetre wide.

Edges are straight in lon/lat. A projection bends them (0.1 mm over 100 m, 10 mm over 1 km in Gauss-Krüger), so that the
corners of a thin strip no longer enclose it. Here degrees are only scaled, by the metres per degree at the middle of
each geometry: what is straight stays straight, and even over 30 km an area is good to 1e-4.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from pyproj import CRS

from gis_grid.geo.placing import metres_per_degree

STRIP_RATIO = 3.0
"""How many times longer than wide ground must be to count as a strip."""

_NEAR_DEG = 2.0


@dataclass(frozen=True)
class Plane:
    """A plane in metres around one place: degrees scaled there, x east, y north."""

    lon: float
    lat: float

    @classmethod
    def around(cls, geometry: Any) -> Self:
        """Plane around the middle of a lon/lat geometry, or of an array of it."""
        west, south, east, north = shapely.total_bounds(geometry)
        return cls(float(west + east) / 2, float(south + north) / 2)

    def to_metres(self, geometry: Any) -> Any:
        """Lon/lat geometry, or an array of it, on the plane."""
        scale, origin = metres_per_degree(self.lat), (self.lon, self.lat)
        return shapely.transform(geometry, lambda xy: (xy - origin) * scale)

    def to_degrees(self, geometry: Any) -> Any:
        """Geometry on the plane, or an array of it, in lon/lat."""
        scale, origin = metres_per_degree(self.lat), (self.lon, self.lat)
        return shapely.transform(geometry, lambda xy: xy / scale + origin)


def area_and_width_m(geometries: Any) -> tuple[Any, Any]:
    """Areas in m² and widths in m of lon/lat polygons, each measured at its own place; shape of the input."""
    in_metres = _each_in_metres(geometries)
    area = shapely.area(in_metres)
    return area, strip_width(area, shapely.length(in_metres))


def length_m(geometries: Any) -> Any:
    """Lengths or perimeters in m of lon/lat geometries, each measured at its own place; shape of the input."""
    return shapely.length(_each_in_metres(geometries))


def strip_width(area: Any, perimeter: Any) -> Any:
    """Width of the rectangle with this area and perimeter: exact for strips, also bent ones, and for squares.

    Ground rounder than a square gets four areas by its perimeter. Solved in the form without cancellation, so that a
    strip of 1 mm by 100 m keeps its digits.
    """
    root = np.sqrt(np.maximum(np.square(perimeter) - 16 * np.asarray(area), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(4 * np.asarray(area) / (perimeter + root))


def is_strip(area_m2: float, width_m: float) -> bool:
    """Whether ground is clearly longer than wide."""
    return width_m > 0 and area_m2 / width_m >= STRIP_RATIO * width_m


def serves(crs: CRS, lon: float, lat: float) -> bool:
    """Whether a CRS is meant for this place, or for one within two degrees of it."""
    area = crs.area_of_use
    if area is None:
        return True
    is_in_lon = area.west - _NEAR_DEG <= lon <= area.east + _NEAR_DEG
    return bool(is_in_lon and area.south - _NEAR_DEG <= lat <= area.north + _NEAR_DEG)


def _each_in_metres(geometries: Any) -> Any:
    shapes = np.asarray(geometries, dtype=object)
    flat = shapes.reshape(-1)
    xy, of = shapely.get_coordinates(flat, return_index=True)
    bounds = shapely.bounds(flat).reshape(-1, 4)
    middle = (bounds[:, :2] + bounds[:, 2:]) / 2
    scale = np.column_stack(metres_per_degree(middle[:, 1]))
    return shapely.set_coordinates(flat.copy(), (xy - middle[of]) * scale[of]).reshape(shapes.shape)
