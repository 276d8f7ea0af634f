"""The map of blind spots: four kinds as layers to switch, over the share of each grid that was seen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import folium
import geopandas as gpd
import pandas as pd

from gis_grid.errors import InvalidInput
from maps.elements import Column, Features, LabelSet, Legend, LegendItem, Shapes, Style
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

RANKED_UNSEEN = 10
EXCLUDED = {"color": "#6b7580", "weight": 1, "fillOpacity": 1, "className": "gm-excluded"}
_NO_SHARE = {"fillColor": "#ffffff", "fillOpacity": 0.6}


@dataclass(frozen=True)
class SpotKind:
    """How one kind of blind spot is drawn: each by a pattern and an outline of its own, not by its colour alone.

    Attributes
    ----------
    styles
        Leaflet path options by what of its kind it is; `""` for all else.
    most
        Only so many are drawn, the worst.
    """

    name: str
    styles: dict[str, Style]
    labels: dict[str, str]
    most: int


def _style(color: str, class_name: str, weight: float = 0.7, dash: str = "") -> Style:
    return {"color": color, "weight": weight, "dashArray": dash, "fillOpacity": 1, "className": class_name}


# Drawn in this order, what is whole grids beneath what is small.
SPOT_KINDS = {
    "unmanned": SpotKind(
        "无人 Unmanned",
        {"": _style("#1d1d1d", "gm-unmanned", 1.3, "1 3")},
        {"": "无网格长、缺岗、断班 nobody posted or out"},
        600,
    ),
    "silent": SpotKind("沉默 Silent", {"": _style("#0072b2", "gm-silent", 2.2)}, {"": "上报过少 too few reports"}, 400),
    "geometric": SpotKind(
        "几何 Geometric",
        {"": _style("#8e2f76", "gm-geometric", 1.6, "7 3")},
        {"": "无格、无块、接缝 no grid, no block, seams"},
        600,
    ),
    "unseen": SpotKind(
        "未见 Unseen",
        {
            "": _style("#c24a00", "gm-near-only gm-unseen"),
            "unseen_by_night": _style("#1b2a6b", "gm-near-only gm-unseen-night"),
            "unseen_by_day": _style("#7a5a00", "gm-near-only gm-unseen-day"),
        },
        {"": "全天未见 never", "unseen_by_night": "夜间未见 not by night", "unseen_by_day": "白天未见 not by day"},
        1500,
    ),
}
WHATS = {
    "no_grid": "不在任何网格 In no grid",
    "no_block": "不在任何责任块 In no block",
    "joint_seam": "接缝, 共管 Seam of two owners",
    "unowned_seam": "接缝, 无人管 Seam of no owner",
    "unseen": "全天未见 Never seen",
    "unseen_by_night": "夜间未见 Not seen by night",
    "unseen_by_day": "白天未见 Not seen by day",
    "silent": "上报过少 Too few reports",
    "no_manager": "没有网格长 No manager",
    "vacant_block": "责任块无人 Vacant block",
    "short_block": "责任块缺人 Understaffed block",
    "shift_gap": "班次有空 Gap between shifts",
}
NOBODY = "无人 nobody"


def blind_spots_map(
    grids: gpd.GeoDataFrame,
    shares: pd.DataFrame,
    spots: gpd.GeoDataFrame,
    *,
    areas: gpd.GeoDataFrame,
    title: str,
    as_of: datetime,
    window: str,
    kinds: Sequence[str] = tuple(SPOT_KINDS),
    excluded: gpd.GeoDataFrame | None = None,
    tracks: gpd.GeoDataFrame | None = None,
    reference: gpd.GeoDataFrame | None = None,
    basemap: Basemap | None = None,
    synthetic_note: str | None = None,
    grid_url: str | None = None,
) -> folium.Map:
    """Grids coloured by seen share, and the blind spots of each kind as a layer; excluded ground apart.

    Parameters
    ----------
    shares
        On the index of `grids`: `seen_share`, 0 to 1; nan where there is no ground to see.
    spots
        EPSG:4326 polygons, each kind worst first, with `kind` (one of `SPOT_KINDS`), `what` (of `WHATS`), `code`,
        `area_m2`, `since`, `why`, `why_zh`, `who` (post and duty phone), `case` (serial number) and `url` of its page;
        all but kind and area may be missing or None. Steps smoothed (`unseen_ground(simplify_m=10)`) keep the page
        small. The worst of each kind are drawn; the legend says how many are left out. Unseen ground is drawn close in,
        its ten worst have their rank on the map; from afar the colour of the grid tells.
    kinds
        Those that were looked for.
    excluded
        EPSG:4326 polygons with `reason` and `until`, in neither numerator nor denominator.
    tracks
        EPSG:4326 lines, at first hidden.
    window
        The time window in words, as `2026-11-01 – 2026-11-07`.

    Raises
    ------
    InvalidInput
        A frame is not in EPSG:4326, a kind is none of the four, `as_of` has no zone, or there is nothing to draw.
    """
    require_lonlat(grids, "grids")
    if strange := sorted({*spots["kind"], *kinds} - set(SPOT_KINDS)):
        raise InvalidInput(f"blind spots: kind {strange[0]!r} is not one of {', '.join(SPOT_KINDS)}")
    bounds = bounds_of(grids)
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
    items = _share_items()
    for kind in SPOT_KINDS:
        if kind in kinds:
            items += _add_kind(sheet, kind, spots[spots["kind"] == kind].reset_index(drop=True), basemap=basemap)
    items += _add_excluded(sheet, excluded, basemap=basemap)
    items += add_tracks(sheet, tracks, basemap=basemap, show=False)
    first = [_ranks(spots[spots["kind"] == "unseen"], basemap=basemap)]
    add_names(sheet, areas, grids=grids, reference=reference, basemap=basemap, first=first)
    legend_lines = _lines(spots)
    Legend("盲区 Blind spots", items, unit="底色: 已见比例 ground: seen share", lines=legend_lines).add_to(sheet)
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


def _add_kind(sheet: folium.Map, kind: str, spots: gpd.GeoDataFrame, *, basemap: Basemap | None) -> list[LegendItem]:
    """One kind as a layer; what the legend says of it: its count, and each of its patterns."""
    drawing = SPOT_KINDS[kind]
    named = f"{drawing.name} ({len(spots):,})"
    if spots.empty:
        return [LegendItem(named, drawing.styles[""])]
    worst = require_lonlat(spots, "blind spots").head(drawing.most)
    styles = list(drawing.styles)
    sorts = _sorts(spots, styles)
    shapes = add_shapes(sheet, worst.geometry, basemap=basemap)
    Features(
        shapes,
        name=named,
        pane="marks",
        styles=list(drawing.styles.values()),
        style_of=[styles.index(sort) for sort in sorts[: len(worst)]],
        columns=_columns(drawing.name, worst, len(spots)),
    ).add_to(sheet)
    if len(styles) == 1:
        return [LegendItem(named, drawing.styles[""])]
    count = Counter(sorts)
    return [
        LegendItem(f"{drawing.labels[sort]} ({count[sort]:,})", style)
        for sort, style in drawing.styles.items()
        if not sort or count[sort]
    ]


def _sorts(spots: gpd.GeoDataFrame, styles: Sequence[str]) -> list[str]:
    """The style that each spot has by what it is."""
    return [what if what in styles else "" for what in spots["what"]] if "what" in spots else [""] * len(spots)


def _columns(name: str, worst: gpd.GeoDataFrame, total: int) -> list[Column]:
    ranks = range(1, len(worst) + 1)
    columns = [
        Column("", [f"{name} {rank:,}/{total:,}" for rank in ranks], role="heading", tip=True),
        Column("面积 Area", worst["area_m2"].map(format_area).tolist(), tip=True),
    ]
    if "what" in worst:
        columns.insert(1, Column("哪种 What", [WHATS.get(what, what) for what in worst["what"]], tip=True))
    for column, label in (("code", "网格/块 Code"), ("since", "起于 Since")):
        if column in worst:
            columns.append(Column(label, _texts(worst[column])))
    columns.append(Column("严重 How bad", [f"同类第 {rank:,} 位 rank {rank:,} of {total:,}" for rank in ranks]))
    for column, label in (("why_zh", "为何"), ("why", "Why")):
        if column in worst:
            columns.append(Column(label, _texts(worst[column])))
    if "who" in worst:
        columns.append(Column("谁负责 Who", [one or NOBODY for one in _texts(worst["who"])]))
    if "case" in worst:
        columns.append(Column("案件 Case", _texts(worst["case"])))
    if "url" in worst:
        columns.append(Column("详情, 立案 Open", _texts(worst["url"]), role="link"))
    return columns


def _texts(values: pd.Series) -> list[str | None]:
    return [None if pd.isna(value) else str(value) for value in values.astype(object)]


def _ranks(unseen: gpd.GeoDataFrame, *, basemap: Basemap | None) -> LabelSet:
    ranked = unseen.head(RANKED_UNSEEN).reset_index(drop=True)
    return LabelSet("rank", inner_points(ranked, basemap), [str(i + 1) for i in range(len(ranked))], size_px=11)


def _lines(spots: gpd.GeoDataFrame) -> list[str]:
    if spots.empty:
        return ["此时段没有盲区 No blind spot in this window"]
    unseen = spots[spots["kind"] == "unseen"]
    lines = ["没有未见地面 No unseen ground"] if unseen.empty else []
    if len(unseen):
        area = format_area(float(unseen["area_m2"].sum()))
        lines.append(f"至少一班未见 Unseen by a shift: {area} (放大可见 zoom in)")
    hidden = {kind: int((spots["kind"] == kind).sum()) - drawing.most for kind, drawing in SPOT_KINDS.items()}
    left = sum(number for number in hidden.values() if number > 0)
    if left:
        lines.append(f"另有 {left:,} 处较轻, 未画 lesser ones not drawn")
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
