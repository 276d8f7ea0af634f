"""The map of a layer's faults shows each where it is, and lists what has no place."""

from datetime import UTC, datetime

import geopandas as gpd
import pytest
import shapely

from gis_grid.errors import InvalidInput
from gis_grid.geo.tiling import check_tiling
from maps.assets import Inline, render
from maps.faults import faults_map

AS_OF = datetime(2026, 11, 23, tzinfo=UTC)


def layer(*numbers, codes=None):
    shapes = [shapely.box(121 + i, 31, 122 + i, 32) for i in numbers]
    return gpd.GeoDataFrame({"grid_code": codes or [f"g{i}" for i in numbers]}, geometry=shapes, crs="EPSG:4326")


def page_of(grids, **references):
    report = check_tiling(grids, code_pattern=None, metric_crs="EPSG:4549", **references)
    return render(faults_map(grids, report.faults, title="grids.geojson", as_of=AS_OF), assets=Inline())


def test_a_layer_without_faults_is_drawn_without_marks():
    page = page_of(layer(0, 1))

    assert "0 处问题 faults" in page
    assert "问题地块 Ground" not in page


def test_a_fault_with_ground_and_one_without_a_place_are_both_told():
    page = page_of(layer(0, 0.5), count=3)

    assert "重叠 Overlap" in page
    assert "2 grids, 3 expected" in page


def test_text_from_the_file_is_no_markup_and_no_template():
    page = page_of(layer(0, 0.5, codes=["<script>alert(1)</script>", "{{ 7 * 7 }}"]))

    assert "<script>alert(1)" not in page
    assert "{{ 7 * 7 }}" in page


def test_nothing_in_degrees_is_refused():
    feet = gpd.GeoDataFrame({"grid_code": ["a"]}, geometry=[shapely.box(7e5, 2e6, 8e5, 3e6)], crs="EPSG:4326")

    with pytest.raises(InvalidInput, match="nothing to draw"):
        page_of(feet)
