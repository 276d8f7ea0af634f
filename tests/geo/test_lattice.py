import functools
import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from gis_grid.geo import compiled, lattice
from gis_grid.geo.lattice import LatticeIndex, UnusableIndex, UnusablePolygons
from gis_grid.geo.layer_files import read_grids
from tests.geo.layers import LAYERS, awkward_points, lowest_touching

ROOT = Path(__file__).parents[2]
BOSTON = ROOT.parent / "shared" / "data" / "boston_precincts.geojson"


@functools.cache
def layer(name):
    """Polygons of a layer and their index."""
    if name == "shipped":
        polygons = geopandas.read_file(ROOT / "grids.geojson").sort_values("grid_code").geometry.to_numpy()
    elif name == "boston":
        grids = read_grids(BOSTON, crs="EPSG:2249", code_field="WARD_PRECINCT").sort_values("grid_code")
        polygons = grids.geometry.to_numpy()
    else:
        polygons = LAYERS[name]()
    polygons = np.array(polygons, dtype=object)
    return polygons, LatticeIndex.build(polygons)


def boxes(*corners):
    return np.array([shapely.box(*box) for box in corners], dtype=object)


no_boston = pytest.mark.skipif(not BOSTON.is_file(), reason="no ../shared/data: the Boston precincts are not here")


@pytest.mark.parametrize("name", ["shipped", *LAYERS, pytest.param("boston", marks=no_boston)])
def test_each_awkward_point_is_in_the_lowest_polygon_it_touches(name):
    polygons, index = layer(name)
    some = polygons if len(polygons) < 900 else polygons[::12]
    lon, lat = awkward_points(some, index.frame, on_edges=1)
    expected = lowest_touching(polygons, lon, lat)

    assert len(lon) > 40_000
    assert (index.place(lon, lat) == expected).all()


@pytest.mark.parametrize("name", LAYERS)
def test_a_point_is_on_the_edge_of_its_polygon_or_inside_as_geos_says(name):
    polygons, index = layer(name)
    lon, lat = awkward_points(polygons, index.frame, on_edges=1)
    positions, is_edge = index.place_with_edges(lon, lat)

    assert (positions == index.place(lon, lat)).all()
    held = np.flatnonzero(positions >= 0)
    is_inside = shapely.contains_xy(polygons[positions[held]], lon[held], lat[held])
    assert (is_edge[held] == ~is_inside).all()
    assert not is_edge[positions < 0].any()
    assert is_edge.sum() > 1000


@pytest.mark.parametrize("name", ["shipped", *LAYERS])
def test_one_at_a_time_and_many_at_once_give_one_answer(name):
    polygons, index = layer(name)
    lon, lat = (axis[::40] for axis in awkward_points(polygons, index.frame))
    positions, is_edge = index.place_with_edges(lon, lat)

    assert [index.place_one(*pair) for pair in zip(lon, lat, strict=True)] == positions.tolist()
    alone = [index.place_one_with_edge(*pair) for pair in zip(lon, lat, strict=True)]
    assert alone == list(zip(positions.tolist(), is_edge.tolist(), strict=True))


def in_fractions(polygons, lon, lat):
    """The rule without any rounding, for polygons without holes."""
    x, y = Fraction(lon), Fraction(lat)
    for position, polygon in enumerate(polygons):
        ring = [(Fraction(px), Fraction(py)) for px, py in polygon.exterior.coords]
        is_in = False
        for (ax, ay), (bx, by) in pairwise(ring):
            turn = (bx - ax) * (y - ay) - (x - ax) * (by - ay)
            if turn == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
                return position
            if (ay > y) != (by > y) and (turn > 0) == (by > ay):
                is_in = not is_in
        if is_in:
            return position
    return -1


small = st.one_of(st.integers(-4, 4).map(float), st.floats(-4, 4), st.sampled_from([0.1, 0.3, -1 / 3, 1e-9]))
coordinates = small.filter(lambda value: value == 0 or abs(value) > 1e-100)
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=7, unique=True)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(rings, min_size=1, max_size=4),
    st.lists(st.tuples(coordinates, coordinates, st.floats(0, 1), st.integers(-1, 1)), min_size=1, max_size=12),
)
def test_any_polygons_hold_what_fractions_say(shapes, points):
    """Crossing, overlapping, degenerate: what lies on an edge, or an odd number of edges in, is held."""
    polygons = np.array([shapely.Polygon(ring) for ring in shapes], dtype=object)
    index = LatticeIndex.build(polygons)
    (ax, ay), (bx, by) = shapes[0][:2]
    for x, y, share, ulps in points:
        on_edge = ax + share * (bx - ax), ay + share * (by - ay) + ulps * np.spacing(by)
        for lon, lat in ((x, y), on_edge, (ax, y), shapes[0][0]):
            if all(value == 0 or abs(value) > 1e-100 for value in (lon, lat)):
                assert index.place_one(lon, lat) == in_fractions(polygons, lon, lat), (lon, lat)
                assert index.place([lon], [lat]).tolist() == [in_fractions(polygons, lon, lat)]


@pytest.mark.parametrize("width", [1, 2, 3, 1000, 2**30])
def test_polygons_a_few_ulps_wide_are_exact_too(width):
    west, south = 121.375, 31.125
    east, north = west + width * np.spacing(west), south + width * np.spacing(south)
    index = LatticeIndex.build(boxes((west, south, east, north)))
    beyond = np.nextafter(east, 200), np.nextafter(north, 200)

    assert index.place([west, east, east, beyond[0], west], [south, north, south, north, beyond[1]]).tolist() == [
        0,
        0,
        0,
        -1,
        -1,
    ]


def test_what_is_no_place_lies_in_no_polygon():
    _, index = layer("cells")
    odd = [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0]
    lon, lat = (axis.ravel() for axis in np.meshgrid([*odd, 121.38], [*odd, 31.12]))

    assert index.place(lon, lat).tolist()[:-1] == [-1] * (len(lon) - 1)
    assert index.place(lon, lat)[-1] >= 0
    assert [index.place_one(*pair) for pair in zip(lon, lat, strict=True)] == index.place(lon, lat).tolist()


def test_nearer_to_zero_than_any_place_is_zero():
    index = LatticeIndex.build(boxes((0, 0, 1, 1)))

    assert index.place([-5e-324, -1e-119], [0.5, 0.5]).tolist() == [0, -1]


def test_where_polygons_overlap_the_lowest_has_the_point_and_the_index_says_that_they_do():
    index = LatticeIndex.build(boxes((2, 2, 3, 3), (0, 0, 4, 4), (0, 0, 4, 4)))

    assert index.place([2.5, 2, 1, 0], [2.5, 2.5, 1, 0]).tolist() == [0, 0, 1, 1]
    assert index.overlap_cells > 0
    assert layer("cells")[1].overlap_cells == layer("bricks")[1].overlap_cells == 0


def test_twenty_polygons_on_one_another_are_the_lowest():
    index = LatticeIndex.build(boxes(*[(0, 0, 1, 1)] * 20))

    assert index.place([0.5, 1, 2], [0.5, 1, 2]).tolist() == [0, 0, -1]


def test_many_edges_in_one_corner_are_told_apart():
    angles = np.linspace(0, 2 * np.pi, 501)
    rim = np.column_stack([np.cos(angles), np.sin(angles)])
    slices = [shapely.Polygon([(0, 0), a, b]) for a, b in pairwise(rim)]
    polygons = np.array(slices, dtype=object)
    index = LatticeIndex.build(polygons)
    lon, lat = np.concatenate([rim * share for share in (1e-12, 1e-6, 0.3, 0.999)]).T

    assert (index.place(lon, lat) == lowest_touching(polygons, lon, lat)).all()
    assert index.place_one(0.0, 0.0) == 0


@pytest.mark.parametrize("name", ["cells", "overlaps"])
def test_threads_and_order_make_no_difference(name, monkeypatch):
    monkeypatch.setattr(lattice, "_SLICE", 1000)
    polygons, index = layer(name)
    lon, lat = awkward_points(polygons, index.frame)
    positions = index.place(lon, lat)

    assert (index.place(lon, lat, threads=2) == positions).all()
    assert (index.place(lon[::-1], lat[::-1])[::-1] == positions).all()


def test_an_index_of_too_little_memory_at_first_is_the_same(monkeypatch):
    polygons, index = layer("cells")
    monkeypatch.setattr(lattice, "_BYTES_A_RECORD", 1e-6)
    again = LatticeIndex.build(polygons)

    lon, lat = awkward_points(polygons, index.frame)
    assert (again.place(lon, lat) == index.place(lon, lat)).all()


@pytest.mark.parametrize("bytes_", [0, 2**18])
def test_a_coarser_index_gives_the_same_answers(monkeypatch, bytes_):
    polygons, index = layer("holes and islands")
    monkeypatch.setattr(lattice, "_MAX_TABLE_BYTES", bytes_)
    coarser = LatticeIndex.build(polygons)
    lon, lat = awkward_points(polygons, index.frame)

    assert coarser.nbytes < index.nbytes
    assert (coarser.place(lon, lat) == index.place(lon, lat)).all()


def test_no_polygons_and_empty_ones_hold_nothing():
    assert LatticeIndex.build(np.array([], dtype=object)).place([0.5], [0.5]).tolist() == [-1]
    empty = np.array([shapely.Polygon(), shapely.box(0, 0, 1, 1), shapely.MultiPolygon()], dtype=object)
    assert LatticeIndex.build(empty).place([0.5, 2], [0.5, 2]).tolist() == [1, -1]


def test_no_points_have_no_positions():
    assert layer("cells")[1].place([], []).shape == (0,)


@pytest.mark.parametrize(("lon", "lat"), [([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]]), (1.0, 1.0)])
def test_points_of_other_shapes_are_refused(lon, lat):
    with pytest.raises(InvalidInput, match="one dimension"):
        layer("cells")[1].place(lon, lat)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (shapely.Point(0, 0), "polygon 1: expected a Polygon"),
        (None, "polygon 1: expected a Polygon"),
        (shapely.box(0, 0, 1e7, 1), "polygon 1: coordinate 10000000.0"),
        (shapely.Polygon([(0, 0), (1, 1e-200), (1, 1)]), "polygon 1: coordinate 1e-200"),
        (shapely.Polygon([(0, 0), (1, math.inf), (1, 1)]), "polygon 1: coordinate inf"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_no_index_can_be_built_of_is_refused(shape, message):
    with pytest.raises(UnusablePolygons, match=message):
        LatticeIndex.build(np.array([shapely.box(0, 0, 1, 1), shape], dtype=object))


def test_a_saved_index_is_loaded_as_it_was(tmp_path):
    polygons, index = layer("overlaps")
    index.save(tmp_path / "overlaps.lattice")
    loaded = LatticeIndex.load(tmp_path / "overlaps.lattice")
    lon, lat = awkward_points(polygons, index.frame)

    assert (loaded.frame, loaded.count, loaded.overlap_cells) == (index.frame, index.count, index.overlap_cells)
    assert (loaded.place(lon, lat) == index.place(lon, lat)).all()


def test_a_second_process_answers_from_the_saved_index(tmp_path):
    _, index = layer("cells")
    index.save(tmp_path / "cells.lattice")
    program = (
        "import sys, pathlib; from gis_grid.geo.lattice import LatticeIndex;"
        "print(LatticeIndex.load(pathlib.Path(sys.argv[1])).place([121.38], [31.12])[0])"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "cells.lattice")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)

    assert int(done.stdout) == index.place_one(121.38, 31.12)


@pytest.mark.parametrize("keep", [0, 4, 20, 5000])
def test_a_file_that_is_cut_off_is_refused(tmp_path, keep):
    path = tmp_path / "cells.lattice"
    layer("cells")[1].save(path)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(UnusableIndex, match=r"cells\.lattice"):
        LatticeIndex.load(path)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 something else", b"GISGRID1\xff\xff\xff\x7f{}", b"GISGRID1\x02\0\0\0{}"]
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)

    with pytest.raises(UnusableIndex):
        LatticeIndex.load(tmp_path / "x")
    with pytest.raises(UnusableIndex):
        LatticeIndex.load(tmp_path / "missing")


def test_where_no_cache_can_be_written_kernels_compile_all_the_same(monkeypatch):
    real = compiled.numba.njit

    def without_locator(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiled.numba, "njit", without_locator)

    assert compiled.kernel(lambda x: x + 1)(1) == 2
