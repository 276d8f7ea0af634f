from pathlib import Path

import pytest

from gis_grid.city import load_city
from gis_grid.errors import InvalidInput
from gis_grid.event_types import read_event_types

CITY = """
name = "Boston"
adcode = "25025"
time_zone = "America/New_York"
metric_crs = "EPSG:26986"
code_pattern = '\\d{4}'
"""


def city_file(folder: Path, text: str = CITY) -> Path:
    path = folder / "city.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_minhang_is_built_in_with_its_grids_outline_and_towns() -> None:
    city = load_city()

    assert (city.name, city.adcode, city.grid_count) == ("闵行区", "310112", 1002)
    assert all(path is not None and path.is_file() for path in (city.grids, city.outline, city.towns, city.event_types))


def test_a_city_without_a_list_of_event_types_gets_minhangs(tmp_path: Path) -> None:
    city = load_city(city_file(tmp_path))

    assert (city.name_en, city.grids, city.event_types) == ("Boston", None, load_city().event_types)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "adcode is missing"),
        ("adcode = 25025", "adcode must be str"),
        ('adcode = "1"\ntime_zone = "Mars/Olympus"', "Mars/Olympus"),
        ('adcode = "1"\nmetric_crs = "EPSG:4326"', "not a projected CRS in metres"),
        ('adcode = "1"\nmetric_crs = "EPSG:2249"', "not a projected CRS in metres"),
        ('adcode = "1"\nmetric_crs = "EPSG:0"', "EPSG:0"),
        ('adcode = "1"\ncode_pattern = "("', "not a regular expression"),
        ('adcode = "1"\noutline = "nowhere.geojson"', "nowhere.geojson"),
        ('adcode = "1"\nrules = "nowhere"', "is not a folder"),
        ('adcode = "1"\ncolour = "red"', "colour is not a key"),
        ('adcode = "1"\n[basemap]\nurl = "x"', "basemap needs url and attribution"),
        ('adcode = "1"\n[basemap]\nurl = "x"\nattribution = "y"\ndatum = "z"', "basemap.datum"),
        ("adcode = ", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_city_file_is_named(tmp_path: Path, line: str, said: str) -> None:
    keys = {part.split(" = ")[0] for part in line.splitlines()} | {"adcode"}
    kept = [row for row in CITY.strip().splitlines() if row.split(" = ")[0] not in keys]

    with pytest.raises(InvalidInput, match=r"city\.toml") as caught:
        load_city(city_file(tmp_path, "\n".join([*kept, line])))

    assert said in str(caught.value)


def test_all_faults_of_a_city_file_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_city(city_file(tmp_path, 'name = 7\ncolour = "red"'))

    assert all(word in str(caught.value) for word in ("name must be", "adcode is missing", "colour is not"))


def test_the_shipped_top_level_of_event_types_is_the_standards_and_the_rest_is_marked_example() -> None:
    rows = read_event_types(load_city().event_types)

    top = {row["name"]: row["is_example"] for row in rows if row["parent_code"] is None}
    assert {
        "市容环境",
        "宣传广告",
        "施工管理",
        "突发事件",
        "街面秩序",
        "公用设施",
        "道路交通",
        "园林绿化",
        "其他设施",
    } <= set(top)
    assert set(top.values()) == {False}
    assert {row["is_example"] for row in rows if row["parent_code"]} == {True}
