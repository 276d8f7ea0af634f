import json
import zipfile

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gis_grid.errors import InvalidInput
from gis_grid.geo.layer_files import (
    UnclearCodeField,
    UndeclaredCrs,
    UnreadableLayer,
    read_grids,
    read_ground,
    read_towns,
    write_grids,
)

SUFFIXES = [".geojson", ".shp", ".zip", ".gpkg", ".parquet"]
FULL = 121.40000001234567


def layer(**columns):
    """Two neighbouring grids of 0.001 degrees with names in Chinese, the second first."""
    names = {
        "grid_code": ["310112101001002", "310112101001001"],
        "community_code": ["310112101001"] * 2,
        "community": ["东街居委会"] * 2,
        "town_code": ["310112101"] * 2,
        "town": ["莘庄镇"] * 2,
        "area_m2": [10570.0, 10570.0],
    }
    shapes = [shapely.box(121.401, 31.1, 121.402, 31.101), shapely.box(FULL, 31.1, 121.401, 31.101)]
    return gpd.GeoDataFrame(names | columns, geometry=shapes, crs="EPSG:4326")


def feature(geometry, **properties):
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def write_json(path, *features, **members):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}), encoding="utf-8")
    return path


SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_layer_comes_back_from_each_format_with_every_digit(tmp_path, suffix):
    write_grids(layer(), tmp_path / f"网格{suffix}")

    back = read_grids(tmp_path / f"网格{suffix}")

    expected = layer().iloc[::-1].reset_index(drop=True)
    assert back.columns.tolist() == expected.columns.tolist()
    assert back.drop(columns=["geometry", "area_m2"]).equals(
        expected.drop(columns=["geometry", "area_m2"]).astype(object)
    )
    assert shapely.equals_identical(shapely.normalize(back.geometry), shapely.normalize(expected.geometry)).all()
    assert back.crs == "EPSG:4326"
    assert back["area_m2"].to_numpy() == pytest.approx(10_584, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(lon=st.floats(-179, 178), lat=st.floats(-89, 88))
def test_geojson_keeps_each_double_bit_for_bit(tmp_path_factory, lon, lat):
    path = tmp_path_factory.mktemp("doubles") / "grids.geojson"
    square = shapely.box(lon, lat, lon + 1, lat + 1)
    write_grids(gpd.GeoDataFrame({"grid_code": ["a"]}, geometry=[square], crs="EPSG:4326"), path)

    back = read_grids(path).geometry[0]

    assert np.array_equal(*(np.unique(shapely.get_coordinates(shape), axis=0) for shape in (back, square)))


def test_seven_decimals_are_written_as_seven_decimals_counter_clockwise_and_without_a_crs(tmp_path):
    clockwise = shapely.Polygon([(121.4, 31.1), (121.4, 31.2), (121.4000001, 31.2)])
    write_grids(gpd.GeoDataFrame({"grid_code": ["a"]}, geometry=[clockwise], crs="EPSG:4326"), tmp_path / "a.geojson")

    text = (tmp_path / "a.geojson").read_text(encoding="utf-8")

    assert "121.4000001," in text
    assert "crs" not in text
    assert shapely.from_geojson(text).geoms[0].exterior.is_ccw


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "grids.geojson"
    write_grids(layer(), path)
    before = path.read_bytes()

    with pytest.raises(ValueError, match="Out of range"):
        write_grids(layer(area_m2=[float("inf")] * 2), path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_format_that_is_unknown_or_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"\.kml"):
        write_grids(layer(), tmp_path / "grids.kml")
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_grids(layer(), tmp_path / "none" / "grids.geojson")


@pytest.mark.parametrize("encoding", ["UTF-8", "GBK"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_chinese_shapefile_is_read_in_the_encoding_it_has(tmp_path, encoding, is_declared):
    path = tmp_path / "grids.shp"
    layer().drop(columns="community_code").rename(columns={"grid_code": "编码"}).to_file(path, encoding=encoding)
    if not is_declared:
        path.with_suffix(".cpg").unlink()

    back = read_grids(path, code_field="编码")

    assert back["community"].tolist() == ["东街居委会"] * 2


def test_a_column_name_cut_within_a_chinese_character_is_read(tmp_path):
    path = tmp_path / "grids.shp"
    with pytest.warns(RuntimeWarning):
        layer()[["grid_code", "geometry"]].rename(columns={"grid_code": "网格编码"}).to_file(path, encoding="UTF-8")

    back = read_grids(path, code_field="网格编")

    assert back["grid_code"].tolist() == ["310112101001001", "310112101001002"]


def test_a_zip_with_two_shapefiles_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.shp", b"")
        archive.writestr("b.shp", b"")

    with pytest.raises(UnreadableLayer, match="2 Shapefiles"):
        read_grids(tmp_path / "two.zip")


def test_an_undeclared_crs_asks_for_one_and_takes_it(tmp_path):
    write_grids(layer(), tmp_path / "grids.shp")
    (tmp_path / "grids.prj").unlink()

    with pytest.raises(UndeclaredCrs, match="--crs"):
        read_grids(tmp_path / "grids.shp")

    assert read_grids(tmp_path / "grids.shp", crs="EPSG:4490").total_bounds == pytest.approx(
        [121.4, 31.1, 121.402, 31.101]
    )


def test_the_named_crs_overrides_a_file_that_lies(tmp_path):
    feet = layer().to_crs("EPSG:4549").set_crs("EPSG:4326", allow_override=True)
    write_grids(feet, tmp_path / "grids.geojson")

    back = read_grids(tmp_path / "grids.geojson", crs="EPSG:4549")

    assert back.total_bounds == pytest.approx([121.4, 31.1, 121.402, 31.101])
    assert np.isnan(read_grids(tmp_path / "grids.geojson")["area_m2"]).all()


def test_a_crs_that_is_none_is_refused(tmp_path):
    write_grids(layer(), tmp_path / "grids.geojson")

    with pytest.raises(InvalidInput, match="EPSG:0"):
        read_grids(tmp_path / "grids.geojson", crs="EPSG:0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"type": "FeatureCollection", "features": []}',
        "\0",
        "网格",
        '{"type": "FeatureCollection"',
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_holds_no_layer_is_refused_by_name(tmp_path, suffix, text):
    path = tmp_path / f"broken{suffix}"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(UnreadableLayer, match="broken"):
        read_grids(path)


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    (tmp_path / "grids.txt").write_text("x", encoding="utf-8")

    with pytest.raises(UnreadableLayer, match="no such file"):
        read_grids(tmp_path / "none.geojson")
    with pytest.raises(UnreadableLayer, match=r"\.txt"):
        read_grids(tmp_path / "grids.txt")


def test_the_only_column_that_can_hold_codes_is_taken(tmp_path):
    path = write_json(tmp_path / "a.geojson", feature(SQUARE, id="a", ward=1), feature(SQUARE, id="b", ward=1))

    assert read_grids(path)["grid_code"].tolist() == ["a", "b"]


def test_more_than_one_candidate_asks_for_the_column_and_lists_them(tmp_path):
    path = write_json(tmp_path / "a.geojson", feature(SQUARE, id="a", no=1), feature(SQUARE, id="b", no=2))

    with pytest.raises(UnclearCodeField, match="--code-field: id, no"):
        read_grids(path)
    with pytest.raises(UnclearCodeField, match="no column 'code'"):
        read_grids(path, code_field="code")


def test_codes_are_text_whatever_the_file_makes_of_them(tmp_path):
    path = write_json(
        tmp_path / "a.geojson", feature(SQUARE, grid_code=310112101001002), feature(SQUARE, grid_code=1714.0)
    )

    assert read_grids(path)["grid_code"].tolist() == ["1714", "310112101001002"]


def test_features_without_code_or_geometry_stay_in_the_frame(tmp_path):
    point = {"type": "Point", "coordinates": [0, 0]}
    collection = {"type": "GeometryCollection", "geometries": [point, SQUARE]}
    path = write_json(
        tmp_path / "a.geojson",
        feature(None, grid_code="a"),
        feature({"type": "Polygon", "coordinates": []}, grid_code="b"),
        feature(collection, grid_code="c"),
        feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 0]]]}, grid_code="d"),
        feature(SQUARE),
    )

    grids = read_grids(path)

    assert grids["grid_code"].tolist() == ["a", "b", "c", "d", None]
    assert grids["area_m2"].notna().tolist() == [False, False, False, False, True]


def test_heights_are_dropped_with_a_note(tmp_path):
    square = {"type": "Polygon", "coordinates": [[[0, 0, 5], [1, 0, 5], [1, 1, 5], [0, 0, 5]]]}

    grids = read_grids(write_json(tmp_path / "a.geojson", feature(square, grid_code="a")))

    assert not grids.geometry.has_z.any()
    assert grids.attrs["notes"] == ["a.geojson: heights (Z) were dropped"]


def test_other_columns_are_kept_out(tmp_path):
    path = write_json(tmp_path / "a.geojson", feature(SQUARE, grid_code="a", town="t", area_m2="x", phone="1"))

    assert read_grids(path).columns.tolist() == ["grid_code", "town", "area_m2", "geometry"]


def test_the_area_is_geodesic(tmp_path):
    path = write_json(tmp_path / "a.geojson", feature(SQUARE, grid_code="a"))

    # a degree square on the equator: 12,309 km2 on WGS84
    assert read_grids(path)["area_m2"].to_numpy() == pytest.approx(12_308_778_361, abs=1)


def test_the_ground_of_a_file_is_one_shape(tmp_path):
    other = {"type": "Polygon", "coordinates": [[[1, 0], [2, 0], [2, 1], [1, 1], [1, 0]]]}
    path = write_json(tmp_path / "a.geojson", feature(SQUARE), feature(other))

    assert read_ground(path).equals(shapely.box(0, 0, 2, 1))


def test_towns_are_read_from_an_areas_file_or_one_of_their_own(tmp_path):
    areas = write_json(
        tmp_path / "areas.geojson",
        feature(SQUARE, level="district", code="d", name="D"),
        feature(SQUARE, level="town", code="t", name="T"),
    )
    own = write_json(tmp_path / "towns.geojson", feature(SQUARE, town_code="t", town="T"))

    assert read_towns(areas)[["code", "name"]].to_numpy().tolist() == [["t", "T"]]
    assert read_towns(own)[["code", "name"]].to_numpy().tolist() == [["t", "T"]]
