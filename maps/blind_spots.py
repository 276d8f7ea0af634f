"""The map of unseen ground."""

from datetime import datetime

import folium
import geopandas as gpd
import pandas as pd

from maps.elements import Column, Features, LabelSet, Legend, LegendItem, Shapes
from maps.layers import (
    add_grids,
    add_names,
    add_outlines,
    add_reference,
    add_shapes,
    add_town_tints,
    bounds_of,
    finish,
    grid_columns,
    ground_opacity,
    inner_points,
    new_map,
)
from maps.marks import add_tracks
from maps.styles import SHARE_CLASSES, Basemap, format_area, format_share, require_lonlat

DRAWN_UNSEEN = 2000
RANKED_UNSEEN = 10
UNSEEN = {"color": "#c24a00", "weight": 0.7, "fillOpacity": 1, "className": "gm-unseen"}
EXCLUDED = {"color": "#6b7580", "weight": 1, "fillOpacity": 1, "className": "gm-excluded"}
_NO_SHARE = {"fillColor": "#ffffff", "fillOpacity": 0.6}


def blind_spots_map(
    grids: gpd.GeoDataFrame,
    shares: pd.DataFrame,
    unseen: gpd.GeoDataFrame,
    *,
    areas: gpd.GeoDataFrame,
    title: str,
    as_of: datetime,
    window: str,
    excluded: gpd.GeoDataFrame | None = None,
    tracks: gpd.GeoDataFrame | None = None,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    synthetic_note: str | None = None,
    grid_url: str | None = None,
) -> folium.Map:
    """Grids coloured by seen share, the unseen ground itself hatched, largest first; excluded ground apart.

    Parameters
    ----------
    shares
        On the index of `grids`: `seen_share`, 0 to 1; nan where there is no ground to see.
    unseen
        EPSG:4326 polygons with `area_m2` and, when known, `grid_code`; steps smoothed (`unseen_ground(simplify_m=10)`)
        keep the page small. The `DRAWN_UNSEEN` largest are drawn; the legend says how many are left out.
    excluded
        EPSG:4326 polygons with `reason` and `until`, in neither numerator nor denominator.
    tracks
        EPSG:4326 lines, at first hidden.
    window
        The time window in words, as `2026-11-01 – 2026-11-07`.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, `as_of` has no zone, or there is nothing to draw.
    """
    require_lonlat(grids, "grids")
    bounds = bounds_of(grids, areas)
    lines = [f"时段 Window: {window}"]
    sheet = new_map(bounds, title=title, as_of=as_of, lines=lines, synthetic_note=synthetic_note, basemap=basemap)
    add_reference(sheet, reference, basemap=basemap)
    shapes = add_shapes(sheet, grids.geometry, basemap=basemap)
    of_grid = shares["seen_share"].reindex(grids.index).astype(float)
    _add_shares(sheet, shapes, of_grid)
    add_town_tints(sheet, areas, basemap=basemap, opacity=ground_opacity(reference, basemap), show=False)
    told = [format_share(share) if share == share else None for share in of_grid]  # noqa: PLR0124  nan differs
    columns = grid_columns(grids, grid_url=grid_url)
    columns.insert(3, Column("已见比例 Seen share", told, tip=True))
    add_grids(sheet, shapes, columns)
    add_outlines(sheet, areas, basemap=basemap)
    items = [*_share_items(), *_add_unseen(sheet, unseen, basemap=basemap)]
    items += _add_excluded(sheet, excluded, basemap=basemap)
    items += add_tracks(sheet, tracks, basemap=basemap, show=False)
    first = [_ranks(unseen, basemap=basemap)]
    add_names(sheet, areas, grids=grids, reference=reference, basemap=basemap, first=first)
    Legend("已见比例 Seen share", items, unit="占网格面积 of grid area", lines=_unseen_lines(unseen)).add_to(sheet)
    return finish(sheet, bounds, basemap=basemap)


def _add_shares(sheet: folium.Map, shapes: Shapes, shares: pd.Series) -> None:
    classes = SHARE_CLASSES
    Features(
        shapes,
        name="已见比例 Seen share",
        pane="shares",
        styles=[*({"fillColor": color} for color in classes.colors), _NO_SHARE],
        style_of=classes.of(shares) % (len(classes.colors) + 1),  # nan, -1, comes last
        base={"stroke": False, "fillOpacity": 0.75},
        overlay=False,
    ).add_to(sheet)


def _share_items() -> list[LegendItem]:
    return [
        LegendItem(label, {"fillColor": color, "fillOpacity": 0.75})
        for label, color in zip(SHARE_CLASSES.labels, SHARE_CLASSES.colors, strict=True)
    ]


def _add_unseen(sheet: folium.Map, unseen: gpd.GeoDataFrame, *, basemap: Basemap | None) -> list[LegendItem]:
    if unseen.empty:
        return []
    largest = _largest_first(require_lonlat(unseen, "unseen ground")).head(DRAWN_UNSEEN)
    total = len(unseen)
    columns = [
        Column(
            "", [f"盲区 Blind spot {rank}/{total}" for rank in range(1, len(largest) + 1)], role="heading", tip=True
        ),
        Column("面积 Area", largest["area_m2"].map(format_area).tolist(), tip=True),
    ]
    if "grid_code" in largest:
        columns.append(Column("网格 Grid", largest["grid_code"].tolist()))
    shapes = add_shapes(sheet, largest.geometry, basemap=basemap)
    Features(shapes, name="未见地面 Unseen ground", pane="marks", styles=[UNSEEN], columns=columns).add_to(sheet)
    return [LegendItem("未见地面 (放大) Unseen (zoom in)", UNSEEN)]


def _ranks(unseen: gpd.GeoDataFrame, *, basemap: Basemap | None) -> LabelSet:
    ranked = _largest_first(unseen).head(RANKED_UNSEEN)
    return LabelSet("rank", inner_points(ranked, basemap), [str(i + 1) for i in range(len(ranked))], size_px=11)


def _largest_first(unseen: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return unseen.sort_values("area_m2", ascending=False, kind="stable").reset_index(drop=True)


def _unseen_lines(unseen: gpd.GeoDataFrame) -> list[str]:
    if unseen.empty:
        return ["没有未见地面 No unseen ground"]
    lines = [f"未见共 Unseen in all: {format_area(float(unseen['area_m2'].sum()))}"]
    if len(unseen) > DRAWN_UNSEEN:
        smallest = _largest_first(unseen)["area_m2"].iloc[DRAWN_UNSEEN - 1]
        hidden = len(unseen) - DRAWN_UNSEEN
        lines.append(f"另有 {hidden:,} 处不足 {format_area(smallest)}, 未画 smaller ones not drawn")
    return lines


def _add_excluded(sheet: folium.Map, excluded: gpd.GeoDataFrame | None, *, basemap: Basemap | None) -> list[LegendItem]:
    if excluded is None or excluded.empty:
        return []
    require_lonlat(excluded, "excluded ground")
    labels = {"reason": "不计原因 Why excluded", "until": "至 Until"}
    columns = [Column(label, excluded[name].tolist(), tip=True) for name, label in labels.items() if name in excluded]
    shapes = add_shapes(sheet, excluded.geometry, basemap=basemap)
    Features(shapes, name="不计入 Excluded", pane="marks", styles=[EXCLUDED], columns=columns).add_to(sheet)
    return [LegendItem("不计入 Excluded", EXCLUDED)]
