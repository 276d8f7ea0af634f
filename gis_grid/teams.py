"""Patrol teams: what they are, who is in them, which ground they cover and when they are out; all of it dated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.blocks import Block, BlockLayer
from gis_grid.database import Base, By, Change, change
from gis_grid.dated import (
    Dated,
    Loaded,
    Row,
    Stretch,
    one_at_a_time,
    one_of,
    read_file,
    refuse,
    refuse_overlaps,
    store_dated,
)
from gis_grid.errors import InvalidInput
from gis_grid.shift_weeks import WEEKDAYS, WeekShift
from gis_grid.tenures import Person
from gis_grid.territory import Area, Grid

LOADING_TEAMS = 1005  # advisory lock: one load at a time


class TeamKind(StrEnum):
    """Which ground a team is for: estates and villages, or streets. Both file findings of every kind (兼顾)."""

    COMMUNITY = "community"  # 社区网格巡管队
    STREET = "street"  # 街面网格巡管队


class Origin(StrEnum):
    """Where a member comes from."""

    EMPLOYMENT_AID = "employment_aid"  # 就业援助
    HOUSING = "housing"  # 房屋协管
    GUARD = "guard"  # 社区保安, 治安管理服务队
    PROPERTY = "property"  # 小区物业
    POLICE = "police"  # 派出所
    CHENGGUAN = "chengguan"  # 城管
    INSPECTOR = "inspector"  # 网格监督员
    CADRE = "cadre"  # 村两委班子成员, 居委会干部
    LIAISON = "liaison"  # 村民小组联络员
    ASSISTANT = "assistant"  # 各类协管员
    PATROLLER = "patroller"  # 专职巡管


class Duty(StrEnum):
    """What a shift looks to."""

    APPEARANCE = "appearance"  # 市容环境
    SECURITY = "security"  # 治安防范
    FACILITIES = "facilities"  # 城市公共设施
    DUMPING = "dumping"  # 乱倒垃圾
    POSTING = "posting"  # 乱贴黑广告
    STALLS = "stalls"  # 乱设摊
    REPORTING = "reporting"  # 信息上报, 基层监管


class ShiftKind(StrEnum):
    """Day or night, as the article parts them."""

    DAY = "day"
    NIGHT = "night"


class GroundKind(StrEnum):
    """What a team or a member is posted to."""

    BLOCK = "block"
    GRID = "grid"
    AREA = "area"


class Team(Dated, Base):
    """A patrol team over a range of time."""

    __tablename__ = "teams"
    KEY: ClassVar = ("code",)
    VALUES: ClassVar = ("name", "name_en", "kind", "unit_code", "is_example")

    code: Mapped[str]
    name: Mapped[str]
    name_en: Mapped[str]
    kind: Mapped[str]
    unit_code: Mapped[str | None]

    __table_args__ = (one_at_a_time("teams", "code"), sa.CheckConstraint(one_of("kind", TeamKind), name="kind"))


class TeamMember(Dated, Base):
    """One person in one team: from where, posted to which ground (None: wherever the team is), full-time or not."""

    __tablename__ = "team_members"
    KEY: ClassVar = ("team_code", "person_id")
    VALUES: ClassVar = ("origin", "ground", "code", "is_full_time", "is_example")

    team_code: Mapped[str]
    person_id: Mapped[int] = mapped_column(sa.ForeignKey(Person.id), index=True)
    origin: Mapped[str]
    ground: Mapped[str | None]
    code: Mapped[str | None]
    is_full_time: Mapped[bool]

    __table_args__ = (
        one_at_a_time("team_members", "team_code", "person_id"),
        sa.CheckConstraint(one_of("origin", Origin), name="origin"),
        sa.CheckConstraint(one_of("ground", GroundKind), name="ground"),
        sa.CheckConstraint("(ground is null) = (code is null)", name="code"),
        sa.Index("ix_team_members_code", "code"),
    )


class TeamGround(Dated, Base):
    """A block, grid, community, town or the district that a team covers."""

    __tablename__ = "team_grounds"
    KEY: ClassVar = ("team_code", "ground", "code")
    VALUES: ClassVar = ("is_example",)

    team_code: Mapped[str]
    ground: Mapped[str]
    code: Mapped[str]

    __table_args__ = (
        one_at_a_time("team_grounds", "team_code", "ground", "code"),
        sa.CheckConstraint(one_of("ground", GroundKind), name="ground"),
        sa.Index("ix_team_grounds_code", "code"),
    )


class TeamShift(Dated, Base):
    """When a team is out, each week, with its first and second duties, best first, joined by `/`."""

    __tablename__ = "team_shifts"
    KEY: ClassVar = ("team_code", "weekday", "starts")
    VALUES: ClassVar = ("ends", "kind", "first_duty", "second_duty", "is_example")

    team_code: Mapped[str]
    weekday: Mapped[str]
    starts: Mapped[time]
    ends: Mapped[time]
    kind: Mapped[str]
    first_duty: Mapped[str]
    second_duty: Mapped[str]

    __table_args__ = (
        one_at_a_time("team_shifts", "team_code", "weekday", "starts"),
        sa.CheckConstraint(one_of("weekday", WEEKDAYS), name="weekday"),
        sa.CheckConstraint(one_of("kind", ShiftKind), name="kind"),
    )


@dataclass(frozen=True)
class NewMember:
    """A member as a file states it; the person is named, not yet known."""

    team_code: str
    name: str
    own_phone: str | None
    values: tuple[str, str | None, str | None, bool, bool]
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True)
class Teams:
    """All that a folder says of teams, each row with its number."""

    teams: Sequence[tuple[int, Stretch]]
    members: Sequence[tuple[int, NewMember]]
    grounds: Sequence[tuple[int, Stretch]]
    shifts: Sequence[tuple[int, Stretch]]


TEAM_COLUMNS = ("code", "name", "name_en", "kind", "unit_code", "since", "until", "is_example")
MEMBER_COLUMNS = (
    *("team", "name", "own_phone", "origin", "ground", "code", "is_full_time"),
    *("since", "until", "is_example"),
)
GROUND_COLUMNS = ("team", "ground", "code", "since", "until", "is_example")
SHIFT_COLUMNS = (
    *("team", "weekday", "starts", "ends", "kind", "first_duty", "second_duty"),
    *("since", "until", "is_example"),
)
DATES = ("since", "until")


def read_teams(folder: Path, *, zone: ZoneInfo) -> Teams:
    """What teams.csv, team_members.csv, team_grounds.csv and team_shifts.csv of a folder say, checked together.

    Raises
    ------
    InvalidInput
        Naming the rows at fault.
    """
    paths = {name: folder / f"{name}.csv" for name in ("teams", "team_members", "team_grounds", "team_shifts")}
    teams = read_file(
        paths["teams"], lambda row: _team(row, zone), columns=TEAM_COLUMNS, optional=("unit_code", *DATES)
    )
    members = read_file(
        paths["team_members"],
        lambda row: _member(row, zone),
        columns=MEMBER_COLUMNS,
        optional=("own_phone", "ground", "code", *DATES),
    )
    grounds = read_file(paths["team_grounds"], lambda row: _ground(row, zone), columns=GROUND_COLUMNS, optional=DATES)
    shifts = read_file(
        paths["team_shifts"], lambda row: _shift(row, zone), columns=SHIFT_COLUMNS, optional=("second_duty", *DATES)
    )
    known = {stretch.key[0] for _, stretch in teams}
    named = {
        paths["team_members"]: [(number, member.team_code) for number, member in members],
        paths["team_grounds"]: [(number, str(one.key[0])) for number, one in grounds],
        paths["team_shifts"]: [(number, str(one.key[0])) for number, one in shifts],
    }
    for path, rows in named.items():
        refuse(path, [f"row {number}: teams.csv has no team {code}" for number, code in rows if code not in known])
    for path, stretches in ((paths["teams"], teams), (paths["team_grounds"], grounds), (paths["team_shifts"], shifts)):
        refuse_overlaps(path, stretches)
    return Teams(teams, members, grounds, shifts)


def _team(row: Row, zone: ZoneInfo) -> Stretch:
    values = (row["name"], row["name_en"], row.choice("kind", TeamKind), row["unit_code"] or None)
    return Stretch((row["code"],), (*values, row.truth("is_example")), *row.range(zone))


def _member(row: Row, zone: ZoneInfo) -> NewMember:
    if bool(row["ground"]) != bool(row["code"]):
        raise InvalidInput("ground and code go together: give both or neither")
    ground = row.choice("ground", GroundKind) if row["ground"] else None
    values = (row.choice("origin", Origin), ground, row["code"] or None)
    flags = (row.truth("is_full_time"), row.truth("is_example"))
    return NewMember(row["team"], row["name"], row["own_phone"] or None, (*values, *flags), *row.range(zone))


def _ground(row: Row, zone: ZoneInfo) -> Stretch:
    key = (row["team"], row.choice("ground", GroundKind), row["code"])
    return Stretch(key, (row.truth("is_example"),), *row.range(zone))


def _shift(row: Row, zone: ZoneInfo) -> Stretch:
    shift = WeekShift(row.choice("weekday", WEEKDAYS), _hour(row["starts"]), _hour(row["ends"]))
    for column in ("first_duty", "second_duty"):
        for duty in row[column].split("/") if row[column] else []:
            if duty not in set(Duty):
                raise InvalidInput(f"{column} {duty!r} is not one of {', '.join(Duty)}")
    values = (shift.ends, row.choice("kind", ShiftKind), row["first_duty"], row["second_duty"])
    return Stretch((row["team"], shift.weekday, shift.starts), (*values, row.truth("is_example")), *row.range(zone))


def _hour(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a time of day such as 08:30") from None


def load_teams(session: Session, teams: Teams, *, by: By, now: datetime) -> dict[str, Loaded]:
    """Bring teams, members, grounds and shifts to what the files say, from now on; what changed, by table.

    The same files again change nothing; what was in force before `now` stays known.

    Raises
    ------
    InvalidInput
        A block, grid or area that no layer has.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOADING_TEAMS)))
    _refuse_unknown_ground(session, teams)
    people = _people(session, {(member.name, member.own_phone) for _, member in teams.members})
    members = [
        Stretch((one.team_code, people[one.name, one.own_phone]), one.values, one.since, one.until)
        for _, one in teams.members
    ]
    loaded = {
        "teams": store_dated(session, Team, [one for _, one in teams.teams], now=now),
        "team_members": store_dated(session, TeamMember, members, now=now),
        "team_grounds": store_dated(session, TeamGround, [one for _, one in teams.grounds], now=now),
        "team_shifts": store_dated(session, TeamShift, [one for _, one in teams.shifts], now=now),
    }
    changed = {table: done for table, done in loaded.items() if done}
    if changed:
        after = {table: vars(done) for table, done in changed.items()}
        session.execute(sa.insert(Change), [change("teams", "all", by=by, at=now, after=after)])
    return changed


def _refuse_unknown_ground(session: Session, teams: Teams) -> None:
    asked = {(str(one.key[1]), str(one.key[2])) for _, one in teams.grounds}
    asked |= {(str(one.values[1]), str(one.values[2])) for _, one in teams.members if one.values[1]}
    columns = {GroundKind.BLOCK: Block.code, GroundKind.GRID: Grid.code, GroundKind.AREA: Area.code}
    for kind, column in columns.items():
        codes = {code for ground, code in asked if ground == kind}
        unknown = sorted(codes - set(session.scalars(sa.select(column).where(column.in_(codes)))))
        if unknown:
            raise InvalidInput(f"no layer has these {kind}s: {', '.join(unknown[:10])}{' …' if unknown[10:] else ''}")


def _people(session: Session, keys: set[tuple[str, str | None]]) -> dict[tuple[str, str | None], int]:
    names = {name for name, _ in keys}
    query = sa.select(Person.name, Person.own_phone, Person.id).where(Person.name.in_(names)).order_by(Person.id.desc())
    found = {(name, phone): id_ for name, phone, id_ in session.execute(query)}
    missing = [{"name": name, "own_phone": phone} for name, phone in sorted(keys - found.keys(), key=str)]
    if missing:
        added = session.execute(sa.insert(Person).returning(Person.name, Person.own_phone, Person.id), missing)
        found |= {(name, phone): id_ for name, phone, id_ in added}
    return found


@dataclass(frozen=True)
class BlockStaff:
    """How many people a block has, and how many it should have."""

    block_code: str
    people: int
    least_people: int

    @property
    def is_short(self) -> bool:
        """Whether there are fewer than there should be."""
        return self.people < self.least_people


def block_staff(session: Session, *, at: datetime) -> list[BlockStaff]:
    """The people posted to each block in force at a time, by code; full-time patrollers of a parent not counted."""
    posted = (TeamMember.ground == GroundKind.BLOCK) & (TeamMember.code == Block.code) & TeamMember.valid.contains(at)
    query = (
        sa.select(Block.code, sa.func.count(sa.distinct(TeamMember.person_id)), Block.least_people)
        .join(Block.layer)
        .outerjoin(TeamMember, posted)
        .where(BlockLayer.in_force.contains(at))
        .group_by(Block.code, Block.least_people)
        .order_by(Block.code)
    )
    return [BlockStaff(*row) for row in session.execute(query)]


def full_time_patrollers(session: Session, code: str, *, at: datetime) -> int:
    """How many full-time patrollers are posted to a whole grid or area at a time."""
    query = sa.select(sa.func.count(sa.distinct(TeamMember.person_id))).where(
        TeamMember.code == code, TeamMember.is_full_time, TeamMember.valid.contains(at)
    )
    return session.scalar(query) or 0


def teams_at(session: Session, *, at: datetime, codes: Iterable[str] | None = None) -> list[Team]:
    """The teams at a time, by code."""
    query = sa.select(Team).where(Team.valid.contains(at)).order_by(Team.code)
    return list(session.scalars(query.where(Team.code.in_(list(codes))) if codes is not None else query))
