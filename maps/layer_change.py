"""The map of what a new layer changes."""

from datetime import datetime

import folium
import geopandas as gpd
import pandas as pd
import shapely

from maps.elements import Column, Features, Legend, LegendItem
from maps.layers import GRID_HOVER, GRID_LINE, add_counts, add_shapes, bounds_of, count_items, finish, new_map
from maps.styles import INK, Basemap, count_classes, require_lonlat

GONE_LINE = {"color": INK, "weight": 2.2, "opacity": 0.9, "dashArray": "5 4", "fill": False}
NAME = "改变网格的上报 Reports that change grid"


def layer_change_map(
    old: gpd.GeoDataFrame,
    new: gpd.GeoDataFrame,
    counts: pd.Series,
    *,
    title: str,
    as_of: datetime,
    basemap: Basemap | None = None,
) -> folium.Map:
    """New grids coloured by the reports that come into them from another grid, and the old limits that go, dashed.

    Parameters
    ----------
    old, new
        EPSG:4326; columns grid_code and geometry.
    counts
        Number by new grid code; a grid that is missing has none.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, `as_of` has no zone, or there is nothing to draw.
    """
    require_lonlat(old, "old")
    require_lonlat(new, "new")
    bounds = bounds_of(old, new)
    sheet = new_map(bounds, title=title, as_of=as_of, basemap=basemap)
    numbers = counts.reindex(new["grid_code"], fill_value=0)
    classes = count_classes(numbers)
    shapes = add_shapes(sheet, new.geometry, basemap=basemap)
    add_counts(sheet, shapes, numbers, classes, name=NAME)
    columns = [
        Column("", new["grid_code"].tolist(), role="heading", tip=True),
        Column(NAME, [f"{number:,.0f}" for number in numbers], tip=True),
    ]
    Features(
        shapes, name="新网格 New grids", pane="grids", styles=[GRID_LINE], columns=columns, hover=GRID_HOVER
    ).add_to(sheet)
    gone = _gone(old, new)
    limits = add_shapes(sheet, gone, basemap=basemap)
    Features(limits, name="取消的界线 Limits that go", pane="outlines", styles=[GONE_LINE]).add_to(sheet)
    lines = [LegendItem("新网格 New grid", GRID_LINE), LegendItem("取消的界线 Limit that goes", GONE_LINE, "line")]
    Legend(NAME, [*count_items(classes), *lines], unit="件/网格 per grid").add_to(sheet)
    # What changes is often a corner of the district: the view begins there.
    return finish(sheet, bounds_of(gone.to_frame("geometry")) if len(gone) else bounds, basemap=basemap)


def _gone(old: gpd.GeoDataFrame, new: gpd.GeoDataFrame) -> gpd.GeoSeries:
    """The edges of the old grids that are no edges of new ones."""
    before, after = (shapely.union_all(shapely.boundary(frame.geometry.to_numpy())) for frame in (old, new))
    lines = shapely.get_parts(shapely.line_merge(shapely.difference(before, after)))
    return gpd.GeoSeries(lines[shapely.length(lines) > 0], crs=old.crs)
