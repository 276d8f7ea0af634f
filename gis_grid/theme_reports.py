"""What became of the cases of a year's theme (民生主题): those whose event type belongs to it, by town."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.cases import Case
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.event_types import EventType
from gis_grid.periods import Period
from gis_grid.yearly_themes import YearlyTheme, theme_of


class ThemeCount(NamedTuple):
    """Cases of a theme: how many were accepted in the year, and how many of them are closed now."""

    accepted: int = 0
    closed: int = 0


@dataclass(frozen=True)
class ThemeReport:
    """A year's theme and its cases, by town code."""

    theme: YearlyTheme
    by_town: dict[str, ThemeCount]

    @property
    def whole(self) -> ThemeCount:
        """All towns together."""
        counts = self.by_town.values()
        return ThemeCount(sum(one.accepted for one in counts), sum(one.closed for one in counts))


def theme_report(session: Session, year: int, *, zone: ZoneInfo, now: datetime) -> ThemeReport:
    """The theme of a year and what became of its cases up to now; drills are left out.

    Raises
    ------
    InvalidInput, NotFound
        Not a year from 1971 to 2099, or one without a theme.
    """
    if not 1971 <= year <= 2099:
        raise InvalidInput(f"year: {year} is not between 1971 and 2099", fields=("year",))
    theme = theme_of(session, year, at=now)
    if theme is None:
        raise NotFound(f"the year {year} has no theme; name it in yearly_themes.csv of the city's rules")
    period = Period(date(year, 1, 1), date(year, 12, 31), zone)
    types = sa.select(EventType.code).where(
        sa.or_(EventType.code.in_(theme.event_types), EventType.parent_code.in_(theme.event_types))
    )
    counted = (
        sa.select(Case.town_code, sa.func.count(), sa.func.count().filter(Case.stage == "closed"))
        .where(Case.accepted_at >= period.since, Case.accepted_at < min(period.until, now))
        .where(Case.event_type.in_(types), Case.drill_id.is_(None))
        .group_by(Case.town_code)
        .order_by(Case.town_code)
    )
    return ThemeReport(theme, {town: ThemeCount(*counts) for town, *counts in session.execute(counted)})
