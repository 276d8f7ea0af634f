"""What the check of a grid layer found, drawn over the grids."""

from datetime import datetime

import folium
import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from maps.elements import Column, Features, Legend, LegendItem
from maps.layers import add_grids, add_shapes, bounds_of, finish, new_map
from maps.styles import CATEGORIES

_NAMES = {
    "overlap": "重叠 Overlap",
    "gap": "缝隙 Gap",
    "hole": "空洞 Hole",
    "sliver": "碎片 Sliver",
    "uncovered": "无网格 Uncovered",
    "outside_district": "区外 Outside district",
    "outside_town": "镇外 Outside town",
}
_OTHER = "其他 Other"


def faults_map(grids: gpd.GeoDataFrame, faults: gpd.GeoDataFrame, *, title: str, as_of: datetime) -> folium.Map:
    """Map of a layer with a mark at each fault and the faulty ground itself; a fault without a place is listed only.

    Parameters
    ----------
    grids
        Grid frame, EPSG:4326; features that are no polygon in degrees are not drawn.
    faults
        `TilingReport.faults`: kind, codes, size, unit, width_m, message, lon, lat, geometry.
    title
        Heading of the map.
    as_of
        Date of the data, aware.

    Raises
    ------
    InvalidInput
        There is nothing to draw: neither a polygon in degrees nor a fault with a place in degrees.
    """
    drawable = grids[_is_drawable(grids)]
    is_placed = (faults["lon"].abs() <= 180) & (faults["lat"].abs() <= 90)  # nan is neither
    placed = faults[is_placed]
    points = gpd.GeoSeries(gpd.points_from_xy(placed["lon"], placed["lat"]), crs="EPSG:4326")
    bounds = bounds_of(drawable, gpd.GeoDataFrame(geometry=points))
    lines = [f"{len(faults)} 处问题 faults", *faults.loc[~is_placed, "message"]]
    sheet = new_map(bounds, title=title, as_of=as_of, lines=lines)
    if len(drawable):
        outlines = add_shapes(sheet, drawable.geometry, basemap=None)
        add_grids(sheet, outlines, [Column("", drawable["grid_code"].tolist(), role="heading", tip=True)])
    if len(placed):
        _add_faults(sheet, placed, points)
    return finish(sheet, bounds)


def _add_faults(sheet: folium.Map, faults: gpd.GeoDataFrame, points: gpd.GeoSeries) -> None:
    names = [_NAMES.get(kind, _OTHER) for kind in faults["kind"]]
    shown = list(dict.fromkeys(names))
    colors = [CATEGORIES[i % len(CATEGORIES)] for i in range(len(shown))]
    styles = [{"color": color, "fillColor": color} for color in colors]
    style_of = np.array([shown.index(name) for name in names])
    columns = [
        Column("", names, role="heading", tip=True),
        Column("网格 Grids", [", ".join(codes) for codes in faults["codes"]]),
        Column("说明 What", faults["message"].tolist()),
    ]
    is_ground = np.array(shapely.get_dimensions(faults.geometry.to_numpy()) == 2)
    if is_ground.any():
        ground = add_shapes(sheet, faults.geometry[is_ground], basemap=None)
        base = {"weight": 2, "opacity": 1, "fillOpacity": 0.5}
        rows = [[int(row)] for row in np.flatnonzero(is_ground)]
        Features(
            ground,
            name="问题地块 Ground",
            pane="marks",
            styles=styles,
            style_of=style_of[is_ground],
            base=base,
            columns=columns,
            rows_of=rows,
        ).add_to(sheet)
    marks = add_shapes(sheet, points, basemap=None)
    # a gap of 1 mm is invisible on any map: its mark is not
    dot = {"radius": 7, "weight": 2, "fillOpacity": 0.25, "opacity": 1}
    Features(
        marks, name="问题 Faults", pane="marks", styles=styles, style_of=style_of, base=dot, columns=columns
    ).add_to(sheet)
    items = [
        LegendItem(name, style | {"fillOpacity": 0.25}, "point") for name, style in zip(shown, styles, strict=True)
    ]
    Legend("问题 Faults", items).add_to(sheet)


def _is_drawable(grids: gpd.GeoDataFrame) -> npt.NDArray[np.bool_]:
    shapes = grids.geometry.to_numpy()
    bounds = np.abs(shapely.bounds(shapes))
    is_polygon = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    is_drawable: npt.NDArray[np.bool_] = is_polygon & np.all(bounds <= [180, 90, 180, 90], axis=1)
    return is_drawable
