"""The map of a whole district."""

from datetime import datetime

import folium
import geopandas as gpd
import pandas as pd

from maps.elements import Column, Legend, LegendItem
from maps.layers import (
    GRID_LINE,
    TOWN_LINE,
    add_counts,
    add_grids,
    add_names,
    add_outlines,
    add_reference,
    add_shapes,
    add_town_tints,
    bounds_of,
    count_items,
    finish,
    grid_columns,
    ground_opacity,
    new_map,
)
from maps.lights import NAME as OPEN_CASES
from maps.lights import add_lights
from maps.styles import Basemap, count_classes, require_lonlat


def district_map(
    grids: gpd.GeoDataFrame,
    areas: gpd.GeoDataFrame,
    *,
    title: str,
    as_of: datetime,
    counts: pd.Series | None = None,
    counts_name: str = "未结上报 Open reports",
    lights: pd.DataFrame | None = None,
    managers: pd.DataFrame | None = None,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    synthetic_note: str | None = None,
    grid_url: str | None = None,
) -> folium.Map:
    """District with its grids, towns and communities; grids coloured by `counts` when given.

    Parameters
    ----------
    grids, areas
        Grid frame, and town and community frame.
    counts
        Number by grid code; a grid that is missing has none.
    lights
        Open cases by light and grid code, as for `maps.lights.add_lights`; grids are coloured by them instead.
    managers
        Columns `grid_code`, `post`, `unit`, `duty_phone`: nothing else of a manager is shown.
    as_of
        Date of the data, aware, in the zone to show.
    grid_url
        Address of a grid's page with `{grid_code}` in it.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, `as_of` has no zone, or there is nothing to draw.
    """
    require_lonlat(grids, "grids")
    bounds = bounds_of(grids, areas)
    sheet = new_map(bounds, title=title, as_of=as_of, synthetic_note=synthetic_note, basemap=basemap)
    add_reference(sheet, reference, basemap=basemap)
    opacity = ground_opacity(reference, basemap)
    add_town_tints(sheet, areas, basemap=basemap, opacity=opacity, show=counts is None and lights is None)
    shapes = add_shapes(sheet, grids.geometry, basemap=basemap)
    columns = grid_columns(grids, managers=managers, grid_url=grid_url)
    items = [LegendItem("街镇界 Town limit", TOWN_LINE, "line"), LegendItem("网格 Grid", GRID_LINE)]
    if counts is not None:
        numbers = counts.reindex(grids["grid_code"], fill_value=0)
        classes = count_classes(numbers)
        add_counts(sheet, shapes, numbers, classes, name=counts_name)
        columns.insert(3, Column(counts_name, [f"{number:,.0f}" for number in numbers], tip=True))
        items = [*count_items(classes), *items]
    heading, unit = ("图例 Legend", "") if counts is None else (counts_name, "件/网格 per grid")
    if lights is not None:
        told, light_items = add_lights(sheet, shapes, grids, lights, basemap=basemap)
        columns[3:3], items = told, [*light_items, *items]
        heading, unit = OPEN_CASES, ""
    add_grids(sheet, shapes, columns)
    add_outlines(sheet, areas, basemap=basemap)
    add_names(sheet, areas, grids=grids, reference=reference, basemap=basemap)
    Legend(heading, items, unit=unit).add_to(sheet)
    return finish(sheet, bounds, basemap=basemap)
