"""22 outings inside Minhang, 2007 to 2012, as GPS receivers wrote them down (GeoLife 1.3)."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Transformer

from gis_grid.city import City, load_city
from gis_grid.geo.blindspots import seen_shares, unseen_ground
from gis_grid.geo.layer_files import read_grids
from gis_grid.geo.sight import burn_fixes
from gis_grid.geo.tiles import SeenTiles
from gis_grid.geo.tracks import read_fixes
from tests.builders import SHARED_DATA

TRACKS = SHARED_DATA / "geolife_minhang_tracks.csv"
SIGHT_M = 50.0

pytestmark = pytest.mark.skipif(not TRACKS.exists(), reason="the data folder ../shared/data is not there")


@pytest.fixture(scope="module")
def city() -> City:
    return load_city()


@pytest.fixture(scope="module")
def grids(city: City) -> gpd.GeoDataFrame:
    assert city.grids is not None
    return read_grids(city.grids)


@pytest.fixture(scope="module")
def fixes() -> pd.DataFrame:
    # GeoLife's clocks run in GMT.
    return read_fixes(TRACKS, time_zone="UTC").fixes


@pytest.fixture(scope="module")
def seen(fixes: pd.DataFrame, city: City) -> SeenTiles:
    return burn_fixes(fixes, metric_crs=city.metric_crs, time_zone=city.time_zone, sight_m=SIGHT_M)


@pytest.fixture(scope="module")
def shares(grids: gpd.GeoDataFrame, seen: SeenTiles, city: City) -> pd.DataFrame:
    return seen_shares(grids, seen, metric_crs=city.metric_crs)


def walked(fixes: pd.DataFrame, city: City) -> shapely.Geometry:
    """Ground within sight of the lines between fixes, by GEOS, in metres; gaps are not walked."""
    ordered = fixes.sort_values(["track", "at"], kind="stable")
    to_metres = Transformer.from_crs("EPSG:4326", city.metric_crs, always_xy=True)
    xy = np.column_stack(to_metres.transform(ordered["lon"].to_numpy(), ordered["lat"].to_numpy()))
    seconds = ordered["at"].diff().dt.total_seconds().to_numpy()[1:]
    is_same = ordered["track"].to_numpy()[1:] == ordered["track"].to_numpy()[:-1]
    length_m = np.hypot(*np.diff(xy, axis=0).T)
    is_walked = is_same & (seconds > 0) & (seconds <= 60) & (length_m <= 200)
    lines = shapely.linestrings(np.stack([xy[:-1], xy[1:]], axis=1)[is_walked])
    return shapely.union_all(shapely.buffer(lines, SIGHT_M, quad_segs=32))


def test_every_fix_is_read(fixes: pd.DataFrame) -> None:
    assert (len(fixes), fixes["track"].nunique()) == (4922, 22)
    assert (str(fixes["at"].min().date()), str(fixes["at"].max().date())) == ("2007-07-25", "2012-01-17")


def test_every_outing_runs_through_the_district(fixes: pd.DataFrame, grids: gpd.GeoDataFrame) -> None:
    district = shapely.union_all(grids.geometry.to_numpy())

    is_in = pd.Series(shapely.intersects_xy(district, fixes["lon"], fixes["lat"])).groupby(fixes["track"].to_numpy())

    assert is_in.any().all()


def test_seen_shares_are_those_of_exact_buffers(
    fixes: pd.DataFrame, shares: pd.DataFrame, grids: gpd.GeoDataFrame, city: City
) -> None:
    metric = grids.to_crs(city.metric_crs).geometry
    exact = shapely.area(shapely.intersection(metric.to_numpy(), walked(fixes, city))) / metric.area.to_numpy()

    error = (shares["seen_share"] - exact)[exact > 0]
    assert len(error) > 150
    assert error.abs().mean() < 0.0005
    assert abs(error.mean()) <= 0.0002
    assert error.abs().max() < 0.003


def test_most_of_the_district_was_never_seen(shares: pd.DataFrame) -> None:
    share = shares["seen_m2"].sum() / shares["ground_m2"].sum()

    assert share == pytest.approx(0.02305, abs=0.0005)
    assert (shares["seen_m2"] > 0).sum() < 250


def test_seen_and_unseen_make_up_the_whole_ground(
    grids: gpd.GeoDataFrame, seen: SeenTiles, shares: pd.DataFrame, city: City
) -> None:
    patches = unseen_ground(grids, seen, metric_crs=city.metric_crs, min_area_m2=0.0)

    unseen_m2 = patches.groupby("grid_code")["area_m2"].sum().reindex(grids["grid_code"], fill_value=0.0)
    assert patches["area_m2"].is_monotonic_decreasing
    assert (unseen_m2.to_numpy() == (shares["ground_m2"] - shares["seen_m2"]).to_numpy()).all()


def test_seeing_farther_never_sees_less(
    fixes: pd.DataFrame, shares: pd.DataFrame, city: City, grids: gpd.GeoDataFrame
) -> None:
    farther = burn_fixes(fixes, metric_crs=city.metric_crs, time_zone=city.time_zone, sight_m=2 * SIGHT_M)

    assert (seen_shares(grids, farther, metric_crs=city.metric_crs)["seen_m2"] >= shares["seen_m2"]).all()
