"""The placing rule in SQL, in Python one at a time and in bulk gives one answer."""

from collections.abc import Iterator

import geopandas as gpd
import numpy as np
import pytest
import shapely
from sqlalchemy.orm import Session

from gis_grid.city import load_city
from gis_grid.geo.datum import LonLat
from gis_grid.geo.layer_files import read_grids
from gis_grid.geo.placing import GridIndex, metres_per_degree
from gis_grid.locating import Located, locate
from tests.builders import NOW, load_squares, squares

AT_ONCE = 20_000


def in_sql(session: Session, lonlat: np.ndarray, *, accuracy_m: float | None = None) -> Iterator[Located]:
    for start in range(0, len(lonlat), AT_ONCE):
        part = [LonLat(float(x), float(y)) for x, y in lonlat[start : start + AT_ONCE]]
        yield from locate(session, part, at=[NOW] * len(part), accuracy_m=[accuracy_m] * len(part), snap_m=50.0)


@pytest.fixture(scope="module")
def shipped() -> gpd.GeoDataFrame:
    path = load_city().grids
    assert path is not None
    return read_grids(path)


def awkward_points(grids: gpd.GeoDataFrame, rng: np.random.Generator) -> np.ndarray:
    """Every vertex and edge midpoint, random points on edges, their neighbours one ulp away, and random points."""
    rings = shapely.get_rings(grids.geometry.values)
    starts = np.concatenate([shapely.get_coordinates(ring)[:-1] for ring in rings])
    ends = np.concatenate([shapely.get_coordinates(ring)[1:] for ring in rings])
    vertices = np.unique(starts, axis=0)
    middles = np.unique((starts + ends) / 2, axis=0)
    at = rng.random((2, len(starts), 1))
    on_edges = (starts + at * (ends - starts)).reshape(-1, 2)
    near = np.concatenate([np.nextafter(on_edges, np.inf), np.nextafter(on_edges, -np.inf)])
    west, south, east, north = grids.total_bounds
    anywhere = rng.uniform((west - 0.003, south - 0.003), (east + 0.003, north + 0.003), (60_000, 2))
    return np.concatenate([vertices, middles, on_edges, near, anywhere])


def test_sql_and_bulk_agree_on_every_vertex_and_edge_of_the_shipped_grids(
    session: Session, shipped: gpd.GeoDataFrame
) -> None:
    load_squares(session, shipped, name="shipped")
    lonlat = awkward_points(shipped, np.random.default_rng(1002))

    placed = GridIndex(shipped).place_points(lonlat[:, 0], lonlat[:, 1])
    answers = list(in_sql(session, lonlat))

    code = np.array([answer.grid_code for answer in answers], dtype=object)
    method = np.array([answer.method.value for answer in answers])
    distance = np.array([np.nan if answer.distance_m is None else answer.distance_m for answer in answers])
    assert len(lonlat) >= 300_000
    assert (placed["grid_code"].to_numpy(dtype=object) == code).all()
    assert (placed["method"].to_numpy() == method).all()
    np.testing.assert_allclose(placed["distance_m"].to_numpy(dtype=float), distance, atol=1e-6)
    assert {"inside", "edge", "snapped", "outside"} == set(method)


def test_one_at_a_time_agrees_with_sql_with_and_without_accuracy(session: Session, shipped: gpd.GeoDataFrame) -> None:
    load_squares(session, shipped, name="shipped")
    rng = np.random.default_rng(7)
    lonlat = rng.permutation(awkward_points(shipped, rng))[:1500]
    index = GridIndex(shipped)

    for (lon, lat), answer in zip(lonlat, in_sql(session, lonlat, accuracy_m=40.0), strict=True):
        alone = index.place(LonLat(float(lon), float(lat)), accuracy_m=40.0)

        assert (alone.grid_code, alone.method, alone.is_uncertain) == (
            answer.grid_code,
            answer.method,
            answer.is_uncertain,
        )
        assert alone.shares == pytest.approx(answer.shares, abs=1e-7)


@pytest.mark.parametrize(("east_m", "grid_code"), [(49.9, "310112001001003"), (50.1, None)])
def test_a_point_goes_to_the_nearest_grid_up_to_fifty_metres(
    session: Session, east_m: float, grid_code: str | None
) -> None:
    load_squares(session)
    corners = shapely.get_coordinates(squares().geometry.iloc[2])
    mx, _ = metres_per_degree(31.1)
    # The squares' eastern side leans by 0.7 degrees: what is 50 m off it lies 50 m / cos(0.7°) to the east.
    lonlat = corners[1:3].mean(axis=0, keepdims=True) + np.array([[east_m / mx, 0.0]])

    (answer,) = in_sql(session, lonlat)

    assert answer.grid_code == grid_code


def test_a_point_without_a_layer_in_force_lies_outside(session: Session) -> None:
    (answer,) = in_sql(session, np.array([[121.4, 31.1]]))

    assert (answer.layer_id, answer.grid_code, answer.method.value) == (None, None, "outside")
