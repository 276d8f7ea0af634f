"""Which hazards a tip-off is rewarded for, and with how much: dated data."""

import re
from collections.abc import Iterable
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
from gis_grid.event_types import EventType
from gis_grid.unit_files import Numbered

REWARD_COLUMNS = ("event_type", "amount_yuan", "since", "until", "is_example")


class RewardRule(Dated, Base):
    """What the first to tip off about an event type, or a class of them, gets once it is verified."""

    __tablename__ = "reward_rules"
    KEY: ClassVar = ("event_type",)
    VALUES: ClassVar = ("amount_yuan", "is_example")

    event_type: Mapped[str]
    amount_yuan: Mapped[Decimal] = mapped_column(sa.Numeric)

    __table_args__ = (
        one_at_a_time("reward_rules", "event_type"),
        sa.CheckConstraint("amount_yuan > 0", name="amount"),
    )


def reward_rule(session: Session, event_type: str, *, at: datetime) -> RewardRule | None:
    """The rule in force at a time for a type: its own, else its class's; None for what is no such hazard."""
    parent = session.scalar(sa.select(EventType.parent_code).where(EventType.code == event_type))
    query = sa.select(RewardRule).where(RewardRule.event_type.in_([event_type, parent]), RewardRule.valid.contains(at))
    return min(session.scalars(query), key=lambda rule: rule.event_type != event_type, default=None)


def read_reward_rules(path: Path, event_types: Iterable[str], *, zone: ZoneInfo) -> Numbered:
    """The rules of a file with the columns of `REWARD_COLUMNS`.

    Raises
    ------
    InvalidInput
        Naming every row at fault: an event type that there is not, an amount that is none, two rules for one moment.
    """
    known = set(event_types)

    def rule(row: Row) -> Stretch:
        if row["event_type"] not in known:
            raise InvalidInput(f"event_type {row['event_type']!r} is no code in the event types")
        if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,2})?", row["amount_yuan"]) or not float(row["amount_yuan"]):
            raise InvalidInput(f"amount_yuan {row['amount_yuan']!r} is not an amount such as 200 or 99.50")
        values = (Decimal(row["amount_yuan"]).normalize(), row.truth("is_example"))
        return Stretch((row["event_type"],), values, *row.range(zone))

    numbered: Numbered = read_file(path, rule, columns=REWARD_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered
