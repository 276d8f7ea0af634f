"""Which act of supervision falls due when in the run of a clock, and who is told: dated data, and what it makes due."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.clocks import Calendar, ChangeInstants, DueTooLate, Limit, MalformedLimit, Pause, Thresholds
from gis_grid.clocks import change_instants as instants_of
from gis_grid.database import Base
from gis_grid.dated import Dated, Row, Stretch, one_at_a_time, one_of, read_file, refuse_overlaps
from gis_grid.errors import InvalidInput
from gis_grid.unit_files import Numbered

ACT_COLUMNS = ("act", "at", "tells", "since", "until", "is_example")
AND = "|"


class Act(StrEnum):
    """The four acts of supervision."""

    REMIND = "提醒"
    URGE = "催办"
    OVERSEE = "督办"
    QUESTION = "问效"


class ActAt(StrEnum):
    """The moment in the run of a clock at which an act falls due."""

    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"
    AGAIN = "again"  # red for as long again: twice the limit is used


class Tells(StrEnum):
    """Who is told of an act, seen from the unit that the case is with."""

    UNIT = "unit"
    PARENT = "parent"
    FIRST_RESPONSIBLE = "first_responsible"


class ActRule(NamedTuple):
    """An act, when it falls due, and who is told."""

    act: Act
    at: ActAt
    tells: tuple[Tells, ...]


# For a city that names none. The article does not pair acts and lights: this pairing is ours.
DEFAULT_ACTS = (
    ActRule(Act.REMIND, ActAt.YELLOW, (Tells.UNIT,)),
    ActRule(Act.URGE, ActAt.ORANGE, (Tells.UNIT, Tells.FIRST_RESPONSIBLE)),
    ActRule(Act.OVERSEE, ActAt.RED, tuple(Tells)),
    ActRule(Act.QUESTION, ActAt.AGAIN, tuple(Tells)),
)


class SupervisionAct(Dated, Base):
    """When one act falls due and who is told, over a range of time."""

    __tablename__ = "supervision_acts"
    KEY: ClassVar = ("act",)
    VALUES: ClassVar = ("at", "tells", "is_example")

    act: Mapped[str]
    at: Mapped[str]
    tells: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))

    __table_args__ = (
        one_at_a_time("supervision_acts", "act"),
        sa.CheckConstraint(one_of("act", Act), name="act"),
        sa.CheckConstraint(one_of("at", ActAt), name="at"),
        sa.CheckConstraint("tells <> '{}'", name="tells"),
    )


def acts_at(session: Session, *, at: datetime) -> tuple[ActRule, ...]:
    """The acts in force at a time; `DEFAULT_ACTS` where none is stored."""
    rows = session.scalars(sa.select(SupervisionAct).where(SupervisionAct.valid.contains(at)))
    found = [ActRule(Act(row.act), ActAt(row.at), tuple(Tells(one) for one in row.tells)) for row in rows]
    return tuple(sorted(found, key=lambda rule: list(Act).index(rule.act))) or DEFAULT_ACTS


def read_acts(path: Path, *, zone: ZoneInfo) -> Numbered:
    """The acts of a file with the columns of `ACT_COLUMNS`; `tells` names several with `|` between.

    Raises
    ------
    InvalidInput
        Naming every row at fault: an unknown act, moment or addressee, two rows for one act at one moment.
    """

    def act(row: Row) -> Stretch:
        told = row["tells"].split(AND)
        unknown = [one for one in told if one not in set(Tells)]
        if unknown or len(set(told)) < len(told):
            raise InvalidInput(f"tells {row['tells']!r} is not {', '.join(Tells)}, each at most once with | between")
        values = (row.choice("at", ActAt), told, row.truth("is_example"))
        return Stretch((row.choice("act", Act),), values, *row.range(zone))

    numbered: Numbered = read_file(path, act, columns=ACT_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered


def act_instants(
    start: datetime,
    limit: Limit,
    calendar: Calendar,
    thresholds: Thresholds,
    *,
    paused: Sequence[Pause],
    extended: Sequence[Limit],
    lights: ChangeInstants,
    rules: Sequence[ActRule],
) -> dict[Act, datetime | None]:
    """When each act of a run of a clock falls due, in UTC; None for one that a pause keeps from it, or the year 2100.

    Parameters as `clocks.change_instants`, whose answer `lights` is.
    """
    at: dict[ActAt, datetime | None] = dict(zip((ActAt.YELLOW, ActAt.ORANGE, ActAt.RED), lights, strict=True))
    if any(rule.at is ActAt.AGAIN for rule in rules):
        twice = [*extended, limit, *extended]
        try:
            at[ActAt.AGAIN] = instants_of(start, limit, calendar, thresholds, paused=paused, extended=twice).red_at
        except (DueTooLate, MalformedLimit):
            at[ActAt.AGAIN] = None
    return {rule.act: at[rule.at] for rule in rules}
