"""The livelihood theme of a year (民生主题): which kinds of case belong to it, as dated data."""

import re
from datetime import datetime
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base
from gis_grid.dated import Dated, Row, Stretch, one_at_a_time, read_file, refuse_overlaps
from gis_grid.errors import InvalidInput
from gis_grid.unit_files import Numbered

THEME_COLUMNS = ("year", "name", "event_types", "since", "until", "is_example")
AND = "|"


class YearlyTheme(Dated, Base):
    """The theme of one year, and the event types or classes of the cases that it tags."""

    __tablename__ = "yearly_themes"
    KEY: ClassVar = ("year",)
    VALUES: ClassVar = ("name", "event_types", "is_example")

    year: Mapped[str]
    name: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))

    __table_args__ = (
        one_at_a_time("yearly_themes", "year"),
        sa.CheckConstraint("year ~ '^(19[7-9]|20[0-9])[0-9]$'", name="year"),
        sa.CheckConstraint("event_types <> '{}'", name="event_types"),
    )


def theme_of(session: Session, year: int, *, at: datetime) -> YearlyTheme | None:
    """The theme of a year as it is known at a time; None where it has none."""
    query = sa.select(YearlyTheme).where(YearlyTheme.year == str(year), YearlyTheme.valid.contains(at))
    return session.scalar(query)


def read_themes(path: Path, *, zone: ZoneInfo) -> Numbered:
    """The themes of a file with the columns of `THEME_COLUMNS`; `event_types` names several with `|` between.

    Raises
    ------
    InvalidInput
        Naming every row at fault: a year that is none, an event type or class that is not written as one.
    """

    def theme(row: Row) -> Stretch:
        if not re.fullmatch(r"(19[7-9]|20[0-9])[0-9]", row["year"]):
            raise InvalidInput(f"year {row['year']!r} is not a year from 1970 to 2099")
        codes = row["event_types"].split(AND)
        wrong = [code for code in codes if not re.fullmatch(r"[A-Z][0-9]{2}([0-9]{2})?", code)]
        if wrong or len(set(codes)) < len(codes):
            raise InvalidInput(f"event_types {row['event_types']!r}: expected codes such as E01|E0102, each once")
        return Stretch((row["year"],), (row["name"], codes, row.truth("is_example")), *row.range(zone))

    numbered: Numbered = read_file(path, theme, columns=THEME_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered
