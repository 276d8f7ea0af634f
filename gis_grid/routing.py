"""Which unit answers for what, how long it may take, and what goes to 110: all of it dated data."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.clocks import Limit, LimitUnit, MalformedLimit
from gis_grid.database import Base
from gis_grid.dated import Dated, Row, Stretch, one_at_a_time, one_of, read_file, refuse, refuse_overlaps
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.event_types import EventType
from gis_grid.situations import ROUTINE
from gis_grid.territory import Grid, Level
from gis_grid.unit_files import Numbered, fill_in
from gis_grid.units import Unit, UnitKind, find_units, the_root

ANY, OR = "*", "|"
PLACES = ("community", "town", "district")
UPWARDS = (Level.COMMUNITY, Level.TOWN, Level.DISTRICT)
ROUTING_COLUMNS = ("event_type", "urgency", "level", "unit", "since", "until", "is_example")
LIMIT_COLUMNS = ("event_type", "urgency", "step", "amount", "unit", "since", "until", "is_example")
EXCHANGE_COLUMNS = ("is_police", "alarm", "desk", "since", "until", "is_example")


class Urgency(StrEnum):
    """Whether a case can wait its turn (轻重缓急)."""

    URGENT = "urgent"
    NORMAL = "normal"


class Step(StrEnum):
    """What has a time limit of its own, and the whole."""

    ACCEPT = "accept"  # 受理
    FILE = "file"  # 立案
    DISPATCH = "dispatch"  # 派遣
    TAKE = "take"  # 接单
    HANDLE = "handle"  # 处置
    CHECK = "check"  # 核查
    ANSWER = "answer"  # 答复
    WHOLE = "whole"  # from filing to closing


class Alarm(StrEnum):
    """What makes a call urgent, for the exchange with 110."""

    NONE = "none"
    SECURITY = "security"  # 治安紧急
    OTHER = "other"  # such as a burst pipe; the article is silent about it


class Desk(StrEnum):
    """Who deals with a call."""

    POLICE = "110"
    CENTRE = "centre"


class RoutingRule(Dated, Base):
    """Who answers for a kind of event at one level of management.

    Attributes
    ----------
    event_type
        Code of a type or a class, or `*` for all; the most particular rule counts.
    unit
        A unit's code, in which `{community}`, `{town}` and `{district}` stand for the codes of the grid's areas, or
        several with `|` between, the first that is there counts; empty where this level has nobody for it.
    rule_set
        Empty for routine; a set of an emergency goes before it.
    """

    __tablename__ = "routing_rules"
    KEY: ClassVar = ("rule_set", "event_type", "urgency", "level")
    VALUES: ClassVar = ("unit", "is_example")

    rule_set: Mapped[str] = mapped_column(server_default=ROUTINE)

    event_type: Mapped[str]
    urgency: Mapped[str]
    level: Mapped[str]
    unit: Mapped[str]

    __table_args__ = (
        one_at_a_time("routing_rules", "rule_set", "event_type", "urgency", "level"),
        sa.CheckConstraint(one_of("urgency", [*Urgency, ANY]), name="urgency"),
        sa.CheckConstraint(one_of("level", UPWARDS), name="level"),
    )


class StepLimit(Dated, Base):
    """How long a step of a kind of case may take; `event_type` and `urgency` may be `*`."""

    __tablename__ = "limits"
    KEY: ClassVar = ("rule_set", "event_type", "urgency", "step")
    VALUES: ClassVar = ("amount", "unit", "is_example")

    rule_set: Mapped[str] = mapped_column(server_default=ROUTINE)

    event_type: Mapped[str]
    urgency: Mapped[str]
    step: Mapped[str]
    amount: Mapped[Decimal] = mapped_column(sa.Numeric)
    unit: Mapped[str]

    __table_args__ = (
        one_at_a_time("limits", "rule_set", "event_type", "urgency", "step"),
        sa.CheckConstraint(one_of("urgency", [*Urgency, ANY]), name="urgency"),
        sa.CheckConstraint(one_of("step", Step), name="step"),
        sa.CheckConstraint(one_of("unit", LimitUnit), name="unit"),
        sa.CheckConstraint("amount > 0", name="amount"),
    )

    @property
    def limit(self) -> Limit:
        """The amount and unit that the clocks count."""
        return Limit(self.amount, LimitUnit(self.unit))


class ExchangeRule(Dated, Base):
    """Which desk deals with one kind of call."""

    __tablename__ = "exchange_rules"
    KEY: ClassVar = ("is_police", "alarm")
    VALUES: ClassVar = ("desk", "is_example")

    is_police: Mapped[bool]
    alarm: Mapped[str]
    desk: Mapped[str]

    __table_args__ = (
        one_at_a_time("exchange_rules", "is_police", "alarm"),
        sa.CheckConstraint(one_of("alarm", Alarm), name="alarm"),
        sa.CheckConstraint(one_of("desk", Desk), name="desk"),
    )


class Match(NamedTuple):
    """A rule that counts at one level, and the unit it names in a grid's place; None where that is not there."""

    level: Level
    rule: RoutingRule
    unit: Unit | None


@dataclass(frozen=True)
class Proposal:
    """Which unit should handle something, and why.

    Attributes
    ----------
    rule
        The rule that named it; None when none did and the ground's own town takes it (属地兜底).
    evidence
        What was asked, where the grid lies and what each level's rule said; goes into JSON.
    alternatives
        Whom a dispatcher might name instead: the units of higher levels, then the fallback.
    """

    unit: Unit
    rule: RoutingRule | None
    evidence: dict[str, Any]
    alternatives: tuple[Unit, ...]

    @property
    def is_fallback(self) -> bool:
        """True where no rule named a unit."""
        return self.rule is None


def route(
    session: Session,
    event_type: str,
    grid: Grid,
    *,
    at: datetime,
    urgency: Urgency = Urgency.NORMAL,
    from_level: Level = Level.COMMUNITY,
    rule_set: str = ROUTINE,
) -> Proposal:
    """The unit that should handle an event of a type in a grid, by the rules and units in force at a time.

    The lowest level from `from_level` upwards whose rule names a unit that is there; when none does, the town's
    sub-centre, and where there is none, the district's centre. At each level a rule of `rule_set` goes before those of
    routine.

    Raises
    ------
    NotFound
        No such event type, or no units at that time at all.
    """
    names = _areas_of(grid)
    lineage = _lineage(session, event_type)
    rules = _particular_first(session, RoutingRule, lineage, urgency=urgency, at=at, rule_set=rule_set)
    matches = _matches(session, rules, names, at=at, levels=UPWARDS[UPWARDS.index(from_level) :])
    candidates = [match.unit for match in matches if match.unit is not None]
    rule = next((match.rule for match in matches if match.unit is not None), None)
    units = list(dict.fromkeys([*candidates, *fallbacks(session, grid, at=at)]))
    evidence = {
        "event_type": event_type,
        "event_class": lineage[1],
        "urgency": str(urgency),
        "at": at.isoformat(),
        "from_level": str(from_level),
        "rule_set": rule_set,
        "grid_code": grid.code,
        "layer_id": grid.layer_id,
        **{f"{level}_code": code for level, code in names.items()},
        "considered": [_said(match) for match in matches],
        "is_fallback": rule is None,
    }
    return Proposal(units[0], rule, evidence, tuple(units[1:]))


def _areas_of(grid: Grid) -> dict[str, str]:
    town = grid.community.parent
    district = town.parent if town else None
    areas = {"community": grid.community, "town": town, "district": district}
    return {level: area.code for level, area in areas.items() if area is not None}


def _lineage(session: Session, event_type: str) -> tuple[str, str | None]:
    row = session.get(EventType, event_type)
    if row is None:
        raise NotFound(f"there is no event type {event_type!r}")
    return row.code, row.parent_code


def _matches(  # one rule a level
    session: Session,
    rules: Sequence[RoutingRule],
    names: Mapping[str, str],
    *,
    at: datetime,
    levels: Sequence[Level],
) -> list[Match]:
    best: dict[Level, RoutingRule] = {}
    for rule in rules:
        best.setdefault(Level(rule.level), rule)
    named = {level: fill_in(best[level].unit, names).split(OR) for level in levels if level in best}
    there = find_units(session, chain.from_iterable(named.values()), at=at)
    return [
        Match(level, best[level], next((there[code] for code in codes if code in there), None))
        for level, codes in named.items()
    ]


def _particular_first(
    session: Session, table: Any, lineage: tuple[str, str | None], *, urgency: Urgency, at: datetime, rule_set: str
) -> list[Any]:
    """Rules that cover an event type, the most particular first: type, class, all; within that, urgency named first.

    All of `rule_set` go before those of routine.
    """
    query = sa.select(table).where(
        table.event_type.in_([*filter(None, lineage), ANY]),
        table.urgency.in_([urgency, ANY]),
        table.rule_set.in_([rule_set, ROUTINE]),
        table.valid.contains(at),
    )
    order = {code: rank for rank, code in enumerate((*lineage, ANY))}

    def rank(rule: Any) -> tuple[bool, int, bool]:
        return rule.rule_set != rule_set, order[rule.event_type], rule.urgency == ANY

    return sorted(session.scalars(query), key=rank)


def _said(match: Match) -> dict[str, Any]:
    rule = match.rule
    return {
        "level": str(match.level),
        "rule": " ".join(filter(None, (rule.event_type, rule.urgency, rule.rule_set))),
        "says": rule.unit,
        "unit": match.unit.code if match.unit else None,
    }


def fallbacks(session: Session, grid: Grid, *, at: datetime) -> list[Unit]:
    """Who takes what nobody else has to: the sub-centre of the grid's town, then the district's centre."""
    query = sa.select(Unit).where(
        Unit.kind == UnitKind.SUB_CENTRE, Unit.area_code == _areas_of(grid).get("town"), Unit.valid.contains(at)
    )
    return [*session.scalars(query.order_by(Unit.code)), the_root(session, at=at)]


def limits_for(
    session: Session, event_type: str, *, urgency: Urgency, at: datetime, rule_set: str = ROUTINE
) -> dict[Step, Limit]:
    """The limits in force at a time for each step that has one; those of `rule_set` first, the most particular counts.

    Raises
    ------
    NotFound
        No such event type.
    """
    found: dict[Step, Limit] = {}
    lineage = _lineage(session, event_type)
    for row in _particular_first(session, StepLimit, lineage, urgency=urgency, at=at, rule_set=rule_set):
        found.setdefault(Step(row.step), row.limit)
    return found


def rules_of_set(session: Session, rule_set: str, *, at: datetime) -> tuple[list[RoutingRule], list[StepLimit]]:
    """The routing rules and the limits of one set that are in force at a time, those for all event types first."""
    routing = sa.select(RoutingRule).where(RoutingRule.rule_set == rule_set, RoutingRule.valid.contains(at))
    limits = sa.select(StepLimit).where(StepLimit.rule_set == rule_set, StepLimit.valid.contains(at))
    levels, steps = [level.value for level in UPWARDS], list(Step)
    return (
        sorted(session.scalars(routing), key=lambda one: (one.event_type, one.urgency, levels.index(one.level))),
        sorted(session.scalars(limits), key=lambda one: (one.event_type, one.urgency, steps.index(Step(one.step)))),
    )


def rule_sets(session: Session, *, at: datetime) -> list[str]:
    """The sets that have a rule or a limit in force at a time, but for the routine one."""
    named = (sa.select(table.rule_set).where(table.valid.contains(at)) for table in (RoutingRule, StepLimit))
    return sorted(set(session.scalars(sa.union(*named))) - {ROUTINE})


def exchange_table(session: Session, *, at: datetime) -> dict[tuple[bool, Alarm], Desk]:
    """Which desk deals with which call, by the rules in force at a time."""
    rows = session.scalars(sa.select(ExchangeRule).where(ExchangeRule.valid.contains(at)))
    return {(row.is_police, Alarm(row.alarm)): Desk(row.desk) for row in rows}


def exchange_110(table: Mapping[tuple[bool, Alarm], Desk], *, is_police: bool, alarm: Alarm) -> Desk:
    """The desk that deals with a call, whichever of the two it came to.

    Raises
    ------
    NotFound
        The table has no rule for such a call.
    """
    desk = table.get((is_police, alarm))
    if desk is None:
        call = f"{'police' if is_police else 'non-police'} calls with the alarm {alarm}"
        raise NotFound(f"there is no rule for {call}; load an exchange_110.csv with the rules of this city")
    return desk


def read_routing(
    path: Path, event_types: set[str], units: Collection[str], *, zone: ZoneInfo, rule_set: str = ROUTINE
) -> Numbered:
    """The rules of a file with the columns of `ROUTING_COLUMNS`, all of one set.

    Raises
    ------
    InvalidInput
        Naming every row at fault: an event type or a unit that there is not, two rules for one moment.
    """

    def rule(row: Row) -> Stretch:
        kind = _event_type(row, event_types)
        key = (rule_set, kind, row.choice("urgency", [*Urgency, ANY]), row.choice("level", UPWARDS))
        _check_unit(row["unit"], units)
        return Stretch(key, (row["unit"], row.truth("is_example")), *row.range(zone))

    return _read(path, rule, ROUTING_COLUMNS, optional=("unit", "since", "until"))


def _check_unit(templates: str, units: Collection[str]) -> None:
    # Which towns have such a unit is for the moment of routing: a rule stands for all of them.
    for template in templates.split(OR) if templates else ():
        pattern = fill_in(re.escape(template).replace(r"\{", "{").replace(r"\}", "}"), dict.fromkeys(PLACES, ".+"))
        if not any(re.fullmatch(pattern, code) for code in units):
            raise InvalidInput(f"unit {template!r} is no unit of this city")


def read_limits(path: Path, event_types: set[str], *, zone: ZoneInfo, rule_set: str = ROUTINE) -> Numbered:
    """The limits of a file with the columns of `LIMIT_COLUMNS`, all of one set; errors as `read_routing`."""

    def limit(row: Row) -> Stretch:
        kind = _event_type(row, event_types)
        key = (rule_set, kind, row.choice("urgency", [*Urgency, ANY]), row.choice("step", Step))
        unit = LimitUnit(row.choice("unit", LimitUnit))
        if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,8})?", row["amount"]):
            raise MalformedLimit(f"amount {row['amount']!r} is not a number such as 4 or 0.5")
        return Stretch(
            key, (Limit(Decimal(row["amount"]), unit).amount, unit.value, row.truth("is_example")), *row.range(zone)
        )

    return _read(path, limit, LIMIT_COLUMNS)


def read_exchange(path: Path, *, zone: ZoneInfo) -> Numbered:
    """The 110 table of a file with the columns of `EXCHANGE_COLUMNS`, complete; errors as `read_routing`."""

    def exchange(row: Row) -> Stretch:
        key = (row.truth("is_police"), row.choice("alarm", Alarm))
        return Stretch(key, (row.choice("desk", Desk), row.truth("is_example")), *row.range(zone))

    numbered = _read(path, exchange, EXCHANGE_COLUMNS)
    missing = {(is_police, str(alarm)) for is_police in (True, False) for alarm in Alarm}
    missing -= {(bool(stretch.key[0]), str(stretch.key[1])) for _, stretch in numbered}
    refuse(path, [f"no row for is_police {str(police).lower()}, alarm {alarm}" for police, alarm in sorted(missing)])
    return numbered


def _event_type(row: Row, event_types: set[str]) -> str:
    if row["event_type"] != ANY and row["event_type"] not in event_types:
        raise InvalidInput(f"event_type {row['event_type']!r} is neither a code in the event types nor {ANY}")
    return row["event_type"]


def _read(path: Path, parse: Any, columns: Sequence[str], optional: Sequence[str] = ("since", "until")) -> Numbered:
    numbered: Numbered = read_file(path, parse, columns=columns, optional=optional)
    refuse_overlaps(path, numbered)
    return numbered
