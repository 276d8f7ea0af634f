"""What the metadata of a photo tell, and what they do not."""

import io
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gis_grid.case_rules import PhotoFacts
from gis_grid.geo.datum import LonLat
from gis_grid.photo_facts import photo_facts
from tests.case_builders import jpeg

PLACE = LonLat(121.4, 31.1)
NOW = datetime(2026, 3, 5, 4, 0, tzinfo=UTC)
GPS, CAMERA = 0x8825, 0x8769
HERE = {1: "N", 2: (31.0, 6.0, 0.0), 3: "E", 4: (121.0, 24.0, 0.0)}


def facts(data: bytes, *, place: LonLat = PLACE) -> PhotoFacts:
    return photo_facts(data, sha256="0" * 64, place=place, zone=ZoneInfo("Asia/Shanghai"), now=NOW)


def photo(*, gps: dict[int, Any] | None = None, camera: dict[int, Any] | None = None) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(GPS).update(gps or {})
    exif.get_ifd(CAMERA).update(camera or {})
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "JPEG", exif=exif)
    return data.getvalue()


@pytest.mark.parametrize(("ns", "lat"), [("N", 31.1), ("S", -31.1), ("s", -31.1)])
@pytest.mark.parametrize(("ew", "lon"), [("E", 121.4), ("W", -121.4)])
def test_the_four_quarters_of_the_world_are_told_apart(ns: str, lat: float, ew: str, lon: float) -> None:
    told = facts(photo(gps=HERE | {1: ns, 3: ew}), place=LonLat(lon, lat))

    assert told.distance_m == pytest.approx(0, abs=1e-6)


def test_the_distance_is_that_on_the_ellipsoid() -> None:
    told = facts(photo(gps=HERE | {2: (31.0, 7.0, 0.0)}))

    assert told.distance_m == pytest.approx(1848, abs=1)  # a minute of latitude


@pytest.mark.parametrize(
    ("camera", "taken_at"),
    [
        ({36867: "2026:03:05 09:00:00", 36881: "+08:00"}, "2026-03-05T01:00:00"),
        ({36867: "2026:03:05 09:00:00", 36881: "-01:30"}, None),  # 10:30 UTC has not come yet
        ({36867: "2026:03:05 01:00:00", 36881: "Z"}, "2026-03-05T01:00:00"),
        ({36867: "2026:03:05 09:00:00"}, "2026-03-05T01:00:00"),  # the city's clock
        ({36867: "2026:03:05 12:10:00"}, "2026-03-05T04:10:00"),  # a clock may be ten minutes fast
        ({36867: "2026:03:05 12:10:01"}, None),
        ({36867: "0000:00:00 00:00:00"}, None),
        ({36867: "2026:03:05 09:00:00", 36881: "+99:99"}, None),
        ({36867: "2026:03:05 09:00:00", 36881: "garbage"}, None),
        ({36867: "1900:01:01 00:00:00"}, None),
        ({36867: "yesterday"}, None),
    ],
)
def test_a_cameras_time_is_read_with_its_offset_or_on_the_citys_clock(
    camera: dict[int, str], taken_at: str | None
) -> None:
    told = facts(photo(camera=camera)).taken_at

    assert told == (datetime.fromisoformat(taken_at).replace(tzinfo=UTC) if taken_at else None)


def test_the_satellites_time_beats_the_cameras() -> None:
    gps = {29: "2026:03:05", 7: (1.0, 2.0, 3.0)}

    told = facts(photo(gps=gps, camera={36867: "2026:03:01 09:00:00"}))

    assert told.taken_at == datetime(2026, 3, 5, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    "gps",
    [
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},  # a receiver without a fix
        HERE | {2: (91.0, 0.0, 0.0)},
        HERE | {4: (181.0, 0.0, 0.0)},
        {1: "N", 2: (31.0, 6.0, 0.0)},
        HERE | {2: (31.0, 6.0)},
    ],
)
def test_a_position_that_cannot_be_one_is_no_position(gps: dict[int, Any]) -> None:
    assert facts(photo(gps=gps)).distance_m is None


def test_a_photo_without_metadata_tells_nothing() -> None:
    assert facts(jpeg()) == PhotoFacts("0" * 64, None, None)


@given(st.binary(max_size=300))
def test_whatever_the_bytes_nothing_is_raised(data: bytes) -> None:
    assert facts(data) == PhotoFacts("0" * 64, None, None)


NUMBERS = st.floats(0, 4e9, allow_nan=False)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_whatever_stands_in_the_metadata_nothing_is_raised(noise: bytes, at: int) -> None:
    data = bytearray(photo(gps=HERE | {29: "2026:03:05", 7: (1.0, 2.0, 3.0)}, camera={36867: "2026:03:05 09:00:00"}))
    data[at : at + len(noise)] = noise

    told = facts(bytes(data))

    assert told.distance_m is None or told.distance_m >= 0
    assert told.taken_at is None or told.taken_at.tzinfo is not None


@given(st.lists(st.one_of(NUMBERS, st.just(float("inf")), st.text(max_size=3)), max_size=4), st.text(max_size=3))
def test_odd_degrees_are_no_position_or_a_place_on_earth(parts: list[Any], ref: str) -> None:
    from gis_grid.photo_facts import LAT, LAT_REF, LON, LON_REF, _point

    point = _point({LAT: parts, LAT_REF: ref, LON: parts, LON_REF: ref})

    assert point is None or (abs(point.lat) <= 90 and abs(point.lon) <= 180)
