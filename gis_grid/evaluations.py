"""Two-way evaluation (双向评价): the district of its towns; the towns of units stationed there and of departments."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base, By
from gis_grid.dated import Dated, Row, Stretch, one_at_a_time, one_of, read_file, refuse_overlaps
from gis_grid.errors import InvalidInput
from gis_grid.periods import Period
from gis_grid.unit_files import Numbered
from gis_grid.units import PlacementModel, Unit, UnitKind, the_unit

CRITERIA_COLUMNS = ("direction", "criterion", "weight", "since", "until", "is_example")
WORDS_MOST = 1000


class Direction(StrEnum):
    """Who evaluates whom."""

    DISTRICT_TO_TOWN = "district_to_town"
    TOWN_TO_STATIONED = "town_to_stationed"  # 监督权、考核权
    TOWN_TO_DEPARTMENT = "town_to_department"  # of its guidance (业务指导)


class EvaluationCriterion(Dated, Base):
    """What is evaluated in one direction and what it weighs there, over a range of time."""

    __tablename__ = "evaluation_criteria"
    KEY: ClassVar = ("direction", "criterion")
    VALUES: ClassVar = ("weight", "is_example")

    direction: Mapped[str]
    criterion: Mapped[str]
    weight: Mapped[Decimal] = mapped_column(sa.Numeric)

    __table_args__ = (
        one_at_a_time("evaluation_criteria", "direction", "criterion"),
        sa.CheckConstraint(one_of("direction", Direction), name="direction"),
        sa.CheckConstraint("weight > 0 and weight <= 1", name="weight"),
    )


class Evaluation(Base):
    """Points that one unit gave another for one criterion and month; rows are only ever added, the last one counts."""

    __tablename__ = "evaluations"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    direction: Mapped[str]
    month: Mapped[str]
    by_unit: Mapped[str]
    of_unit: Mapped[str]
    criterion: Mapped[str]
    points: Mapped[Decimal] = mapped_column(sa.Numeric)
    reason: Mapped[str]
    who: Mapped[str]
    at: Mapped[datetime]
    channel: Mapped[str]
    request_id: Mapped[str]

    __table_args__ = (
        sa.Index("ix_evaluations_month", "month", "direction", "id"),
        sa.CheckConstraint(one_of("direction", Direction), name="direction"),
        sa.CheckConstraint("month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'", name="month"),
        sa.CheckConstraint("points between 0 and 100", name="points"),
        sa.CheckConstraint("by_unit <> of_unit", name="self"),
    )


@dataclass(frozen=True)
class NewEvaluation:
    """What somebody states in the name of a unit; `points` 0 to 100."""

    direction: Direction
    month: str
    by_unit: str
    of_unit: str
    criterion: str
    points: Decimal
    reason: str = ""


class Evaluated(NamedTuple):
    """What one unit thinks of another in a month: the mean of its criteria by their weights, and the points of each."""

    points: float
    criteria: Mapping[str, float]


def criteria_at(session: Session, *, at: datetime) -> dict[Direction, dict[str, float]]:
    """The criteria in force at a time, with their weights, by direction."""
    found: dict[Direction, dict[str, float]] = {direction: {} for direction in Direction}
    query = sa.select(EvaluationCriterion).where(EvaluationCriterion.valid.contains(at))
    for row in session.scalars(query.order_by(EvaluationCriterion.id)):
        found[Direction(row.direction)][row.criterion] = float(row.weight)
    return found


def evaluate(session: Session, new: NewEvaluation, *, zone: ZoneInfo, by: By, now: datetime) -> Evaluation:
    """Store what one unit thinks of another; to be called once the caller's power over `by_unit` is proved.

    Raises
    ------
    InvalidInput
        Naming the field: a month to come, points outside 0 to 100, a criterion that is not in force, two units that do
        not stand to each other as the direction says.
    """
    period = Period.month(new.month, zone)
    if period.since > now:
        raise InvalidInput(f"month: {new.month} has not begun", fields=("month",))
    if not (new.points.is_finite() and 0 <= new.points <= 100):
        raise InvalidInput(f"points: {new.points} is not between 0 and 100", fields=("points",))
    if len(new.reason) > WORDS_MOST:
        raise InvalidInput(f"reason: is longer than {WORDS_MOST} characters", fields=("reason",))
    known = criteria_at(session, at=min(period.until, now))[new.direction]
    if new.criterion not in known:
        raise InvalidInput(
            f"criterion: {new.criterion[:60]!r} is not one of {', '.join(known) or 'none that are loaded'}",
            fields=("criterion",),
        )
    _demand_direction(the_unit(session, new.by_unit, at=now), the_unit(session, new.of_unit, at=now), new.direction)
    row = Evaluation(
        **{name: getattr(new, name) for name in ("month", "by_unit", "of_unit", "criterion", "points", "reason")},
        direction=new.direction.value,
        who=by.who,
        at=now,
        channel=by.channel,
        request_id=by.request_id,
    )
    session.add(row)
    session.flush()
    return row


def may_evaluate(by: Unit, of: Unit, direction: Direction) -> bool:
    """Whether two units stand to each other as a direction says."""
    match direction:
        case Direction.DISTRICT_TO_TOWN:
            return by.kind == UnitKind.CENTRE and of.kind == UnitKind.SUB_CENTRE
        case Direction.TOWN_TO_STATIONED:
            is_there = of.area_code == by.area_code and of.placement_model in {
                PlacementModel.STATIONED,
                PlacementModel.SUNK,
            }
            return by.kind == UnitKind.SUB_CENTRE and is_there
        case Direction.TOWN_TO_DEPARTMENT:
            return by.kind == UnitKind.SUB_CENTRE and of.kind == UnitKind.DEPARTMENT


def _demand_direction(by: Unit, of: Unit, direction: Direction) -> None:
    if not may_evaluate(by, of, direction):
        expected = {
            Direction.DISTRICT_TO_TOWN: "the district's centre of a town's sub-centre",
            Direction.TOWN_TO_STATIONED: "a town's sub-centre of a unit stationed or sunk there",
            Direction.TOWN_TO_DEPARTMENT: "a town's sub-centre of a department",
        }[direction]
        raise InvalidInput(
            f"of_unit: {by.code} ({by.kind}) of {of.code} ({of.kind}) is not {direction}: {expected}",
            fields=("of_unit",),
        )


def matrix(session: Session, month: str, direction: Direction, *, at: datetime) -> dict[tuple[str, str], Evaluated]:
    """What each unit thinks of each other in a month, by (who evaluates, who is evaluated); the last word of each."""
    said = sa.select(Evaluation).where(Evaluation.month == month, Evaluation.direction == direction.value)
    weights = criteria_at(session, at=at)[direction]
    given: dict[tuple[str, str], dict[str, float]] = {}
    for row in session.scalars(said.order_by(Evaluation.id)):
        if row.criterion in weights:
            given.setdefault((row.by_unit, row.of_unit), {})[row.criterion] = float(row.points)
    return {pair: Evaluated(_weighted(points, weights), points) for pair, points in given.items()}


def _weighted(points: Mapping[str, float], weights: Mapping[str, float]) -> float:
    whole = sum(weights[name] for name in points)
    return sum(weights[name] * value for name, value in points.items()) / whole


def evaluated(session: Session, month: str, *, at: datetime) -> dict[str, dict[Direction, float]]:
    """The mean of what others think of each unit in a month, by direction; those that nobody evaluated are missing."""
    found: dict[str, dict[Direction, float]] = {}
    for direction in Direction:
        by_unit: dict[str, list[float]] = {}
        for (_, of), one in matrix(session, month, direction, at=at).items():
            by_unit.setdefault(of, []).append(one.points)
        for of, points in by_unit.items():
            found.setdefault(of, {})[direction] = sum(points) / len(points)
    return found


def read_criteria(path: Path, *, zone: ZoneInfo) -> Numbered:
    """The criteria of a file with the columns of `CRITERIA_COLUMNS`.

    Raises
    ------
    InvalidInput
        Naming every row at fault: a direction that there is not, a weight that is not above 0 and at most 1.
    """

    def criterion(row: Row) -> Stretch:
        if not re.fullmatch(r"[01](\.[0-9]{1,6})?", row["weight"]) or not 0 < Decimal(row["weight"]) <= 1:
            raise InvalidInput(f"weight {row['weight']!r} is not a number above 0 and at most 1")
        key = (row.choice("direction", Direction), row["criterion"])
        return Stretch(key, (Decimal(row["weight"]), row.truth("is_example")), *row.range(zone))

    numbered: Numbered = read_file(path, criterion, columns=CRITERIA_COLUMNS, optional=("since", "until"))
    refuse_overlaps(path, numbered)
    return numbered
