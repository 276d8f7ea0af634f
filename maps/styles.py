"""How maps look: colours safe for the colour-blind, numbers and dates in words, basemaps and their datum."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import wgs84_to_gcj02
from maps.elements import Bounds

# Okabe and Ito, "Color Universal Design" (2008).
BLACK, ORANGE, SKY, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
CATEGORIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
GREY = "#7f8a94"
INK = "#2b3946"

# ColorBrewer's YlGnBu, safe for the colour-blind, from light to dark: the darker ground is the one to look at. Viridis
# starts in a yellow that shouts loudest where there is least.
SEQUENCE = ("#fdf7c3", "#a1dab4", "#41b6c4", "#2c7fb8", "#253494")
# Pale Okabe-Ito tints: neighbours differ in lightness too.
TINTS = ("#cfe6f5", "#fbe3b3", "#bfe3d6", "#f2d5e4", "#f8f3c0", "#d9dee3")


@dataclass(frozen=True)
class Basemap:
    """Map tiles from elsewhere: the only thing a map may load from outside.

    Parameters
    ----------
    url
        Leaflet template with {z}, {x}, {y}.
    attribution
        Plain text; shown as it stands.
    datum
        Of the tiles: layers are shifted to match GCJ-02 ones.
    """

    url: str
    attribution: str
    datum: Literal["wgs84", "gcj02"] = "wgs84"

    def __post_init__(self) -> None:
        if self.datum not in {"wgs84", "gcj02"}:
            raise InvalidInput(f"a basemap's datum is wgs84 or gcj02, not {self.datum!r}")

    @property
    def attribution_html(self) -> str:
        """The attribution, escaped for HTML and for the templates that Folium puts it through."""
        return html.escape(self.attribution).replace("{", "&#123;")


def drawn(geometry: gpd.GeoSeries, basemap: Basemap | None) -> gpd.GeoSeries:
    """Where WGS84 geometries stand on the basemap: shifted on a GCJ-02 one, else as they are."""
    if basemap is None or basemap.datum == "wgs84" or geometry.empty:
        return geometry
    shifted = shapely.transform(geometry.array, _to_gcj02)
    return gpd.GeoSeries(shifted, index=geometry.index, crs=geometry.crs)


def drawn_bounds(bounds: Bounds, basemap: Basemap | None) -> Bounds:
    """Where the WGS84 box (west, south, east, north) stands on the basemap, by its two corners."""
    if basemap is None or basemap.datum == "wgs84":
        return bounds
    (west, south), (east, north) = _to_gcj02(np.array(bounds, dtype=float).reshape(2, 2))
    return float(west), float(south), float(east), float(north)


def _to_gcj02(lonlat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.column_stack(wgs84_to_gcj02(lonlat[:, 0], lonlat[:, 1]))


def simplified(geometry: gpd.GeoSeries, tolerance_deg: float) -> gpd.GeoSeries:
    """Fewer vertices for drawing, none moved further than `tolerance_deg`; never for reckoning."""
    return geometry.simplify(tolerance_deg, preserve_topology=True)


def require_lonlat(frame: gpd.GeoDataFrame, what: str) -> gpd.GeoDataFrame:
    """The frame, if it is in EPSG:4326.

    Raises
    ------
    InvalidInput
        It is in another CRS or says none.
    """
    if frame.crs is None or frame.crs.to_epsg() != 4326:
        raise InvalidInput(f"{what}: expected EPSG:4326, got {frame.crs and frame.crs.to_string()}")
    return frame


def as_of_line(as_of: datetime) -> str:
    """`数据截至 Data as of 2026-11-23 08:00 +08:00`, in the zone that `as_of` carries.

    Raises
    ------
    InvalidInput
        `as_of` has no time zone.
    """
    return f"数据截至 Data as of {format_time(as_of)} {_offset(as_of)}"


def format_time(at: datetime) -> str:
    """`2026-11-23 08:00` in the zone that `at` carries."""
    _offset(at)
    return f"{at:%Y-%m-%d %H:%M}"


def _offset(at: datetime) -> str:
    if at.tzinfo is None:
        raise InvalidInput(f"time {at.isoformat()} needs a time zone")
    return at.isoformat()[-6:]


def format_area(area_m2: float) -> str:
    """`8,230 m²`, or `0.37 km²` from 100,000 m² on."""
    return f"{area_m2 / 1e6:,.2f} km²" if area_m2 >= 1e5 else f"{area_m2:,.0f} m²"


def format_density(per_km2: float) -> str:
    """`24,000`, `0.35`: two significant digits."""
    digits = 0 if per_km2 >= 10 else 1 if per_km2 >= 1 else 2
    rounded = float(f"{per_km2:.2g}")
    return f"{rounded:,.{digits}f}"


def format_share(share: float) -> str:
    """`63 %`; less than all is never `100 %`, more than nothing never `0 %`."""
    percent = round(share * 100)
    if percent == 100 and share < 1:
        return "> 99 %"
    return "< 1 %" if percent == 0 and share > 0 else f"{percent} %"


@dataclass(frozen=True)
class Classes:
    """Numbers cut into classes: class i holds edges[i] <= value < edges[i + 1]; the last one is open above."""

    edges: tuple[float, ...]
    labels: tuple[str, ...]
    colors: tuple[str, ...]

    def of(self, values: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Index of each value's class; -1 for nan and for what lies below the first edge."""
        values = np.asarray(values, dtype=float)
        index = np.searchsorted(self.edges, values, side="right") - 1
        return np.where(np.isnan(values), -1, index)


def count_classes(counts: npt.ArrayLike, *, least: int = 1) -> Classes:
    """Up to five classes of whole counts from `least` on, about as many places in each; few is light, many is dark."""
    counts = np.asarray(counts, dtype=float)
    enough = counts[counts >= least]
    quantiles = np.quantile(enough, [0.3, 0.6, 0.8, 0.95]) if len(enough) else np.array([])
    edges = sorted({least, *(int(np.ceil(edge)) + 1 for edge in quantiles if np.ceil(edge) < enough.max())})
    tops = [*(edge - 1 for edge in edges[1:]), None]
    return Classes(tuple(edges), tuple(map(_range_label, edges, tops)), _spread(len(edges)))


def _range_label(low: int, high: int | None) -> str:
    if high is None:
        return f"≥ {low}"
    return f"{low}" if low == high else f"{low}–{high}"


SHARE_CLASSES = Classes(
    (0.0, 0.2, 0.4, 0.6, 0.8),
    ("0–20 %", "20–40 %", "40–60 %", "60–80 %", "80–100 %"),
    tuple(reversed(SEQUENCE)),
)


def _spread(count: int) -> tuple[str, ...]:
    """`count` of the five colours, from the lightest to the darkest."""
    return tuple(SEQUENCE[round(i)] for i in np.linspace(0, len(SEQUENCE) - 1, count))


def tint_areas(areas: Sequence[object]) -> npt.NDArray[np.intp]:
    """Index of a tint for each polygon, so that polygons that touch differ where six tints allow it."""
    tree = shapely.STRtree(areas)
    one, other = tree.query(areas, predicate="intersects")
    tints = np.full(len(areas), -1)
    for area in range(len(areas)):
        taken = tints[other[one == area]]
        free = [tint for tint in range(len(TINTS)) if tint not in taken]
        tints[area] = free[0] if free else area % len(TINTS)
    return tints
