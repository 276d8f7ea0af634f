"""How often the index and others disagree: shapely's `intersects`, lowest code, and the placing rule in SQL.

`PYTHONPATH=. python benchmarks/placing_exactness.py [--points N] [--sql N]`; exit code 1 where anything differs.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
from peers import prepared
from points import generated_points

from gis_grid.database import connect, sessions
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.geo.datum import LonLat
from gis_grid.geo.lattice import LatticeIndex
from gis_grid.geo.placing import GridIndex
from gis_grid.locating import locate
from gis_grid.migrating import migrate
from tests.builders import NOW, load_squares
from tests.geo.layers import LAYERS, awkward_points, lowest_touching

ROOT = Path(__file__).parents[1]
BOSTON = ROOT.parent / "shared" / "data" / "boston_precincts.geojson"
AT_ONCE = 20_000
ON_EDGES = 6


def main() -> None:
    """Print a row a comparison."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--points", type=int, default=10_000_000)
    words.add_argument("--sql", type=int, default=1_000_000)
    asked = words.parse_args()
    shipped = geopandas.read_file(ROOT / "grids.geojson").sort_values("grid_code", kind="stable")
    polygons = np.array(shipped.geometry.to_numpy(), dtype=object)
    print("| layer | polygons | points | against | differ |\n|---|---:|---:|---|---:|")
    x, y = generated_points(polygons, asked.points)
    expected = prepared(polygons).place((x, y))
    wrong = told("shipped", polygons, (x, y), expected, "shapely, prepared")
    for name, layer in layers(polygons):
        x, y = awkward_points(layer, LatticeIndex.build(layer).frame, on_edges=ON_EDGES, anywhere=200_000)
        wrong += told(f"{name}, on and beside edges", layer, (x, y), lowest_touching(layer, x, y), "shapely, tree")
    wrong += against_sql(shipped, asked.sql)
    sys.exit(wrong > 0)


def layers(shipped: npt.NDArray[Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Layers by name."""
    yield "shipped", shipped
    if BOSTON.is_file():
        # the file says degrees and is in feet
        feet = geopandas.read_file(BOSTON).set_crs("EPSG:2249", allow_override=True)
        yield "Boston's precincts", np.array(feet.to_crs(4326).geometry.to_numpy(), dtype=object)
    else:
        print(f"skipped: Boston's precincts: no {BOSTON.name}", file=sys.stderr)
    for name, make in LAYERS.items():
        yield f"generated: {name}", make()


def told(name: str, layer: Any, points: tuple[Any, Any], expected: Any, by: str) -> int:
    """Points placed otherwise than expected, printed."""
    wrong = int((LatticeIndex.build(layer).place(*points) != expected).sum())
    print(f"| {name} | {len(layer)} | {len(expected):,} | {by} | {wrong} |", flush=True)
    return wrong


def against_sql(shipped: geopandas.GeoDataFrame, count: int) -> int:
    """Points of the shipped grids whose grid or method differs from that of the rule in SQL, printed."""
    index = GridIndex(shipped)
    x, y = awkward_points(index._polygons, index.lattice.frame, on_edges=1, anywhere=100_000)  # noqa: SLF001
    order = np.random.default_rng(9).permutation(len(x))[: count // 2]
    others = generated_points(index._polygons, count - len(order))  # noqa: SLF001
    x, y = np.concatenate([x[order], others[0]]), np.concatenate([y[order], others[1]])
    placed = index.place_points(x, y)
    folder = Path(tempfile.mkdtemp(prefix="gg-"))
    server = EmbeddedPostgis(folder / "data", fast_unsafe=True)
    server.start()
    wrong = 0
    try:
        server.ensure_database("exactness")
        owner = connect(server.url("exactness"), role=None)
        migrate(owner)
        with sessions(owner)() as session:
            load_squares(session, shipped, name="shipped")
            for start in range(0, len(x), AT_ONCE):
                part = [
                    LonLat(float(a), float(b)) for a, b in zip(x[start:][:AT_ONCE], y[start:][:AT_ONCE], strict=True)
                ]
                found = locate(session, part, at=[NOW] * len(part), accuracy_m=[None] * len(part), snap_m=50.0)
                here = placed.iloc[start : start + AT_ONCE]
                wrong += sum(
                    (one.grid_code, one.method.value) != (code, method)
                    for one, code, method in zip(found, here["grid_code"], here["method"], strict=True)
                )
        owner.dispose()
    finally:
        server.stop()
        shutil.rmtree(folder)
    print(
        f"| shipped, half on and beside edges | {len(shipped)} | {len(x):,} | the rule in SQL | {wrong} |", flush=True
    )
    return wrong


if __name__ == "__main__":
    main()
