"""Whether the stored cases are what their logs say, many at a time."""

from collections import defaultdict
from typing import NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from gis_grid.case_state import CaseEvent, replay
from gis_grid.cases import Case, CaseLogEntry
from gis_grid.errors import Conflict

BATCH = 1000
COLUMNS = (
    "report_id", "serial", "seq", "stage", "kind", "event_type", "urgency", "grid_code", "community_code", "town_code",
    "unit", "level", "accepted_at", "filed_at", "closed_at", "due_at", "yellow_at", "orange_at", "red_at",
)  # fmt: skip


class Difference(NamedTuple):
    """A case that is not what the replay of its log gives, and in what."""

    case: str
    why: str


class Verified(NamedTuple):
    """A batch of cases: how many were looked at, the last one's id, and those that differ."""

    looked_at: int
    last_id: int
    differing: list[Difference]


def count_cases(session: Session) -> int:
    """How many cases there are."""
    return session.scalar(sa.select(sa.func.count()).select_from(Case)) or 0


def verify_cases(session: Session, *, after_id: int = 0, size: int = BATCH) -> Verified:
    """Replay the logs of the next cases by id and compare each with its stored state and columns.

    The session's transaction should be repeatable read: cases and log are two queries.
    """
    cases = session.scalars(sa.select(Case).where(Case.id > after_id).order_by(Case.id).limit(size)).all()
    if not cases:
        return Verified(0, after_id, [])
    last_id = cases[-1].id
    logs: dict[int, list[CaseEvent]] = defaultdict(list)
    entries = sa.select(CaseLogEntry).where(CaseLogEntry.case_id > after_id, CaseLogEntry.case_id <= last_id)
    for entry in session.scalars(entries.order_by(CaseLogEntry.case_id, CaseLogEntry.seq)):
        logs[entry.case_id].append(entry.event)
    found = [(case.name, why_different(case, logs[case.id])) for case in cases]
    return Verified(len(cases), last_id, [Difference(name, why) for name, why in found if why is not None])


def why_different(case: Case, log: list[CaseEvent]) -> str | None:
    """In what a case differs from the replay of its log; None where it does not."""
    try:
        told = replay(log)
        stored = case.read_state()
    except Conflict as broken:
        return str(broken)
    except ValidationError as error:
        return f"state or log cannot be read: {error.errors()[0]['loc'][0]}"
    expected = Case()
    expected.write_state(told)
    fields = [name for name in type(told).model_fields if getattr(told, name) != getattr(stored, name)]
    columns = [name for name in COLUMNS if getattr(case, name) != getattr(expected, name)]
    wrong = [*(f"state.{name}" for name in fields), *columns]
    return f"{', '.join(wrong)} not as in the log" if wrong else None
