"""The numbers that cases are judged by besides limits and lights, as dated data; and who leads a joint operation."""

import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base
from gis_grid.dated import Dated, Row, Stretch, one_at_a_time, read_file, refuse_overlaps
from gis_grid.errors import InvalidInput
from gis_grid.unit_files import Numbered

NUMBER_COLUMNS = ("name", "value", "since", "until", "is_example")
LEAD_COLUMNS = ("unit_code", "since", "until", "is_example")


@dataclass(frozen=True)
class CaseNumbers:
    """The numbers in force at a time; the defaults are for a city that names none.

    Attributes
    ----------
    after_photo_m
        How far from the place the photo of a disposal may be taken, metres.
    returns_before_ruling
        The refusal after which only a final ruling sends a case on.
    duplicate_m, duplicate_days
        How near in space and time a case is likely the same thing, metres and days.
    duplicate_closed_days
        How long after its end a case is still offered, days.
    returns_before_referral, reworks_before_referral
        From how many refusals and transfers, or failed checks, of a case on accountability is proposed.
    red_cases_before_referral
        In how many cases of one unit in a period clocks run out until accountability is proposed.
    question_unanswered_h
        How long after a 问效 the clock it was issued for may run on, hours by the wall clock.
    """

    after_photo_m: float = 200.0
    returns_before_ruling: int = 3
    duplicate_m: float = 100.0
    duplicate_days: int = 7
    duplicate_closed_days: int = 3
    returns_before_referral: int = 2
    reworks_before_referral: int = 2
    red_cases_before_referral: int = 5
    question_unanswered_h: int = 24


WHOLE = frozenset(field.name for field in fields(CaseNumbers)) - {"after_photo_m", "duplicate_m"}


class CaseNumber(Dated, Base):
    """One of the numbers of `CaseNumbers` over a range of time."""

    __tablename__ = "case_numbers"
    KEY: ClassVar = ("name",)
    VALUES: ClassVar = ("value", "is_example")

    name: Mapped[str]
    value: Mapped[Decimal] = mapped_column(sa.Numeric)

    __table_args__ = (one_at_a_time("case_numbers", "name"), sa.CheckConstraint("value > 0", name="value"))


class JointLead(Dated, Base):
    """A body of law enforcement that must lead every joint operation (the 2 of 2+X)."""

    __tablename__ = "joint_leads"
    KEY: ClassVar = ("unit_code",)
    VALUES: ClassVar = ("is_example",)

    unit_code: Mapped[str]

    __table_args__ = (one_at_a_time("joint_leads", "unit_code"),)


def numbers_at(session: Session, *, at: datetime) -> CaseNumbers:
    """The numbers in force at a time."""
    rows = session.execute(sa.select(CaseNumber.name, CaseNumber.value).where(CaseNumber.valid.contains(at)))
    stated: dict[str, Any] = {name: int(value) if name in WHOLE else float(value) for name, value in rows}
    return CaseNumbers(**stated)


def joint_leads(session: Session, *, at: datetime) -> list[str]:
    """Codes of the bodies that must lead a joint operation at a time, ascending."""
    query = sa.select(JointLead.unit_code).where(JointLead.valid.contains(at)).order_by(JointLead.unit_code)
    return list(session.scalars(query))


def read_numbers(path: Path, *, zone: ZoneInfo) -> Numbered:
    """The numbers of a file with the columns of `NUMBER_COLUMNS`.

    Raises
    ------
    InvalidInput
        Naming every row at fault: an unknown name, a value that is not a number above 0, two values at one moment.
    """

    def number(row: Row) -> Stretch:
        name = row.choice("name", [field.name for field in fields(CaseNumbers)])
        pattern = r"[0-9]{1,6}" if name in WHOLE else r"[0-9]{1,6}(\.[0-9]{1,3})?"
        if not re.fullmatch(pattern, row["value"]) or Decimal(row["value"]) == 0:
            raise InvalidInput(f"value {row['value']!r} is not a {'whole ' if name in WHOLE else ''}number above 0")
        return Stretch((name,), (Decimal(row["value"]), row.truth("is_example")), *row.range(zone))

    numbered: Numbered = read_file(path, number, columns=NUMBER_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered


def read_leads(path: Path, units: Collection[str], *, zone: ZoneInfo) -> Numbered:
    """The leads of a file with the columns of `LEAD_COLUMNS`; errors as `read_numbers`, and a unit that is none."""

    def lead(row: Row) -> Stretch:
        if row["unit_code"] not in units:
            raise InvalidInput(f"unit_code {row['unit_code']!r} is no unit")
        return Stretch((row["unit_code"],), (row.truth("is_example"),), *row.range(zone))

    numbered: Numbered = read_file(path, lead, columns=LEAD_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered
