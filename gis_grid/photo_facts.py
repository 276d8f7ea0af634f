"""Where and when a photo says that it was taken (Exif 2.32)."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from PIL import Image
from pyproj import Geod

from gis_grid.case_rules import PhotoFacts
from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import LonLat
from gis_grid.instants import as_utc

WGS84 = Geod(ellps="WGS84")
GPS_IFD, EXIF_IFD = 0x8825, 0x8769
LAT_REF, LAT, LON_REF, LON, GPS_TIME, GPS_DATE = 1, 2, 3, 4, 7, 29
TAKEN, OFFSET = 36867, 36881  # DateTimeOriginal, OffsetTimeOriginal
CLOCK_SLACK = timedelta(minutes=10)


def photo_facts(data: bytes, *, sha256: str, place: LonLat, zone: ZoneInfo, now: datetime) -> PhotoFacts:
    """What the metadata of a photo tell: the distance from a place in metres, and the time.

    A camera's time without an offset is taken in `zone`; one that lies more than ten minutes ahead of `now` proves
    nothing and is left out, as is anything that cannot be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            exif = image.getexif()
            gps, camera = exif.get_ifd(GPS_IFD), exif.get_ifd(EXIF_IFD)
    except Exception:  # noqa: BLE001 - whatever a camera wrote, the photo itself was decoded when it was stored
        gps, camera = {}, {}
    point = _point(gps)
    taken_at = _gps_time(gps) or _camera_time(camera, zone)
    if taken_at is not None and taken_at > now + CLOCK_SLACK:
        taken_at = None
    distance_m = None if point is None else float(WGS84.inv(*place, *point)[2])
    return PhotoFacts(sha256=sha256, distance_m=distance_m, taken_at=taken_at)


def _point(gps: Mapping[int, Any]) -> LonLat | None:
    lon, lat = _degrees(gps.get(LON), gps.get(LON_REF)), _degrees(gps.get(LAT), gps.get(LAT_REF))
    if lon is None or lat is None or (lon, lat) == (0, 0):  # what receivers without a fix write
        return None
    try:
        return LonLat.checked(lon, lat, bounds=None)
    except InvalidInput:
        return None


def _degrees(parts: Any, ref: Any) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    return -value if str(ref).strip("\0 ").upper() in {"S", "W"} else value


def _gps_time(gps: Mapping[int, Any]) -> datetime | None:
    parts: Sequence[Any] = gps.get(GPS_TIME) or ()
    try:
        day = date.fromisoformat(str(gps.get(GPS_DATE)).strip("\0 ").replace(":", "-"))
        hour, minute, second = (int(part) for part in parts)
        return as_utc(datetime.combine(day, time(hour, minute, second), UTC))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, InvalidInput):
        return None


def _camera_time(camera: Mapping[int, Any], zone: ZoneInfo) -> datetime | None:
    text, offset = str(camera.get(TAKEN, "")).strip("\0 "), str(camera.get(OFFSET, "")).strip("\0 ")
    try:
        if offset:
            return as_utc(datetime.strptime(text + offset, "%Y:%m:%d %H:%M:%S%z"))
        return as_utc(datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=zone))
    except (ValueError, OverflowError, InvalidInput):
        return None
