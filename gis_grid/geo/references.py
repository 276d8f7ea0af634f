"""A layer against what is known beforehand: degrees, the district's outline and datum, the towns."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS

from gis_grid.geo.datum import bd09_to_wgs84, gcj02_to_wgs84
from gis_grid.geo.faults import Fault, Kind, area_fault, format_area, format_length, place_in
from gis_grid.geo.ground import Ground, solid_parts
from gis_grid.geo.metres import area_and_width_m, length_m, serves

Bools: TypeAlias = npt.NDArray[np.bool_]
_NOWHERE = (float("nan"), float("nan"))
_NEAR_DISTRICT_DEG = 2.0

DATUM_MISMATCH_SHARE = 0.005
"""Outlines that differ by less than this share of the district are on one datum: GCJ-02 moves Minhang by 2.5 %."""

DATUM_LEAD = 5.0
"""Another datum explains a difference when it makes it this many times smaller."""


def is_in_degrees(bounds: npt.NDArray[np.float64]) -> Bools:
    """Whether bounds, shape (n, 4), lie within ±180 and ±90."""
    limits = np.array([180.0, 90.0, 180.0, 90.0])
    is_within: Bools = np.all(np.abs(bounds) <= limits, axis=1)
    return is_within


def is_swapped(bounds: npt.NDArray[np.float64], *, district: shapely.Geometry | None, crs: CRS) -> Bools:
    """Whether bounds only fit turned round: into degrees, or near the district, else near the metric CRS's area."""
    turned = bounds[:, [1, 0, 3, 2]]
    fits, fits_turned = is_in_degrees(bounds), is_in_degrees(turned)
    near, near_turned = (_is_near(box, district=district, crs=crs) for box in (bounds, turned))
    return fits_turned & (~fits | (~near & near_turned))


def swapped_fault(labels: npt.NDArray[np.object_], polygons: npt.NDArray[np.object_], *, is_all: bool) -> Fault:
    """Fault of polygons, already turned round, that were given latitude first."""
    codes = () if is_all else tuple(sorted(labels))
    who = "all grids are" if is_all else f"{len(labels)} grids are"
    text = f"{who} written latitude first: turned round they fit, and so they were checked"
    return Fault(Kind.SWAPPED_AXES, codes, float(len(labels)), "count", float("nan"), place_in(polygons[0]), text, None)


def not_degrees_fault(labels: npt.NDArray[np.object_], bounds: npt.NDArray[np.float64], *, is_all: bool) -> Fault:
    """Fault of polygons whose coordinates cannot be degrees, though their file says so."""
    (west, south), (east, north) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    codes = () if is_all else tuple(sorted(labels))
    who = "the coordinates" if is_all else f"the coordinates of {len(labels)} grids"
    text = (
        f"{who} run from {west:,.0f}, {south:,.0f} to {east:,.0f}, {north:,.0f}: metres or feet, not the degrees that"
        " the file declares; name the CRS they are really in (--crs, such as EPSG:4549)"
    )
    return Fault(Kind.NOT_DEGREES, codes, float(len(labels)), "count", float("nan"), _NOWHERE, text, None)


def datum_fault(union: Any, district: Any) -> Fault | None:
    """Fault when the layer's outline, or the district's, fits the other only as GCJ-02 or BD-09."""
    area = area_and_width_m(district)[0]
    as_is = _mismatch_m2(union, district)
    if as_is < DATUM_MISMATCH_SHARE * area:
        return None
    tries = [(whose, name, convert) for whose in ("grids", "district") for name, convert in _TO_WGS84]
    left = [
        _mismatch_m2(
            _converted(union, convert) if whose == "grids" else union,
            _converted(district, convert) if whose == "district" else district,
        )
        for whose, _, convert in tries
    ]
    best = int(np.argmin(left))
    if left[best] * DATUM_LEAD > as_is:
        return None
    whose, name, convert = tries[best]
    wrong = union if whose == "grids" else district
    ends = shapely.centroid([wrong, _converted(wrong, convert)])
    shift_m = float(length_m(shapely.linestrings([shapely.get_coordinates(ends)]))[0])
    text = (
        f"the {'grids are' if whose == 'grids' else 'district outline is'} in {name}, {format_length(shift_m)} off:"
        f" read so, the outlines differ by {format_area(left[best])} instead of {format_area(as_is)}"
    )
    return Fault(Kind.WRONG_DATUM, (), shift_m, "m", float("nan"), place_in(union), text, wrong)


def town_codes(grids: gpd.GeoDataFrame, code_pattern: str | None) -> npt.NDArray[np.object_] | None:
    """Town of each grid: its `town_code`, else its code up to the pattern's group `town`; None for neither."""
    if "town_code" in grids.columns:
        return np.array(grids["town_code"], dtype=object)
    if code_pattern is None or "town" not in re.compile(code_pattern).groupindex:
        return None
    matches = [re.fullmatch(code_pattern, code) if isinstance(code, str) else None for code in grids["grid_code"]]
    return np.array([match.string[: match.end("town")] if match else None for match in matches], dtype=object)


def town_faults(ground: Ground, town_of: npt.NDArray[np.object_], towns: gpd.GeoDataFrame) -> list[Fault]:
    """Grids outside their town, and towns that are named but not there.

    Parameters
    ----------
    town_of
        Town code of each polygon of the ground, None where it has none.
    towns
        Areas frame, or any frame with `code` and polygons.
    """
    if "level" in towns.columns:
        towns = towns[towns["level"] == "town"]
    shapes = dict(zip(towns["code"].astype(str), towns.geometry, strict=True))
    unknown = sorted({str(town) for town in town_of} - set(shapes))
    faults = [_unknown_town(town, ground, np.array([str(of) == town for of in town_of])) for town in unknown]
    known = np.array([str(town) in shapes for town in town_of])
    parents = np.array([shapes.get(str(town)) for town in town_of], dtype=object)
    for i in np.flatnonzero(known & ~shapely.covered_by(ground.polygons, parents)):
        parts = solid_parts(shapely.difference(ground.polygons[i], parents[i]))
        if len(parts):
            text = f"{ground.labels[i]}: {{area}} outside its town {town_of[i]}, {{width}} wide"
            outside = shapely.multipolygons(parts) if len(parts) > 1 else parts[0]
            codes = (ground.labels[i], str(town_of[i]))
            faults.append(area_fault(Kind.OUTSIDE_TOWN, codes, outside, text)._replace(codes=codes))
    return faults


def _unknown_town(town: str, ground: Ground, of_it: Bools) -> Fault:
    grids = shapely.multipolygons(shapely.get_parts(ground.polygons[of_it]))
    text = f"{int(of_it.sum())} grids name the town {town}, which the town file does not have"
    codes = tuple(sorted(ground.labels[of_it]))
    return Fault(Kind.UNKNOWN_TOWN, codes, float(of_it.sum()), "count", float("nan"), place_in(grids), text, grids)


def _is_near(bounds: npt.NDArray[np.float64], *, district: shapely.Geometry | None, crs: CRS) -> Bools:
    lon, lat = (bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2
    if district is None:
        return np.array([serves(crs, x, y) for x, y in zip(lon, lat, strict=True)], dtype=np.bool_)
    west, south, east, north = district.bounds
    margin = _NEAR_DISTRICT_DEG
    is_near: Bools = np.all(
        [lon >= west - margin, lon <= east + margin, lat >= south - margin, lat <= north + margin], axis=0
    )
    return is_near


def _mismatch_m2(one: Any, other: Any) -> float:
    return float(area_and_width_m(shapely.symmetric_difference(one, other))[0])


def _converted(outline: Any, convert: Callable[..., Any]) -> Any:
    return shapely.make_valid(shapely.transform(outline, convert, interleaved=False))


_TO_WGS84 = (("GCJ-02", gcj02_to_wgs84), ("BD-09", bd09_to_wgs84))
