from datetime import date

import geopandas as gpd
import numpy as np
import pytest
import shapely

from gis_grid.geo.patches import to_degrees
from gis_grid.geo.surfaces import NEVER, age_classes, count_classes, seen_surface
from gis_grid.geo.tiles import TILE_BYTES, GroundMask, SeenTiles, masks_of

CRS = "EPSG:4549"
X0, Y0 = 630_400.0, 3_441_920.0  # a tile's corner
ROW, COL = 5378, 985
DAY = date(2026, 3, 1).toordinal()


def tiles(*rows: tuple[int, int, slice]) -> SeenTiles:
    """Rows of (day, shift, bytes seen) of one tile; a byte is 8 cells, 16 bytes a row of cells."""
    bits = np.zeros((len(rows), TILE_BYTES), np.uint8)
    for k, (_, _, part) in enumerate(rows):
        bits[k, part] = 0xFF
    whole = np.full(len(rows), 1, np.int64)
    days, shifts = (np.array([row[k] for row in rows], np.int64) for k in (0, 1))
    return SeenTiles(whole * ROW, whole * COL, days, shifts, bits)


def mask() -> GroundMask:
    """The tile and its eastern neighbour, of which nothing was seen."""
    box = to_degrees(np.array([shapely.box(X0 + 1, Y0 + 1, X0 + 1279, Y0 + 639)]), CRS)
    return masks_of(gpd.GeoSeries(box, crs="EPSG:4326"), CRS)


@pytest.fixture
def seen() -> SeenTiles:
    half, quarter = slice(0, 1024), slice(0, 512)
    return tiles((DAY, 0, half), (DAY, 1, quarter), (DAY + 5, 0, quarter))


def test_each_cell_knows_how_often_and_when_last_it_was_seen(seen: SeenTiles) -> None:
    surface = seen_surface(seen)

    assert surface.count[0, [0, 4096, 8192]].tolist() == [3, 1, 0]
    assert surface.last[0, [0, 4096, 8192]].tolist() == [DAY + 5, DAY, NEVER]


def test_ground_is_parted_by_how_often_it_was_seen(seen: SeenTiles) -> None:
    frame = count_classes(seen_surface(seen), mask(), [0, 1, 2], metric_crs=CRS)

    area = frame.groupby("at_least")["area_m2"].sum() / (640 * 640)
    assert area.to_dict() == pytest.approx({0: 1.5, 1: 0.25, 2: 0.25})


def test_ground_is_parted_by_how_long_ago_it_was_seen(seen: SeenTiles) -> None:
    as_of = date.fromordinal(DAY + 6)

    frame = age_classes(seen_surface(seen), mask(), [1, 3], as_of=as_of, metric_crs=CRS)

    area = frame.groupby("within_days")["area_m2"].sum() / (640 * 640)
    assert area.to_dict() == pytest.approx({1: 0.25, -1: 1.75})


def test_order_does_not_matter(seen: SeenTiles) -> None:
    turned = SeenTiles(*(getattr(seen, k)[::-1] for k in ("tile_row", "tile_col", "day", "shift", "bits")))

    one, other = seen_surface(seen), seen_surface(turned)

    assert (one.count == other.count).all()
    assert (one.last == other.last).all()
