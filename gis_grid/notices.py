"""Notices of acts of supervision: written with the act, shown to whoever was told, marked as read by each reader."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.case_state import CaseEvent, ClockName
from gis_grid.database import Base
from gis_grid.dated import one_of
from gis_grid.supervision_acts import Act
from gis_grid.units import PostHolder


class Notice(Base):
    """That a unit, or with `post` the holder of a post in it, was told of one act; rows are only ever added.

    Attributes
    ----------
    seq
        The step of the case's log that the act is.
    started_at
        With `clock` the cause: one run of one clock.
    fell_due_at
        None for an act that a person issued without its being due.
    """

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("cases.id"))
    seq: Mapped[int]
    act: Mapped[str]
    clock: Mapped[str]
    started_at: Mapped[datetime]
    fell_due_at: Mapped[datetime | None]
    issued_at: Mapped[datetime]
    unit_code: Mapped[str]
    post: Mapped[str | None]
    holder_id: Mapped[int | None] = mapped_column(sa.ForeignKey(PostHolder.id))

    __table_args__ = (
        sa.Index("ix_notices_unit_code", "unit_code", "id"),
        sa.UniqueConstraint(
            "case_id", "seq", "unit_code", "post", name="uq_notices_case_id", postgresql_nulls_not_distinct=True
        ),
        sa.CheckConstraint(one_of("act", Act), name="act"),
        sa.CheckConstraint(one_of("clock", ClockName), name="clock"),
    )


class NoticeRead(Base):
    """Who read a notice first when; rows are only ever added."""

    __tablename__ = "notice_reads"

    notice_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey(Notice.id), primary_key=True)
    who: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


def notice_rows(case_id: int, event: CaseEvent) -> list[dict[str, Any]]:
    """The notices that a step of a case gives rise to: one for each that an act tells; none for other steps."""
    if event.action != "supervise":
        return []
    said = event.said
    cause = event.changed["issued"][-1]
    return [
        {
            "case_id": case_id,
            "seq": event.seq,
            "act": said["act"],
            "clock": cause["clock"],
            "started_at": datetime.fromisoformat(cause["started_at"]),
            "fell_due_at": datetime.fromisoformat(said["fell_due_at"]) if "fell_due_at" in said else None,
            "issued_at": event.at,
            "unit_code": one["unit"],
            "post": one["post"],
            "holder_id": one["holder_id"],
        }
        for one in said["told"]
    ]


def mark_read(session: Session, notice_id: int, *, who: str, now: datetime) -> datetime:
    """Note that somebody has read a notice; when they first did."""
    read = insert(NoticeRead).values(notice_id=notice_id, who=who, at=now)
    session.execute(read.on_conflict_do_nothing())
    return session.get_one(NoticeRead, (notice_id, who)).at
