"""Who answers for which ground, from when to when."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from gis_grid.database import Base, By, Change, change
from gis_grid.errors import Conflict, InvalidInput
from gis_grid.instants import parse_instant
from gis_grid.territory import Grid, GridLayer

GRID_MANAGER = "grid_manager"


class Person(Base):
    """A person who holds posts; the name and the own phone are for staff only."""

    __tablename__ = "persons"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    name: Mapped[str]
    own_phone: Mapped[str | None]

    __table_args__ = (sa.Index("ix_persons_name_own_phone", "name", "own_phone"),)


class Tenure(Base):
    """One person's hold of one post over one piece of ground; two never overlap."""

    __tablename__ = "tenures"

    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    role: Mapped[str]
    ground: Mapped[str]
    code: Mapped[str]
    person_id: Mapped[int] = mapped_column(sa.ForeignKey(Person.id), index=True)
    post: Mapped[str]
    unit: Mapped[str]
    duty_phone: Mapped[str]
    valid: Mapped[Range[datetime]] = mapped_column(TSTZRANGE)
    is_synthetic: Mapped[bool] = mapped_column(server_default=sa.false())

    person: Mapped[Person] = relationship(lazy="joined")

    __table_args__ = (
        ExcludeConstraint(
            ("ground", "="), ("code", "="), ("role", "="), ("valid", "&&"), name="ex_tenures_valid", using="gist"
        ),
        sa.CheckConstraint("ground in ('grid', 'area', 'block')", name="ground"),
        sa.CheckConstraint("not isempty(valid)", name="valid"),
    )


@dataclass(frozen=True)
class NewTenure:
    """A grid manager's tenure as a file or a person states it; `until` is exclusive, None while it lasts."""

    grid_code: str
    name: str
    post: str
    unit: str
    duty_phone: str
    own_phone: str | None
    since: datetime
    until: datetime | None


def manager_of(session: Session, grid_code: str, *, at: datetime) -> Tenure | None:
    """Who answers for a grid at a time; None when nobody does."""
    return session.scalar(_managers().where(Tenure.code == grid_code, Tenure.valid.contains(at)))


def managers_at(session: Session, asked: Sequence[tuple[str, datetime]]) -> list[Tenure | None]:
    """Who answers for each grid at its own time, in the order asked."""
    held: dict[str, list[Tenure]] = {}
    for tenure in session.scalars(_managers().where(Tenure.code.in_({code for code, _ in asked}))):
        held.setdefault(tenure.code, []).append(tenure)
    return [next((tenure for tenure in held.get(code, ()) if at in tenure.valid), None) for code, at in asked]


def managers(session: Session, *, at: datetime, grid_codes: Iterable[str] | None = None) -> dict[str, Tenure]:
    """The managers in office at a time by grid code."""
    query = _managers().where(Tenure.valid.contains(at))
    if grid_codes is not None:
        query = query.where(Tenure.code.in_(list(grid_codes)))
    return {tenure.code: tenure for tenure in session.scalars(query)}


def _managers() -> sa.Select[Tenure]:
    return sa.select(Tenure).where(Tenure.role == GRID_MANAGER, Tenure.ground == "grid")


def grids_without_manager(session: Session, *, at: datetime) -> list[str]:
    """Codes of the grids in force at a time that nobody answers for, ascending."""
    held = _managers().where(Tenure.valid.contains(at)).with_only_columns(Tenure.code)
    query = sa.select(Grid.code).join(Grid.layer).where(GridLayer.in_force.contains(at), Grid.code.not_in(held))
    return list(session.scalars(query.order_by(Grid.code)))


def managers_left(session: Session, *, at: datetime) -> dict[str, datetime]:
    """When the last tenure of a grid manager that was over by a time ended, by grid code."""
    ended = sa.func.upper(Tenure.valid)
    last = sa.func.max(ended).label("last")
    over = _managers().where(ended <= at).with_only_columns(Tenure.code, last).group_by(Tenure.code)
    return {row.code: row.last for row in session.execute(over)}


def appoint(
    session: Session, tenures: Iterable[NewTenure], *, by: By, now: datetime, is_synthetic: bool = False
) -> int:
    """Store grid managers' tenures, all or none; how many were stored.

    Raises
    ------
    InvalidInput
        A grid code that no layer knows.
    Conflict
        A tenure that overlaps another of the same grid.
    """
    tenures = list(tenures)
    known = set(session.scalars(sa.select(Grid.code).where(Grid.code.in_({tenure.grid_code for tenure in tenures}))))
    unknown = sorted({tenure.grid_code for tenure in tenures} - known)
    if unknown:
        raise InvalidInput(f"no layer has these grids: {', '.join(unknown[:10])}{' …' if len(unknown) > 10 else ''}")
    people = _people(session, tenures)
    rows: list[dict[str, Any]] = [
        {
            "role": GRID_MANAGER,
            "ground": "grid",
            "code": tenure.grid_code,
            "person_id": people[tenure.name, tenure.own_phone],
            "post": tenure.post,
            "unit": tenure.unit,
            "duty_phone": tenure.duty_phone,
            "valid": Range(tenure.since, tenure.until),
            "is_synthetic": is_synthetic,
        }
        for tenure in tenures
    ]
    try:
        with session.begin_nested():
            session.execute(sa.insert(Tenure), rows)
    except IntegrityError as error:
        detail = getattr(error.orig, "diag", None)
        raise Conflict(f"two tenures of one grid overlap: {detail.message_detail if detail else error.orig}") from error
    after = [
        change("tenure", row["code"], by=by, at=now, after={"post": row["post"], "since": str(tenure.since)})
        for row, tenure in zip(rows, tenures, strict=True)
    ]
    session.execute(sa.insert(Change), after)
    return len(rows)


def _people(session: Session, tenures: list[NewTenure]) -> dict[tuple[str, str | None], int]:
    keys = {(tenure.name, tenure.own_phone) for tenure in tenures}
    names = {name for name, _ in keys}
    found = {
        (person.name, person.own_phone): person.id
        for person in session.scalars(sa.select(Person).where(Person.name.in_(names)))
    }
    missing = sorted(keys - found.keys(), key=str)
    if missing:
        rows = [{"name": name, "own_phone": phone} for name, phone in missing]
        returned = session.execute(sa.insert(Person).returning(Person.name, Person.own_phone, Person.id), rows)
        found |= {(name, phone): id_ for name, phone, id_ in returned}
    return found


COLUMNS = ("grid_code", "name", "post", "unit", "duty_phone", "own_phone", "since", "until")
OPTIONAL = frozenset({"own_phone", "until"})


def read_tenures(path: Path, *, zone: ZoneInfo) -> list[NewTenure]:
    """The tenures in a CSV file with the columns of `COLUMNS`; dates without a time start at midnight in `zone`.

    Raises
    ------
    InvalidInput
        Naming every row and column at fault, at once.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - OPTIONAL - set(reader.fieldnames or ())
            if missing:
                raise InvalidInput(f"{path} lacks the columns {', '.join(sorted(missing))}; it has {reader.fieldnames}")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} is not a readable UTF-8 CSV file: {error}") from error
    tenures, faults = [], []
    for number, row in enumerate(rows, start=2):
        try:
            tenures.append(_tenure(row, zone))
        except InvalidInput as error:
            faults.append(f"row {number}: {error}")
    if faults:
        raise InvalidInput(f"{path}: " + "; ".join(faults[:20]) + (" …" if len(faults) > 20 else ""))
    return tenures


def _tenure(row: Mapping[str, str | None], zone: ZoneInfo) -> NewTenure:
    values = {key: (row.get(key) or "").strip() for key in COLUMNS}
    empty = [key for key in COLUMNS if key not in OPTIONAL and not values[key]]
    if empty:
        raise InvalidInput(f"{', '.join(empty)} is empty")
    if any("\0" in value for value in values.values()):
        raise InvalidInput("a NUL character")
    since = parse_instant(values["since"], zone=zone)
    until = parse_instant(values["until"], zone=zone) if values["until"] else None
    if until is not None and until <= since:
        raise InvalidInput(f"until {values['until']} is not after since {values['since']}")
    return NewTenure(
        grid_code=values["grid_code"],
        name=values["name"],
        post=values["post"],
        unit=values["unit"],
        duty_phone=values["duty_phone"],
        own_phone=values["own_phone"] or None,
        since=since,
        until=until,
    )
