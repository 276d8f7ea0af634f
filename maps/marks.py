"""Reports and patrol tracks as marks on a map."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import folium
import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from maps.elements import Column, Features, LegendItem
from maps.layers import add_shapes
from maps.styles import BLUE, CATEGORIES, GREY, Basemap, require_lonlat, simplified

TRACK_LINE = {"color": BLUE, "weight": 1.6, "opacity": 0.7, "fill": False}
_SNAPPED = {"dashArray": "3 2", "color": "#000000", "weight": 1.8}
_METHODS = {
    "inside": "网格内 inside",
    "edge": "网格边界上 on an edge",
    "snapped": "网格外, 就近归入 snapped from outside",
    "manual": "人工 by hand",
    "outside": "不在任何网格 in no grid",
}
_REPORT_COLUMNS = {
    "event_type": "类型 Type",
    "kind": "性质 Kind",
    "received_at": "收到 Received",
    "observed_at": "发现 Observed",
    "method": "落格 Placed",
    "text": "内容 Text",
}
_OTHER = "其他 Other"


def add_reports(
    sheet: folium.Map,
    reports: gpd.GeoDataFrame | None,
    *,
    zone: tzinfo | None,
    event_types: Mapping[str, str] | None = None,
    basemap: Basemap | None = None,
) -> list[LegendItem]:
    """Reports as points, coloured by type, dashed where snapped; those at one point share a mark, larger for more.

    Parameters
    ----------
    reports
        EPSG:4326 points with any of `id`, `event_type`, `kind`, `received_at`, `observed_at`, `method`, `text`; what
        is in no column of these is not shown. Hand over the public view for a public page.
    zone
        Zone to show times in; None is UTC.
    event_types
        Name by code; a code without one is shown as it is.

    Returns
    -------
    items
        For the legend: the most frequent types.
    """
    if reports is None or reports.empty:
        return []
    require_lonlat(reports, "reports")
    reports = reports[~reports.geometry.is_empty & reports.geometry.notna()].reset_index(drop=True)
    names = _column_or(reports, "event_type", "").astype(str)
    names = names.map(lambda code: (event_types or {}).get(code, code))
    ranked = names.value_counts().index[: len(CATEGORIES)].tolist()
    kinds = names.map({name: i for i, name in enumerate(ranked)}).fillna(len(ranked)).astype(int)
    at = pd.Series([tuple(pair) for pair in np.round(shapely.get_coordinates(reports.geometry.array), 6)])
    groups = [rows.tolist() for rows in at.groupby(at, sort=False).groups.values()]
    first = [rows[0] for rows in groups]
    is_snapped = _column_or(reports, "method", "").eq("snapped").to_numpy()
    Features(
        add_shapes(sheet, reports.geometry.iloc[first], basemap=basemap),
        name="上报 Reports",
        pane="marks",
        styles=_mark_styles(groups, kinds.to_numpy(), is_snapped),
        style_of=np.arange(len(groups)),
        base={"color": "#ffffff", "weight": 1.2, "fillOpacity": 0.9},
        columns=_report_columns(reports.assign(event_type=names), zone),
        rows_of=groups,
    ).add_to(sheet)
    return _report_items(ranked, has_other=bool((kinds == len(ranked)).any()), has_snapped=bool(is_snapped.any()))


def _mark_styles(groups: list[list[int]], kinds: Any, is_snapped: Any) -> list[dict[str, Any]]:
    """One style a mark: the colour of its most frequent type, an area that grows with the number of reports."""
    styles = []
    for rows in groups:
        color = _color(int(np.bincount(kinds[rows]).argmax()))
        radius = round(min(5.5 * len(rows) ** 0.5, 22), 1)
        styles.append({"fillColor": color, "radius": radius} | (_SNAPPED if is_snapped[rows].all() else {}))
    return styles


def _color(kind: int) -> str:
    return CATEGORIES[kind] if kind < len(CATEGORIES) else GREY


def _report_items(ranked: list[str], *, has_other: bool, has_snapped: bool) -> list[LegendItem]:
    names = [*ranked, _OTHER] if has_other else ranked
    items = [
        LegendItem(name or _OTHER, {"fillColor": _color(kind), "color": "#ffffff"}, "point")
        for kind, name in enumerate(names)
    ]
    if has_snapped:
        items.append(LegendItem("就近归入 Snapped", _SNAPPED | {"fillColor": "#ffffff"}, "point"))
    return items


def _report_columns(reports: gpd.GeoDataFrame, zone: tzinfo | None) -> list[Column]:
    columns = [Column("", reports["id"].map(str).tolist(), role="heading")] if "id" in reports else []
    for name, label in _REPORT_COLUMNS.items():
        if name not in reports:
            continue
        values = reports[name]
        if isinstance(values.dtype, pd.DatetimeTZDtype):
            values = values.dt.tz_convert(zone).dt.strftime("%Y-%m-%d %H:%M")
        elif name == "method":
            values = values.replace(_METHODS)
        columns.append(Column(label, values.tolist(), tip=name == "event_type"))
    return columns


def _column_or(frame: gpd.GeoDataFrame, name: str, default: object) -> pd.Series:
    column: pd.Series = frame[name].fillna(default) if name in frame else pd.Series(default, index=frame.index)
    return column


def add_tracks(
    sheet: folium.Map,
    tracks: gpd.GeoDataFrame | None,
    *,
    basemap: Basemap | None = None,
    name: str = "巡查轨迹 Patrol tracks",
    show: bool = True,
) -> list[LegendItem]:
    """Patrol tracks as lines; without vertices that move them by less than two metres.

    Parameters
    ----------
    tracks
        EPSG:4326 lines; a `label` column, if any, is told when a line is touched.

    Returns
    -------
    items
        For the legend.
    """
    if tracks is None or tracks.empty:
        return []
    require_lonlat(tracks, "tracks")
    Features(
        add_shapes(sheet, simplified(tracks.geometry, 2e-5), basemap=basemap),
        name=name,
        pane="marks",
        styles=[TRACK_LINE],
        columns=[Column("巡查 Patrol", tracks["label"].tolist(), tip=True)] if "label" in tracks else [],
        show=show,
    ).add_to(sheet)
    return [LegendItem(name, TRACK_LINE, "line")]
