"""Boston's 311 requests of July to December 2011 in Boston's own precincts and wards: real, and not tidy."""

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import sqlalchemy as sa
from typer.testing import CliRunner

from gis_grid.city import load_city
from gis_grid.cli import app
from gis_grid.database import connect
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.geo.density import heat_surface, implausible_piles, on_piles
from gis_grid.geo.layer_files import read_grids
from gis_grid.geo.placing import GridIndex
from gis_grid.layers import check_layer
from tests.builders import SHARED_DATA

REQUESTS = SHARED_DATA / "boston_311_2011_h2.csv.zip"
PRECINCTS = SHARED_DATA / "boston_precincts.geojson"
WARDS = SHARED_DATA / "boston_wards.geojson"
FALLBACK = (-71.0587, 42.3594)  # City Hall: where requests without a place of their own were put

pytestmark = pytest.mark.skipif(not REQUESTS.exists(), reason="the data folder ../shared/data is not there")


class Ground(NamedTuple):
    """A layer, and the requests placed in it."""

    grids: gpd.GeoDataFrame
    placed: pd.DataFrame


@pytest.fixture(scope="module")
def requests() -> pd.DataFrame:
    table = pd.read_csv(REQUESTS, dtype=str, keep_default_na=False)
    return table.assign(lon=table["longitude"].astype(float), lat=table["latitude"].astype(float))


@pytest.fixture(scope="module")
def precincts(requests: pd.DataFrame) -> Ground:
    # The file says degrees and means EPSG:2249, feet.
    return _ground(requests, read_grids(PRECINCTS, crs="EPSG:2249", code_field="WARD_PRECINCT"))


@pytest.fixture(scope="module")
def wards(requests: pd.DataFrame) -> Ground:
    return _ground(requests, read_grids(WARDS, code_field="WARD"))


def _ground(requests: pd.DataFrame, grids: gpd.GeoDataFrame) -> Ground:
    return Ground(grids, GridIndex(grids).place_points(requests["lon"], requests["lat"]))


def lowest_by_sjoin(lon: object, lat: object, grids: gpd.GeoDataFrame) -> pd.Series:
    """geopandas' answer: the lowest code among the grids that a point meets, null for none."""
    points = gpd.GeoDataFrame(geometry=gpd.points_from_xy(lon, lat), crs="EPSG:4326")
    pairs = gpd.sjoin(points, grids[["grid_code", "geometry"]], predicate="intersects")
    return pairs.groupby(level=0)["grid_code"].min().reindex(points.index)


@pytest.mark.parametrize("layer", ["precincts", "wards"])
def test_every_request_goes_where_geopandas_puts_it(
    requests: pd.DataFrame, layer: str, request: pytest.FixtureRequest
) -> None:
    ground: Ground = request.getfixturevalue(layer)
    placed = ground.placed
    expected = lowest_by_sjoin(requests["lon"], requests["lat"], ground.grids)

    is_held = placed["method"].isin(["inside", "edge"])
    assert len(placed) == 58_251
    assert (is_held == expected.notna()).all()
    assert (placed["grid_code"][is_held] == expected[is_held]).all()
    assert dict(Counter(placed["method"])) == {"inside": 58_234, "snapped": 17}
    assert 7 < placed["distance_m"][~is_held].min() <= placed["distance_m"].max() < 41


@pytest.mark.parametrize("layer", ["precincts", "wards"])
def test_a_corner_goes_to_the_lowest_code_that_geopandas_finds(layer: str, request: pytest.FixtureRequest) -> None:
    ground: Ground = request.getfixturevalue(layer)
    corners = np.unique(shapely.get_coordinates(ground.grids.geometry.to_numpy()), axis=0)
    expected = lowest_by_sjoin(corners[:, 0], corners[:, 1], ground.grids)

    placed = GridIndex(ground.grids).place_points(corners[:, 0], corners[:, 1])

    assert len(corners) > 4_000
    assert (placed["grid_code"] == expected).all()


@pytest.mark.parametrize(
    ("layer", "column", "everywhere", "elsewhere"),
    [
        ("precincts", "precinct", (50_971, 55_291), (50_906, 53_365)),
        ("wards", "ward", (53_263, 55_384), (53_064, 53_442)),
    ],
)
def test_answers_agree_with_the_city_s_own_column_as_often_as_is_known(  # noqa: PLR0917 - pytest passes by name
    requests: pd.DataFrame,
    request: pytest.FixtureRequest,
    layer: str,
    column: str,
    everywhere: tuple[int, int],
    elsewhere: tuple[int, int],
) -> None:
    placed = request.getfixturevalue(layer).placed
    own = requests[column].str.strip().str.removeprefix("Ward ")
    own = own.str.lstrip("0") if column == "ward" else own
    is_named, agrees = own != "", own == placed["grid_code"]
    is_elsewhere = ~((requests["lon"] == FALLBACK[0]) & (requests["lat"] == FALLBACK[1]))

    assert (agrees.sum(), is_named.sum()) == everywhere
    assert ((agrees & is_elsewhere).sum(), (is_named & is_elsewhere).sum()) == elsewhere


def test_city_hall_is_the_one_implausible_pile(requests: pd.DataFrame) -> None:
    piles = implausible_piles(requests["lon"], requests["lat"])

    assert [tuple(pile) for pile in piles[["lon", "lat", "count"]].to_numpy()] == [(*FALLBACK, 4775)]


def test_without_the_pile_the_hottest_place_is_no_longer_city_hall(requests: pd.DataFrame, precincts: Ground) -> None:
    lon, lat = requests["lon"].to_numpy(), requests["lat"].to_numpy()
    bounds = tuple(precincts.grids.total_bounds)
    is_pile = on_piles(lon, lat, implausible_piles(lon, lat))

    with_pile = heat_surface(lon, lat, bounds=bounds).values
    without = heat_surface(lon[~is_pile], lat[~is_pile], bounds=bounds).values

    # A Gaussian of 250 m holds n / (2 pi 0.25²) a km² in its middle: 4,775 make 12,159.
    assert (with_pile - without).max() == pytest.approx(12_159, rel=0.01)
    assert with_pile.max() > 5 * without.max()


@pytest.fixture(scope="module")
def city(requests: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boston as its own city file would describe it; event types from the data's column."""
    folder = tmp_path_factory.mktemp("boston")
    with (folder / "event_types.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["code", "parent_code", "family", "name", "name_en", "is_example"])
        names = sorted(requests["type"].unique())
        writer.writerows([f"B{i:03d}", "", "event", name, name, "false"] for i, name in enumerate(names, start=1))
    (folder / "city.toml").write_text(
        'name = "Boston"\n'
        'adcode = "25025"\n'
        'time_zone = "America/New_York"\n'
        'metric_crs = "EPSG:26986"\n'
        "code_pattern = '\\d{4}'\n"
        'event_types = "event_types.csv"\n',
        encoding="utf-8",
    )
    return folder / "city.toml"


def test_the_gate_names_the_faults_of_the_city_s_own_precincts(precincts: Ground, city: Path) -> None:
    report = check_layer(precincts.grids, load_city(city))

    kinds = Counter(fault.kind.value for fault in report.found)
    named = {fault.kind.value: fault.codes for fault in report.found if kinds[fault.kind.value] == 1}
    invalid = sorted(fault.codes[0] for fault in report.found if fault.kind.value == "invalid_geometry")
    assert not report.ok
    assert (named["malformed_code"], invalid) == (("0502A",), ["0511", "1713"])
    assert kinds["overlap"] > 50
    assert kinds["gap"] > 50


@pytest.fixture
def boston(
    city: Path, cluster: EmbeddedPostgis, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> sa.Engine:
    """A database for the commands, whose city is Boston."""
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url(database, role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url(database))
    monkeypatch.setenv("GIS_GRID_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GIS_GRID_CITY", str(city))
    return connect(cluster.url(database, role="gis_grid_app"), pool_size=1)


def test_all_requests_become_reports_of_boston(
    requests: pd.DataFrame, precincts: Ground, boston: sa.Engine, tmp_path: Path
) -> None:
    columns = {
        "id": "case_enquiry_id",
        "lon": "longitude",
        "lat": "latitude",
        "event_type": "type",
        "text": "case_title",
        "received_at": "open_dt",
    }
    maps = [word for name, column in columns.items() for word in ("--map", f"{name}={column}")]
    options = [*maps, "--set", "kind=投诉", "--source-name", "Boston 311", "--rejects", str(tmp_path / "bad.csv")]

    layer = CliRunner().invoke(
        app, ["grids", "load", str(PRECINCTS), "--crs", "EPSG:2249", "--code-field", "WARD_PRECINCT", "--accept-faults"]
    )
    loaded = CliRunner().invoke(app, ["reports", "load", str(REQUESTS), *options])
    again = CliRunner().invoke(app, ["reports", "load", str(REQUESTS), *options])

    assert (layer.exit_code, loaded.exit_code) == (0, 0), layer.output + loaded.output
    assert "58,251 rows: 58,251 stored (58,234 inside, 17 snapped)" in loaded.output
    assert "58,251 were stored before" in again.output
    assert _stored(boston) == Counter(zip(precincts.placed["grid_code"], requests["type"], strict=True))


def _stored(engine: sa.Engine) -> Counter[tuple[str, str]]:
    """How many reports each grid has of each type."""
    query = (
        "select g.code, t.name, count(*) from reports r join grids g on g.id = r.grid_id "
        "join event_types t on t.code = r.event_type group by 1, 2"
    )
    with engine.connect() as connection:
        rows = connection.execute(sa.text(query)).all()
    engine.dispose()
    return Counter({(code, name): count for code, name, count in rows})
