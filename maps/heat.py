"""The map of how thickly reports lie."""

import base64
from datetime import datetime

import folium
import geopandas as gpd
import pandas as pd
from folium.raster_layers import ImageOverlay

from gis_grid.geo.density import MAX_ALPHA, HeatSurface, legend_breaks, to_png
from maps.elements import Column, Features, Legend, LegendItem, corners
from maps.layers import (
    add_grids,
    add_names,
    add_outlines,
    add_plain_ground,
    add_reference,
    add_shapes,
    bounds_of,
    finish,
    grid_columns,
    new_map,
)
from maps.styles import VERMILION, Basemap, drawn_bounds, format_density, format_share, require_lonlat

PILE = {"color": "#000000", "weight": 2, "fillColor": VERMILION, "fillOpacity": 0.9, "radius": 8}


def heat_map(
    surface: HeatSurface,
    *,
    areas: gpd.GeoDataFrame,
    title: str,
    as_of: datetime,
    window: str,
    note: str | None = None,
    grids: gpd.GeoDataFrame | None = None,
    piles: pd.DataFrame | None = None,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    synthetic_note: str | None = None,
    grid_url: str | None = None,
) -> folium.Map:
    """Heat surface as one image, so that the page does not grow with the number of reports.

    Parameters
    ----------
    surface
        Reports per km², rows equally spaced in Web Mercator: just how Leaflet stretches an image between its bounds.
    areas, grids
        Outlines and names; grids tell their codes when touched.
    window
        What was counted, in words: time window and type.
    note
        What was left out of the surface, in words.
    piles
        `lon`, `lat`, `count`, `share`: coordinates left out of the surface, marked as such.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, `as_of` has no zone, or there is nothing to draw.
    """
    bounds = bounds_of(areas, grids)
    lines = [f"时段 Window: {window}", *([note] if note else [])]
    sheet = new_map(bounds, title=title, as_of=as_of, lines=lines, synthetic_note=synthetic_note, basemap=basemap)
    add_reference(sheet, reference, basemap=basemap)
    if reference is None and basemap is None:
        add_plain_ground(sheet, areas)
    _add_surface(sheet, surface, basemap=basemap)
    if grids is not None:
        shapes = add_shapes(sheet, require_lonlat(grids, "grids").geometry, basemap=basemap)
        add_grids(sheet, shapes, grid_columns(grids, grid_url=grid_url))
    add_outlines(sheet, areas, basemap=basemap)
    pile_items = _add_piles(sheet, piles, basemap=basemap)
    add_names(sheet, areas, grids=grids, reference=reference, basemap=basemap)
    _add_legend(sheet, surface, pile_items)
    return finish(sheet, bounds, basemap=basemap)


def _add_surface(sheet: folium.Map, surface: HeatSurface, *, basemap: Basemap | None) -> None:
    image = f"data:image/png;base64,{base64.b64encode(to_png(surface)).decode()}"
    box = corners(drawn_bounds(surface.bounds, basemap))
    ImageOverlay(image, box, name="上报密度 Report density", pixelated=False, pane="image").add_to(sheet)


def _add_legend(sheet: folium.Map, surface: HeatSurface, pile_items: list[LegendItem]) -> None:
    opacity = MAX_ALPHA / 255
    items = [
        LegendItem(format_density(value), {"fillColor": color, "fillOpacity": opacity})
        for value, color in legend_breaks(surface)
    ]
    lines = [] if items else ["没有上报 No reports"]
    Legend("上报密度 Density", [*items, *pile_items], unit="件/km² reports per km²", lines=lines).add_to(sheet)


def _add_piles(sheet: folium.Map, piles: pd.DataFrame | None, *, basemap: Basemap | None) -> list[LegendItem]:
    if piles is None or piles.empty:
        return []
    points = gpd.GeoSeries(gpd.points_from_xy(piles["lon"], piles["lat"]), crs="EPSG:4326")
    columns = [
        Column("", ["异常堆点 Implausible pile"] * len(piles), role="heading"),
        Column("件数 Reports", [f"{count:,}" for count in piles["count"]], tip=True),
        Column("占全部 Of all", [format_share(share) for share in piles["share"]]),
        Column("说明 Note", ["同一坐标, 未计入密度 one coordinate, left out of the surface"] * len(piles), tip=True),
    ]
    shapes = add_shapes(sheet, points, basemap=basemap)
    name = "异常堆点 (未计入) Piles left out"
    Features(shapes, name=name, pane="marks", styles=[PILE], columns=columns).add_to(sheet)
    return [LegendItem(f"堆点, 未计入 Piles left out ({piles['count'].sum():,})", PILE, "point")]
