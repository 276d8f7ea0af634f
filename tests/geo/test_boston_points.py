"""Real requests in the city's own polygons, against geopandas and against the city's own columns."""

import io
import zipfile
from pathlib import Path

import geopandas
import pandas as pd
import pytest

from gis_grid.geo.layer_files import read_grids
from gis_grid.geo.placing import GridIndex

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
REQUESTS = SHARED / "boston_311_2011_h2.csv.zip"

pytestmark = pytest.mark.skipif(not REQUESTS.is_file(), reason="no ../shared/data: the Boston requests are not here")


@pytest.fixture(scope="module")
def requests():
    with zipfile.ZipFile(REQUESTS) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".csv"))
        frame = pd.read_csv(io.BytesIO(archive.read(name)), dtype=str)
    return frame.assign(lon=frame["longitude"].astype(float), lat=frame["latitude"].astype(float))


@pytest.fixture(scope="module", params=["precinct", "ward"])
def level(request):
    """The city's column, its polygons, and the shares of agreement with and without the fallback point."""
    if request.param == "precinct":
        grids = read_grids(SHARED / "boston_precincts.geojson", crs="EPSG:2249", code_field="WARD_PRECINCT")
        return "precinct", grids, 0.9219, 0.9539
    return "ward", read_grids(SHARED / "boston_wards.geojson", code_field="WARD"), 0.9617, 0.9929


def test_every_request_is_placed_as_geopandas_joins_it(requests, level):
    _, grids, *_ = level
    placements = GridIndex(grids).place_points(requests["lon"], requests["lat"])
    points = geopandas.GeoDataFrame(
        geometry=geopandas.points_from_xy(requests["lon"], requests["lat"]), crs="EPSG:4326", index=requests.index
    )
    joined = points.sjoin(grids[["grid_code", "geometry"]], how="left", predicate="intersects")
    expected = joined.groupby(level=0)["grid_code"].min().astype(object)
    held = placements["grid_code"].where(placements["method"].isin(["inside", "edge"]))

    assert len(placements) == 58_251
    assert held.fillna("none").tolist() == expected.fillna("none").tolist()
    assert placements["method"].value_counts().to_dict() == {"inside": 58_234, "snapped": 17}


def test_the_grids_agree_with_the_citys_own_column_as_often_as_geopandas_found(requests, level):
    column, grids, share, share_without_fallback = level
    codes = GridIndex(grids).place_points(requests["lon"], requests["lat"])["grid_code"]
    said = requests[column].str.strip().str.removeprefix("Ward ")
    said = said.str.lstrip("0") if column == "ward" else said  # the city writes "Ward 3" and "03"
    agrees = (codes == said)[said.notna() & (said != "")]
    is_fallback = (requests["lon"] == -71.0587) & (requests["lat"] == 42.3594)

    assert is_fallback.sum() == 4_775
    assert agrees.mean() == pytest.approx(share, abs=5e-5)
    assert agrees[~is_fallback].mean() == pytest.approx(share_without_fallback, abs=5e-5)
