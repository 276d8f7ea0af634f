"""The map of one manager's grid."""

from collections.abc import Mapping
from datetime import datetime

import folium
import geopandas as gpd

from maps.busy_squares import add_squares
from maps.elements import Bounds, Features, Labels, LabelSet, Legend, LegendItem
from maps.layers import (
    GRID_HOVER,
    add_reference,
    add_shapes,
    bounds_of,
    finish,
    grid_columns,
    inner_points,
    new_map,
)
from maps.lights import add_cases
from maps.marks import add_reports, add_tracks
from maps.styles import INK, Basemap, require_lonlat

OWN = {"color": INK, "weight": 3, "opacity": 1, "fillColor": "#ffffff", "fillOpacity": 0.6}
NEIGHBOUR = {"color": "#6d7a86", "weight": 1, "fillColor": "#d9dee3", "fillOpacity": 0.8}


def grid_map(
    grid: gpd.GeoDataFrame,
    neighbours: gpd.GeoDataFrame,
    *,
    title: str,
    as_of: datetime,
    reports: gpd.GeoDataFrame | None = None,
    event_types: Mapping[str, str] | None = None,
    tracks: gpd.GeoDataFrame | None = None,
    cases: gpd.GeoDataFrame | None = None,
    squares: gpd.GeoDataFrame | None = None,
    note: str | None = None,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    synthetic_note: str | None = None,
    grid_url: str | None = None,
) -> folium.Map:
    """One grid with its outline, neighbours, reports and last patrol.

    Parameters
    ----------
    grid, neighbours
        Grid frames; `grid` usually of one row. A neighbour leads to its own page when `grid_url` is given.
    reports, event_types
        As for `maps.marks.add_reports`; times are shown in the zone of `as_of`.
    tracks
        EPSG:4326 lines with an optional `label`.
    cases
        Open cases, as for `maps.lights.add_cases`.
    squares
        For the public in place of reports and cases: squares that hold enough of them, with `reports`.
    note
        What is left out, in words.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, `as_of` has no zone, or there is nothing to draw.
    """
    require_lonlat(grid, "grid")
    bounds = _with_margin(bounds_of(grid))
    lines = [note] if note else []
    sheet = new_map(bounds, title=title, as_of=as_of, lines=lines, synthetic_note=synthetic_note, basemap=basemap)
    add_reference(sheet, reference, basemap=basemap)
    items = [LegendItem("本网格 This grid", OWN)]
    if len(neighbours):
        columns = grid_columns(require_lonlat(neighbours, "neighbours"), grid_url=grid_url)
        shapes = add_shapes(sheet, neighbours.geometry, basemap=basemap)
        Features(
            shapes, name="相邻网格 Neighbours", pane="fill", styles=[NEIGHBOUR], columns=columns, hover=GRID_HOVER
        ).add_to(sheet)
        items.append(LegendItem("相邻网格 Neighbour", NEIGHBOUR))
    own = add_shapes(sheet, grid.geometry, basemap=basemap)
    Features(own, name="本网格 This grid", pane="grids", styles=[OWN], control=False).add_to(sheet)
    items += add_tracks(sheet, tracks, basemap=basemap, name="最近巡查 Last patrol")
    items += add_reports(sheet, reports, zone=as_of.tzinfo, event_types=event_types, basemap=basemap)
    items += add_cases(sheet, cases, basemap=basemap)
    if squares is not None:
        items += [
            LegendItem(f"上报 Reports {item.text}", item.style) for item in add_squares(sheet, squares, basemap=basemap)
        ]
    names = LabelSet("grid", inner_points(neighbours, basemap), _neighbour_names(neighbours), size_px=11)
    Labels([names], name="名称 Names").add_to(sheet)
    Legend("图例 Legend", items).add_to(sheet)
    return finish(sheet, bounds, basemap=basemap)


def _with_margin(bounds: Bounds) -> Bounds:
    """Room for a rim of the neighbours: a fifth of the grid's size on each side."""
    west, south, east, north = bounds
    margin = max(east - west, north - south) / 5
    return west - margin, south - margin, east + margin, north + margin


def _neighbour_names(neighbours: gpd.GeoDataFrame) -> list[str]:
    return [
        f"{community} {code[-3:]}"
        for community, code in zip(neighbours["community"], neighbours["grid_code"], strict=True)
    ]
