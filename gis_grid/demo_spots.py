"""Blind spots planted into a well-patrolled place: synthetic, for a session that is never committed."""

from dataclasses import dataclass
from datetime import date

import geopandas as gpd
import numpy as np
import shapely
import shapely.affinity
from sqlalchemy.orm import Session

from gis_grid.city import City
from gis_grid.geo.tiles import SeenTiles, masks_of
from gis_grid.seen import add_seen

AROUND_M = 100.0
WIDE_M = 30.0


@dataclass(frozen=True)
class Planted:
    """What was left out, EPSG:4326.

    Attributes
    ----------
    alley
        Along the edge of the first grid; nobody sees it.
    strip
        Along the edge of the last grid; nobody sees it by night.
    """

    alley: shapely.Geometry
    strip: shapely.Geometry
    alley_code: str
    strip_code: str


def plant_blind_spots(session: Session, city: City, grids: gpd.GeoDataFrame, *, day: date) -> Planted:
    """Let the ground of some grids (two at least) be seen on a day by both shifts, but for an alley and a strip."""
    metric = grids.to_crs(city.metric_crs)
    codes = grids["grid_code"].tolist()
    alley, strip = (_along_the_edge(metric.geometry.iloc[k]) for k in (0, -1))
    ground = shapely.union_all(metric.geometry.to_numpy()).buffer(AROUND_M)
    for shift, left_out in ((0, [alley]), (1, [alley, strip])):
        seen = gpd.GeoSeries([shapely.difference(ground, shapely.union_all(left_out))], crs=city.metric_crs)
        mask = masks_of(seen, city.metric_crs)
        days, shifts = (np.full(len(mask.bits), value, np.int64) for value in (day.toordinal(), shift))
        add_seen(session, SeenTiles(mask.tile_row, mask.tile_col, days, shifts, mask.bits))
    session.flush()
    back = gpd.GeoSeries([alley, strip], crs=city.metric_crs).to_crs("EPSG:4326")
    return Planted(back.iloc[0], back.iloc[1], codes[0], codes[-1])


def _along_the_edge(grid: shapely.Geometry) -> shapely.Geometry:
    """The eastern rim of a grid."""
    # On centimetres: edges that should meet and miss each other by a hair would leave a spike.
    return shapely.difference(grid, shapely.affinity.translate(grid, -WIDE_M, 0), grid_size=0.01)
