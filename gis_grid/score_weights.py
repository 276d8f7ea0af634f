"""How much each indicator weighs in the official score, as dated data."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base
from gis_grid.dated import Dated, Row, Stretch, one_at_a_time, read_file, refuse_overlaps
from gis_grid.errors import InvalidInput
from gis_grid.indicators import DEFAULT_WEIGHTS, INDICATORS, PLATFORM
from gis_grid.unit_files import Numbered

WEIGHT_COLUMNS = ("name", "weight", "since", "until", "is_example")


class ScoreWeight(Dated, Base):
    """What an indicator weighs in the official score, or the platform in the whole assessment, over a range of time."""

    __tablename__ = "score_weights"
    KEY: ClassVar = ("name",)
    VALUES: ClassVar = ("weight", "is_example")

    name: Mapped[str]
    weight: Mapped[Decimal] = mapped_column(sa.Numeric)

    __table_args__ = (
        one_at_a_time("score_weights", "name"),
        sa.CheckConstraint("weight > 0 and weight <= 1", name="weight"),
    )


def weights_at(session: Session, *, at: datetime) -> Mapping[str, Decimal]:
    """The weights in force at a time; `DEFAULT_WEIGHTS` where none is stored."""
    rows = session.execute(sa.select(ScoreWeight.name, ScoreWeight.weight).where(ScoreWeight.valid.contains(at)))
    return dict(iter(rows)) or DEFAULT_WEIGHTS


def read_weights(path: Path, *, zone: ZoneInfo) -> Numbered:
    """The weights of a file with the columns of `WEIGHT_COLUMNS`.

    Raises
    ------
    InvalidInput
        Naming every row at fault: neither an indicator nor `platform`, a weight that is not above 0 and at most 1.
    """

    def weight(row: Row) -> Stretch:
        name = row.choice("name", [PLATFORM, *INDICATORS])
        if not re.fullmatch(r"[01](\.[0-9]{1,6})?", row["weight"]) or not 0 < Decimal(row["weight"]) <= 1:
            raise InvalidInput(f"weight {row['weight']!r} is not a number above 0 and at most 1")
        return Stretch((name,), (Decimal(row["weight"]), row.truth("is_example")), *row.range(zone))

    numbered: Numbered = read_file(path, weight, columns=WEIGHT_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered
