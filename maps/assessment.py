"""The map of an assessment: one indicator of a month, by grid or by town."""

from datetime import datetime

import folium
import geopandas as gpd
import numpy as np
import pandas as pd

from maps.elements import Column, Features, Labels, LabelSet, Legend, LegendItem
from maps.layers import (
    GRID_LINE,
    TOWN_LINE,
    add_names,
    add_outlines,
    add_reference,
    add_shapes,
    bounds_of,
    finish,
    inner_points,
    new_map,
)
from maps.styles import SEQUENCE, Basemap, Classes, require_lonlat

SMALL = 5
# The darker ground is the one to look at.
MORE_IS_BETTER = Classes(
    (0.0, 0.6, 0.8, 0.9, 0.95), ("0–60 %", "60–80 %", "80–90 %", "90–95 %", "95–100 %"), tuple(reversed(SEQUENCE))
)
LESS_IS_BETTER = Classes(
    (0.0, 0.02, 0.05, 0.1, 0.2), ("0–2 %", "2–5 %", "5–10 %", "10–20 %", "20–100 %"), tuple(SEQUENCE)
)
_FULL, _PALE = 0.8, 0.3
_NONE = {"fillColor": "#ffffff", "fillOpacity": 0.9}


def assessment_map(
    ground: gpd.GeoDataFrame,
    figures: pd.DataFrame,
    *,
    areas: gpd.GeoDataFrame,
    title: str,
    as_of: datetime,
    month: str,
    indicator: str,
    is_less_better: bool = False,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    synthetic_note: str | None = None,
) -> folium.Map:
    """Grids or towns coloured by the share that an indicator is; what has few cases pale, what has none white.

    Parameters
    ----------
    ground
        EPSG:4326 polygons with `code` and `name`, and `url` where a page tells more.
    figures
        By code: `of` and `due`, numerator and denominator, whole numbers; a code that is missing had nothing due.
    areas
        Town and community frame, for outlines and names.
    month, indicator
        In words, as `2026-10` and `按期结案率 Closed in time`.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, `as_of` has no zone, or there is nothing to draw.
    """
    require_lonlat(ground, "ground")
    bounds = bounds_of(ground, areas)
    lines = [f"月份 Month: {month}"]
    sheet = new_map(bounds, title=title, as_of=as_of, lines=lines, synthetic_note=synthetic_note, basemap=basemap)
    add_reference(sheet, reference, basemap=basemap)
    classes = LESS_IS_BETTER if is_less_better else MORE_IS_BETTER
    counts = figures.reindex(ground["code"], columns=["of", "due"], fill_value=0).to_numpy(dtype=float)
    of, due = counts[:, 0], counts[:, 1]
    share = np.divide(of, due, out=np.full(len(due), np.nan), where=due > 0)
    Features(
        add_shapes(sheet, ground.geometry, basemap=basemap),
        name=indicator,
        pane="fill",
        styles=_styles(classes),
        style_of=_style_of(share, due, classes),
        base={**GRID_LINE},
        columns=_columns(ground, of, due, share, indicator),
    ).add_to(sheet)
    add_outlines(sheet, areas, basemap=basemap)
    first = [_numbers(ground, share, due, basemap)]
    Labels(first, name="比率 Shares").add_to(sheet)
    add_names(sheet, areas, reference=reference, basemap=basemap)
    Legend(indicator, _items(classes, due), unit="占应计案件 of what is counted", lines=_lines(of, due)).add_to(sheet)
    return finish(sheet, bounds, basemap=basemap)


def _styles(classes: Classes) -> list[dict[str, object]]:
    """Each class in full, each class pale, and white."""
    full, pale = (
        [{"fillColor": color, "fillOpacity": opacity} for color in classes.colors] for opacity in (_FULL, _PALE)
    )
    return [*full, *pale, _NONE]


def _style_of(share: np.ndarray, due: np.ndarray, classes: Classes) -> np.ndarray:
    index = classes.of(share) + np.where(due < SMALL, len(classes.colors), 0)
    return np.where(due > 0, index, 2 * len(classes.colors))


def _columns(
    ground: gpd.GeoDataFrame, of: np.ndarray, due: np.ndarray, share: np.ndarray, indicator: str
) -> list[Column]:
    told = [
        f"{100 * value:.2f} % ({part:.0f}/{whole:.0f})" if whole else None
        for value, part, whole in zip(share, of, due, strict=True)
    ]
    notes = [
        "没有应计案件 nothing counted" if not whole else ("件数少, 比率不稳 few cases" if whole < SMALL else None)
        for whole in due
    ]
    columns = [
        Column("", ground["name"].tolist(), role="heading", tip=True),
        Column(indicator, told, tip=True),
        Column("注意 Note", notes, tip=True),
    ]
    if "url" in ground:
        columns.append(Column("依据 Evidence", ground["url"].tolist(), role="link"))
    return columns


def _numbers(ground: gpd.GeoDataFrame, share: np.ndarray, due: np.ndarray, basemap: Basemap | None) -> LabelSet:
    """The share where there are enough cases, rounded down, so that only what is whole says 100."""
    is_told = due >= SMALL
    rows = ground[is_told].reset_index(drop=True)
    texts = [f"{np.floor(100 * value):.0f}" for value in share[is_told]]
    return LabelSet("number", inner_points(rows, basemap), texts, min_zoom=12.5, size_px=11)


def _items(classes: Classes, due: np.ndarray) -> list[LegendItem]:
    items = [
        LegendItem(label, {"fillColor": color, "fillOpacity": _FULL})
        for label, color in zip(classes.labels, classes.colors, strict=True)
    ]
    if ((due > 0) & (due < SMALL)).any():
        pale = {"fillColor": classes.colors[len(classes.colors) // 2], "fillOpacity": _PALE}
        items.append(LegendItem(f"少于{SMALL}件, 色浅 Fewer than {SMALL}: pale", pale))
    if (due == 0).any():
        items.append(LegendItem("没有应计案件 Nothing counted", _NONE))
    return [*items, LegendItem("街镇界 Town limit", TOWN_LINE, "line")]


def _lines(of: np.ndarray, due: np.ndarray) -> list[str]:
    if not due.sum():
        return ["全区没有应计案件 Nothing counted at all"]
    whole = f"全部 All: {100 * of.sum() / due.sum():.2f} % ({of.sum():,.0f}/{due.sum():,.0f})"
    few, none = int(((due > 0) & (due < SMALL)).sum()), int((due == 0).sum())
    return [whole, f"件数少 {few} few, 没有 {none} none, 共 {len(due)} in all"]
