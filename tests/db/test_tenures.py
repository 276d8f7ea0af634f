from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.orm import Session

from gis_grid.errors import Conflict, InvalidInput
from gis_grid.tenures import NewTenure, appoint, grids_without_manager, manager_of, managers_at, read_tenures
from tests.builders import BY, NOW, load_squares, squares

GRID = "310112001001001"
SHANGHAI = ZoneInfo("Asia/Shanghai")
HEAD = "grid_code,name,post,unit,duty_phone,own_phone,since,until\n"
ROW = f"{GRID},王芳,书记,好第坊居委会,000-1,1000,2026-01-01,2026-02-01\n"


def tenure(code: str = GRID, *, name: str = "王芳", since: datetime = NOW, until: datetime | None = None) -> NewTenure:
    return NewTenure(code, name, "书记", "居委会", "000-1", None, since, until)


def test_a_handover_at_midnight_leaves_no_moment_without_or_with_two_managers(session: Session) -> None:
    load_squares(session)
    handover = NOW + timedelta(days=1)
    appoint(session, [tenure(until=handover), tenure(name="李雷", since=handover)], by=BY, now=NOW)

    names = [
        held.person.name if held else None
        for held in managers_at(
            session, [(GRID, NOW - timedelta(seconds=1)), (GRID, handover - timedelta(seconds=1)), (GRID, handover)]
        )
    ]

    assert names == [None, "王芳", "李雷"]


def test_overlapping_tenures_are_refused_by_the_database(session: Session) -> None:
    load_squares(session)
    appoint(session, [tenure()], by=BY, now=NOW)

    with pytest.raises(Conflict, match=GRID):
        appoint(session, [tenure(name="李雷", since=NOW + timedelta(days=1))], by=BY, now=NOW)

    held = manager_of(session, GRID, at=NOW + timedelta(days=2))
    assert held is not None
    assert held.person.name == "王芳"


def test_grids_without_a_manager_are_listed(session: Session) -> None:
    load_squares(session)
    appoint(session, [tenure()], by=BY, now=NOW)

    assert grids_without_manager(session, at=NOW) == [code for code in squares()["grid_code"] if code != GRID]
    assert len(grids_without_manager(session, at=NOW - timedelta(days=1))) == 9


def test_a_grid_that_no_layer_has_is_named(session: Session) -> None:
    load_squares(session)

    with pytest.raises(InvalidInput, match="999"):
        appoint(session, [tenure("999")], by=BY, now=NOW)


def test_dates_in_a_file_start_at_midnight_in_the_citys_zone(tmp_path: Path) -> None:
    path = tmp_path / "managers.csv"
    path.write_text("\ufeff" + HEAD + ROW, encoding="utf-8")

    (read,) = read_tenures(path, zone=SHANGHAI)

    assert (read.since, read.until) == (
        datetime(2025, 12, 31, 16, tzinfo=UTC),
        datetime(2026, 1, 31, 16, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks the columns"),
        ("grid_code,name\n1,2\n", "duty_phone"),
        (HEAD + ROW.replace("书记", ""), "row 2: post is empty"),
        (HEAD + ROW + ROW.replace("2026-01-01", "1.1.2026"), "row 3"),
        (HEAD + ROW.replace("2026-02-01", "2025-02-01"), "not after"),
        (HEAD + ROW.replace("2026-01-01", "0001-01-01"), "1970"),
        (HEAD + ROW.replace("书记", "书\0记"), "NUL"),
    ],
)
def test_what_is_wrong_in_a_file_of_tenures_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "managers.csv"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InvalidInput) as caught:
        read_tenures(path, zone=SHANGHAI)

    assert said in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "managers.csv"
    path.write_bytes((HEAD + ROW).encode("gbk"))

    with pytest.raises(InvalidInput, match="UTF-8"):
        read_tenures(path, zone=SHANGHAI)
