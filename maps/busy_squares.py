"""The public's map of where reports pile up: squares of 100 m, and only those with enough of them."""

from datetime import datetime

import folium
import geopandas as gpd

from maps.elements import Column, Features, Labels, LabelSet, Legend, LegendItem, Shapes
from maps.layers import (
    add_names,
    add_outlines,
    add_plain_ground,
    add_reference,
    add_shapes,
    bounds_of,
    finish,
    inner_points,
    new_map,
)
from maps.styles import INK, Basemap, count_classes, require_lonlat

NAME = "上报较多的方格 Busy squares"


def busy_squares_map(
    squares: gpd.GeoDataFrame,
    *,
    areas: gpd.GeoDataFrame,
    title: str,
    as_of: datetime,
    window: str,
    least: int,
    side_m: float,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    synthetic_note: str | None = None,
) -> folium.Map:
    """Squares in the colour of their number of reports.

    Parameters
    ----------
    squares
        EPSG:4326 polygons with `reports`; hand over only squares with at least `least`.
    areas
        Towns and communities, for outlines and names.
    window
        What was counted, in words.
    side_m
        Side of a square, metres.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, `as_of` has no zone, or there is nothing to draw.
    """
    bounds = bounds_of(areas)
    lines = [f"{window} · {side_m:g} m · ≥ {least} 件 reports"]
    sheet = new_map(bounds, title=title, as_of=as_of, lines=lines, synthetic_note=synthetic_note, basemap=basemap)
    add_reference(sheet, reference, basemap=basemap)
    if reference is None and basemap is None:
        add_plain_ground(sheet, areas)
    add_outlines(sheet, areas, basemap=basemap)
    items = add_squares(sheet, squares, basemap=basemap)
    add_names(sheet, areas, reference=reference, basemap=basemap)
    nothing = [] if items else [f"没有达到{least}件的方格 No square has {least}"]
    Legend(NAME, items, unit="件 reports", lines=nothing).add_to(sheet)
    return finish(sheet, bounds, basemap=basemap)


def add_squares(sheet: folium.Map, squares: gpd.GeoDataFrame, *, basemap: Basemap | None) -> list[LegendItem]:
    """Each square as it lies, and a mark on it that can be seen on the whole district.

    Parameters
    ----------
    squares
        As for `busy_squares_map`; without a row nothing is added.

    Returns
    -------
    items
        For the legend: the classes of numbers.
    """
    if squares.empty:
        return []
    require_lonlat(squares, "squares")
    classes = count_classes(squares["reports"], least=int(squares["reports"].min()))
    style_of = classes.of(squares["reports"])
    styles = [{"fillColor": color, "radius": 6 + 1.5 * i} for i, color in enumerate(classes.colors)]
    base = {"color": INK, "weight": 1.2, "fillOpacity": 0.9}
    told = [Column("件数 Reports", squares["reports"].tolist(), tip=True)]
    shapes = add_shapes(sheet, squares.geometry, basemap=basemap)
    Features(shapes, name="方格范围 Squares", pane="fill", styles=styles, style_of=style_of, base=base).add_to(sheet)
    middles = inner_points(squares, basemap)
    sheet.add_child(marks := Shapes(middles))
    Features(
        marks, name=NAME, pane="marks", styles=styles, style_of=style_of, base=base, columns=told, control=False
    ).add_to(sheet)
    numbers = LabelSet("number", middles, squares["reports"].tolist(), min_zoom=15.0, size_px=12)
    Labels([numbers], name="件数 Numbers").add_to(sheet)
    return [
        LegendItem(label, {"color": INK, "weight": 1.2, "fillColor": color, "fillOpacity": 0.9})
        for label, color in zip(classes.labels, classes.colors, strict=True)
    ]
