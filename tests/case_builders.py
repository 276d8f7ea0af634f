"""Cases without a database, and the city's rules in one, for the tests."""

import io
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from PIL import Image
from sqlalchemy.orm import Session

from gis_grid.case_deciding import ANY_STEP, accept, decide
from gis_grid.case_rules import CaseRules, Facts, PhotoFacts
from gis_grid.case_state import CaseEvent, CaseLevel, CaseState, Responsibility, Stage, replay
from gis_grid.city import load_city
from gis_grid.clocks import Calendar, Limit, LimitUnit, Thresholds
from gis_grid.routing import Urgency
from gis_grid.rules import load_rules
from tests.builders import BY, NOW

ROUND_THE_CLOCK = LimitUnit.URGENT_HOURS
PHOTO = "a" * 64
SERIAL = "3101122026030200001"
RULES = CaseRules(
    Calendar(ZoneInfo("Asia/Shanghai"), ((time(9), time(17)),), {}),
    Thresholds(Fraction(1, 2), Fraction(4, 5), Fraction(1)),
    Limit(100, ROUND_THE_CLOCK),
    {stage: Limit(Decimal(10), ROUND_THE_CLOCK) for stage in Stage if stage not in {Stage.ACCEPTED, Stage.ANSWERED}},
)
FACTS = Facts(
    RULES,
    start_unit="ws",
    start_level=CaseLevel.COMMUNITY,
    town_unit="sub",
    dispatch_unit="sub",
    proposed_unit=None,
    responsible=Responsibility(tenure_id=1, post="书记", unit="居委会"),
    evidence={"grid_code": "g", "neighbours": ["h"]},
    photo=PhotoFacts(PHOTO, 12.0, NOW + timedelta(hours=300)),
    next_serial=lambda: SERIAL,
)
HANDLE = {"action": "handle", "text": "清理完毕", "after_photo": PHOTO, "duty": "快速处置"}
# From the acceptance to the end, each by another person.
LIFE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("operator", {"action": "file"}),
    ("ws", {"action": "attempt", "duty": "宣传劝阻", "text": "劝阻无效"}),
    ("ws", {"action": "escalate", "duty": "及时报告", "reason": "劝阻无效"}),
    ("dispatcher", {"action": "dispatch", "unit": "team"}),
    ("handler", {"action": "take"}),
    ("handler", HANDLE),
    ("checker", {"action": "check", "result": "pass", "text": "已整改"}),
    ("operator", {"action": "answer", "text": "已告知", "satisfaction": "满意"}),
    ("operator", {"action": "close"}),
)


class Told:
    """A case and its log, as a person would tell it."""

    def __init__(self, *, kind: str = "投诉", urgency: Urgency = Urgency.NORMAL, facts: Facts = FACTS) -> None:
        first = accept(
            report_id="00000000-0000-0000-0000-000000000001",
            reported_at=NOW,
            kind=kind,
            event_type="E0102",
            urgency=urgency,
            grid_code="g",
            community_code="c",
            town_code="t",
            who="operator",
            at=NOW,
        )
        self.log: list[CaseEvent] = [first]
        self.state: CaseState = replay([first])
        self.at: datetime = NOW
        self.facts = facts

    def then(
        self, who: str, *, after: timedelta = timedelta(hours=1), facts: dict[str, Any] | None = None, **step: Any
    ) -> CaseState:
        at = self.at + after
        known = replace(self.facts, **(facts or {}))
        self.state, event = decide(self.state, ANY_STEP.validate_python(step), who=who, at=at, facts=known)
        self.log.append(event)
        self.at = at
        return self.state

    def up_to(self, action: str) -> "Told":
        """All of `LIFE` up to and with an action."""
        for who, step in LIFE:
            self.then(who, **step)
            if step["action"] == action:
                break
        return self


def load_city_rules(session: Session) -> None:
    load_rules(session, load_city(), now=NOW, by=BY)
    session.commit()


def jpeg(
    *, colour: int = 0, lon: float | None = None, lat: float = 0.0, taken: str | None = None, offset: str = "+08:00"
) -> bytes:
    """A small photo with the metadata of a camera."""
    image = Image.new("RGB", (32, 24), (colour % 256, colour // 256, 90))
    exif = Image.Exif()
    if lon is not None:
        exif.get_ifd(0x8825).update({1: "N", 2: _dms(lat), 3: "E", 4: _dms(lon)})
    if taken is not None:
        exif.get_ifd(0x8769).update({36867: taken, 36881: offset})
    data = io.BytesIO()
    image.save(data, "JPEG", exif=exif)
    return data.getvalue()


def _dms(degrees: float) -> tuple[float, float, float]:
    whole, minutes = int(degrees), (degrees - int(degrees)) * 60
    return float(whole), float(int(minutes)), round((minutes - int(minutes)) * 60, 4)


def count(session: Session, table: Any) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
