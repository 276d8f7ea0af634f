"""Heat surfaces: how thickly reports lie, as a raster that an image overlay places right.

Rows are equally spaced in Web Mercator's y, because that is how a browser map stretches an image between its bounds;
lengths and areas are nevertheless true metres on the ground (WGS84 ellipsoid) at the latitude.
"""

import io
import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy import ndimage

from gis_grid.errors import InvalidInput

Bounds: TypeAlias = tuple[float, float, float, float]
Floats: TypeAlias = npt.NDArray[np.float64]

MAX_CELLS = 25_000_000
MAX_HEIGHT_DEG = 3.0
"""One bandwidth in cells serves the whole surface: over 3° of latitude it would be off by more than a few percent."""

RAMP = (
    (0.00, (252, 255, 164)),
    (0.17, (250, 193, 39)),
    (0.33, (245, 125, 21)),
    (0.50, (212, 72, 66)),
    (0.67, (159, 42, 99)),
    (0.83, (101, 21, 110)),
    (1.00, (40, 11, 84)),
)
"""Stops (position, red green blue) of matplotlib's *inferno* (CC0) turned round: every step is darker than the one
before, also to the colour-blind and in grey, and reads on a light ground."""
OPAQUE_FROM = 0.25
MAX_ALPHA = 215
LEVELS = 255

_A_M = 6378137.0
_E2 = 0.0066943799901413165


class UnusableSurface(InvalidInput):
    """Bounds, cell or bandwidth that make no surface."""


class HeatSurface(NamedTuple):
    """Reports per km² of true ground.

    Attributes
    ----------
    values
        Shape (rows, columns) float32, row 0 in the north, rows equally spaced in Web Mercator.
    bounds
        (west, south, east, north) of the outer edges, WGS84 degrees.
    cell_m
        Side of a cell on the ground at the middle latitude, metres, as asked for; fitted to whole cells.
    """

    values: npt.NDArray[np.float32]
    bounds: Bounds
    cell_m: float


def heat_surface(
    lon: npt.ArrayLike,
    lat: npt.ArrayLike,
    *,
    bounds: Bounds,
    cell_m: float = 50.0,
    bandwidth_m: float = 250.0,
    weights: npt.ArrayLike | None = None,
) -> HeatSurface:
    """Density of points, each spread as a Gaussian.

    What would spread over the edge is reflected, so the surface holds exactly the points inside: the sum of value
    times true cell area (`cell_areas_km2`) is their number, or the sum of their weights.

    Parameters
    ----------
    lon, lat
        Degrees, shape (n,). Points outside `bounds` (edges belong to them), or not finite, are left out.
    bounds
        (west, south, east, north), degrees.
    cell_m
        Side of a cell on the ground, metres.
    bandwidth_m
        Standard deviation of the Gaussian on the ground, metres; 0 only counts.
    weights
        Shape (n,); None counts each point once.

    Raises
    ------
    UnusableSurface
        Empty or unordered bounds, more than 3° of latitude, more than 25 million cells, or no positive cell.
    """
    rows, cols = _shape(bounds, cell_m, bandwidth_m)
    x, y = (np.asarray(v, dtype=np.float64) for v in (lon, lat))
    inside = (x >= bounds[0]) & (x <= bounds[2]) & (y >= bounds[1]) & (y <= bounds[3])
    flat = _cells_of(x[inside], y[inside], bounds, (rows, cols))
    kept = None if weights is None else np.asarray(weights, dtype=np.float64)[inside]
    counts = np.bincount(flat, weights=kept, minlength=rows * cols).reshape(rows, cols).astype(np.float64)
    surface = HeatSurface(counts.astype(np.float32), bounds, cell_m)
    high_m, wide_m = _cell_sizes_m(surface)
    middle = rows // 2
    sigma = (bandwidth_m / high_m[middle], bandwidth_m / wide_m[middle])
    smooth = ndimage.gaussian_filter(counts, sigma, mode="reflect")
    return surface._replace(values=(smooth / cell_areas_km2(surface)[:, None]).astype(np.float32))


def cell_areas_km2(surface: HeatSurface) -> Floats:
    """True area of a cell in each row, km², shape (rows,)."""
    high_m, wide_m = _cell_sizes_m(surface)
    return high_m * wide_m / 1e6


def implausible_piles(
    lon: npt.ArrayLike, lat: npt.ArrayLike, *, min_count: int = 50, min_share: float = 0.01, times_next: float = 10.0
) -> pd.DataFrame:
    """Coordinates that hold more reports than any place could: a geocoder's fallback, an office, a default pin.

    Coordinates equal to 7 decimals (1 cm) are one. Ranked by size, a pile is implausible when it and all larger ones
    hold at least `min_count` reports and more than `min_share` of all, and the smallest of them more than `times_next`
    times the next coordinate below (an absent one counts as one report). So several fallback points are found
    together, and a busy corner that merely leads the field is not. In Boston's requests of 2011 the rule finds City
    Hall's 4,775 of 58,251 and not the next coordinate's 154.

    Parameters
    ----------
    lon, lat
        Degrees, shape (n,); what is not finite is left out.

    Returns
    -------
    piles
        `lon`, `lat`, `count`, `share` (0 to 1), largest first; no row if nothing is implausible.
    """
    x, y = (np.asarray(v, dtype=np.float64) for v in (lon, lat))
    finite = np.isfinite(x) & np.isfinite(y) & (np.abs(x) <= 360) & (np.abs(y) <= 90)
    key = coordinate_keys(x[finite], y[finite])
    places, counts = np.unique(key, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: 1 + int(1 / max(min_share, 1e-6))]
    places, counts = places[order], counts[order]
    share = counts / max(len(key), 1)
    below = np.append(counts[1:], 1)
    is_last = (counts >= min_count) & (share > min_share) & (counts > times_next * below)
    n = int(np.flatnonzero(is_last).max(initial=-1)) + 1
    pile_lat = (places[:n] + _HALF) % _TURN - _HALF
    pile_lon = (places[:n] - pile_lat) // _TURN
    return pd.DataFrame({"lon": pile_lon / 1e7, "lat": pile_lat / 1e7, "count": counts[:n], "share": share[:n]})


_TURN = 2_000_000_000
_HALF = _TURN // 2


def coordinate_keys(lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """One number for each coordinate at 7 decimals, equal for equal coordinates; finite degrees only."""
    x, y = (np.rint(np.asarray(v, dtype=np.float64) * 1e7).astype(np.int64) for v in (lon, lat))
    return x * _TURN + y


def on_piles(lon: npt.ArrayLike, lat: npt.ArrayLike, piles: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each finite point lies on one of the piles `implausible_piles` found, shape (n,)."""
    return np.isin(coordinate_keys(lon, lat), coordinate_keys(piles["lon"], piles["lat"]))


def colour_ramp(values: npt.ArrayLike, *, top: float | None = None) -> npt.NDArray[np.uint8]:
    """Red, green, blue and alpha of values.

    Colour follows the square root of value over `top`, so that quiet neighbourhoods stay visible beside a centre;
    alpha rises from 0 at nothing to its fullest at a sixteenth of `top`.

    Parameters
    ----------
    values
        Any shape, 0 or more; nan is transparent.
    top
        The value of the last colour; the largest value when None.

    Returns
    -------
    colours
        The shape of `values` with a last axis of 4, uint8.
    """
    given = np.asarray(values, dtype=np.float64)
    return _palette()[_levels(given, _top(given) if top is None else top)]


def legend_breaks(surface: HeatSurface, *, steps: int = 5) -> list[tuple[float, str]]:
    """Values in reports per km² with their colours (``#rrggbb``), from the palest to the top, for a legend.

    No break at all for a surface with nothing on it.
    """
    top = _top(surface.values)
    if top <= 0:
        return []
    values = top * np.linspace(1 / steps, 1, steps) ** 2
    return [
        (float(value), "#{:02x}{:02x}{:02x}".format(*colour[:3]))
        for value, colour in zip(values, colour_ramp(values, top=top), strict=True)
    ]


def to_png(surface: HeatSurface) -> bytes:
    """Return the surface as a PNG with alpha, row 0 on top; 256 colours, one byte a cell before packing."""
    levels = _levels(np.asarray(surface.values, dtype=np.float64), _top(surface.values))
    palette = _palette()
    image = Image.fromarray(levels)
    image.putpalette(palette[:, :3].tobytes(), rawmode="RGB")
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True, transparency=palette[:, 3].tobytes())
    return file.getvalue()


def _palette() -> npt.NDArray[np.uint8]:
    """Return the colours of levels 0 to 255, shape (256, 4)."""
    at = np.arange(LEVELS + 1) / LEVELS
    stops = np.array([stop for stop, _ in RAMP])
    colours = np.array([colour for _, colour in RAMP])
    channels = [np.interp(at, stops, colours[:, k]) for k in range(3)]
    alpha = MAX_ALPHA * np.minimum(at / OPAQUE_FROM, 1.0)
    return np.column_stack([*channels, alpha]).round().astype(np.uint8)


def _levels(values: Floats, top: float) -> npt.NDArray[np.uint8]:
    part = np.nan_to_num(np.clip(values / top, 0.0, 1.0)) if top > 0 else np.zeros_like(values)
    return (np.sqrt(part) * LEVELS).round().astype(np.uint8)


def _top(values: npt.NDArray[np.floating]) -> float:
    return float(np.fmax.reduce(values, axis=None, initial=0.0))


def _shape(bounds: Bounds, cell_m: float, bandwidth_m: float) -> tuple[int, int]:
    """Return whole (rows, columns) nearest to cells of the asked size."""
    west, south, east, north = bounds
    if not (-180 <= west < east <= 180 and -85 <= south < north <= 85):
        raise UnusableSurface(f"bounds {bounds}: expected west < east and south < north in degrees")
    if north - south > MAX_HEIGHT_DEG:
        raise UnusableSurface(f"bounds {bounds}: expected a city, at most {MAX_HEIGHT_DEG:g}° of latitude")
    if not (0 < cell_m < math.inf and 0 <= bandwidth_m < math.inf):
        raise UnusableSurface(f"cell_m {cell_m}, bandwidth_m {bandwidth_m}: expected metres over 0")
    wide_m, high_m = _metres_per_degree(np.array([(south + north) / 2]))
    sides = (north - south) * high_m[0] / cell_m, (east - west) * wide_m[0] / cell_m
    if sides[0] * sides[1] > MAX_CELLS:
        raise UnusableSurface(f"cell_m {cell_m}: {sides[0] * sides[1]:.0f} cells in these bounds, at most {MAX_CELLS}")
    return max(1, round(sides[0])), max(1, round(sides[1]))


def _cells_of(lon: Floats, lat: Floats, bounds: Bounds, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Return row · columns + column of points within bounds, edges included."""
    rows, cols = shape
    west, _, east, _ = bounds
    y, south_y, north_y = (_mercator_y(np.asarray(v)) for v in (lat, bounds[1], bounds[3]))
    col = np.clip(((lon - west) / (east - west) * cols).astype(np.int64), 0, cols - 1)
    row = np.clip(((north_y - y) / (north_y - south_y) * rows).astype(np.int64), 0, rows - 1)
    cells: npt.NDArray[np.int64] = row * cols + col
    return cells


def _cell_sizes_m(surface: HeatSurface) -> tuple[Floats, Floats]:
    """Return true height and width of a cell of each row, metres, shape (rows,)."""
    rows, cols = surface.values.shape
    west, south, east, north = surface.bounds
    edges = np.linspace(_mercator_y(np.array(north)), _mercator_y(np.array(south)), rows + 1)
    lat = np.degrees(np.arctan(np.sinh(edges)))
    wide_m, high_m = _metres_per_degree((lat[1:] + lat[:-1]) / 2)
    return -np.diff(lat) * high_m, (east - west) / cols * wide_m


def _mercator_y(lat: Floats) -> Floats:
    """Return Web Mercator's y on a sphere of radius 1; beyond 89.9° it stays there."""
    y: Floats = np.arcsinh(np.tan(np.radians(np.clip(lat, -89.9, 89.9))))
    return y


def _metres_per_degree(lat: Floats) -> tuple[Floats, Floats]:
    """Return metres per degree of longitude and of latitude on the WGS84 ellipsoid."""
    phi = np.radians(lat)
    bend = 1 - _E2 * np.sin(phi) ** 2
    degree = math.pi / 180 * _A_M
    return degree * np.cos(phi) / np.sqrt(bend), degree * (1 - _E2) / bend**1.5
