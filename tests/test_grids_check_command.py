import json
import re
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from typer.testing import CliRunner

from gis_grid.cli import app
from gis_grid.geo.layer_files import read_grids, write_grids

ROOT = Path(__file__).parents[1]
GRIDS = ROOT / "grids.geojson"
MINHANG = ROOT / "gis_grid" / "cities" / "minhang"
BOSTON = ROOT.parent / "shared" / "data" / "boston_precincts.geojson"
LON, LAT, SIDE = 121.4, 31.1, 0.001


def square(column, row):
    return shapely.box(LON + column * SIDE, LAT + row * SIDE, LON + (column + 1) * SIDE, LAT + (row + 1) * SIDE)


def write_squares(path, *, without=()):
    """3 x 3 squares, some left out, as a grid file."""
    numbers = [number for number in range(9) if number not in without]
    grids = gpd.GeoDataFrame(
        {"grid_code": [f"31011210100100{number + 1}" for number in numbers]},
        geometry=[square(number % 3, number // 3) for number in numbers],
        crs="EPSG:4326",
    )
    write_grids(grids, path)
    return path


def check(*arguments):
    return CliRunner().invoke(app, ["grids", "check", *map(str, arguments)])


def test_the_shipped_grids_pass_against_every_reference():
    result = check(
        GRIDS, "--count", 1002, "--district", MINHANG / "outline.geojson", "--towns", MINHANG / "towns.geojson"
    )

    assert result.exit_code == 0, result.output
    assert result.output == "1002 grids, no fault found\n"


def test_without_references_an_exact_tiling_passes_and_says_what_is_unchecked(tmp_path):
    result = check(write_squares(tmp_path / "grids.geojson"))

    assert result.exit_code == 0
    assert result.output.count("unchecked: ") == 3


def test_every_fault_is_listed_with_kind_size_codes_and_place(tmp_path):
    result = check(write_squares(tmp_path / "grids.geojson", without=[4]), "--count", 9)

    assert result.exit_code == 1
    count, hole, *_ = result.output.splitlines()
    assert count == "wrong_count  1  8 grids, 9 expected"
    assert re.match(r"hole  10,\d{3} m²  at 121\.4015000, 31\.1015000  .*310112101001002, .* and 310112101001008", hole)
    assert result.output.splitlines()[-1] == "8 grids, 2 faults: 1 wrong_count, 1 hole"


def test_a_feature_without_code_is_named_by_its_place_in_the_file(tmp_path):
    features = json.loads(GRIDS.read_text(encoding="utf-8"))["features"]
    features[9]["properties"]["grid_code"] = ""
    path = tmp_path / "grids.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")

    result = check(path, "--faults", tmp_path / "faults.geojson")

    (fault,) = json.loads((tmp_path / "faults.geojson").read_text(encoding="utf-8"))["features"]
    assert result.output.startswith("missing_code  1  at ")
    assert "feature 10 has no grid code" in result.output
    assert result.output.splitlines()[-1] == "1002 grids, 1 fault: 1 missing_code"
    assert fault["properties"]["codes"] == ["#10"]


def test_a_city_brings_its_count_and_outline(tmp_path):
    result = check(write_squares(tmp_path / "grids.geojson"), "--city", MINHANG / "city.toml")

    assert result.exit_code == 1
    assert "9 grids, 1002 expected" in result.output
    assert "uncovered  " in result.output


def test_faults_are_written_as_geojson(tmp_path):
    out = tmp_path / "out.geojson"

    check(write_squares(tmp_path / "grids.geojson", without=[4]), "--count", 9, "--faults", out)

    count, hole = json.loads(out.read_text(encoding="utf-8"))["features"]
    assert (count["geometry"], count["properties"]["width_m"]) == (None, None)
    assert (hole["properties"]["kind"], len(hole["properties"]["codes"])) == ("hole", 4)
    assert hole["geometry"]["type"] == "Polygon"


@pytest.mark.parametrize("without", [[], [4]])
def test_the_map_is_one_file_without_outside_addresses(tmp_path, without):
    out = tmp_path / "out.html"

    check(write_squares(tmp_path / "grids.geojson", without=without), "--map", out)

    page = out.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']?https?:", page)
    assert ("空洞 Hole" in page) == bool(without)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.geojson"], "no such file"),
        (["bad.geojson"], "bad.geojson cannot be read"),
        (["grids.geojson", "--code-field", "nr"], "no column 'nr'"),
        (["grids.geojson", "--crs", "EPSG:1"], "EPSG:1"),
        (["grids.geojson", "--district", "bad.geojson"], "bad.geojson cannot be read"),
        (["grids.geojson", "--map", "none/map.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_read_or_written_is_exit_code_two(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_squares(tmp_path / "grids.geojson")
    (tmp_path / "bad.geojson").write_text("{", encoding="utf-8")

    result = check(*arguments)

    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.skipif(not BOSTON.exists(), reason="needs Boston's precincts in ../shared/data")
def test_bostons_precincts_lie_about_their_crs_and_overlap_when_read_in_feet(tmp_path):
    lying = check(BOSTON, "--code-field", "WARD_PRECINCT", "--map", tmp_path / "lying.html")
    told = check(BOSTON, "--code-field", "WARD_PRECINCT", "--crs", "EPSG:2249")

    assert (lying.exit_code, told.exit_code) == (1, 1)
    assert lying.stdout.startswith("not_degrees  255  the coordinates run from 739,594, 2,908,187")
    assert "no map drawn" in lying.stderr
    assert "not_degrees" not in told.output
    assert "55 overlap" in told.output


def test_the_help_teaches_with_an_example():
    assert "gis-grid grids check grids.geojson" in " ".join(check("--help").output.split())


def test_reading_and_writing_the_shipped_file_loses_nothing(tmp_path):
    write_grids(read_grids(GRIDS), tmp_path / "copy.geojson")

    before, after = read_grids(GRIDS), read_grids(tmp_path / "copy.geojson")

    assert shapely.equals_identical(shapely.normalize(before.geometry), shapely.normalize(after.geometry)).all()
