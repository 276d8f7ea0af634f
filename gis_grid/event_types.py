"""What a report can be about: classes and types from the city's `event_types.csv`."""

import csv
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.database import Base
from gis_grid.errors import InvalidInput, NotFound

COLUMNS = ("code", "parent_code", "family", "name", "name_en", "is_example")


class EventType(Base):
    """A class (no parent) or a type of event (事件) or component (部件)."""

    __tablename__ = "event_types"

    code: Mapped[str] = mapped_column(primary_key=True)
    parent_code: Mapped[str | None] = mapped_column(sa.ForeignKey("event_types.code"), index=True)
    family: Mapped[str]
    name: Mapped[str]
    name_en: Mapped[str]
    is_example: Mapped[bool]


def load_event_types(session: Session, path: Path) -> int:
    """Store the event types of a CSV file, renaming those already there; how many the file has.

    Raises
    ------
    InvalidInput
        Naming the columns or rows that are wrong.
    """
    rows = read_event_types(path)
    statement = insert(EventType)
    renamed = {key: statement.excluded[key] for key in COLUMNS if key != "code"}
    session.execute(statement.on_conflict_do_update(index_elements=[EventType.code], set_=renamed), rows)
    return len(rows)


def the_event_type(session: Session, code: str) -> EventType:
    """The class or type with this code, or `NotFound`."""
    found = session.get(EventType, code)
    if found is None:
        raise NotFound(f"event_type: {code!r} is not in the city's list of event types")
    return found


def read_event_types(path: Path) -> list[dict[str, str | bool | None]]:
    """Rows of an event type file, classes before their types."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if set(COLUMNS) - set(reader.fieldnames or ()):
            raise InvalidInput(f"{path} needs the columns {', '.join(COLUMNS)}; it has {reader.fieldnames}")
        rows = [
            {key: row[key] for key in COLUMNS}
            | {"parent_code": row["parent_code"] or None, "is_example": row["is_example"] == "true"}
            for row in reader
        ]
    codes = {row["code"] for row in rows}
    lost = sorted({str(row["parent_code"]) for row in rows if row["parent_code"]} - {str(code) for code in codes})
    if lost or len(codes) < len(rows) or not rows:
        raise InvalidInput(f"{path}: no rows, a code twice, or parents that are not in the file: {', '.join(lost)}")
    return sorted(rows, key=lambda row: (row["parent_code"] is not None, row["code"]))
