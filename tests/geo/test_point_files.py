import csv
import gzip
import io

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from gis_grid.geo import arrow_points, csv_points
from gis_grid.geo.point_batches import (
    RESULT_COLUMNS,
    UnclearColumns,
    UnreadablePoints,
    coordinate_columns,
    numbers_of_texts,
)
from gis_grid.geo.point_files import open_points
from gis_grid.geo.whole_files import whole_file


def copy_placed(source, target, **columns):
    """Read and write a file, placing every row in grid 007 at 1.5 m."""
    points = open_points(source, target, **columns)
    read = []
    with whole_file(target) as path, points.sink(path) as sink:
        for batch in points.batches():
            count = len(batch.lon)
            placements = pd.DataFrame(
                {
                    "grid_code": pd.Series(["007"] * count, dtype=object),
                    "method": pd.Series(["snapped"] * count, dtype=object),
                    "distance_m": np.full(count, 1.5),
                    "reason": pd.Series(batch.reasons, dtype=object),
                }
            )
            sink.write(batch, placements)
            read.append(batch)
    return read


def placed_csv(tmp_path, raw, **columns):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(raw)
    read = copy_placed(source, target, **columns)
    return read, target.read_bytes()


ADDED = b",grid_code,method,distance_m,refusal_reason"
PLACED = b",007,snapped,1.500,"


@pytest.mark.parametrize(
    ("head", "row", "eol"),
    [
        (b"lon,lat,note", b'121.4,31.1,"a, ""b"" c"', b"\n"),
        (b"lon,lat,note", b'121.4,31.1,"two\r\nlines"', b"\r\n"),
        (b'\xef\xbb\xbf"lon","lat",note', b"121.4,31.1,x", b"\n"),
        ("经度,纬度,备注".encode("gb18030"), "121.4,31.1,闵行区,".encode("gb18030")[:-1], b"\r\n"),
        (b"lon,lat,note", b' 121.4 ,+3.11e1,\x00\xff\x80 5" pipe', b"\n"),
        (b"lon,lat,note", b"=1+1,31.1,@formula", b"\n"),
    ],
)
def test_csv_records_keep_their_bytes_and_get_the_results_appended(tmp_path, head, row, eol):
    _, out = placed_csv(tmp_path, head + eol + row + eol + row + eol)

    reason = b"" if not row.startswith(b"=") else b"the coordinates are not two numbers"
    assert out == head + ADDED + eol + (row + PLACED + reason + eol) * 2


def test_a_last_line_without_an_end_keeps_none(tmp_path):
    assert placed_csv(tmp_path, b"lon,lat\n1,2")[1] == b"lon,lat" + ADDED + b"\n1,2" + PLACED


def test_blank_lines_stay_and_are_no_rows(tmp_path):
    read, out = placed_csv(tmp_path, b"\nlon,lat\n1,2\n\n3,4\n")

    assert out == b"\nlon,lat" + ADDED + b"\n1,2" + PLACED + b"\n\n3,4" + PLACED + b"\n"
    assert read[0].lon.tolist() == [1.0, 3.0]


@pytest.mark.parametrize(("delimiter", "name"), [(b";", "semicolon"), (b"\t", "tab")])
def test_other_delimiters_are_used_for_the_results_too(tmp_path, delimiter, name):
    _, out = placed_csv(tmp_path, delimiter.join([b"lon", b"lat"]) + b"\n" + delimiter.join([b"1", b"2"]) + b"\n")

    assert out.splitlines()[1].split(delimiter) == [b"1", b"2", b"007", b"snapped", b"1.500", b""]


def test_short_records_are_filled_up_so_that_results_stand_under_their_names(tmp_path):
    _, out = placed_csv(tmp_path, b"lon,lat,a,b\n1,2\n1\n")
    rows = list(csv.DictReader(io.StringIO(out.decode())))

    assert [row["grid_code"] for row in rows] == ["007", "007"]
    assert [row["refusal_reason"] for row in rows] == ["", "no coordinates"]


def test_records_with_too_many_fields_go_out_with_the_reason(tmp_path):
    read, out = placed_csv(tmp_path, b"lon,lat\n1,2,3\n1,2\n")

    assert read[0].reasons.tolist() == ["the record has 3 fields and the header 2", None]
    assert out.splitlines()[1].startswith(b"1,2,3,")


def test_codes_that_csv_would_split_are_quoted(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(b"lon,lat\n1,2\n")
    points = open_points(source, target)
    with points.sink(target) as sink:
        row = {"grid_code": ['a,"b'], "method": ["outside"], "distance_m": [np.nan], "reason": [None]}
        sink.write(next(points.batches()), pd.DataFrame(row, dtype=object))

    assert target.read_bytes().splitlines()[1] == b'1,2,"a,""b",outside,,'


def test_gzip_goes_in_and_out(tmp_path):
    source, target = tmp_path / "in.csv.gz", tmp_path / "out.CSV.GZ"
    source.write_bytes(gzip.compress(b"lon,lat\n1,2\n"))
    copy_placed(source, target)

    assert gzip.decompress(target.read_bytes()) == b"lon,lat" + ADDED + b"\n1,2" + PLACED + b"\n"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
def test_batches_are_all_rows_in_order_whatever_their_size(tmp_path, monkeypatch, count):
    monkeypatch.setattr(csv_points, "BATCH_ROWS", 3)
    raw = b"lon,lat\n" + b"".join(b"%d,0\n" % i for i in range(count))
    read, _ = placed_csv(tmp_path, raw)

    assert np.concatenate([batch.lon for batch in read]).tolist() == list(range(count))
    assert read[-1].done == len(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no header"),
        (b"\n\n", "no header"),
        ("lon,lat\n1,2\n".encode("utf-16"), "UTF-16"),
        (b'lon,lat\n1,2\n3,"4\n5,6\n', "never closed"),
        (b"lon,lat\r1,2\r3,4\r", "line"),
        (b'lon,lat\n1,"' + b"x" * 200_000 + b'"\n', "field limit"),
    ],
)
def test_csv_that_cannot_be_read_is_refused_and_leaves_nothing(tmp_path, raw, message):
    with pytest.raises(UnreadablePoints, match=message):
        placed_csv(tmp_path, raw)

    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_cut_off_gzip_is_refused_and_leaves_nothing(tmp_path):
    source = tmp_path / "in.csv.gz"
    source.write_bytes(gzip.compress(b"lon,lat\n" + b"1,2\n" * 1000)[:-12])

    with pytest.raises(UnreadablePoints, match="gzip"):
        copy_placed(source, tmp_path / "out.csv.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv.gz"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["id", "Longitude", "LATITUDE"], (1, 2)),
        (["lat", "lng"], (1, 0)),
        (["纬度", "经度"], (1, 0)),
        ([" X ", "y"], (0, 1)),
    ],
)
def test_coordinate_columns_are_found_by_their_usual_names(names, expected):
    assert coordinate_columns(names, None, None) == expected


@pytest.mark.parametrize(
    ("names", "lon", "message"),
    [
        (["lon", "x", "lat"], None, "longitude: could be lon or x"),
        (["lon", "lon", "lat"], "lon", "longitude: could be lon or lon"),
        (["east", "lat"], None, "longitude: expected a column like"),
        (["lon", "lat"], "Lon", "expected column 'Lon'"),
    ],
)
def test_unclear_coordinate_columns_are_named(names, lon, message):
    with pytest.raises(UnclearColumns, match=message):
        coordinate_columns(names, lon, None)


@pytest.mark.parametrize("name", ["grid_code", "METHOD", "distance_m", "refusal_reason"])
def test_a_result_column_that_is_there_already_is_refused(tmp_path, name):
    with pytest.raises(UnclearColumns, match=f"{name} already"):
        placed_csv(tmp_path, f"lon,lat,{name}\n1,2,3\n".encode())


def test_texts_that_are_no_numbers_have_a_reason():
    pairs = [("1", "2"), ("", "2"), ("x", "2"), ("1", "2°"), ("1_0", "2"), ("nan", "1e400"), "lost"]
    lon, lat, reasons = numbers_of_texts(pairs)

    wrong = "the coordinates are not two numbers"
    assert reasons.tolist() == [None, "no coordinates", wrong, wrong, wrong, None, "lost"]
    assert np.isfinite(lon).tolist() == [True] + [False] * 6
    assert lat[5] == np.inf


def fail_half_way(target):
    with whole_file(target) as path:
        path.write_text("half")
        raise ZeroDivisionError


def test_the_target_is_whole_or_as_it_was(tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail_half_way(target)

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_keeps_pointing_to_the_replaced_file(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    with whole_file(tmp_path / "link.csv") as path:
        path.write_text("new")

    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "new"


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        (pa.array([121.4, None, np.nan]), pa.array([31.1, 31.1, 31.1])),
        (pa.array(["121.4", None, "x"]), pa.array(["31.1", "31.1", "31.1"])),
        (pa.array([121.4, None, np.nan], pa.float32()), pa.array([31, 31, 31], pa.int16())),
    ],
)
def test_parquet_columns_and_metadata_stay_and_results_are_added(tmp_path, lon, lat):
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table = pa.table({"id": [1, 2, 3], "lon": lon, "lat": lat, "tags": [["a"], [], None]})
    pq.write_table(table.replace_schema_metadata({"k": "v"}), source)
    (batch,) = copy_placed(source, target)
    placed = pq.read_table(target)

    kept = placed.select(table.column_names)
    assert kept.schema.equals(pq.read_schema(source))
    assert repr(kept.to_pydict()) == repr(table.to_pydict())  # by text: nan is not equal to itself
    assert placed.schema.metadata[b"k"] == b"v"
    assert placed.column_names[4:] == list(RESULT_COLUMNS)
    assert placed["grid_code"].to_pylist() == ["007"] * 3
    assert batch.lon[0] == pytest.approx(121.4, abs=1e-5)
    assert batch.reasons.tolist()[:2] == [None, "no coordinates"]
    assert np.isnan(batch.lon[1:]).all()


def points_frame(crs="EPSG:4326"):
    shapes = [shapely.Point(121.4, 31.1), None, shapely.Point(), shapely.LineString([(0, 0), (1, 1)])]
    return geopandas.GeoDataFrame({"name": ["a", "b", "c", "d"]}, geometry=shapes, crs="EPSG:4326").to_crs(crs)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4549"])
def test_point_geometries_are_read_in_their_crs_and_written_back(tmp_path, suffix, crs):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    frame = points_frame(crs)
    _write(frame, source)
    (batch,) = copy_placed(source, target)
    placed = _read(target)

    assert batch.lon[0] == pytest.approx(121.4, abs=1e-9)
    assert batch.lat[0] == pytest.approx(31.1, abs=1e-9)
    assert batch.reasons.tolist() == [None, "no coordinates", "no coordinates", "the geometry is not a point"]
    assert placed.crs == crs
    assert placed["name"].tolist() == ["a", "b", "c", "d"]
    assert placed.geometry[0] == frame.geometry[0]
    assert placed["grid_code"].tolist() == ["007"] * 4


def test_named_columns_win_over_the_geometry(tmp_path):
    source = tmp_path / "in.parquet"
    points_frame().assign(e=1.0, n=2.0).to_parquet(source)
    (batch,) = copy_placed(source, tmp_path / "out.parquet", lon="e", lat="n")

    assert batch.lon.tolist() == [1.0] * 4


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
def test_files_without_rows_come_out_without_rows(tmp_path, suffix):
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    _write(points_frame().iloc[:1].iloc[:0], source)
    copy_placed(source, target)

    assert len(_read(target)) == 0
    assert set(RESULT_COLUMNS) <= set(_read(target).columns)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
def test_many_batches_come_out_in_order(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(arrow_points, "BATCH_ROWS", 3)
    source, target = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    shapes = [shapely.Point(i, 0) for i in range(10)]
    _write(geopandas.GeoDataFrame({"n": range(10)}, geometry=shapes, crs="EPSG:4326"), source)
    read = copy_placed(source, target)

    assert [batch.done for batch in read] == [3, 6, 9, 10]
    assert _read(target)["n"].tolist() == list(range(10))


def test_a_geometry_without_a_crs_is_refused(tmp_path):
    points_frame().set_crs(None, allow_override=True).to_parquet(tmp_path / "in.parquet")

    with pytest.raises(UnreadablePoints, match="no CRS"):
        open_points(tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_a_geopackage_with_two_layers_is_refused(tmp_path):
    source = tmp_path / "in.gpkg"
    for layer in ("a", "b"):
        pyogrio.write_dataframe(points_frame().iloc[:1], source, layer=layer)

    with pytest.raises(UnreadablePoints, match="one layer, found a, b"):
        open_points(source, tmp_path / "out.gpkg")


def test_coordinates_that_are_no_numbers_at_all_are_refused(tmp_path):
    pq.write_table(pa.table({"lon": [True], "lat": [1.0]}), tmp_path / "in.parquet")

    with pytest.raises(UnclearColumns, match="lon: expected numbers"):
        open_points(tmp_path / "in.parquet", tmp_path / "out.parquet")


@pytest.mark.parametrize("name", ["in.parquet", "in.gpkg", "in.csv.gz"])
def test_damaged_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"not what its name says")

    with pytest.raises(UnreadablePoints, match="in"):
        open_points(tmp_path / name, tmp_path / name.replace("in", "out"))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("in.csv", "out.parquet", "form they came in"),
        ("in.xlsx", "out.xlsx", "expected a name ending in"),
        ("none.csv", "out.csv", "no such file"),
    ],
)
def test_files_of_the_wrong_form_are_refused(tmp_path, source, target, message):
    (tmp_path / "in.csv").write_bytes(b"lon,lat\n")

    with pytest.raises(UnreadablePoints, match=message):
        open_points(tmp_path / source, tmp_path / target)


def test_one_coordinate_column_alone_is_refused(tmp_path):
    (tmp_path / "in.csv").write_bytes(b"lon,lat\n")

    with pytest.raises(UnclearColumns, match="both"):
        open_points(tmp_path / "in.csv", tmp_path / "out.csv", lon="lon")


def _write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        pyogrio.write_dataframe(frame, path, geometry_type="Unknown" if len(frame) > 1 else "Point")


def _read(path):
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else pyogrio.read_dataframe(path)
