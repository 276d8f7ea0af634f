"""Folium elements of ours: shapes, names, title and legend, drawn by `browser/gridmap.js`.

Folium puts what an element renders through Jinja a second time, so text from reports that holds braces would run as a
template. These elements are written verbatim, and their data reaches the browser only as JSON.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import folium
import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from branca.element import Element

from gis_grid.errors import InvalidInput

Style: TypeAlias = Mapping[str, Any]
Packed: TypeAlias = list[Any]
Bounds: TypeAlias = tuple[float, float, float, float]
Rank: TypeAlias = Literal["town", "community", "grid", "road", "river", "place", "rank", "number", "sign"]
Kind: TypeAlias = Literal["polygon", "line", "point"]

_BROWSER = Path(__file__).parent / "browser"
_FAMILY = {"Polygon": "polygon", "MultiPolygon": "polygon", "LineString": "line", "MultiLineString": "line"}
_UNSAFE = re.compile("[<>&'\u2028\u2029]")


class Verbatim(Element):
    """Text written into the page as it stands, never read as a template."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def render(self, **_: object) -> str:
        """The text."""
        return self.text


def to_json(value: object) -> str:
    """JSON that may stand inside a `<script>`: no `<`, `>`, `&` or line separator as such; no NaN."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode("utf-8", "replace").decode()


class _Scripted(folium.map.Layer, ABC):  # type: ignore[misc]  # Folium is not typed
    """An element that is one statement of JavaScript; a layer to choose when it has a `layer_name`."""

    def __init__(
        self, layer_name: str | None = None, *, overlay: bool = True, show: bool = True, control: bool = True
    ) -> None:
        is_layer = layer_name is not None
        super().__init__(name=layer_name, overlay=overlay, show=show and is_layer, control=control and is_layer)
        self._name = type(self).__name__

    @abstractmethod
    def statement(self) -> str:
        """The JavaScript."""

    def render(self, **kwargs: object) -> None:
        """Add the statement to the page's script."""
        self.get_root().script.add_child(Verbatim(self.statement()), name=self.get_name())
        super().render(**kwargs)


class Runtime(_Scripted):
    """`browser/gridmap.js` and its style, and the panes; goes onto the map before anything else of ours."""

    def statement(self) -> str:
        """Panes and scale bar."""
        return f"gridMap.setUp({self._parent.get_name()});"

    def render(self, **kwargs: object) -> None:
        """Add the script and the style to the page's head."""
        header = self.get_root().header
        header.add_child(Verbatim(f"<style>{_browser_text('gridmap.css')}</style>"), name="gridmap_css")
        header.add_child(Verbatim(f"<script>{_browser_text('gridmap.js')}</script>"), name="gridmap_js")
        super().render(**kwargs)


class View(_Scripted):
    """Show `bounds` (west, south, east, north) whole, clear of title and legend; goes onto the map last."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self.corners = corners(bounds)

    def statement(self) -> str:
        """The view."""
        return f"gridMap.finish({self._parent.get_name()}, {to_json(self.corners)});"


def corners(bounds: Bounds) -> list[list[float]]:
    """Leaflet's [[south, west], [north, east]] of (west, south, east, north)."""
    west, south, east, north = (float(side) for side in bounds)
    return [[south, west], [north, east]]


@lru_cache
def _browser_text(name: str) -> str:
    return (_BROWSER / name).read_text("utf-8")


class Shapes(_Scripted):
    """Geometries kept once in the page, for as many `Features` as draw them.

    Parameters
    ----------
    geometry
        WGS84 (or the basemap's datum) degrees, one family: polygons, lines or points.
    """

    def __init__(self, geometry: gpd.GeoSeries) -> None:
        super().__init__()
        self.kind: Kind = _kind(geometry)
        self.packed = pack(geometry)

    def statement(self) -> str:
        """The geometries as nested arrays of (lat, lon)."""
        return f"const {self.get_name()} = gridMap.unpackAll({to_json(self.packed)});"


@dataclass(frozen=True)
class Column:
    """One line of a popup: `values` in the order of the rows, None where there is nothing to tell."""

    label: str
    values: Sequence[Hashable]
    role: Literal["heading", "text", "link"] = "text"
    tip: bool = False

    def packed(self) -> dict[str, Any]:
        """The column with each distinct text once."""
        values = pd.Series(list(self.values), dtype=object)
        codes, distinct = pd.factorize(values.where(values.isna(), values.map(str)))
        packed = {"label": self.label, "role": self.role, "tip": self.tip, "of": list(distinct)}
        return packed if len(distinct) == len(values) else packed | {"at": codes.tolist()}


class Features(_Scripted):
    """One layer of shapes, each with one of a few styles, telling its columns when touched.

    Parameters
    ----------
    shapes
        Already on the map.
    styles, style_of
        Leaflet path options, and for each shape the index of its own; all shapes take `styles[0]` by default.
    columns, rows_of
        What a popup tells; for each shape its rows, by default the row of its own position.
    pane
        One of gridmap.js's panes, which decide what lies above what.
    """

    def __init__(
        self,
        shapes: Shapes,
        *,
        name: str,
        pane: str,
        styles: Sequence[Style],
        style_of: npt.ArrayLike | None = None,
        base: Style | None = None,
        columns: Sequence[Column] = (),
        rows_of: Sequence[Sequence[int]] | None = None,
        hover: Style | None = None,
        overlay: bool = True,
        show: bool = True,
        control: bool = True,
    ) -> None:
        super().__init__(name, overlay=overlay, show=show, control=control)
        self.shapes = shapes
        style_of = np.zeros(len(shapes.packed), dtype=int) if style_of is None else np.asarray(style_of)
        self.spec = {
            "kind": shapes.kind,
            "pane": pane,
            "base": dict(base or {}),
            "styles": [dict(style) for style in styles],
            "styleOf": style_of.tolist(),
            "columns": [column.packed() for column in columns],
            "rowsOf": rows_of,
            "hover": dict(hover) if hover else None,
        }

    def statement(self) -> str:
        """The layer."""
        spec = f"{{...{to_json(self.spec)}, shapes: {self.shapes.get_name()}}}"
        return f"const {self.get_name()} = gridMap.features({spec});"


@dataclass(frozen=True)
class LabelSet:
    """Names of one rank: shown from `min_zoom` on where there is room, or always if `keep`."""

    rank: Rank
    points: gpd.GeoSeries
    texts: Sequence[str]
    min_zoom: float = 0.0
    size_px: int = 12
    keep: bool = False

    def spec(self) -> dict[str, Any]:
        """For gridmap.js."""
        return {
            "className": self.rank,
            "packed": _deltas(shapely.get_coordinates(self.points.array)),
            "texts": [str(text) for text in self.texts],
            "minZoom": self.min_zoom,
            "sizePx": self.size_px,
            "keep": self.keep,
        }


class Labels(_Scripted):
    """Names that do not cover one another; earlier sets go first."""

    def __init__(self, sets: Sequence[LabelSet], *, name: str) -> None:
        super().__init__(name)
        self.sets = [label_set.spec() for label_set in sets if len(label_set.points)]

    def statement(self) -> str:
        """The layer."""
        return f"const {self.get_name()} = gridMap.labels({to_json(self.sets)});"


@dataclass(frozen=True)
class LegendItem:
    """One swatch, drawn with the same Leaflet path options as the map, and what it means."""

    text: str
    style: Style
    kind: Kind = "polygon"


class Legend(_Scripted):
    """What the colours mean, in which unit."""

    def __init__(self, title: str, items: Sequence[LegendItem], *, unit: str = "", lines: Sequence[str] = ()) -> None:
        super().__init__()
        self.spec = {"title": title, "unit": unit, "items": [asdict(item) for item in items], "lines": list(lines)}

    def statement(self) -> str:
        """The control."""
        return f"gridMap.legend({self._parent.get_name()}, {to_json(self.spec)});"


class TitleCard(_Scripted):
    """Title, date of the data, and a marked note."""

    def __init__(self, title: str, lines: Sequence[str], *, note: str | None = None) -> None:
        super().__init__()
        self.spec = {"title": title, "lines": list(lines), "note": note}

    def statement(self) -> str:
        """The control."""
        return f"gridMap.title({self._parent.get_name()}, {to_json(self.spec)});"


def pack(geometry: gpd.GeoSeries) -> Packed:
    """Nested lists of whole microdegrees, longitude first, each the difference from the one before.

    A shape is a list of parts; a polygon's part a list of rings; a point the pair itself. Neighbours keep their shared
    vertices, since each vertex is rounded by itself.
    """
    kind = _kind(geometry)
    parts, owners = shapely.get_parts(geometry.array, return_index=True)
    if kind == "polygon":
        rings, part_of = shapely.get_rings(parts, return_index=True)
        packed: Packed = _grouped(_packed_each(rings), part_of, len(parts))
    else:
        packed = _packed_each(parts)
    if kind == "point":
        return packed
    return _grouped(packed, owners, len(geometry))


def _kind(geometry: gpd.GeoSeries) -> Kind:
    families = {_FAMILY.get(name, "point") for name in geometry.geom_type.unique()}
    if len(families) > 1:
        raise InvalidInput(f"a layer holds one family of geometries, not {sorted(families)}")
    return families.pop() if families else "polygon"  # type: ignore[return-value]


def _packed_each(geometries: npt.NDArray[np.object_]) -> Packed:
    coordinates, owner = shapely.get_coordinates(geometries, return_index=True)
    starts = np.searchsorted(owner, np.arange(1, len(geometries)))
    return [_deltas(part) for part in np.split(coordinates, starts)] if len(geometries) else []


def _deltas(coordinates: npt.NDArray[np.float64]) -> list[int]:
    whole = np.rint(coordinates * 1e6).astype(np.int64)
    deltas: list[int] = np.diff(whole, axis=0, prepend=np.zeros((1, 2), np.int64)).ravel().tolist()
    return deltas


def _grouped(items: Packed, owners: npt.NDArray[np.intp], count: int) -> list[Packed]:
    groups: list[Packed] = [[] for _ in range(count)]
    for item, owner in zip(items, owners, strict=True):
        groups[owner].append(item)
    return groups
