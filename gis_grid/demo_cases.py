"""Synthetic cases for a try: some hundred reports of the demo, each taken some way from acceptance to its end."""

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from PIL import Image
from sqlalchemy.orm import Session, defer, joinedload

from gis_grid.case_deciding import ANY_STEP
from gis_grid.case_facts import propose
from gis_grid.case_state import CaseClock
from gis_grid.cases import Case, accept_report, take_step
from gis_grid.city import City
from gis_grid.clocks import Limit, LimitUnit, parse_limit
from gis_grid.database import By
from gis_grid.photos import add_photo
from gis_grid.reports import Report, Source
from gis_grid.routing import StepLimit, Urgency
from gis_grid.territory import Area, Grid

SEED = 20140601
OPEN_CASES, ENDED_CASES = 130, 30

Step = dict[str, Any]
Told = tuple[float, str, Step]  # hours after the step before, who, what

FILE: Told = (0.2, "operator", {"action": "file"})
ATTEMPT: Told = (1.5, "grid_manager", {"action": "attempt", "duty": "宣传劝阻", "text": "上门劝阻,对方未整改(示例)"})
ESCALATE: Told = (0.5, "grid_manager", {"action": "escalate", "duty": "及时报告", "reason": "劝阻无效(示例)"})
DISPATCH: Told = (0.6, "dispatcher", {"action": "dispatch"})
TAKE: Told = (1.0, "handler", {"action": "take"})
HANDLE: Told = (18.0, "handler", {"action": "handle", "text": "已到现场处置完毕(示例)"})
CHECK: Told = (
    4.0,
    "checker",
    {"action": "check", "result": "pass", "text": "现场核查属实(示例)", "confirms_photo": True},
)
FAIL: Told = (4.0, "checker", {"action": "check", "result": "fail", "text": "仍有残留,请返工(示例)"})
ANSWER: Told = (2.0, "operator", {"action": "answer", "text": "已电话告知处理结果(示例)", "satisfaction": "满意"})
CLOSE: Told = (0.3, "operator", {"action": "close"})
RETURN: Told = (1.0, "handler", {"action": "return", "reason_code": "属地不符", "text": "不在本单位辖区(示例)"})
ASK: Told = (
    2.0,
    "handler",
    {"action": "ask_extension", "clock": "step", "reason": "需外调设备(示例)"},
)
SUSPEND: Told = (2.0, "handler", {"action": "ask_suspension", "reason": "等待产权单位答复(示例)"})
APPROVE: Told = (3.0, "dispatcher", {"action": "approve", "text": "同意(示例)"})
UP = (FILE, ATTEMPT, ESCALATE, DISPATCH)

# The lives that open cases have led so far: how many of a hundred led each, and how many hours ago at most its last
# step was, so that every light is seen.
OPEN_LIVES: tuple[tuple[float, float, tuple[Told, ...]], ...] = (
    (5, 6, ()),
    (9, 20, (FILE,)),
    (6, 20, (FILE, ATTEMPT)),
    (7, 20, (FILE, ATTEMPT, ESCALATE)),
    (9, 24, UP),
    (30, 220, (*UP, TAKE)),
    (4, 24, (*UP, RETURN)),
    (4, 150, (*UP, TAKE, ASK)),
    (3, 200, (*UP, TAKE, SUSPEND, APPROVE)),
    (9, 40, (*UP, TAKE, HANDLE)),
    (4, 150, (*UP, TAKE, HANDLE, FAIL)),
    (7, 40, (*UP, TAKE, HANDLE, CHECK)),
    (3, 20, (*UP, TAKE, HANDLE, CHECK, ANSWER)),
)
WHOLE_LIFE = (*UP, TAKE, HANDLE, CHECK, ANSWER, CLOSE)


@dataclass(frozen=True)
class _Desk:
    """What every step of a made-up case needs."""

    session: Session
    city: City
    photos: Path
    photo: bytes

    def live(self, report: Report, life: Sequence[Told], *, urgency: Urgency) -> None:
        """Take a report through the steps of a life, each at its own time."""
        at = report.received_at + timedelta(minutes=4)
        case = accept_report(self.session, report.id, urgency=urgency, by=_by("operator"), now=at)
        for after_h, role, step in life:
            at += timedelta(hours=after_h)
            self.take(case, dict(step), role, at)

    def take(self, case: Case, step: Step, role: str, at: datetime) -> None:
        by = _by(role)
        if step["action"] in {"attempt", "escalate"} and case.level != "community":
            return  # what needs a department from the start never lay with the community
        if step["action"] == "dispatch":
            step["unit"] = propose(self.session, case.read_state(), case.grid, now=at).unit.code
        if step["action"] == "ask_extension":
            step["more"] = _a_little_more(case.read_state().step)
        if step["action"] == "handle":
            stored = add_photo(self.session, case.report_id, self.photo, folder=self.photos, by=by, now=at)
            step["after_photo"] = stored.sha256
        asked = ANY_STEP.validate_python(step)
        take_step(self.session, [case], asked, city=self.city, photos=self.photos, by=by, now=at)


def _a_little_more(clock: CaseClock | None) -> str:
    """Two of whatever a clock counts in: it can be extended in its own unit only."""
    return str(Limit(2, parse_limit(clock.limit).unit if clock else LimitUnit.URGENT_HOURS))


def _by(role: str) -> By:
    return By(who=f"user:{role}", channel="demo", request_id="demo")


def make_cases(session: Session, city: City, *, photos: Path, now: datetime) -> int:
    """Make cases of the synthetic reports that are stored, open and ended ones, in all stages; how many.

    Every step is taken by the rules at a time before `now`, so that logs and clocks are those of a real city; one
    without limits gets no cases.
    """
    if session.scalar(sa.select(StepLimit.id).limit(1)) is None:
        return 0
    rng = np.random.default_rng(SEED)
    reports = _reports(session)
    desk = _Desk(session, city, photos, _photo())
    made = 0
    for ended_ago, life in _lives(rng):
        report = _begun_at(reports, now - ended_ago - timedelta(hours=sum(step[0] for step in life), minutes=5))
        if report is None:
            continue
        desk.live(report, life, urgency=Urgency.URGENT if rng.random() < 0.15 else Urgency.NORMAL)
        made += 1
    return made


def _lives(rng: np.random.Generator) -> Iterator[tuple[timedelta, Sequence[Told]]]:
    """Lives, and how long ago the last step of each was."""
    shares = np.array([share for share, _, _ in OPEN_LIVES])
    for chosen in rng.choice(len(OPEN_LIVES), OPEN_CASES, p=shares / shares.sum()):
        _, at_most_h, life = OPEN_LIVES[chosen]
        yield timedelta(hours=float(rng.uniform(0.1, at_most_h))), life
    for hours in rng.uniform(1, 600, ENDED_CASES):
        yield timedelta(hours=float(hours)), WHOLE_LIFE


def _reports(session: Session) -> list[Report]:
    """The synthetic reports that lie in a grid, in the order they came in."""
    names = joinedload(Report.grid).options(
        defer(Grid.geom),
        joinedload(Grid.community).options(defer(Area.geom), joinedload(Area.parent).defer(Area.geom)),
    )
    query = sa.select(Report).where(
        Report.is_synthetic, Report.grid_id.is_not(None), Report.source != Source.IMPORT.value
    )
    return list(session.scalars(query.options(names).order_by(Report.received_at)))


def _begun_at(reports: list[Report], at: datetime) -> Report | None:
    """The last report up to a time, taken out of the list; None where there is none."""
    place = bisect_right(reports, at, key=lambda report: report.received_at)
    return reports.pop(place - 1) if place else None


def _photo() -> bytes:
    """A plain picture without place or time, so that the checker confirms it."""
    data = io.BytesIO()
    Image.new("RGB", (640, 480), (120, 160, 130)).save(data, "JPEG")
    return data.getvalue()
