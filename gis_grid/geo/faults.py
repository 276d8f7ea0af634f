"""What can be wrong with a grid layer, each fault with its place, its size and the grids on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal, NamedTuple

import geopandas as gpd
import numpy as np
import shapely

from gis_grid.geo.metres import area_and_width_m

NOISE_M = 1e-6
"""Ground thinner than this is rounding: a double at 121 degrees is good to 1e-9 m, an overlay multiplies that."""

GAP_WIDTH_M = 10.0
"""A gap is a strip narrower than this between grids: class C of Chinese component surveys puts a line up to 10 m off,
so two drawings of one line explain it. Wider or compact ground in no grid was left out: a hole."""

SLIVER_WIDTH_M = 2.0
"""A grid, or a detached part of one, thinner than this is a sliver: a footpath is wider."""

Unit = Literal["m", "m2", "count"]
Codes = tuple[str, ...]


class Kind(StrEnum):
    """What is wrong; the value is what files and messages say."""

    NOT_DEGREES = "not_degrees"
    SWAPPED_AXES = "swapped_axes"
    WRONG_DATUM = "wrong_datum"
    WRONG_COUNT = "wrong_count"
    MISSING_CODE = "missing_code"
    MALFORMED_CODE = "malformed_code"
    DUPLICATE_CODE = "duplicate_code"
    NO_GEOMETRY = "no_geometry"
    NOT_POLYGON = "not_polygon"
    INVALID_GEOMETRY = "invalid_geometry"
    SLIVER = "sliver"
    OVERLAP = "overlap"
    GAP = "gap"
    HOLE = "hole"
    UNMATCHED_EDGE = "unmatched_edge"
    UNCOVERED = "uncovered"
    OUTSIDE_DISTRICT = "outside_district"
    OUTSIDE_TOWN = "outside_town"
    UNKNOWN_TOWN = "unknown_town"


class Fault(NamedTuple):
    """One fault.

    Attributes
    ----------
    codes
        Grid codes on both sides, sorted, or a grid and its town; `#7` is the seventh feature where it has no code.
    size, unit
        Area in m², length in m, or a count.
    width_m
        Width of the rectangle with the same area and perimeter, 0 for an edge; nan where a width has no meaning.
    at
        Longitude and latitude of the place; nan where there is none.
    geometry
        The faulty ground, edge or point, EPSG:4326; None where there is none.
    """

    kind: Kind
    codes: Codes
    size: float
    unit: Unit
    width_m: float
    at: tuple[float, float]
    message: str
    geometry: shapely.Geometry | None

    @property
    def place(self) -> str:
        """Longitude, latitude as text, seven decimals (1 cm); empty where there is none."""
        lon, lat = self.at
        return "" if np.isnan(lon) else f"{lon:.7f}, {lat:.7f}"


@dataclass(frozen=True)
class TilingReport:
    """What a check of a layer found.

    Attributes
    ----------
    found
        Every fault, in the order of `Kind`, the largest first.
    unchecked
        What could not be checked, and why.
    notes
        What the reader should know that is no fault.
    grid_count
        Features in the layer.
    """

    found: tuple[Fault, ...]
    unchecked: tuple[str, ...]
    notes: tuple[str, ...]
    grid_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; what is unchecked does not count as wrong."""
        return not self.found

    @cached_property
    def faults(self) -> gpd.GeoDataFrame:
        """Faults as a frame, EPSG:4326, one row each: the fields of `Fault`, with `place` as text and as lon, lat."""
        columns = {name: [getattr(fault, name) for fault in self.found] for name in _FAULT_COLUMNS}
        columns["kind"] = [str(fault.kind) for fault in self.found]
        columns["lon"] = [fault.at[0] for fault in self.found]
        columns["lat"] = [fault.at[1] for fault in self.found]
        geometry = np.array([fault.geometry for fault in self.found], dtype=object)
        return gpd.GeoDataFrame(columns, geometry=geometry, crs="EPSG:4326")

    def summary(self) -> str:
        """One line: how many grids, how many faults of which kind."""
        if self.ok:
            return f"{self.grid_count} grids, no fault found"
        kinds = [fault.kind for fault in self.found]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in Kind if kind in kinds)
        faults = "fault" if len(kinds) == 1 else "faults"
        return f"{self.grid_count} grids, {len(kinds)} {faults}: {counts}"


_FAULT_COLUMNS = ("kind", "codes", "size", "unit", "width_m", "place", "message")


def place_in(geometry: shapely.Geometry) -> tuple[float, float]:
    """Longitude and latitude of a point of the geometry: the middle of its largest part where that lies inside."""
    parts = shapely.get_parts(geometry)
    if not len(parts):
        return (float("nan"), float("nan"))
    areas, lengths = shapely.area(parts), shapely.length(parts)
    largest = parts[int(np.argmax(areas if areas.any() else lengths))]
    middle = shapely.centroid(largest)
    point = middle if shapely.intersects(largest, middle) else shapely.point_on_surface(largest)
    return (float(point.x), float(point.y))


def area_fault(kind: Kind, codes: Sequence[str], geometry: shapely.Geometry, message: str) -> Fault:
    """Fault that is ground, measured; `message` may use {area} and {width}."""
    area, width = (float(value) for value in area_and_width_m(geometry))
    text = message.replace("{area}", format_area(area)).replace("{width}", format_length(width))
    return Fault(kind, tuple(sorted(codes)), area, "m2", width, place_in(geometry), text, geometry)


def format_area(area_m2: float) -> str:
    """Area with its unit, four digits."""
    return f"{area_m2:,.0f} m²" if area_m2 >= 1000 else f"{area_m2:.4g} m²"


def format_length(length_m: float) -> str:
    """Length with its unit: metres, or millimetres below one centimetre."""
    return f"{length_m * 1000:.3g} mm" if length_m < 0.01 else f"{length_m:,.4g} m"
