"""What our maps have in common: the sheet itself, grids, outlines, names, and the city's reference layer."""

import html
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import folium
import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from folium.utilities import JsCode

from gis_grid.errors import InvalidInput
from maps.elements import (
    Bounds,
    Column,
    Features,
    Labels,
    LabelSet,
    LegendItem,
    Rank,
    Runtime,
    Shapes,
    TitleCard,
    View,
)
from maps.styles import INK, TINTS, Basemap, Classes, as_of_line, drawn, drawn_bounds, require_lonlat, tint_areas

GRID_LINE = {"color": "#6d7a86", "weight": 0.7, "opacity": 0.9, "fillColor": "#ffffff", "fillOpacity": 0.0}
GRID_HOVER = {"color": "#000000", "weight": 2.5, "opacity": 1}
TOWN_LINE = {"color": INK, "weight": 2.2, "opacity": 0.9, "fill": False}
COMMUNITY_LINE = {"color": "#4c5a67", "weight": 1.1, "opacity": 0.8, "dashArray": "4 3", "fill": False}
MANAGER_COLUMNS = {"post": "网格长 Manager", "unit": "单位 Unit", "duty_phone": "值班电话 Duty phone"}

_REFERENCE_STYLES: dict[str, dict[str, Any]] = {
    "river": {"color": "#9cc7e0", "weight": 3, "fillColor": "#bfdcec", "fillOpacity": 1, "opacity": 1},
    "water": {"color": "#9cc7e0", "weight": 1, "fillColor": "#bfdcec", "fillOpacity": 1, "opacity": 1},
    "road": {"color": "#d9c48f", "weight": 2.5, "opacity": 1, "fill": False},
    "landmark": {"color": "#6b5b3e", "weight": 1, "fillColor": "#cbb98f", "fillOpacity": 1, "radius": 3},
}
_REFERENCE_OTHER = {"color": "#b9c0c6", "weight": 1, "opacity": 1, "fillOpacity": 0.15, "radius": 3}


def new_map(
    bounds: Bounds,
    *,
    title: str,
    as_of: datetime,
    lines: Sequence[str] = (),
    synthetic_note: str | None = None,
    basemap: Basemap | None = None,
) -> folium.Map:
    """Empty sheet with title, date and, when given, basemap; `finish` completes it.

    Raises
    ------
    InvalidInput
        `bounds` are not finite (there was nothing to draw), or `as_of` has no time zone.
    """
    if not np.isfinite(bounds).all():
        raise InvalidInput(f"map {title!r}: nothing to draw")
    west, south, east, north = drawn_bounds(bounds, basemap)
    sheet = folium.Map(
        [(south + north) / 2, (west + east) / 2],
        zoom_start=11,
        tiles=None,
        max_zoom=19,
        zoom_control="bottomright",
        zoom_snap=1 if basemap else 0.25,  # tiles blur between whole zooms
        attribution_control=basemap is not None,
    )
    sheet.get_root().title = html.escape(title)
    if basemap:
        folium.TileLayer(basemap.url, attr=basemap.attribution_html, control=False, max_zoom=19).add_to(sheet)
    Runtime().add_to(sheet)
    TitleCard(title, [as_of_line(as_of), *lines], note=synthetic_note).add_to(sheet)
    return sheet


def finish(sheet: folium.Map, bounds: Bounds, *, basemap: Basemap | None = None) -> folium.Map:
    """The sheet, with its layer control (folded on a phone) and a view of all of `bounds`."""
    folium.LayerControl(collapsed=JsCode("gridMap.isPhone()")).add_to(sheet)
    View(drawn_bounds(bounds, basemap)).add_to(sheet)
    return sheet


def bounds_of(*frames: gpd.GeoDataFrame | None) -> Bounds:
    """West, south, east, north of all frames together; nan when none holds a geometry."""
    boxes = [frame.total_bounds for frame in frames if frame is not None and len(frame)]
    if not boxes:
        return (np.nan,) * 4
    sides = np.array(boxes)
    west, south = np.nanmin(sides[:, :2], axis=0)
    east, north = np.nanmax(sides[:, 2:], axis=0)
    return float(west), float(south), float(east), float(north)


def add_shapes(sheet: folium.Map, geometry: gpd.GeoSeries, *, basemap: Basemap | None) -> Shapes:
    """WGS84 geometries put onto the sheet where they stand on its basemap, for layers to draw."""
    shapes = Shapes(drawn(geometry, basemap))
    sheet.add_child(shapes)
    return shapes


def add_plain_ground(sheet: folium.Map, areas: gpd.GeoDataFrame) -> None:
    """The towns in white, to tell the district from its surroundings where nothing else is drawn beneath."""
    style = {"stroke": False, "fillColor": "#ffffff", "fillOpacity": 1}
    shapes = add_shapes(sheet, _level(areas, "town").geometry, basemap=None)
    Features(shapes, name="底色 Ground", pane="ground", styles=[style], control=False).add_to(sheet)


def ground_opacity(reference: gpd.GeoDataFrame | None, basemap: Basemap | None) -> float:
    """How much of what lies beneath the town colours they hide: less where there is something to see."""
    return 0.85 if reference is None and basemap is None else 0.45


def add_town_tints(
    sheet: folium.Map, areas: gpd.GeoDataFrame, *, basemap: Basemap | None, opacity: float, show: bool = True
) -> None:
    """Towns in pale colours, one of the grounds to choose from."""
    towns = _level(areas, "town")
    if towns.empty:
        return
    shapes = add_shapes(sheet, towns.geometry, basemap=basemap)
    Features(
        shapes,
        name="街镇着色 Towns",
        pane="fill",
        styles=[{"fillColor": tint} for tint in TINTS],
        style_of=tint_areas(towns.geometry.array),
        base={"stroke": False, "fillOpacity": opacity},
        overlay=False,
        show=show,
    ).add_to(sheet)


def add_grids(sheet: folium.Map, shapes: Shapes, columns: Sequence[Column]) -> None:
    """Outlines of the grids; touching one tells its `columns`."""
    layer = Features(shapes, name="网格 Grids", pane="grids", styles=[GRID_LINE], columns=columns, hover=GRID_HOVER)
    layer.add_to(sheet)


def add_counts(sheet: folium.Map, shapes: Shapes, numbers: pd.Series, classes: Classes, *, name: str) -> None:
    """Polygons filled by the class of their number; those below the first class white."""
    none = {"fillColor": "#ffffff", "fillOpacity": 0.9}
    Features(
        shapes,
        name=name,
        pane="fill",
        styles=[*({"fillColor": color} for color in classes.colors), none],
        style_of=classes.of(numbers) % (len(classes.colors) + 1),  # below the first class, -1, comes last: none
        base={"stroke": False, "fillOpacity": 0.75},
        overlay=False,
    ).add_to(sheet)


def count_items(classes: Classes) -> list[LegendItem]:
    """What the legend says of `add_counts`."""
    none = LegendItem("0", {"color": "#9aa5ae", "fillColor": "#ffffff"})
    return [
        none,
        *(
            LegendItem(label, {"fillColor": color, "fillOpacity": 0.75})
            for label, color in zip(classes.labels, classes.colors, strict=True)
        ),
    ]


def grid_columns(
    grids: gpd.GeoDataFrame, *, managers: pd.DataFrame | None = None, grid_url: str | None = None
) -> list[Column]:
    """What a popup tells of each grid; of its manager only post, unit and duty phone.

    Parameters
    ----------
    grids
        Grid frame.
    managers
        Columns `grid_code` and any of `post`, `unit`, `duty_phone`; others are not read.
    grid_url
        Address of a grid's page with `{grid_code}` in it.
    """
    columns = [
        Column("", grids["grid_code"].tolist(), role="heading", tip=True),
        Column("居村 Community", grids["community"].tolist(), tip=True),
        Column("街镇 Town", grids["town"].tolist(), tip=True),
    ]
    if managers is not None:
        held = managers.drop_duplicates("grid_code").set_index("grid_code").reindex(grids["grid_code"])
        columns += [Column(label, held[name].tolist()) for name, label in MANAGER_COLUMNS.items() if name in held]
    if grid_url is not None:
        addresses = [grid_url.format(grid_code=code) for code in grids["grid_code"]]
        columns.append(Column("打开网格页 Open grid page", addresses, role="link"))
    return columns


def add_outlines(sheet: folium.Map, areas: gpd.GeoDataFrame, *, basemap: Basemap | None) -> None:
    """Town outlines thick, community outlines thin and dashed."""
    for level, name, style in (
        ("community", "居村界 Community limits", COMMUNITY_LINE),
        ("town", "街镇界 Town limits", TOWN_LINE),
    ):
        rows = _level(areas, level)
        if rows.empty:
            continue
        shapes = add_shapes(sheet, rows.geometry, basemap=basemap)
        Features(shapes, name=name, pane="outlines", styles=[style], show=level == "town").add_to(sheet)


def add_names(
    sheet: folium.Map,
    areas: gpd.GeoDataFrame,
    *,
    grids: gpd.GeoDataFrame | None = None,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    first: Sequence[LabelSet] = (),
) -> None:
    """Names: `first`, then towns always, communities and grid codes closer in, and what the reference layer names."""
    towns, communities = _level(areas, "town"), _level(areas, "community")
    sets = [
        *first,
        LabelSet("town", inner_points(towns, basemap), towns["name"].tolist(), size_px=14, keep=True),
        LabelSet("community", inner_points(communities, basemap), communities["name"].tolist(), min_zoom=13.5),
    ]
    if reference is not None:
        sets += _reference_labels(reference, basemap)
    if grids is not None:
        sets.append(LabelSet("grid", inner_points(grids, basemap), grids["grid_code"].tolist(), 15.5, 11))
    Labels(sets, name="名称 Names").add_to(sheet)


def add_reference(sheet: folium.Map, reference: gpd.GeoDataFrame | None, *, basemap: Basemap | None) -> None:
    """Roads, rivers and landmarks of the city's own file, beneath everything.

    Parameters
    ----------
    reference
        EPSG:4326, columns `kind` ('road', 'river', 'water', 'landmark'; others are drawn plainly) and `name`.
    """
    if reference is None or reference.empty:
        return
    require_lonlat(reference, "reference layer")
    kinds = list(_REFERENCE_STYLES)
    for _, rows in reference.groupby(_family_of(reference)):
        style_of = [kinds.index(kind) if kind in kinds else len(kinds) for kind in rows["kind"]]
        shapes = add_shapes(sheet, rows.geometry, basemap=basemap)
        Features(
            shapes,
            name="参照 Reference",
            pane="ground",
            styles=[*_REFERENCE_STYLES.values(), _REFERENCE_OTHER],
            style_of=style_of,
            control=False,
        ).add_to(sheet)


def _reference_labels(reference: gpd.GeoDataFrame, basemap: Basemap | None) -> list[LabelSet]:
    named = reference[reference["name"].notna()]
    kinds: dict[Rank, list[str]] = {"river": ["river", "water"], "road": ["road"], "place": ["landmark", "name"]}
    sets = []
    for rank, its_kinds in kinds.items():
        rows = named[named["kind"].isin(its_kinds)]
        sets.append(LabelSet(rank, inner_points(rows, basemap), rows["name"].tolist(), min_zoom=12.0))
    return sets


def _family_of(frame: gpd.GeoDataFrame) -> pd.Series:
    families: pd.Series = frame.geom_type.str.removeprefix("Multi")
    return families


def _level(areas: gpd.GeoDataFrame, level: str) -> gpd.GeoDataFrame:
    return require_lonlat(areas, "areas")[areas["level"] == level].reset_index(drop=True)


def inner_points(frame: gpd.GeoDataFrame, basemap: Basemap | None) -> gpd.GeoSeries:
    """A point well inside each geometry: the middle of the widest place of a polygon."""
    geometry = drawn(frame.geometry, basemap)
    radii = shapely.maximum_inscribed_circle(geometry.array, tolerance=1e-3) if _is_polygonal(geometry) else None
    points = geometry.representative_point() if radii is None else shapely.get_point(radii, 0)
    return gpd.GeoSeries(points, index=frame.index, crs=frame.crs)


def _is_polygonal(geometry: gpd.GeoSeries) -> bool:
    return bool(geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all()) and not geometry.empty
