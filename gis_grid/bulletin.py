"""The bulletin of red cases (红灯超时案件通报): who had which case when its time ran out, told by the log."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from gis_grid.database import sql
from gis_grid.periods import Period
from gis_grid.report_exports import defused

COLUMNS = (
    "case", "clock", "limit", "started_at", "red_at", "over_at", "overdue_h", "stage", "unit", "unit_name", "person",
    "post", "grid_code", "event_type", "log_rows", "is_synthetic",
)  # fmt: skip


@dataclass(frozen=True)
class RedRun:
    """A run of a clock that turned red: its case, and who had that when it did.

    Attributes
    ----------
    over_at, over_by
        When and by which step the run ended; None while it goes on.
    unit, stage
        With whom the case was, and where it stood.
    taker
        Who had taken the case in that unit; None while nobody had.
    post, holder_id
        The unit's first responsible post, and the row of who held it; None where there is none or it was vacant.
    due_seq, had_seq
        The steps in the case's log that say so: that which set the due time, and the last before it ran out.
    """

    case_id: int
    serial: str
    clock: str
    limit_text: str
    extended: Sequence[str]
    started_at: datetime
    red_at: datetime
    over_at: datetime | None
    over_by: str | None
    stage: str
    unit: str | None
    unit_name: str | None
    taker: str | None
    post: str | None
    holder_id: int | None
    event_type: str
    grid_code: str
    community_code: str
    town_code: str
    district_code: str
    due_seq: int
    had_seq: int
    is_synthetic: bool

    @property
    def person(self) -> str:
        """Who answers for it: whoever had taken it, else the unit's first responsible post."""
        return self.taker or (f"{self.post}{'' if self.holder_id else '(空缺 vacant)'}" if self.post else "无人 nobody")

    @property
    def ground(self) -> tuple[str, ...]:
        """Codes of its grid, community, town and district."""
        return self.grid_code, self.community_code, self.town_code, self.district_code

    def overdue_h(self, now: datetime) -> float:
        """How long it was, or has been, red, in hours by the wall clock."""
        return ((self.over_at or now) - self.red_at).total_seconds() / 3600


@dataclass(frozen=True)
class Bulletin:
    """The red runs of a period, by unit and time; `at` is when it was drawn up."""

    period: Period
    at: datetime
    runs: tuple[RedRun, ...]

    @property
    def cases(self) -> int:
        """How many cases turned red."""
        return len({run.case_id for run in self.runs})

    @property
    def by_unit_and_person(self) -> list[tuple[str, str, int]]:
        """Unit, person and how many cases turned red with them; the most first."""
        counted = Counter(
            (unit, person) for unit, person, _ in {(r.unit_name or "", r.person, r.case_id) for r in self.runs}
        )
        return [(*key, count) for key, count in sorted(counted.items(), key=lambda one: (-one[1], one[0]))]


def red_cases(session: Session, period: Period, *, now: datetime) -> Bulletin:
    """The runs of clocks that turned red in a period, up to now; one that was red already is not red anew.

    Drawn up from the log of cases, whether or not an act of supervision was issued. A run that more time was given
    to after it had turned red stays in; the time that a case is suspended or closed does not run.
    """
    between = {"since_text": _text(period.since), "until_text": _text(period.until), "now": now}
    rows = session.execute(sql("red_runs"), between)
    return Bulletin(period, now, tuple(RedRun(**row) for row in rows.mappings()))


def _text(at: datetime) -> str:
    # A prefix of how the log writes instants: it sorts before every text of that second.
    return f"{at:%Y-%m-%dT%H:%M:%S}"


def bulletin_csv(bulletin: Bulletin, *, zone: ZoneInfo) -> str:
    """The bulletin as CSV for spreadsheets, with the byte order mark that they know UTF-8 by; times in `zone`."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for run in bulletin.runs:
        writer.writerow(defused(cell) for cell in _cells(run, bulletin.at, zone))
    return "\ufeff" + file.getvalue()


def _cells(run: RedRun, now: datetime, zone: ZoneInfo) -> Iterable[object]:
    def local(at: datetime | None) -> str:
        return at.astimezone(zone).isoformat() if at else ""

    limit = " + ".join([run.limit_text, *run.extended])
    times = (local(run.started_at), local(run.red_at), local(run.over_at), f"{run.overdue_h(now):.2f}")
    who = (run.stage, run.unit or "", run.unit_name or "", run.person, run.post or "")
    where = (run.grid_code, run.event_type, f"{run.due_seq} {run.had_seq}", str(run.is_synthetic).lower())
    return (run.serial, run.clock, limit, *times, *who, *where)
