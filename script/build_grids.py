"""Make grids.geojson: the synthetic 1002 grids of Minhang, from three public packages. Start it as script/build_grids.

The same seed and the same pinned packages give the same bytes.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import shapely
from gridmaker import cuts, lines, product, sources

ROOT = Path(__file__).resolve().parent.parent
SEED = 310112


def build(ring: lines.Units, cache: Path, seed: int) -> tuple[list[product.Grid], shapely.Polygon]:
    """The finished grids, and the outline `ring` with their ends as vertices; both in whole 1e-7 degrees."""
    rng = np.random.default_rng(seed)
    boxes, communities = sources.read_boxes(cache), sources.read_communities(cache)
    raster = cuts.rasterise(shapely.Polygon(cuts.to_metres(ring / sources.UNITS_PER_DEGREE)))
    quarters = cuts.cut_quarters(raster, boxes, rng)
    cut = cuts.cut_grids(cuts.lay_ground(raster, quarters, rng), quarters, communities, rng)
    polygons, full_ring = lines.build_polygons(raster, cut.grids, ring)
    grids = product.make_grids(polygons, cut.communities, cut.quarters)
    outline = shapely.Polygon(full_ring)
    product.check(grids, outline)
    product.dissolve(grids, "community")
    return grids, outline


def main() -> None:
    """Build, check and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT, help="folder to write below (default: the checkout)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".build-grids" / "cache", help="where downloads are kept")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    began = time.monotonic()
    ring = sources.read_outline()
    grids, outline = build(ring, arguments.cache, arguments.seed)
    city = arguments.out / "gis_grid" / "cities" / "minhang"
    city.mkdir(parents=True, exist_ok=True)
    product.write_grids(arguments.out / "grids.geojson", grids, seed=arguments.seed)
    product.write_outline(city / "outline.geojson", outline, source_vertices=len(ring))
    product.write_towns(city / "towns.geojson", grids, seed=arguments.seed)
    vertices = sum(len(grid.polygon.exterior.coords) - 1 for grid in grids)
    print(f"{product.count_levels(grids)}, {vertices} vertices, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
