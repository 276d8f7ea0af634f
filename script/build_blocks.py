"""Make gis_grid/cities/minhang/blocks.geojson: the example blocks, cut out of the shipped grids.

Each grid is cut along chords between two of its own corners, so that no corner is new and blocks tile their parent
vertex for vertex. The same grids give the same blocks.
"""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

ROOT = Path(__file__).resolve().parents[1]
CITY = ROOT / "gis_grid" / "cities" / "minhang"
VILLAGE, ESTATES = "310112102204", "310112001046"
VILLAGE_KINDS = ["houses", "waterway", "companies"]  # "村宅、河道、企业单位等不同类型的巡查区域"
NOTE = (
    "Synthetic boundaries. The article names 8 responsibility grids of 联明村 and 5 blocks of 好第坊 and says nothing "
    "of where they lie; these are cut from synthetic grids by chords between corners. Not for any legal use."
)


def halves(shape: shapely.Polygon, share: float) -> list[shapely.Polygon]:
    """Cut a polygon along the chord that comes nearest to leaving `share` of it on one side, short chords first."""
    ring = shapely.get_coordinates(shape.exterior)[:-1]
    n = len(ring)
    first, second = np.triu_indices(n, k=2)
    chords = shapely.linestrings(np.stack([ring[first], ring[second]], axis=1))
    inside = shapely.relate_pattern(chords, shape, "1FFF0F212") & (shapely.length(chords) > 0)
    first, second, chords = first[inside], second[inside], chords[inside]
    parts = [shapely.Polygon(ring[a : b + 1]) for a, b in zip(first, second, strict=True)]
    shares = shapely.area(parts) / shape.area
    miss = np.minimum(np.abs(shares - share), np.abs(1 - shares - share))
    cost = miss + 0.1 * shapely.length(chords) / np.sqrt(shape.area)
    best = int(np.argmin(cost))
    a, b = int(first[best]), int(second[best])
    return [shapely.Polygon(ring[a : b + 1]), shapely.Polygon(np.vstack([ring[b:], ring[: a + 1]]))]


def pieces(shape: shapely.Polygon, count: int) -> list[shapely.Polygon]:
    """About equal pieces of a polygon, `count` of them."""
    if count == 1:
        return [shape]
    small = count // 2
    parts = sorted(halves(shape, small / count), key=lambda part: part.area)
    return [*pieces(parts[0], small), *pieces(parts[1], count - small)]


def feature(number: int, code: str, name: str, kinds: list[str], shape: shapely.Polygon) -> dict:
    """A block as the file holds it."""
    level, least = ("community", 4) if code == VILLAGE else ("community", 1)
    properties = {
        "block_code": f"{code}-{number:02d}",
        "parent_level": level,
        "parent_code": code,
        "name": f"{name}责任块{number}",
        "kinds": kinds,
        "least_people": least,
    }
    outline = shapely.geometry.mapping(shapely.orient_polygons(shape))
    return {"type": "Feature", "properties": properties, "geometry": outline}


def main() -> None:
    """Cut and write."""
    grids = gpd.read_file(ROOT / "grids.geojson")
    features = []
    for code, each, name, kinds in (
        (VILLAGE, 2, "联明村", [VILLAGE_KINDS] * 8),
        (ESTATES, 5, "好第坊", [["estate"], ["estate"], ["estate"], ["estate", "shops"], ["shops"]]),
    ):
        own = grids[grids["community_code"] == code].sort_values("grid_code")
        parts = [part for shape in own.geometry for part in pieces(shape, each)]
        # North to south, west to east inside a row of about 300 m: as grids are numbered.
        parts.sort(key=lambda part: (-round(part.centroid.y / 0.003), part.centroid.x))
        features += [feature(i, code, name, kinds[i - 1], part) for i, part in enumerate(parts, start=1)]
    table = {
        "type": "FeatureCollection",
        "metadata": {
            "title": "Example blocks (synthetic)",
            "synthetic": True,
            "note": NOTE,
            "made_by": "script/build_blocks.py",
        },
        "features": features,
    }
    lines = ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in features)
    head = json.dumps({**table, "features": []}, ensure_ascii=False, separators=(",", ":"))
    (CITY / "blocks.geojson").write_text(head.replace("[]}", f"[\n{lines}\n]}}") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
