"""Open cases on a map: grids by their worst light, and cases as marks; told by colour, sign and number together."""

from collections.abc import Sequence
from typing import Any

import folium
import geopandas as gpd
import numpy as np
import pandas as pd

from maps.elements import Column, Features, Labels, LabelSet, LegendItem, Shapes
from maps.layers import add_shapes, inner_points
from maps.styles import BLUE, GREY, Basemap, drawn, require_lonlat

NAME = "未结案件 Open cases"
# From the best to the worst; the sign stands in the label, so that no light is told by its colour alone.
LIGHTS: dict[str, tuple[str, str, str]] = {
    "waiting": (GREY, "○", "未立案 Not filed yet"),
    "blue": (BLUE, "●", "蓝灯·正常 Blue: in time"),
    "yellow": ("#e8c400", "▲", "黄灯·过半 Yellow: past half"),
    "orange": ("#e07b00", "◆", "橙灯·将到期 Orange: nearly due"),
    "red": ("#b3001b", "■", "红灯·超时 Red: overdue"),
}
_NONE = {"fillColor": "#ffffff", "fillOpacity": 0.9}


def add_lights(
    sheet: folium.Map, shapes: Shapes, grids: gpd.GeoDataFrame, lights: pd.DataFrame, *, basemap: Basemap | None
) -> tuple[list[Column], list[LegendItem]]:
    """Grids coloured by their worst light, each with a sign and the number of its open cases.

    Parameters
    ----------
    shapes
        Of the grids, already on the map.
    lights
        Numbers by grid code (index): columns `waiting`, `blue`, `yellow`, `orange`, `red`; a missing grid has none.

    Returns
    -------
    columns, items
        What a popup tells of each grid, and for the legend.
    """
    names = list(LIGHTS)
    numbers = lights.reindex(grids["grid_code"], columns=names, fill_value=0).to_numpy(dtype=int)
    has_any = numbers > 0
    worst = np.where(has_any.any(axis=1), numbers.shape[1] - 1 - has_any[:, ::-1].argmax(axis=1), len(names))
    Features(
        shapes,
        name=NAME,
        pane="fill",
        styles=[*({"fillColor": color} for color, _, _ in LIGHTS.values()), _NONE],
        style_of=worst,
        base={"stroke": False, "fillOpacity": 0.7},
        overlay=False,
    ).add_to(sheet)
    total = numbers.sum(axis=1)
    sets = [
        LabelSet(
            "number",
            inner_points(grids[worst == rank].reset_index(drop=True), basemap),
            [f"{LIGHTS[names[rank]][1]}{number}" for number in total[worst == rank]],
            size_px=11,
        )
        for rank in reversed(range(len(names)))
    ]
    Labels(sets, name="案件数 Numbers of cases").add_to(sheet)
    return [Column(NAME, [_told(row) for row in numbers], tip=True)], legend_items(names)


def _told(row: Any) -> str:
    parts = [f"{sign}{number}" for (_, sign, _), number in zip(LIGHTS.values(), row, strict=True) if number]
    return " ".join(reversed(parts)) or "0"


def legend_items(names: Sequence[str]) -> list[LegendItem]:
    """What each light means, the worst first."""
    return [
        LegendItem(f"{sign} {text}", {"fillColor": color, "fillOpacity": 0.7})
        for color, sign, text in (LIGHTS[name] for name in reversed(names))
    ]


def add_cases(sheet: folium.Map, cases: gpd.GeoDataFrame | None, *, basemap: Basemap | None = None) -> list[LegendItem]:
    """Open cases as marks in the colour of their light, with its sign beside.

    Parameters
    ----------
    cases
        EPSG:4326 points with `serial`, `light`, `type`, `next`, `due` and `url`; hand over the public view for a public
        page.
    """
    if cases is None or cases.empty:
        return []
    require_lonlat(cases, "cases")
    names = [name for name in LIGHTS if (cases["light"] == name).any()]
    at = cases.geometry.apply(lambda point: (round(point.x, 6), round(point.y, 6)))
    groups = [rows.tolist() for rows in at.groupby(at, sort=False).groups.values()]
    order = list(LIGHTS)
    worst = [max(order.index(light) for light in cases["light"].iloc[rows]) for rows in groups]
    columns = [
        Column("", cases["serial"].tolist(), role="heading"),
        Column("灯 Light", [f"{LIGHTS[light][1]} {LIGHTS[light][2]}" for light in cases["light"]], tip=True),
        Column("类型 Type", cases["type"].tolist(), tip=True),
        Column("下一步 Next", cases["next"].tolist()),
        Column("到期 Due", cases["due"].tolist()),
        Column("打开案件 Open case", cases["url"].tolist(), role="link"),
    ]
    first = cases.iloc[[rows[0] for rows in groups]].reset_index(drop=True)
    Features(
        add_shapes(sheet, first.geometry, basemap=basemap),
        name=NAME,
        pane="marks",
        styles=[{"fillColor": color, "radius": 9} for color, _, _ in LIGHTS.values()],
        style_of=worst,
        base={"color": "#ffffff", "weight": 2, "fillOpacity": 1},
        columns=columns,
        rows_of=groups,
    ).add_to(sheet)
    signs = [
        f"{LIGHTS[order[rank]][1]}{len(rows) if len(rows) > 1 else ''}"
        for rank, rows in zip(worst, groups, strict=True)
    ]
    points = drawn(first.geometry, basemap)
    Labels([LabelSet("sign", points, signs, size_px=11, keep=True)], name="灯号 Signs of lights").add_to(sheet)
    return legend_items(names)
