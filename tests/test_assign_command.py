import csv
import re
import signal
import subprocess
import sys
import time

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from gis_grid import assigning
from gis_grid.assigning import SameFile, assign_points
from gis_grid.cli import main
from gis_grid.geo import arrow_points, csv_points
from gis_grid.geo.datum import Datum, DatumMismatch, wgs84_to_gcj02
from gis_grid.geo.placing import GridIndex

LON, LAT, SIDE = 121.375, 31.125, 1 / 64


def squares(columns=3, rows=3):
    """Squares of about 1.5 km: grid 11 in the south-west, 13 east of it by two, 31 north of it by two."""
    cells = {
        f"{row + 1}{column + 1}": shapely.box(
            LON + column * SIDE, LAT + row * SIDE, LON + (column + 1) * SIDE, LAT + (row + 1) * SIDE
        )
        for row in range(rows)
        for column in range(columns)
    }
    return geopandas.GeoDataFrame({"grid_code": list(cells), "geometry": list(cells.values())}, crs="EPSG:4326")


@pytest.fixture
def grids_file(tmp_path):
    path = tmp_path / "grids.geojson"
    squares().to_file(path)
    return path


def run(monkeypatch, *arguments):
    """Exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["gis-grid", "assign", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0


def points_file(tmp_path, lon, lat, name="in.csv"):
    path = tmp_path / name
    path.write_text(
        "id,lon,lat\n" + "".join(f"{i},{x!r},{y!r}\n" for i, (x, y) in enumerate(zip(lon, lat, strict=True)))
    )
    return path


def in_squares(count, seed=1):
    rng = np.random.default_rng(seed)
    return (LON + rng.random(count) * 3 * SIDE).tolist(), (LAT + rng.random(count) * 3 * SIDE).tolist()


def test_each_row_goes_out_in_its_place_with_its_grid(tmp_path, grids_file, monkeypatch, capsys):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    rows = [
        f"a,{LON + SIDE / 2},{LAT + SIDE / 2}",
        f"b,{LON + SIDE},{LAT + SIDE / 2}",
        f"c,{LON - 0.0001},{LAT + SIDE / 2}",
        "d,121.0,31.0",
        "e,,",
        f"f,{LAT},{LON}",
        "g,nan,31.1",
        '"h\r\n",x,y',
    ]
    source.write_bytes(("id,lng,lat\r\n" + "\r\n".join(rows) + "\r\n").encode())

    assert run(monkeypatch, source, target, "--grids", grids_file) == 0
    with target.open(newline="") as file:
        placed = list(csv.DictReader(file))
    assert [row["id"].strip() for row in placed] == list("abcdefgh")
    assert [row["grid_code"] for row in placed] == ["11", "11", "11", "", "", "", "", ""]
    assert [row["method"] for row in placed] == ["inside", "edge", "snapped", "outside"] + ["refused"] * 4
    assert [row["distance_m"] for row in placed] == ["0.000", "0.000", "9.537", ""] + [""] * 4
    reasons = [row["refusal_reason"] for row in placed]
    assert reasons[:5] == ["", "", "", "", "no coordinates"]
    assert ["swapped" in reasons[5], "finite" in reasons[6], "not two numbers" in reasons[7]] == [True] * 3
    assert "8 rows: 1 inside, 1 edge, 1 snapped, 1 outside, 4 refused" in capsys.readouterr().out


def test_untouched_columns_keep_their_bytes(tmp_path, grids_file, monkeypatch):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    head, row = "经度,纬度,备注".encode("gbk"), f'{LON},{LAT},"老""闵行""'.encode("gbk") + b'\n"'
    source.write_bytes(head + b"\r\n" + row + b"\r\n")

    assert run(monkeypatch, source, target, "--grids", grids_file) == 0
    out = target.read_bytes()
    added = b",grid_code,method,distance_m,refusal_reason\r\n"
    assert out == head + added + row + b",11,edge,0.000,\r\n"


def test_a_pair_that_lies_in_the_grids_only_turned_round_is_refused(tmp_path):
    boston = geopandas.GeoDataFrame({"grid_code": ["1"]}, geometry=[shapely.box(-71.2, 42.2, -71, 42.4)], crs=4326)
    source = points_file(tmp_path, [42.3, -71.1], [-71.1, 42.3])
    assign_points(source, tmp_path / "out.csv", GridIndex(boston))
    placed = pd.read_csv(tmp_path / "out.csv")

    assert placed["method"].tolist() == ["refused", "inside"]
    assert placed["refusal_reason"][0].startswith("swapped")


def test_a_batch_on_another_datum_is_refused_unless_forced(tmp_path, grids_file, monkeypatch, capsys):
    source, target = (
        points_file(tmp_path, *map(np.ndarray.tolist, wgs84_to_gcj02(*in_squares(2000)))),
        tmp_path / "o.csv",
    )

    assert run(monkeypatch, source, target, "--grids", grids_file) == 1
    assert "look like gcj02" in capsys.readouterr().err
    assert not target.exists()
    assert run(monkeypatch, source, target, "--grids", grids_file, "--force") == 0
    assert run(monkeypatch, source, target, "--grids", grids_file, "--datum", "gcj02") == 0
    assert pd.read_csv(target)["method"].isin(["inside", "edge"]).all()


@pytest.mark.parametrize("datum", [Datum.GCJ02, Datum.BD09, Datum.CGCS2000])
def test_points_are_placed_from_their_declared_datum(tmp_path, datum):
    from gis_grid.geo.datum import wgs84_to_bd09

    shift = {Datum.GCJ02: wgs84_to_gcj02, Datum.BD09: wgs84_to_bd09, Datum.CGCS2000: lambda *pair: pair}[datum]
    lon, lat = in_squares(200)
    expected = GridIndex(squares()).place_points(lon, lat)["grid_code"].tolist()
    moved = [np.asarray(part).tolist() for part in shift(lon, lat)]
    assign_points(points_file(tmp_path, *moved), tmp_path / "out.csv", GridIndex(squares()), datum=datum)

    assert pd.read_csv(tmp_path / "out.csv", dtype={"grid_code": str})["grid_code"].tolist() == expected


def test_a_mixed_up_datum_is_noticed_behind_a_pile_of_one_fallback_point(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_points, "BATCH_ROWS", 500)
    monkeypatch.setattr(assigning, "SAMPLE_POINTS", 2000)
    lon, lat = (part.tolist() for part in wgs84_to_gcj02(*in_squares(1500)))
    centre = LON + 1.5 * SIDE, LAT + 1.5 * SIDE
    source = points_file(tmp_path, [centre[0]] * 500 + lon, [centre[1]] * 500 + lat)

    with pytest.raises(DatumMismatch):
        assign_points(source, tmp_path / "out.csv", GridIndex(squares()))


def test_batches_make_no_difference(tmp_path, monkeypatch):
    source = points_file(tmp_path, *in_squares(1000))
    assign_points(source, tmp_path / "whole.csv", GridIndex(squares()))
    monkeypatch.setattr(csv_points, "BATCH_ROWS", 7)
    steps = []
    assign_points(source, tmp_path / "parts.csv", GridIndex(squares()), on_progress=lambda *step: steps.append(step))

    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert steps == sorted(steps)
    assert steps[-1] == (source.stat().st_size, source.stat().st_size)


@pytest.mark.parametrize("name", ["in.parquet", "in.gpkg", "in.csv"])
def test_every_form_gives_the_same_grids(tmp_path, grids_file, monkeypatch, name):
    lon, lat = in_squares(300)
    frame = geopandas.GeoDataFrame({"id": range(300)}, geometry=geopandas.points_from_xy(lon, lat), crs="EPSG:4326")
    source, target = tmp_path / name, tmp_path / name.replace("in", "out")
    if name == "in.csv":
        points_file(tmp_path, lon, lat)
    elif name == "in.parquet":
        frame.to_parquet(source)
    else:
        frame.to_file(source)

    assert run(monkeypatch, source, target, "--grids", grids_file) == 0
    read = {"in.parquet": geopandas.read_parquet, "in.gpkg": geopandas.read_file, "in.csv": pd.read_csv}[name]
    expected = GridIndex(squares()).place_points(lon, lat)["grid_code"].tolist()
    assert read(target)["grid_code"].astype(str).tolist() == expected


def test_the_result_may_not_take_the_place_of_what_is_read(tmp_path, grids_file, monkeypatch):
    source = points_file(tmp_path, *in_squares(3))
    (tmp_path / "link.csv").symlink_to(source)
    before = source.read_bytes()

    for target in (source, tmp_path / "link.csv"):
        with pytest.raises(SameFile):
            assign_points(source, target, GridIndex(squares()))
        assert run(monkeypatch, source, target, "--grids", grids_file) == 2
    assert run(monkeypatch, source, grids_file, "--grids", grids_file) == 2
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("id,lon,x,lat\n", [], "lon or x"),
        ("id,east,lat\n", [], "longitude: expected"),
        ("id,lon,lat,method\n", [], "method already"),
        ("id,lon,lat\n", ["--lon", "easting", "--lat", "lat"], "easting"),
        ("id,lon,lat\n", ["--grids-crs", "EPSG:0"], "EPSG:0"),
        ("id,lon,lat\n", ["--code-field", "nope"], "nope"),
        ("id,lon,lat\n", ["--snap", "-1"], "--snap"),
        ('id,lon,lat\n1,2,"3\n', [], "never closed"),
    ],
)
def test_input_that_cannot_be_used_is_explained_with_exit_code_2(  # noqa: PLR0917 - fixtures and parameters
    tmp_path, grids_file, monkeypatch, capsys, text, arguments, message
):
    source = tmp_path / "in.csv"
    source.write_text(text)

    assert run(monkeypatch, source, tmp_path / "out.csv", "--grids", grids_file, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("target", ["no/folder/out.csv", "folder.csv", "out.parquet"])
def test_targets_that_cannot_be_written_are_explained_with_exit_code_2(tmp_path, grids_file, monkeypatch, target):
    (tmp_path / "folder.csv").mkdir()
    source = points_file(tmp_path, *in_squares(3))

    assert run(monkeypatch, source, tmp_path / target, "--grids", grids_file) == 2


def test_a_file_without_rows_comes_out_with_the_new_header(tmp_path, grids_file, monkeypatch):
    source = points_file(tmp_path, [], [])

    assert run(monkeypatch, source, tmp_path / "out.csv", "--grids", grids_file) == 0
    expected = "id,lon,lat,grid_code,method,distance_m,refusal_reason\n"
    assert (tmp_path / "out.csv").read_text() == expected


def write_points(path, count):
    """Points of `in_squares` with a number each; row groups of 100 rows in Parquet."""
    lon, lat = in_squares(count)
    frame = pd.DataFrame({"id": range(count), "lon": lon, "lat": lat})
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=100)
    else:
        frame.to_csv(path, index=False)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("name", ["in.parquet", "in.csv", "in.csv.gz"])
def test_after_a_kill_finished_parts_are_not_placed_again_and_the_result_is_the_same(tmp_path, monkeypatch, name):
    monkeypatch.setattr(csv_points, "BATCH_ROWS", 50)
    monkeypatch.setattr(csv_points.CsvPoints, "part_rows", 200)
    monkeypatch.setattr(arrow_points.ParquetPoints, "part_rows", 200)
    source, whole, target = tmp_path / name, tmp_path / f"whole-{name}", tmp_path / f"out-{name}"
    write_points(source, 1000)
    assign_points(source, whole, GridIndex(squares()))
    seen = []

    def kill_at_half(done, size):
        seen.append(done)
        if len(seen) * (100 if name == "in.parquet" else 50) > 500:
            raise Killed

    with pytest.raises(Killed):
        assign_points(source, target, GridIndex(squares()), on_progress=kill_at_half)
    assert not target.exists()
    assigned = assign_points(source, target, GridIndex(squares()))

    assert assigned.resumed_rows == 400
    assert sum(assigned.counts.values()) == 1000
    assert target.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("what", ["source", "grids", "snap"])
def test_parts_of_other_work_are_not_gone_on_with(tmp_path, monkeypatch, what):
    monkeypatch.setattr(arrow_points.ParquetPoints, "part_rows", 200)
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    write_points(source, 1000)

    def kill_late(done, size):
        if done > 800:
            raise Killed

    with pytest.raises(Killed):
        assign_points(source, target, GridIndex(squares()), on_progress=kill_late)
    if what == "source":
        write_points(source, 900)
    grids = squares(columns=2) if what == "grids" else squares()
    assigned = assign_points(source, target, GridIndex(grids), snap_m=10 if what == "snap" else 50)

    assert assigned.resumed_rows == 0
    assert sum(assigned.counts.values()) == (900 if what == "source" else 1000)


SMALL_PARTS = """
from gis_grid.cli import main
from gis_grid.geo.arrow_points import ParquetPoints
ParquetPoints.part_rows = 200
main()
"""


def test_a_command_killed_with_kill_9_goes_on_where_it_was(tmp_path, grids_file, monkeypatch, capsys):
    source, whole, target = (tmp_path / name for name in ("in.parquet", "whole.parquet", "out.parquet"))
    write_points(source, 30_000)
    assign_points(source, whole, GridIndex(squares()))
    words = ("assign", str(source), str(target), "--grids", str(grids_file))
    with subprocess.Popen([sys.executable, "-c", SMALL_PARTS, *words], stderr=subprocess.DEVNULL) as command:
        while not (finished := list(tmp_path.glob(".out.parquet.parts/*-out.parquet.json"))):
            assert command.poll() is None
            time.sleep(0.01)
        command.kill()
    assert command.returncode == -signal.SIGKILL
    assert not target.exists()

    assert run(monkeypatch, *words[1:]) == 0
    done_before = re.search(r"([0-9,]+) rows had been placed before", capsys.readouterr().err)
    assert done_before is not None
    assert int(done_before[1].replace(",", "")) >= 200 * len(finished)
    assert target.read_bytes() == whole.read_bytes()
