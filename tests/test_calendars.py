"""Calendar, office hours and lights as files."""

from datetime import date, datetime, time
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gis_grid.calendars import (
    CalendarDay,
    DayKind,
    OfficeHours,
    UnreadableCalendarFile,
    build_calendar,
    load_calendar,
    read_days,
    read_office_hours,
    read_thresholds,
)
from gis_grid.city import MINHANG
from gis_grid.clocks import MalformedCalendar, MalformedThresholds, Thresholds

SHANGHAI = ZoneInfo("Asia/Shanghai")
CALENDAR, OFFICE_HOURS, LIGHTS = (
    MINHANG.with_name(name) for name in ("calendar.csv", "office_hours.csv", "lights.csv")
)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_minhang_has_every_day_of_2024_to_2026() -> None:
    days = [row.day for row in read_days(CALENDAR)]

    assert (days[0], days[-1], len(days)) == (date(2024, 1, 1), date(2026, 12, 31), 366 + 365 + 365)
    assert len(set(days)) == len(days)


@pytest.mark.parametrize(
    ("day", "kind", "name"),
    [
        ("2026-02-13", DayKind.WORK, ""),
        ("2026-02-14", DayKind.MAKEUP, "春节"),
        ("2026-02-15", DayKind.HOLIDAY, "春节"),
        ("2026-02-23", DayKind.HOLIDAY, "春节"),
        ("2026-02-28", DayKind.MAKEUP, "春节"),
        ("2026-03-01", DayKind.REST, ""),
        ("2025-10-06", DayKind.HOLIDAY, "中秋"),
        ("2024-02-09", DayKind.WORK, ""),  # New Year's Eve, not a holiday in 2024
    ],
)
def test_minhang_has_the_days_of_the_state_councils_notices(day: str, kind: DayKind, name: str) -> None:
    rows = {row.day: row for row in read_days(CALENDAR)}

    assert rows[date.fromisoformat(day)] == CalendarDay(date.fromisoformat(day), kind, name)


def test_only_make_up_days_are_worked_on_weekends_and_only_holidays_are_off_in_the_week() -> None:
    for row in read_days(CALENDAR):
        is_weekend = row.day.isoweekday() > 5
        assert row.kind in ({"rest", "holiday", "makeup"} if is_weekend else {"work", "holiday"})
        assert bool(row.name) == (row.kind in {"holiday", "makeup"})


def test_minhangs_office_hours_and_thresholds_are_the_documented_example() -> None:
    assert read_office_hours(OFFICE_HOURS) == [
        OfficeHours(None, time(8, 30), time(11, 30), is_example=True),
        OfficeHours(None, time(13, 30), time(17, 30), is_example=True),
    ]
    assert read_thresholds(LIGHTS) == Thresholds(Fraction(1, 2), Fraction(4, 5), Fraction(1))


def test_the_files_make_the_calendar_of_the_city() -> None:
    built = load_calendar(SHANGHAI, days=CALENDAR, office_hours=OFFICE_HOURS)

    assert [built.is_work_day(date(2026, 2, day)) for day in (13, 14, 15, 23, 24)] == [True, True, False, False, True]
    assert built.known_until == date(2026, 12, 31)


def test_a_weekday_with_rows_of_its_own_has_only_those() -> None:
    hours = [OfficeHours(None, time(9), time(17), is_example=True), OfficeHours(5, time(9), time(12), is_example=True)]
    built = build_calendar(SHANGHAI, [], hours)
    thursday, friday, saturday = (datetime(2026, 3, day, tzinfo=SHANGHAI) for day in (5, 6, 7))

    assert built.work_between(thursday, friday).seconds == 8 * 3600
    assert built.work_between(friday, saturday).seconds == 3 * 3600


def test_a_day_twice_or_no_office_hours_make_no_calendar() -> None:
    day = CalendarDay(date(2026, 3, 2), DayKind.WORK, "")

    with pytest.raises(MalformedCalendar, match="2026-03-02 twice"):
        build_calendar(SHANGHAI, [day, day], [OfficeHours(None, time(9), time(17), is_example=True)])
    with pytest.raises(MalformedCalendar, match="empty"):
        build_calendar(SHANGHAI, [day], [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("day,kind\n2026-03-02,work\n", "needs the columns"),
        ("day,kind,name\n", "no rows"),
        ("", "needs the columns"),
        ("day,kind,name\n2026-02-30,work,\n2026-03-02,play,\n", "row 2: .*; row 3: "),
        ("day,kind,name\n2026-03-02,work,\n2026-03-02,rest,\n", "days twice: 2026-03-02"),
        ("day,kind,name\n2026-03-02\n", "row 2"),
        ("day,kind,name\n2026-03-02,holiday,a\0b\n", "NUL"),
    ],
)
def test_a_faulty_calendar_is_refused_with_its_rows(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(UnreadableCalendarFile, match=fault):
        read_days(write(tmp_path, text))


def test_a_file_that_is_missing_or_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gbk.csv"
    path.write_bytes("day,kind,name\n2026-02-17,holiday,春节\n".encode("gbk"))

    with pytest.raises(UnreadableCalendarFile, match="UTF-8"):
        read_days(path)
    with pytest.raises(UnreadableCalendarFile):
        read_days(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "row", ["0,08:30,11:30,true", "all,8:30,11:30,true", "1,08:30,24:00,true", "1,08:30,11:30,yes"]
)
def test_faulty_office_hours_are_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(UnreadableCalendarFile, match="row 2"):
        read_office_hours(write(tmp_path, f"weekday,from,until,is_example\n{row}\n"))


@pytest.mark.parametrize(
    "row", ["red,1e0,true", "red,２,true", "purple,1,true", "red,1.5.1,true", "red,1,", "red,nan,true"]
)
def test_faulty_lights_are_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(UnreadableCalendarFile, match="row 2"):
        read_thresholds(write(tmp_path, f"light,share,is_example\n{row}\n"))


@pytest.mark.parametrize(
    "rows",
    [
        ["yellow,0.5", "red,1"],
        ["blue,0", "yellow,0.5", "orange,0.8", "red,1"],
        ["yellow,0.5", "yellow,0.5", "orange,0.8", "red,1"],
        ["yellow,0.8", "orange,0.5", "red,1"],
    ],
)
def test_lights_that_are_not_three_ascending_are_refused(tmp_path: Path, rows: list[str]) -> None:
    text = "".join(f"{row},true\n" for row in rows)

    with pytest.raises(MalformedThresholds):
        read_thresholds(write(tmp_path, f"light,share,is_example\n{text}"))
