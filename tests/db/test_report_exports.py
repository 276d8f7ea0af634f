import csv
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest

from gis_grid.errors import InvalidInput
from gis_grid.installation import Installation
from gis_grid.report_exports import defused, export_reports
from gis_grid.reports import ReportFilter
from tests.db.report_rows import GOOD, SHANGHAI, load, row, write_csv


def export(installation: Installation, path: Path, *, is_public: bool = True, **which: Any) -> int:
    with installation.sessions() as session:
        return export_reports(session, path, ReportFilter(**which), is_public=is_public, zone=SHANGHAI)


@pytest.fixture
def three(installation: Installation, tmp_path: Path) -> Installation:
    """Three reports, a day apart; the second would be a formula, the third lies outside."""
    load(
        installation,
        write_csv(
            tmp_path / "calls.csv",
            row(no="1", note="one", opened="2011-07-01"),
            row(no="2", note="=1+1", opened="2011-07-02", who="@李雷", tel="+86100"),
            row(no="3", note="three", opened="2011-07-03", x="121.5"),
        ),
    )
    return installation


def read_csv(path: Path) -> list[dict[str, str]]:
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_public_export_has_no_text_no_contact_and_no_exact_point(three: Installation, tmp_path: Path) -> None:
    count = export(three, tmp_path / "out.csv")

    rows = read_csv(tmp_path / "out.csv")
    assert count == len(rows) == 3
    assert [each["received_at"] for each in rows] == [f"2011-07-0{day}T00:00:00+08:00" for day in (3, 2, 1)]
    assert not {"text", "reporter_name", "reporter_phone", "sent_lon"} & set(rows[0])
    assert {(each["lon"], each["lat"]) for each in rows} == {("", "")}
    assert (rows[2]["grid_code"], rows[2]["community"], rows[2]["town"]) == ("310112001001001", "社区1", "江川路街道")


def test_a_staff_export_has_all_and_defuses_formulas(three: Installation, tmp_path: Path) -> None:
    export(three, tmp_path / "out.csv", is_public=False)

    rows = read_csv(tmp_path / "out.csv")
    assert [each["text"] for each in rows] == ["three", "'=1+1", "one"]
    assert (rows[1]["reporter_name"], rows[1]["reporter_phone"]) == ("'@李雷", "'+86100")
    assert (rows[2]["lon"], rows[2]["lat"]) == (GOOD["x"], GOOD["y"])


def test_an_export_with_contacts_can_be_read_by_its_owner_alone(three: Installation, tmp_path: Path) -> None:
    for name, is_public in (("staff.csv", False), ("staff.gpkg", False), ("public.csv", True)):
        export(three, tmp_path / name, is_public=is_public)

    modes = [(tmp_path / name).stat().st_mode & 0o077 for name in ("staff.csv", "staff.gpkg", "public.csv")]
    assert modes == [0, 0, 0o044]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\tx", "\rx", "\n=1", "＝1"])
def test_what_starts_a_formula_is_defused(text: str) -> None:
    assert defused(text) == f"'{text}"


@pytest.mark.parametrize("value", [-71.05, -3, None, True, "1-1", "a=b", ""])
def test_numbers_and_plain_texts_stay_as_they_are(value: object) -> None:
    assert defused(value) is value


@pytest.mark.parametrize("name", ["out.geojson", "out.gpkg", "out.parquet"])
def test_map_formats_hold_the_same_reports(three: Installation, tmp_path: Path, name: str) -> None:
    export(three, tmp_path / name, is_public=False)

    path = tmp_path / name
    frame = gpd.read_parquet(path) if name.endswith("parquet") else gpd.read_file(path)
    assert frame["text"].tolist() == ["three", "=1+1", "one"]
    assert frame.crs.to_epsg() == 4326 or frame.crs.to_string() == "OGC:CRS84"
    assert (frame.geometry.x.iloc[2], frame.geometry.y.iloc[2]) == (121.4005, 31.1022)


@pytest.mark.parametrize("name", ["out.geojson", "out.gpkg", "out.parquet"])
def test_a_public_export_tells_the_square_of_five_reports_and_not_of_four(
    installation: Installation, tmp_path: Path, name: str
) -> None:
    five, four = [row(no=str(n)) for n in range(5)], [row(no=str(n), x="121.4025", y="31.1004") for n in range(5, 9)]
    load(installation, write_csv(tmp_path / "calls.csv", *five, *four))
    path = tmp_path / name
    export(installation, path)

    frame = gpd.read_parquet(path) if name.endswith("parquet") else gpd.read_file(path)
    told = frame.set_index("grid_code").geometry

    assert told.loc["310112001003003"].isna().tolist() == [True] * 4
    assert {(round(point.x, 6), round(point.y, 6)) for point in told.loc["310112001001001"]} == {
        (121.400845, 31.102206)
    }


def test_geojson_exports_have_no_crs_and_each_feature_its_id(three: Installation, tmp_path: Path) -> None:
    export(three, tmp_path / "out.geojson")

    table = json.loads((tmp_path / "out.geojson").read_text(encoding="utf-8"))
    assert "crs" not in table
    assert len({uuid.UUID(feature["id"]) for feature in table["features"]}) == 3


def test_an_export_of_nothing_is_a_valid_empty_file(three: Installation, tmp_path: Path) -> None:
    paths = [tmp_path / f"out.{suffix}" for suffix in ("csv", "geojson", "gpkg", "parquet")]

    counts = [export(three, path, grid="310112001003003") for path in paths]

    assert counts == [0] * 4
    assert read_csv(paths[0]) == []
    assert [len(gpd.read_file(path)) for path in paths[1:3]] == [0, 0]
    assert len(gpd.read_parquet(paths[3])) == 0


def test_exports_are_filtered(three: Installation, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"

    assert export(three, path, grid="310112001001001") == 2
    assert export(three, path, area="310112001") == 2
    assert export(three, path, event_type="E01") == 3
    assert export(three, path, since=datetime(2011, 7, 1, 16, tzinfo=UTC)) == 2
    assert export(three, path, until=datetime(2011, 7, 1, 16, tzinfo=UTC)) == 1


def test_a_failing_export_leaves_the_old_file(three: Installation, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old", encoding="utf-8")

    def tell(_done: int) -> None:
        raise KeyboardInterrupt

    with three.sessions() as session, pytest.raises(KeyboardInterrupt):
        export_reports(session, path, ReportFilter(), zone=SHANGHAI, tell=tell)

    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.glob(".*out.csv")) == []


def test_an_export_needs_a_known_suffix(three: Installation, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\.csv, \.geojson, \.gpkg or \.parquet"):
        export(three, tmp_path / "out.xlsx")
