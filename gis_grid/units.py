"""Who is organised how: units in one dated tree, their posts and who holds them, and the numbers people call."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import ClassVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column, relationship

from gis_grid.database import Base, By, Change, change
from gis_grid.dated import Dated, Row, one_at_a_time, one_of, read_file
from gis_grid.errors import Conflict, InvalidInput, NotFound
from gis_grid.tenures import Person


class UnitKind(StrEnum):
    """What a unit is."""

    CENTRE = "centre"  # 区大联动中心: the one root
    SUB_CENTRE = "sub_centre"  # 街镇分中心
    COMMUNITY_WORKSTATION = "community_workstation"  # 居村工作站
    COMMITTEE = "committee"  # 居委会, 村委会
    DEPARTMENT = "department"  # 职能部门
    STATION = "station"  # 派出机构
    TEAM = "team"  # 队, 所 that was sunk to the towns
    SQUAD = "squad"  # 工作小分队


class PlacementModel(StrEnum):
    """Who employs a unit and who runs it: the three models of the 2014 reform."""

    SUNK = "sunk"  # 块属块管: staff and command are the town's
    STATIONED = "stationed"  # 条属块管: the department's, run day to day by the town
    LINE = "line"  # 条属条管: the department's, without a station in the towns


class HotlineRole(StrEnum):
    """What became of a number."""

    INTAKE = "intake"  # 962000
    MERGED = "merged"  # a department's number that now rings at the intake
    LINKED = "linked"  # a number of its own that exchanges cases with the intake


THREE_LEVELS = (UnitKind.CENTRE, UnitKind.SUB_CENTRE, UnitKind.COMMUNITY_WORKSTATION)
PARENT_KIND = {
    UnitKind.SUB_CENTRE: UnitKind.CENTRE,
    UnitKind.COMMUNITY_WORKSTATION: UnitKind.SUB_CENTRE,
}


class Unit(Dated, Base):
    """A unit over a range of time; it keeps its code when its parent, name or model changes.

    Attributes
    ----------
    parent_code
        The unit above it in the one tree; None for the root, the district's centre.
    area_level, area_code
        Where it works, None for the whole district.
    enforces_as
        Code of the unit in whose name it enforces the law; None where that is itself.
    """

    __tablename__ = "units"
    KEY: ClassVar = ("code",)
    VALUES: ClassVar = (
        "name",
        "name_en",
        "kind",
        "parent_code",
        "area_level",
        "area_code",
        "enforces_as",
        "placement_model",
        "is_example",
    )

    code: Mapped[str]
    name: Mapped[str]
    name_en: Mapped[str]
    kind: Mapped[str]
    parent_code: Mapped[str | None] = mapped_column(index=True)
    area_level: Mapped[str | None]
    area_code: Mapped[str | None]
    enforces_as: Mapped[str | None]
    placement_model: Mapped[str | None]

    __table_args__ = (
        one_at_a_time("units", "code"),
        ExcludeConstraint(
            ("kind", "="), ("valid", "&&"), name="ex_units_root", using="gist", where=sa.text("kind = 'centre'")
        ),
        sa.Index("ix_units_area_code", "area_code"),
        sa.CheckConstraint(one_of("kind", UnitKind), name="kind"),
        sa.CheckConstraint(one_of("placement_model", PlacementModel), name="placement_model"),
        sa.CheckConstraint("(parent_code is null) = (kind = 'centre')", name="root"),
        sa.CheckConstraint("parent_code <> code", name="parent"),
        sa.CheckConstraint("(area_level is null) = (area_code is null)", name="area"),
        sa.CheckConstraint("area_level in ('district', 'town', 'community')", name="area_level"),
    )


class Post(Dated, Base):
    """A post in a unit; at any time one post of a unit at most is the first responsible one (第一责任人)."""

    __tablename__ = "posts"
    KEY: ClassVar = ("unit_code", "title")
    VALUES: ClassVar = ("is_first_responsible", "is_example")

    unit_code: Mapped[str]
    title: Mapped[str]
    is_first_responsible: Mapped[bool]

    __table_args__ = (
        one_at_a_time("posts", "unit_code", "title"),
        ExcludeConstraint(
            ("unit_code", "="),
            ("valid", "&&"),
            name="ex_posts_first_responsible",
            using="gist",
            where=sa.text("is_first_responsible"),
        ),
    )


class PostHolder(Base):
    """One person's hold of one post; two never hold it at one time."""

    __tablename__ = "post_holders"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    unit_code: Mapped[str]
    title: Mapped[str]
    person_id: Mapped[int] = mapped_column(sa.ForeignKey(Person.id), index=True)
    valid: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())

    person: Mapped[Person] = relationship(lazy="joined")

    __table_args__ = (
        one_at_a_time("post_holders", "unit_code", "title"),
        sa.CheckConstraint("not isempty(valid)", name="valid"),
    )


class Hotline(Dated, Base):
    """A telephone number and the department it belongs to."""

    __tablename__ = "hotlines"
    KEY: ClassVar = ("number",)
    VALUES: ClassVar = ("name", "unit_code", "role", "is_example")

    number: Mapped[str]
    name: Mapped[str]
    unit_code: Mapped[str]
    role: Mapped[str]

    __table_args__ = (
        one_at_a_time("hotlines", "number"),
        sa.CheckConstraint(one_of("role", HotlineRole), name="role"),
    )


def units_at(
    session: Session,
    *,
    at: datetime,
    kinds: Collection[str] = (),
    area_code: str | None = None,
    parent_code: str | None = None,
) -> list[Unit]:
    """The units that are there at a time, by code; all kinds, areas and parents where none is asked for."""
    query = sa.select(Unit).where(Unit.valid.contains(at)).order_by(Unit.code)
    if kinds:
        query = query.where(Unit.kind.in_(kinds))
    if area_code is not None:
        query = query.where(Unit.area_code == area_code)
    if parent_code is not None:
        query = query.where(Unit.parent_code == parent_code)
    return list(session.scalars(query))


def find_units(session: Session, codes: Iterable[str], *, at: datetime) -> dict[str, Unit]:
    """Those of the units that are there at a time, by code."""
    query = sa.select(Unit).where(Unit.code.in_(set(codes)), Unit.valid.contains(at))
    return {unit.code: unit for unit in session.scalars(query)}


def the_unit(session: Session, code: str, *, at: datetime) -> Unit:
    """The unit with this code at a time, or `NotFound`."""
    unit = find_units(session, [code], at=at).get(code)
    if unit is None:
        raise NotFound(f"there is no unit {code} at {at.isoformat()}")
    return unit


def the_root(session: Session, *, at: datetime) -> Unit:
    """The district's centre at a time, or `NotFound`."""
    root = session.scalar(sa.select(Unit).where(Unit.kind == UnitKind.CENTRE, Unit.valid.contains(at)))
    if root is None:
        raise NotFound(f"no units are loaded for {at.isoformat()}; load them with `gis-grid units load`")
    return root


def enforcement_body(session: Session, unit: Unit, *, at: datetime) -> Unit:
    """The unit in whose name this one enforces the law: itself, unless it says otherwise."""
    return the_unit(session, unit.enforces_as, at=at) if unit.enforces_as else unit


def codes_below(code: str, *, at: datetime) -> sa.Select[str]:
    """Codes of a unit and of all units below it at a time."""
    tree = sa.select(Unit.code).where(Unit.code == code, Unit.valid.contains(at)).cte(recursive=True)
    child = aliased(Unit)
    children = sa.select(child.code).join(tree, child.parent_code == tree.c.code)
    tree = tree.union(children.where(child.valid.contains(at)))
    return sa.select(tree.c.code)


def units_above(session: Session, unit: Unit, *, at: datetime) -> list[Unit]:
    """The units above this one at a time, the nearest first and the root last."""
    return list(session.scalars(_above(), {"unit": unit.id, "at": at}))


@cache
def _above() -> sa.Select[Unit]:
    # Asked for by every step of a case, and to put it together takes longer than to answer it.
    at = sa.bindparam("at", type_=sa.DateTime(timezone=True))
    path = (
        sa.select(Unit.parent_code.label("code"), sa.literal(1).label("height"))
        .where(Unit.id == sa.bindparam("unit"))
        .cte("above", recursive=True)
    )
    over = aliased(Unit)
    path = path.union_all(
        sa.select(over.parent_code, path.c.height + 1)
        .join(path, over.code == path.c.code)
        .where(over.valid.contains(at), path.c.height < 20)
    )
    query = sa.select(Unit).join(path, Unit.code == path.c.code).where(Unit.valid.contains(at))
    return query.order_by(path.c.height)


def posts_of(session: Session, unit_code: str, *, at: datetime) -> list[tuple[Post, PostHolder | None]]:
    """A unit's posts at a time, the first responsible one first, each with who holds it then."""
    query = _posts(at).where(Post.unit_code == unit_code).order_by(Post.is_first_responsible.desc(), Post.title)
    return [(post, holder) for post, holder in session.execute(query).unique()]


def first_responsible(
    session: Session, unit_codes: Iterable[str], *, at: datetime
) -> dict[str, tuple[Post, PostHolder | None]]:
    """The post that answers for each of the units at a time, with who holds it then; those without one are left out."""
    query = _posts(at).where(Post.unit_code.in_(set(unit_codes)), Post.is_first_responsible)
    return {post.unit_code: (post, holder) for post, holder in session.execute(query).unique()}


def _posts(at: datetime) -> sa.Select[Post, PostHolder]:
    holds = (PostHolder.unit_code == Post.unit_code) & (PostHolder.title == Post.title) & PostHolder.valid.contains(at)
    return sa.select(Post, PostHolder).outerjoin(PostHolder, holds).where(Post.valid.contains(at))


def units_without_first_responsible(
    session: Session, *, at: datetime, kinds: Collection[str] = THREE_LEVELS
) -> list[Unit]:
    """Units, of the three levels unless others are asked for, that nobody answers for at a time; by code."""
    held = (
        sa.select(Post.unit_code)
        .join(PostHolder, (PostHolder.unit_code == Post.unit_code) & (PostHolder.title == Post.title))
        .where(Post.is_first_responsible, Post.valid.contains(at), PostHolder.valid.contains(at))
    )
    query = sa.select(Unit).where(Unit.valid.contains(at), Unit.kind.in_(kinds), Unit.code.not_in(held))
    return list(session.scalars(query.order_by(Unit.code)))


def vacant_posts(session: Session, *, at: datetime) -> list[Post]:
    """The posts that nobody holds at a time, by unit and title."""
    held = sa.exists().where(
        PostHolder.unit_code == Post.unit_code, PostHolder.title == Post.title, PostHolder.valid.contains(at)
    )
    query = sa.select(Post).where(Post.valid.contains(at), ~held).order_by(Post.unit_code, Post.title)
    return list(session.scalars(query))


def hotlines(session: Session, *, at: datetime) -> dict[str, Hotline]:
    """The numbers in use at a time."""
    query = sa.select(Hotline).where(Hotline.valid.contains(at)).order_by(Hotline.number)
    return {hotline.number: hotline for hotline in session.scalars(query)}


def the_hotline(session: Session, number: str, *, at: datetime) -> Hotline:
    """The number called, however it is spaced, or `InvalidInput` where it is none of ours."""
    plain = re.sub(r"[\s-]", "", number)
    for known, hotline in hotlines(session, at=at).items():
        if known.replace("-", "") == plain:
            return hotline
    raise InvalidInput(f"{number!r} is not a number of this service at {at.isoformat()}")


@dataclass(frozen=True)
class NewHolder:
    """Who holds a post, as a file or a person states it; `until` is exclusive, None while it lasts."""

    unit_code: str
    title: str
    name: str
    own_phone: str | None
    since: datetime
    until: datetime | None


def appoint_holders(
    session: Session, holders: Iterable[NewHolder], *, by: By, now: datetime, is_synthetic: bool = False
) -> int:
    """Store who holds which post, all or none; how many were stored.

    Raises
    ------
    InvalidInput
        A post that no unit has.
    Conflict
        Two holders of one post at one time.
    """
    holders = list(holders)
    if not holders:
        return 0
    asked = {(holder.unit_code, holder.title) for holder in holders}
    posts = sa.select(Post.unit_code, Post.title).where(Post.unit_code.in_({code for code, _ in asked}))
    unknown = sorted(asked - {(code, title) for code, title in session.execute(posts)})
    if unknown:
        named = ", ".join(f"{title} of {code}" for code, title in unknown[:10])
        raise InvalidInput(f"no unit has these posts: {named}{' …' if len(unknown) > 10 else ''}")
    people = _people(session, {(holder.name, holder.own_phone) for holder in holders})
    rows = [
        {
            "unit_code": holder.unit_code,
            "title": holder.title,
            "person_id": people[holder.name, holder.own_phone],
            "valid": Range(holder.since, holder.until),
            "is_synthetic": is_synthetic,
        }
        for holder in holders
    ]
    try:
        with session.begin_nested():
            session.execute(sa.insert(PostHolder), rows)
    except IntegrityError as error:
        detail = getattr(error.orig, "diag", None)
        raise Conflict(f"two hold one post at once: {detail.message_detail if detail else error.orig}") from error
    changes = [
        change(
            "post_holder",
            f"{holder.unit_code} {holder.title}",
            by=by,
            at=now,
            after={"since": str(holder.since), "until": str(holder.until) if holder.until else None},
        )
        for holder in holders
    ]
    session.execute(sa.insert(Change), changes)
    return len(rows)


def _people(session: Session, keys: set[tuple[str, str | None]]) -> dict[tuple[str, str | None], int]:
    query = sa.select(Person).where(Person.name.in_({name for name, _ in keys}))
    found = {(person.name, person.own_phone): person.id for person in session.scalars(query)}
    missing = [{"name": name, "own_phone": phone} for name, phone in sorted(keys - found.keys(), key=str)]
    if missing:
        returned = session.execute(sa.insert(Person).returning(Person.name, Person.own_phone, Person.id), missing)
        found |= {(name, phone): id_ for name, phone, id_ in returned}
    return found


def dismiss(session: Session, unit_code: str, title: str, *, by: By, at: datetime) -> None:
    """End the hold of a post at a time, or `NotFound` where nobody holds it then."""
    holder = session.scalar(
        sa.select(PostHolder).where(
            PostHolder.unit_code == unit_code, PostHolder.title == title, PostHolder.valid.contains(at)
        )
    )
    if holder is None or holder.valid.lower == at:
        raise NotFound(f"nobody holds the post {title} of {unit_code} at {at.isoformat()}")
    before = {"until": str(holder.valid.upper) if holder.valid.upper else None}
    holder.valid = Range(holder.valid.lower, at)
    session.flush()
    key = f"{unit_code} {title}"
    session.execute(
        sa.insert(Change), [change("post_holder", key, by=by, at=at, before=before, after={"until": str(at)})]
    )


HOLDER_COLUMNS = ("unit_code", "title", "name", "own_phone", "since", "until")


def read_holders(path: Path, *, zone: ZoneInfo) -> list[NewHolder]:
    """The holders in a CSV file with the columns of `HOLDER_COLUMNS`; dates start at midnight in `zone`.

    Raises
    ------
    InvalidInput
        Naming every row at fault, at once.
    """

    def holder(row: Row) -> NewHolder:
        since, until = row.range(zone)
        if since is None:
            raise InvalidInput("since is empty")
        return NewHolder(row["unit_code"], row["title"], row["name"], row["own_phone"] or None, since, until)

    return [one for _, one in read_file(path, holder, columns=HOLDER_COLUMNS, optional=("own_phone", "until"))]
