"""How long the preview of a new layer takes with a million stored reports: .venv/bin/python benchmarks/layer_change.py.

An embedded PostGIS in a temporary folder, the shipped grids, and synthetic reports placed in bulk. The new layer merges
one grid in ten into a neighbour.
"""

import argparse
import io
import random
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from sqlalchemy.orm import Session

from gis_grid.city import load_city
from gis_grid.geo.placing import GridIndex
from gis_grid.installation import by_system, open_installation
from gis_grid.layer_changes import preview_layer
from gis_grid.layers import load_layer_file
from gis_grid.settings import Settings
from gis_grid.territory import grids_frame, the_layer

NOW = datetime(2026, 11, 25, tzinfo=UTC)
COLUMNS = (
    "id, content_sha256, received_at, kind, event_type, text, source, sent_lon, sent_lat, datum, geom, public_geom, "
    "layer_id, grid_id, method, is_uncertain, placed_at, placed_by"
)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long it took."""
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)


def store_reports(session: Session, grids: gpd.GeoDataFrame, layer_id: int, count: int) -> None:
    """Uniform points over the district and a rim around it, by COPY."""
    rng = np.random.default_rng(1)
    west, south, east, north = grids.total_bounds
    lon, lat = rng.uniform(west, east, count), rng.uniform(south, north, count)
    placed = GridIndex(grids).place_points(lon, lat)
    ids = dict(zip(grids["grid_code"], grids["grid_id"], strict=True))
    text = io.StringIO()
    rows = zip(lon.tolist(), lat.tolist(), placed["grid_code"], placed["method"], strict=True)
    for i, (x, y, code, method) in enumerate(rows):
        at = (NOW - timedelta(seconds=31 * i % 31_536_000)).isoformat()
        point = f"SRID=4326;POINT({x!r} {y!r})"
        grid = ids[code] if code else r"\N"
        text.write(
            f"{uuid.UUID(int=i)}\tx\t{at}\t投诉\tE0102\tx\tresident\t{x!r}\t{y!r}\twgs84\t{point}\t{point}\t{layer_id}\t"
            f"{grid}\t{method}\tf\t{at}\tbenchmark\n"
        )
    text.seek(0)
    cursor = session.connection().connection.cursor()
    cursor.copy_expert(f"copy reports ({COLUMNS}) from stdin", text)


def merged(grids: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """One grid in ten joined with a neighbour of its community."""
    shapes, gone = list(grids.geometry), set()
    tree = shapely.STRtree(shapes)
    rng = random.Random(1)
    for i in rng.sample(range(len(grids)), len(grids) // 10):
        near = [j for j in tree.query(shapes[i], predicate="touches") if j not in gone and j != i]
        near = [j for j in near if grids["community_code"][j] == grids["community_code"][i]]
        if i not in gone and near:
            shapes[i] = shapely.union(shapes[i], shapes[near[0]])
            gone.add(near[0])
    kept = [i for i in range(len(grids)) if i not in gone]
    return gpd.GeoDataFrame(
        {"grid_code": grids["grid_code"].to_numpy()[kept]}, geometry=[shapes[i] for i in kept], crs=grids.crs
    )


def main() -> None:
    """Fill, preview three times, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=1_000_000)
    count = parser.parse_args().reports
    city = load_city()
    with tempfile.TemporaryDirectory() as folder, open_installation(Settings(data=Path(folder) / "d")) as installation:
        with installation.sessions.begin() as session:
            assert city.grids is not None
            load_layer_file(session, city.grids, city=city, by=by_system(), now=NOW)
        with installation.sessions.begin() as session, timed(f"{count:,} reports stored"):
            layer = the_layer(session, NOW)
            grids = grids_frame(session, layer)
            store_reports(session, grids, layer.id, count)
        new = merged(grids)
        for _ in range(3):
            with installation.sessions.begin() as session, timed("preview"):
                changed = preview_layer(session, new, effective_at=NOW - timedelta(days=1), snap_m=50.0)
        moved = changed.moves["reports"].sum()
        print(f"{changed.reports:,} compared, {moved:,} in another grid, {len(changed.lineage):,} pieces of ground")


if __name__ == "__main__":
    main()
