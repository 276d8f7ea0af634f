"""The files of numbers and of leads: what is wrong is named by its row."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gis_grid.case_numbers import read_leads, read_numbers
from gis_grid.errors import InvalidInput

ZONE = ZoneInfo("Asia/Shanghai")
NUMBERS, LEADS = "name,value,since,until,is_example\n", "unit_code,since,until,is_example\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("after_photo_ft,200,,,true", "name 'after_photo_ft'"),
        ("after_photo_m,0,,,true", "value '0' is not a number above 0"),
        ("after_photo_m,-5,,,true", "value '-5'"),
        ("after_photo_m,NaN,,,true", "value 'NaN'"),
        ("after_photo_m,1e400,,,true", "value '1e400'"),
        ("after_photo_m,0.0001,,,true", "value '0.0001'"),
        ("returns_before_ruling,2.5,,,true", "value '2.5' is not a whole number above 0"),
        ("duplicate_days,七,,,true", "value '七'"),
        ("duplicate_days,7,,,perhaps", "is_example"),
        ("duplicate_days,7,2026-02-30,,true", "2026-02-30"),
    ],
)
def test_a_number_that_cannot_be_is_named_with_its_row(tmp_path: Path, row: str, said: str) -> None:
    path = written(tmp_path, NUMBERS + "duplicate_m,100,,,true\n" + row + "\n")

    with pytest.raises(InvalidInput) as refused:
        read_numbers(path, zone=ZONE)

    assert said in str(refused.value)
    assert "3" in str(refused.value).split(said)[0]  # the row of the file


def test_two_values_of_one_number_at_one_moment_are_refused(tmp_path: Path) -> None:
    rows = "duplicate_m,100,2026-01-01,2026-03-01,true\nduplicate_m,150,2026-02-01,,true\n"

    with pytest.raises(InvalidInput, match="duplicate_m"):
        read_numbers(written(tmp_path, NUMBERS + rows), zone=ZONE)


def test_values_that_follow_each_other_are_read(tmp_path: Path) -> None:
    rows = "duplicate_m,100.5,,2026-02-01,true\nduplicate_m,150,2026-02-01,,true\n"

    read = read_numbers(written(tmp_path, NUMBERS + rows), zone=ZONE)

    assert [str(stretch.values[0]) for _, stretch in read] == ["100.5", "150"]


def test_a_lead_that_is_no_unit_is_named_with_its_row(tmp_path: Path) -> None:
    path = written(tmp_path, LEADS + "dept-police,,,true\ndept-nothing,,,true\n")

    with pytest.raises(InvalidInput, match=r"3.*'dept-nothing' is no unit"):
        read_leads(path, {"dept-police"}, zone=ZONE)


def test_a_lead_twice_at_one_moment_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, LEADS + "dept-police,,,true\ndept-police,2026-01-01,,true\n")

    with pytest.raises(InvalidInput, match="dept-police"):
        read_leads(path, {"dept-police"}, zone=ZONE)
