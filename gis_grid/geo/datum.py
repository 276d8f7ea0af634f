"""Longitude, latitude and the datum they are measured on.

WGS84 is what everything inside is stored in. GCJ-02 (Amap, Tencent) and BD-09 (Baidu) are the shifted coordinates that
Chinese maps show; CGCS2000 is the national datum. The shift formulas are the published ones; their inverses have no
closed form and are iterated here until they stand still.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.errors import Conflict, InvalidInput
from gis_grid.geo.transformers import quick_transformer

Floats: TypeAlias = npt.NDArray[np.float64]
Bounds: TypeAlias = tuple[float, float, float, float]

CHINA: Bounds = (72.004, 0.8293, 137.8347, 55.8271)
"""The box in which GCJ-02 shifts, (min_lon, min_lat, max_lon, max_lat) in WGS84 degrees; outside it is the identity."""

MIN_POINTS_TO_TELL = 100
MIN_LEAD_PERCENT = 2

_SEMI_MAJOR_M = 6378245.0  # Krasovsky's ellipsoid, part of the published GCJ-02 formula
_ECCENTRICITY_SQ = 0.00669342162296594323
_BD_TURN = math.pi * 3000.0 / 180.0
_BD_LON, _BD_LAT = 0.0065, 0.006
_REACH_DEG = 0.1  # more than GCJ-02 and BD-09 together ever shift
_STANDSTILL_DEG = 1e-12
_MAX_ROUNDS = 30
_BORDER_DEG = 1e-9
_SWAPPED = "swapped"
FIELDS = ("lon", "lat")


class InvalidLonLat(InvalidInput):
    """A longitude and latitude that name no place on Earth."""


class SwappedLonLat(InvalidLonLat):
    """A longitude and latitude that only fit turned round."""


class DatumMismatch(Conflict):
    """A batch that fits the district clearly better on another datum than on the declared one."""


class Datum(StrEnum):
    """What a longitude and latitude are measured on."""

    WGS84 = "wgs84"
    GCJ02 = "gcj02"
    BD09 = "bd09"
    CGCS2000 = "cgcs2000"


class LonLat(NamedTuple):
    """A place in degrees, longitude first."""

    lon: float
    lat: float

    @classmethod
    def checked(cls, lon: float, lat: float, *, bounds: Bounds | None = None) -> Self:
        """Return the place, or say what is wrong with the pair.

        Parameters
        ----------
        lon, lat
            Degrees, -180 to 180 and -90 to 90.
        bounds
            (min_lon, min_lat, max_lon, max_lat) of the district: a pair that lies in them only when turned round is
            refused as swapped. None: only the range decides.

        Raises
        ------
        InvalidLonLat
            Not a number, infinite, or out of range.
        SwappedLonLat
            The pair only fits turned round.
        """
        try:
            place = cls(float(lon), float(lat))
        except (TypeError, ValueError, OverflowError):
            raise InvalidLonLat(
                f"longitude {lon!r:.40}, latitude {lat!r:.40}: expected two numbers", fields=FIELDS
            ) from None
        reason = refusal_reasons(np.array([place.lon]), np.array([place.lat]), bounds=bounds)[0]
        if reason is None:
            return place
        raise (SwappedLonLat if reason.startswith(_SWAPPED) else InvalidLonLat)(reason, fields=FIELDS)


def refusal_reasons(lon: Floats, lat: Floats, *, bounds: Bounds | None = None) -> npt.NDArray[np.object_]:
    """Why each pair cannot be a place, None where it can.

    Parameters
    ----------
    lon, lat
        Degrees, shape (n,).
    bounds
        As in `LonLat.checked`.

    Returns
    -------
    reasons
        Shape (n,), str or None.
    """
    reasons = np.full(lon.shape, None, dtype=object)
    fits = _fits(lon, lat)
    is_swapped = ~fits & _fits(lat, lon)
    if bounds is not None:
        is_swapped |= fits & ~_in_box(lon, lat, bounds) & _in_box(lat, lon, bounds)
    for row in np.flatnonzero(~fits | is_swapped):
        reasons[row] = _reason(float(lon[row]), float(lat[row]), is_swapped=bool(is_swapped[row]))
    return reasons


def to_wgs84(lon: npt.ArrayLike, lat: npt.ArrayLike, datum: Datum) -> tuple[Floats, Floats]:
    """Longitude and latitude on WGS84.

    Parameters
    ----------
    lon, lat
        Degrees on `datum`, same shape. What is not a place (NaN, infinite, out of range) comes back unchanged.
    datum
        What they are measured on.

    Returns
    -------
    lon, lat
        Float64 degrees, the shape of the input.
    """
    return _TO_WGS84[datum](*_as_floats(lon, lat))


def wgs84_to_gcj02(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    """GCJ-02 of WGS84 degrees; unchanged outside `CHINA`.

    Notes
    -----
    The published polynomial-and-sine formula on Krasovsky's ellipsoid.
    """
    return _where_in_china(*_as_floats(lon, lat), shift=_shift_gcj02)


def gcj02_to_wgs84(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    """WGS84 of GCJ-02 degrees, there and back within 1e-9 degrees.

    Notes
    -----
    The shift jumps from some 500 m to nothing at the border of `CHINA`, so along it a few GCJ-02 pairs belong to two
    places, one on each side: the one inside is returned. A few belong to none: there the shift is taken off as if it
    went on beyond the border.
    """
    return _unshifted(*_as_floats(lon, lat), shift=_shift_gcj02)


def wgs84_to_bd09(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    """BD-09 of WGS84 degrees; unchanged outside `CHINA`."""
    return _where_in_china(*_as_floats(lon, lat), shift=_shift_gcj02_bd09)


def bd09_to_wgs84(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    """WGS84 of BD-09 degrees, there and back within 1e-9 degrees; the border is treated as in `gcj02_to_wgs84`."""
    return _unshifted(*_as_floats(lon, lat), shift=_shift_gcj02_bd09)


def gcj02_to_bd09(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    """BD-09 of GCJ-02 degrees; unchanged where GCJ-02 itself is not shifted.

    Notes
    -----
    Baidu's published closed form: a turn and a stretch about the origin, then 0.0065 and 0.006 degrees.
    """
    gcj_lon, gcj_lat = _as_floats(lon, lat)
    wgs_lon, wgs_lat = _unshifted(gcj_lon, gcj_lat, shift=_shift_gcj02)
    is_shifted = _in_box(wgs_lon, wgs_lat, CHINA)
    bd_lon, bd_lat = gcj_lon.copy(), gcj_lat.copy()
    bd_lon[is_shifted], bd_lat[is_shifted] = _shift_bd09(gcj_lon[is_shifted], gcj_lat[is_shifted])
    return bd_lon, bd_lat


def bd09_to_gcj02(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    """GCJ-02 of BD-09 degrees, there and back within 1e-9 degrees (the published inverse is only good to 1e-6)."""
    return wgs84_to_gcj02(*bd09_to_wgs84(lon, lat))


@dataclass(frozen=True)
class DatumGuess:
    """How well a batch fits a district on each datum.

    Attributes
    ----------
    declared
        The datum the batch says it is on.
    distinct_count
        How many different valid points were looked at.
    inside_shares
        Share of them, 0 to 1, in the district if read on each datum; empty when there are no points.
    likely
        The datum that puts clearly more of them into the district than `declared`; None when it cannot be told.
    """

    declared: Datum
    distinct_count: int
    inside_shares: dict[Datum, float]
    likely: Datum | None

    def require_declared(self) -> None:
        """Let the batch pass.

        Raises
        ------
        DatumMismatch
            Another datum is likely; the message names it and both shares.
        """
        if self.likely is None:
            return
        raise DatumMismatch(
            f"declared {self.declared}, but the points look like {self.likely}: of {self.distinct_count} distinct "
            f"points {100 * self.inside_shares[self.likely]:.1f} % lie in the district as {self.likely}, "
            f"{100 * self.inside_shares[self.declared]:.1f} % as {self.declared}"
        )

    def __str__(self) -> str:
        if self.likely is not None:
            return f"looks like {self.likely}, declared {self.declared}"
        if self.distinct_count < MIN_POINTS_TO_TELL:
            return f"cannot tell the datum from {self.distinct_count} distinct points (at least {MIN_POINTS_TO_TELL})"
        return f"cannot tell: no datum fits the district better than {self.declared} by {MIN_LEAD_PERCENT} points"


def guess_datum(
    lon: npt.ArrayLike, lat: npt.ArrayLike, district: shapely.Polygon | shapely.MultiPolygon, declared: Datum
) -> DatumGuess:
    """How well a whole batch fits the district on each datum, and whether another one is likely.

    Parameters
    ----------
    lon, lat
        Degrees as given, shape (n,). Pairs that are no place are left out, repeated ones count once: a fallback
        coordinate must not outvote the rest.
    district
        WGS84 degrees.
    declared
        What the batch says it is on.

    Returns
    -------
    guess
        `likely` is set only with at least 100 distinct points and a lead of at least 2 percentage points.
    """
    pairs = np.column_stack(_as_floats(lon, lat)).reshape(-1, 2)
    pairs = np.unique(pairs[_fits(pairs[:, 0], pairs[:, 1])], axis=0)
    shapely.prepare(district)
    insides = {
        datum: int(np.count_nonzero(shapely.intersects_xy(district, *to_wgs84(pairs[:, 0], pairs[:, 1], datum))))
        for datum in Datum
    }
    count = len(pairs)
    best = max(Datum, key=lambda datum: insides[datum])  # ties: the first declared above, WGS84 before CGCS2000
    is_clear = count >= MIN_POINTS_TO_TELL and 100 * (insides[best] - insides[declared]) >= MIN_LEAD_PERCENT * count
    shares = {datum: inside / count for datum, inside in insides.items()} if count else {}
    return DatumGuess(declared, count, shares, best if is_clear else None)


def _as_floats(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Floats, Floats]:
    both = np.broadcast_arrays(np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64))
    return both[0], both[1]


def _in_box(lon: Floats, lat: Floats, box: Bounds, margin_deg: float = 0.0) -> npt.NDArray[np.bool_]:
    min_lon, min_lat, max_lon, max_lat = box
    is_in_lon = (lon >= min_lon - margin_deg) & (lon <= max_lon + margin_deg)
    return is_in_lon & (lat >= min_lat - margin_deg) & (lat <= max_lat + margin_deg)


def _fits(lon: Floats, lat: Floats) -> npt.NDArray[np.bool_]:
    return (np.abs(lon) <= 180) & (np.abs(lat) <= 90)


def _reason(lon: float, lat: float, *, is_swapped: bool) -> str:
    if is_swapped:
        return f"{_SWAPPED}: longitude {lon!r}, latitude {lat!r} only fit turned round"
    if not (math.isfinite(lon) and math.isfinite(lat)):
        return f"longitude {lon!r}, latitude {lat!r}: expected finite numbers"
    return f"longitude {lon!r}, latitude {lat!r}: expected -180 to 180 and -90 to 90"


def _shift_gcj02(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    x, y, pi = lon - 105.0, lat - 35.0, math.pi
    wave = (20.0 * np.sin(6.0 * x * pi) + 20.0 * np.sin(2.0 * x * pi)) * 2.0 / 3.0
    north_m = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * np.sqrt(np.abs(x)) + wave
    north_m += (20.0 * np.sin(y * pi) + 40.0 * np.sin(y / 3.0 * pi)) * 2.0 / 3.0
    north_m += (160.0 * np.sin(y / 12.0 * pi) + 320.0 * np.sin(y * pi / 30.0)) * 2.0 / 3.0
    east_m = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * np.sqrt(np.abs(x)) + wave
    east_m += (20.0 * np.sin(x * pi) + 40.0 * np.sin(x / 3.0 * pi)) * 2.0 / 3.0
    east_m += (150.0 * np.sin(x / 12.0 * pi) + 300.0 * np.sin(x / 30.0 * pi)) * 2.0 / 3.0
    phi = np.radians(lat)
    w_sq = 1.0 - _ECCENTRICITY_SQ * np.sin(phi) ** 2
    m_per_deg_lat = pi / 180.0 * _SEMI_MAJOR_M * (1.0 - _ECCENTRICITY_SQ) / (w_sq * np.sqrt(w_sq))
    m_per_deg_lon = pi / 180.0 * _SEMI_MAJOR_M / np.sqrt(w_sq) * np.cos(phi)
    return lon + east_m / m_per_deg_lon, lat + north_m / m_per_deg_lat


def _shift_bd09(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    radius = np.hypot(lon, lat) + 0.00002 * np.sin(lat * _BD_TURN)
    angle = np.arctan2(lat, lon) + 0.000003 * np.cos(lon * _BD_TURN)
    return radius * np.cos(angle) + _BD_LON, radius * np.sin(angle) + _BD_LAT


def _shift_gcj02_bd09(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    return _shift_bd09(*_shift_gcj02(lon, lat))


_Shift: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]


def _where_in_china(lon: Floats, lat: Floats, *, shift: _Shift) -> tuple[Floats, Floats]:
    is_in = _in_box(lon, lat, CHINA)
    out_lon, out_lat = lon.copy(), lat.copy()
    out_lon[is_in], out_lat[is_in] = shift(lon[is_in], lat[is_in])
    return out_lon, out_lat


def _unshifted(lon: Floats, lat: Floats, *, shift: _Shift) -> tuple[Floats, Floats]:
    """Undo `shift`, deciding by where the place itself lies, not by where its shifted pair does."""
    is_near = _in_box(lon, lat, CHINA, _REACH_DEG)
    place_lon, place_lat = _iterate_back(lon[is_near], lat[is_near], shift=shift)
    is_in = _in_box(place_lon, place_lat, CHINA, _BORDER_DEG)
    place_lon[is_in] = np.clip(place_lon[is_in], CHINA[0], CHINA[2])
    place_lat[is_in] = np.clip(place_lat[is_in], CHINA[1], CHINA[3])
    is_back = is_in | _in_box(lon[is_near], lat[is_near], CHINA)
    out_lon, out_lat = lon.copy(), lat.copy()
    out_lon[is_near] = np.where(is_back, place_lon, lon[is_near])
    out_lat[is_near] = np.where(is_back, place_lat, lat[is_near])
    return out_lon, out_lat


def _iterate_back(lon: Floats, lat: Floats, *, shift: _Shift) -> tuple[Floats, Floats]:
    place_lon, place_lat = lon.copy(), lat.copy()
    for _ in range(_MAX_ROUNDS):  # the shift grows by < 1 % of a step: each round gains two digits
        there_lon, there_lat = shift(place_lon, place_lat)
        step_lon, step_lat = lon - there_lon, lat - there_lat
        place_lon, place_lat = place_lon + step_lon, place_lat + step_lat
        if max(np.abs(step_lon).max(initial=0.0), np.abs(step_lat).max(initial=0.0)) < _STANDSTILL_DEG:
            break
    return place_lon, place_lat


def _cgcs2000_to_wgs84(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    fits = _fits(lon, lat)
    out_lon, out_lat = lon.copy(), lat.copy()
    transformer = quick_transformer("EPSG:4490", "EPSG:4326")
    out_lon[fits], out_lat[fits] = transformer.transform(lon[fits], lat[fits])
    return out_lon, out_lat


def _unchanged(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    return lon.copy(), lat.copy()


_TO_WGS84: dict[Datum, _Shift] = {
    Datum.WGS84: _unchanged,
    Datum.GCJ02: gcj02_to_wgs84,
    Datum.BD09: bd09_to_wgs84,
    Datum.CGCS2000: _cgcs2000_to_wgs84,
}
