"""Plain builders of what the tests need, with answers that can be checked by hand."""

from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import shapely
from pyproj import Transformer
from sqlalchemy.orm import Session

from gis_grid.database import By
from gis_grid.territory import GridLayer, load_layer

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
BY = By(who="test", channel="test", request_id="r1")
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
STAFF = {"Authorization": "Bearer staff-token"}


def squares(
    columns: int = 3, rows: int = 3, *, side_m: float = 100.0, lon: float = 121.4, lat: float = 31.1
) -> gpd.GeoDataFrame:
    """An exact tiling of squares, numbered west→east then north→south, one community a row of squares.

    The squares are cut in EPSG:4549 and their shared corners are the same doubles.
    """
    x0, y0 = Transformer.from_crs(4326, 4549, always_xy=True).transform(lon, lat)
    back = Transformer.from_crs(4549, 4326, always_xy=True)
    corners = {
        (c, r): back.transform(x0 + c * side_m, y0 + (rows - r) * side_m)
        for c in range(columns + 1)
        for r in range(rows + 1)
    }
    cells = [
        (r, c, shapely.Polygon([corners[c, r + 1], corners[c + 1, r + 1], corners[c + 1, r], corners[c, r]]))
        for r in range(rows)
        for c in range(columns)
    ]
    return gpd.GeoDataFrame(
        {
            "grid_code": [f"310112001{r + 1:03d}{c + 1:03d}" for r, c, _ in cells],
            "community_code": [f"310112001{r + 1:03d}" for r, _, _ in cells],
            "community": [f"社区{r + 1}" for r, _, _ in cells],
            "town_code": "310112001",
            "town": "江川路街道",
            "area_m2": side_m * side_m,
        },
        geometry=[cell for _, _, cell in cells],
        crs="EPSG:4326",
    )


def areas_of(grids: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The areas that hold these grids, dissolved."""
    levels = [("community", "community_code", "community", "town_code"), ("town", "town_code", "town", None)]
    rows = [("district", "310112", "闵行区", None, shapely.union_all(grids.geometry.values))]
    for level, code, name, parent in levels:
        for key, group in grids.groupby(code):
            above = group[parent].iloc[0] if parent else "310112"
            rows.append((level, key, group[name].iloc[0], above, shapely.union_all(group.geometry.values)))
    columns = ["level", "code", "name", "parent_code", "geometry"]
    return gpd.GeoDataFrame(rows, columns=columns, geometry="geometry", crs="EPSG:4326")


def load_squares(session: Session, grids: gpd.GeoDataFrame | None = None, *, name: str = "squares") -> GridLayer:
    grids = squares() if grids is None else grids
    layer = load_layer(
        session,
        grids,
        areas_of(grids),
        name=name,
        source=f"{name}.geojson",
        source_sha256=name,
        is_synthetic=True,
        effective_at=NOW,
        accepted_faults=None,
        now=NOW,
        by=BY,
    )
    session.commit()
    return layer
