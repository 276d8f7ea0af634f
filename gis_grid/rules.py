"""A city's rules as one: read from its folder, all checked before any is stored, kept in dated tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.calendars import (
    EVERY_WORK_DAY,
    CalendarDay,
    DayKind,
    OfficeHours,
    build_calendar,
    read_days,
    read_office_hours,
    read_thresholds,
)
from gis_grid.case_numbers import CaseNumber, JointLead, read_leads, read_numbers
from gis_grid.city import CITIES, City
from gis_grid.clocks import Calendar, Light, Thresholds
from gis_grid.database import Base, By, Change, change
from gis_grid.dated import Dated, Loaded, Stretch, one_at_a_time, one_of, store_dated
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.evaluations import EvaluationCriterion, read_criteria
from gis_grid.event_types import EventType
from gis_grid.reward_rules import RewardRule, read_reward_rules
from gis_grid.routing import ExchangeRule, RoutingRule, StepLimit, read_exchange, read_limits, read_routing
from gis_grid.score_weights import ScoreWeight, read_weights
from gis_grid.situations import ROUTINE
from gis_grid.supervision_acts import SupervisionAct, read_acts
from gis_grid.unit_files import Numbered, grounds, read_code_templates, read_hotlines, read_posts, read_units
from gis_grid.units import Hotline, Post, Unit
from gis_grid.yearly_themes import YearlyTheme, read_themes

LOADING_RULES = 1003  # advisory lock: one load at a time
DEFAULT = CITIES / "default"
KEPT_CALENDARS = 16

# Tables whose files name nothing that is in another file.
BY_THEMSELVES = {
    CaseNumber: ("case_numbers.csv", read_numbers),
    EvaluationCriterion: ("evaluation_criteria.csv", read_criteria),
    ScoreWeight: ("score_weights.csv", read_weights),
    SupervisionAct: ("supervision_acts.csv", read_acts),
    YearlyTheme: ("yearly_themes.csv", read_themes),
}


class WorkDay(Base):
    """A day of the calendar; a day that is not here is a work day from Monday to Friday."""

    __tablename__ = "work_days"

    day: Mapped[date] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]

    __table_args__ = (sa.CheckConstraint(one_of("kind", DayKind), name="kind"),)


_DAY = sa.func.concat(WorkDay.day, WorkDay.kind)
_CALENDARS: dict[tuple[object, ...], Calendar] = {}


class OfficeHour(Dated, Base):
    """One stretch of office hours, on an ISO weekday (`1` Monday to `7` Sunday) or on `all` other work days."""

    __tablename__ = "office_hours"
    KEY: ClassVar = ("weekday", "opens")
    VALUES: ClassVar = ("closes", "is_example")

    weekday: Mapped[str]
    opens: Mapped[time]
    closes: Mapped[time]

    __table_args__ = (
        one_at_a_time("office_hours", "weekday", "opens"),
        sa.CheckConstraint(one_of("weekday", [EVERY_WORK_DAY, *"1234567"]), name="weekday"),
    )


class LightThreshold(Dated, Base):
    """The share of a limit from which a light is on."""

    __tablename__ = "light_thresholds"
    KEY: ClassVar = ("light",)
    VALUES: ClassVar = ("share", "is_example")

    light: Mapped[str]
    share: Mapped[Decimal] = mapped_column(sa.Numeric)

    __table_args__ = (
        one_at_a_time("light_thresholds", "light"),
        sa.CheckConstraint("light in ('yellow', 'orange', 'red')", name="light"),
        sa.CheckConstraint("share > 0 and share <= 1", name="share"),
    )


@dataclass(frozen=True)
class Rules:
    """All that a folder says, checked: stretches by the table they are for, and the days of the calendar."""

    dated: Mapping[type[Base], Numbered]
    days: tuple[CalendarDay, ...] | None


def load_rules(session: Session, city: City, *, now: datetime, by: By, folder: Path | None = None) -> dict[str, Loaded]:
    """Bring units and rules to what the city's folder says; what changed, by table.

    The same files again change nothing. What was in force before `now` stays; see `gis_grid.dated.store_dated`. A file
    that the folder lacks leaves its table alone. Event types and, for the units of towns and communities, the grid
    layer must be loaded before.

    Parameters
    ----------
    folder
        Instead of the city's own, `city.rules`; a city without one gets a centre and nothing more.

    Raises
    ------
    InvalidInput
        Naming the rows at fault; nothing is stored then.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOADING_RULES)))
    rules = read_rules(session, city, folder or city.rules or DEFAULT, now=now)
    loaded = {
        table.__tablename__: store_dated(session, table, [stretch for _, stretch in numbered], now=now)
        for table, numbered in rules.dated.items()
    }
    if rules.days is not None:
        loaded[WorkDay.__tablename__] = _store_days(session, rules.days)
    changed = {table: done for table, done in loaded.items() if done}
    if changed:
        after = {table: vars(done) for table, done in changed.items()}
        session.execute(sa.insert(Change), [change("rules", city.adcode, by=by, at=now, after=after)])
    return changed


def read_rules(session: Session, city: City, folder: Path, *, now: datetime) -> Rules:
    """The rules in a folder, all of them read and checked against one another; parameters as `load_rules`."""
    zone = city.zone
    dated: dict[type[Base], Numbered] = {}
    codes = set(session.scalars(sa.select(Unit.code).where(Unit.valid.contains(now))))
    if (folder / "units.csv").is_file():
        units = dated[Unit] = read_units(folder / "units.csv", grounds(session, city, now=now), zone=zone)
        codes = {str(unit.key[0]) for _, unit in units} | read_code_templates(folder / "units.csv")
        # Posts are those of the units in the same folder.
        if (folder / "posts.csv").is_file():
            dated[Post] = read_posts(folder / "posts.csv", units, zone=zone)
    if (folder / "hotlines.csv").is_file():
        dated[Hotline] = read_hotlines(folder / "hotlines.csv", codes, zone=zone)
    types = set(session.scalars(sa.select(EventType.code)))
    dated |= _rules_by_type(folder, types, codes, zone)
    if (folder / "exchange_110.csv").is_file():
        dated[ExchangeRule] = read_exchange(folder / "exchange_110.csv", zone=zone)
    if (folder / "joint_leads.csv").is_file():
        dated[JointLead] = read_leads(folder / "joint_leads.csv", codes, zone=zone)
    for table, (name, read) in BY_THEMSELVES.items():
        if (folder / name).is_file():
            dated[table] = read(folder / name, zone=zone)
    dated |= dict(_calendar_rules(folder, zone))
    days = tuple(read_days(folder / "calendar.csv")) if (folder / "calendar.csv").is_file() else None
    return Rules(dated, days)


def _rules_by_type(folder: Path, types: set[str], codes: set[str], zone: ZoneInfo) -> dict[type[Base], Numbered]:
    """Routing and limits, each with all its sets, and rewards."""
    dated: dict[type[Base], Numbered] = {}
    if (folder / "reward_rules.csv").is_file():
        dated[RewardRule] = read_reward_rules(folder / "reward_rules.csv", types, zone=zone)
    if sets := _rule_sets(folder, "routing"):
        dated[RoutingRule] = [
            rule for name, path in sets for rule in read_routing(path, types, codes, zone=zone, rule_set=name)
        ]
    if sets := _rule_sets(folder, "limits"):
        dated[StepLimit] = [rule for name, path in sets for rule in read_limits(path, types, zone=zone, rule_set=name)]
    return dated


def _rule_sets(folder: Path, stem: str) -> list[tuple[str, Path]]:
    """The files of one table by the set of rules they hold: `routing.csv` routine, `routing.emergency.csv` another."""
    routine = folder / f"{stem}.csv"
    others = sorted(folder.glob(f"{stem}.*.csv"))
    if not routine.is_file():
        if others:
            raise InvalidInput(f"{others[0]} needs {routine.name} beside it: what it does not name stays as in routine")
        return []
    return [(ROUTINE, routine), *((path.name.removeprefix(f"{stem}.").removesuffix(".csv"), path) for path in others)]


def _calendar_rules(folder: Path, zone: ZoneInfo) -> Iterator[tuple[type[Base], Numbered]]:
    if (folder / "office_hours.csv").is_file():
        hours = read_office_hours(folder / "office_hours.csv")
        build_calendar(zone, (), hours)
        yield OfficeHour, [(0, _office_hour(span)) for span in hours]
    if (folder / "lights.csv").is_file():
        shares = read_thresholds(folder / "lights.csv")
        lights = zip((Light.YELLOW, Light.ORANGE, Light.RED), shares.shares, strict=True)
        # The article names neither shares nor pairing: whatever a city uses is its own choice, and ours an example.
        is_example = "true" in (folder / "lights.csv").read_text(encoding="utf-8-sig")
        yield LightThreshold, [(0, Stretch((light.value,), (_decimal(share), is_example))) for light, share in lights]


def _office_hour(span: OfficeHours) -> Stretch:
    weekday = EVERY_WORK_DAY if span.weekday is None else str(span.weekday)
    return Stretch((weekday, span.begin), (span.end, span.is_example))


def _decimal(share: Fraction) -> Decimal:
    return Decimal(share.numerator) / Decimal(share.denominator)


def _store_days(session: Session, days: tuple[CalendarDay, ...]) -> Loaded:
    """Days are facts with one answer each: a corrected one replaces what was said before."""
    stored = {
        day: (kind, name) for day, kind, name in session.execute(sa.select(WorkDay.day, WorkDay.kind, WorkDay.name))
    }
    changed: list[dict[str, Any]] = [
        {"day": day.day, "kind": day.kind.value, "name": day.name}
        for day in days
        if stored.get(day.day) != (day.kind.value, day.name)
    ]
    if not changed:
        return Loaded()
    statement = insert(WorkDay)
    said = {"kind": statement.excluded.kind, "name": statement.excluded.name}
    session.execute(statement.on_conflict_do_update(index_elements=[WorkDay.day], set_=said), changed)
    corrected = sum(row["day"] in stored for row in changed)
    return Loaded(opened=len(changed) - corrected, closed=corrected)


def calendar_at(session: Session, zone: ZoneInfo, *, at: datetime) -> Calendar:
    """The calendar, with the office hours in force at a time.

    Raises
    ------
    NotFound
        No office hours are loaded for that time.
    """
    hours = [
        OfficeHours(None if row.weekday == EVERY_WORK_DAY else int(row.weekday), row.opens, row.closes, row.is_example)
        for row in session.scalars(sa.select(OfficeHour).where(OfficeHour.valid.contains(at)))
    ]
    if not hours:
        raise NotFound(f"no office hours are loaded for {at.isoformat()}; give the city's rules an office_hours.csv")
    digest = session.scalar(
        sa.select(sa.func.md5(sa.func.string_agg(_DAY, aggregate_order_by(sa.literal(","), WorkDay.day))))
    )
    key = (zone, digest, *hours)
    # Named by all that it holds, so that it is right for any database; a thousand days are slow to read for each step.
    if key not in _CALENDARS:
        days = session.execute(sa.select(WorkDay.day, WorkDay.kind, WorkDay.name))
        named = (CalendarDay(day, DayKind(kind), name) for day, kind, name in days)
        if len(_CALENDARS) >= KEPT_CALENDARS:
            _CALENDARS.clear()
        _CALENDARS[key] = build_calendar(zone, named, hours)
    return _CALENDARS[key]


def thresholds_at(session: Session, *, at: datetime) -> Thresholds:
    """The shares at which the lights change, in force at a time.

    Raises
    ------
    NotFound
        None are loaded for that time.
    """
    rows = session.scalars(sa.select(LightThreshold).where(LightThreshold.valid.contains(at)))
    shares = {row.light: Fraction(row.share) for row in rows}
    if not shares:
        raise NotFound(f"no light thresholds are loaded for {at.isoformat()}; give the city's rules a lights.csv")
    return Thresholds(shares[Light.YELLOW], shares[Light.ORANGE], shares[Light.RED])
