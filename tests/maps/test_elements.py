"""What reaches the browser is what was given, small and harmless."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from maps.elements import Column, Features, Shapes, pack, to_json


def unpacked(numbers):
    return np.cumsum(np.array(numbers).reshape(-1, 2), axis=0) / 1e6


def test_a_ring_packs_into_microdegree_steps():
    ring = gpd.GeoSeries([shapely.Polygon([(121, 31), (121.000002, 31), (121.000002, 31.000003), (121, 31)])])

    assert pack(ring) == [[[[121000000, 31000000, 2, 0, 0, 3, -2, -3]]]]


def test_holes_and_parts_stay_apart():
    holed = shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 2)
    shape = gpd.GeoSeries([shapely.MultiPolygon([holed, shapely.box(5, 5, 6, 6)]), shapely.box(8, 8, 9, 9)])

    assert [[len(rings) for rings in parts] for parts in pack(shape)] == [[2, 1], [1]]


def test_an_empty_polygon_packs_to_a_part_without_rings():
    assert pack(gpd.GeoSeries([shapely.Polygon(), shapely.box(0, 0, 1, 1)]))[0] == [[]]


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-85, 85)), min_size=2, max_size=9))
def test_a_line_comes_back_within_half_a_microdegree(points):
    packed = pack(gpd.GeoSeries([shapely.LineString(points)]))

    assert np.abs(unpacked(packed[0][0]) - np.array(points)).max() <= 0.5000001e-6


def test_neighbours_keep_their_common_vertices():
    west = shapely.Polygon([(0, 0), (0.12345678, 0.1), (0.1, 0.3), (0, 0.3)])
    east = shapely.Polygon([(0.12345678, 0.1), (0.5, 0), (0.5, 0.3), (0.1, 0.3)])
    first, second = pack(gpd.GeoSeries([west, east]))

    common = {tuple(p) for p in unpacked(first[0][0]).round(6)} & {tuple(p) for p in unpacked(second[0][0]).round(6)}
    assert len(common) == 2


def test_mixed_geometries_are_refused():
    with pytest.raises(InvalidInput, match="one family"):
        Shapes(gpd.GeoSeries([shapely.Point(0, 0), shapely.box(0, 0, 1, 1)]))


@given(st.text(st.characters()) | st.sampled_from(["</script>", "<!--", "\u2028", "\ud800"]))
def test_json_never_leaves_its_script(text):
    written = to_json({"text": text})

    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written)["text"] == text.encode("utf-8", "replace").decode()


def test_a_column_holds_each_text_once():
    packed = Column("Town", ["a", "b", "a", None]).packed()

    assert packed["of"] == ["a", "b"]
    assert packed["at"] == [0, 1, 0, -1]


def test_features_without_style_indices_take_the_first_style():
    shapes = Shapes(gpd.GeoSeries([shapely.box(0, 0, 1, 1)] * 3))

    assert Features(shapes, name="x", pane="fill", styles=[{}]).spec["styleOf"] == [0, 0, 0]
