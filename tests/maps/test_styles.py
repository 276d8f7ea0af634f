"""Numbers, dates and colours say what they should; layers follow their basemap's datum."""

from datetime import datetime

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from maps.styles import (
    SHARE_CLASSES,
    Basemap,
    as_of_line,
    count_classes,
    drawn,
    drawn_bounds,
    format_area,
    format_density,
    format_share,
    require_lonlat,
    tint_areas,
)
from tests.maps.map_builders import AS_OF, squares

GCJ02 = Basemap("https://tiles.example/{z}/{x}/{y}.png", "Tiles", "gcj02")


@pytest.mark.parametrize(("area_m2", "words"), [(8230.4, "8,230 m²"), (372_000, "0.37 km²"), (99_999, "99,999 m²")])
def test_areas_are_told_in_the_unit_that_fits(area_m2, words):
    assert format_area(area_m2) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0 %"), (0.001, "< 1 %"), (0.63, "63 %"), (0.999, "> 99 %"), (1.0, "100 %")]
)
def test_only_all_is_a_hundred_percent_and_only_nothing_is_zero(share, words):
    assert format_share(share) == words


@pytest.mark.parametrize(("density", "words"), [(24310.0, "24,000"), (3.14, "3.1"), (0.0462, "0.05"), (972.0, "970")])
def test_densities_have_two_digits(density, words):
    assert format_density(density) == words


def test_the_date_of_the_data_carries_its_zone():
    assert as_of_line(AS_OF) == "数据截至 Data as of 2026-11-23 08:00 +08:00"


def test_a_date_without_zone_is_refused():
    with pytest.raises(InvalidInput, match="time zone"):
        as_of_line(datetime(2026, 11, 23))  # noqa: DTZ001  that is what is tested


def test_a_share_belongs_to_the_class_that_starts_at_it():
    assert SHARE_CLASSES.of([0.0, 0.2, 0.999, 1.0, np.nan]).tolist() == [0, 1, 4, 4, -1]


@given(st.lists(st.integers(0, 5000), max_size=60))
def test_every_positive_count_has_a_class_and_zero_has_none(counts):
    classes = count_classes(counts)
    of = classes.of(counts)

    assert [index >= 0 for index in of] == [count > 0 for count in counts]
    assert len(classes.labels) == len(classes.colors) == len(classes.edges) <= 5
    assert len(set(classes.colors)) == len(classes.colors)


def test_count_classes_read_as_ranges():
    assert count_classes([1, 1, 2, 3, 4, 9, 20]).labels[0].startswith("1")
    assert count_classes([3]).labels == ("≥ 1",)


def test_neighbours_differ_in_tint():
    tints = tint_areas(squares(3, 3).geometry.array).reshape(3, 3)

    assert (np.diff(tints, axis=0) != 0).all()
    assert (np.diff(tints, axis=1) != 0).all()


def test_layers_move_with_a_gcj02_basemap():
    point = gpd.GeoSeries([shapely.Point(121.38, 31.11)], crs="EPSG:4326")
    moved = drawn(point, GCJ02)[0]
    west, south, _, _ = drawn_bounds((121.38, 31.11, 121.5, 31.2), GCJ02)

    # FIELD_NOTES: +0.0046289°, −0.0019071° there.
    assert (moved.x - 121.38, moved.y - 31.11) == pytest.approx((0.0046289, -0.0019071), abs=2e-7)
    assert (west, south) == (moved.x, moved.y)


def test_layers_stay_on_a_wgs84_basemap():
    point = gpd.GeoSeries([shapely.Point(121.38, 31.11)], crs="EPSG:4326")

    assert drawn(point, Basemap("x", "y"))[0] == point[0]
    assert drawn(point, None)[0] == point[0]


def test_a_basemap_in_bd09_is_refused():
    with pytest.raises(InvalidInput, match="bd09"):
        Basemap("x", "y", "bd09")


def test_an_attribution_is_plain_text():
    assert "<" not in Basemap("x", "<b>{{ 7 * 7 }}").attribution_html
    assert "{" not in Basemap("x", "<b>{{ 7 * 7 }}").attribution_html


@pytest.mark.parametrize("crs", [None, "EPSG:4549"])
def test_a_frame_in_another_crs_is_refused(crs):
    with pytest.raises(InvalidInput, match="expected EPSG:4326"):
        require_lonlat(
            squares().set_crs(crs, allow_override=True) if crs else squares().set_crs(None, allow_override=True),
            "grids",
        )
