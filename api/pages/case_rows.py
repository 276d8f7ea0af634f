"""Cases as lists tell them: their light, what is next and until when, with whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import sqlalchemy as sa
from fastapi import Request
from sqlalchemy.orm import Session

from api.deps import view_of
from api.pages.case_words import LIGHTS, NO_LIGHT, STAGES, next_words
from api.pages.figures import type_names
from gis_grid.case_queues import CaseFilter, Lights, find_cases, light_of, lights_by_grid
from gis_grid.case_state import CaseState
from gis_grid.cases import NEVER_DUE, Case
from gis_grid.clocks import Light
from gis_grid.permissions import Caller
from gis_grid.units import find_units

LISTED_BESIDE = 20


@dataclass(frozen=True)
class Row:
    """A case as a line of a list tells it; `due_at` is None while no clock runs."""

    case: Case
    state: CaseState
    light: Light | None
    next: str
    due_at: datetime | None
    unit: str | None
    is_public: bool

    @property
    def light_word(self) -> str:
        """The light in words."""
        return LIGHTS[self.light] if self.light else NO_LIGHT


def rows_of(session: Session, caller: Caller, cases: Sequence[Case], *, now: datetime) -> list[Row]:
    """What a list tells of some cases, to a caller."""
    units = find_units(session, {case.unit for case in cases if case.unit}, at=now)
    rows = []
    for case in cases:
        state = case.read_state()
        unit = units.get(case.unit or "")
        rows.append(
            Row(
                case,
                state,
                light_of(case, now),
                next_words(state),
                case.due_at if case.filed_at is not None and case.due_at < NEVER_DUE else None,
                unit.name if unit else case.unit,
                view_of(caller, case.ground).is_public,
            )
        )
    return rows


def listed_beside(session: Session, request: Request, caller: Caller, which: CaseFilter, *, now: datetime) -> Any:
    """What the pages of grids and areas tell of their open cases: the most pressing ones, and the lights."""
    return {
        "rows": rows_of(session, caller, find_cases(session, which, now=now, limit=LISTED_BESIDE), now=now),
        "lights": counted(session, which, now=now),
        "now": now,
        **words(session, request),
    }


def counted(
    session: Session, which: CaseFilter, *, now: datetime, scope: sa.ColumnElement[bool] | None = None
) -> Lights:
    """How many open cases show each light."""
    return reduce(Lights.plus, lights_by_grid(session, now=now, which=which, scope=scope).values(), Lights())


def words(session: Session, request: Request) -> dict[str, Any]:
    """The names that lists of cases need."""
    return {"types": type_names(session, request), "light_words": LIGHTS, "stage_words": STAGES}
