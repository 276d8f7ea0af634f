"""Make gis_grid/cities/minhang/calendar.csv: work days, weekends, public holidays and make-up days of China.

The source is the State Council's yearly notice as the package chinesecalendar holds it; running the service needs
neither. The notice for a year comes out in the November before: then raise the version and run it again.

    python3 -m venv /tmp/build-calendar
    /tmp/build-calendar/bin/pip install chinesecalendar==1.11.0
    /tmp/build-calendar/bin/python script/build_calendar.py

The same version gives the same bytes. 1.11.0 knows the years to 2026, and the file covers 2024 to 2026 in full.
"""

import argparse
import csv
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from chinese_calendar.constants import Holiday, holidays, workdays

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "gis_grid" / "cities" / "minhang" / "calendar.csv"
FIRST_YEAR = 2024
NAMES = {holiday.value: holiday.chinese for holiday in Holiday}


def rows(first: date, last: date) -> Iterator[tuple[str, str, str]]:
    """Day, kind and name of each day, ascending."""
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(ordinal)
        if day in holidays:
            yield day.isoformat(), "holiday", NAMES[holidays[day]]
        elif day in workdays:
            yield day.isoformat(), "makeup", NAMES[workdays[day]]
        else:
            yield day.isoformat(), "work" if day.isoweekday() <= 5 else "rest", ""


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="file to write (default: Minhang's)")
    parser.add_argument("--first-year", type=int, default=FIRST_YEAR)
    arguments = parser.parse_args()
    after = date(max(holidays).year + 1, 1, 1)
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["day", "kind", "name"])
        writer.writerows(rows(date(arguments.first_year, 1, 1), after - timedelta(days=1)))
    print(f"{arguments.out}: {arguments.first_year} to {after.year - 1}")


if __name__ == "__main__":
    main()
