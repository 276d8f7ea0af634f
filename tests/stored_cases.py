"""Cases in a database, one step after the other, as people take them."""

import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from gis_grid.case_deciding import ANY_STEP
from gis_grid.case_state import CaseEvent
from gis_grid.cases import Case, accept_report, lock_cases, needed_cases, take_step, the_case
from gis_grid.city import load_city
from gis_grid.database import By
from gis_grid.geo.datum import LonLat
from gis_grid.intake import Intake
from gis_grid.photos import add_photo
from gis_grid.reports import Filed, Kind, Report, Source, file_reports
from tests.builders import BY, NOW
from tests.case_builders import jpeg

CITY = load_city()
INSIDE = LonLat(121.4005, 31.1022)
WORKSTATION, SUB_CENTRE = "ws-310112001001", "sub-310112001"
TEAM = "team-chengguan-310112001"


def by(name: str) -> By:
    return By(who=f"user:{name}", channel="test", request_id="r1")


class Desk:
    """People of a furnished city at work, and a clock that goes on by an hour with each step."""

    def __init__(self, session: Session, photos: Path) -> None:
        self.session, self.photos, self.at = session, photos, NOW

    def report(self, *, point: LonLat = INSIDE, at: datetime | None = None, sender: By = BY, **changes: Any) -> Report:
        words = {"kind": Kind.COMPLAINT, "event_type": "E0102", "text": "垃圾堆在小区门口", "source": Source.RESIDENT}
        new = Intake(metric_crs=CITY.metric_crs, bounds=None).report(
            id_=uuid.uuid4(), lon=point.lon, lat=point.lat, received_at=at or self.at, **(words | changes)
        )
        (filed,) = file_reports(self.session, [new], snap_m=50.0, by=sender, now=self.at)
        if not isinstance(filed, Filed):
            raise filed
        return filed.report

    def accept(self, report: Report | None = None, **changes: Any) -> Case:
        report = report or self.report(**changes)
        case = accept_report(self.session, report.id, by=by("operator"), now=self.at)
        self.session.commit()
        return case

    def step(self, case: Case, who: str, *, after: timedelta = timedelta(hours=1), **step: Any) -> CaseEvent:
        self.at += after
        asked = ANY_STEP.validate_python(step)
        cases = lock_cases(self.session, needed_cases(case.name, asked))
        try:
            event = take_step(self.session, cases, asked, city=CITY, photos=self.photos, by=by(who), now=self.at)
        except Exception:
            self.session.rollback()
            raise
        self.session.commit()
        return event

    def filed(self, **changes: Any) -> Case:
        case = self.accept(**changes)
        self.step(case, "operator", action="file")
        return case

    def dispatched(self, unit: str = TEAM, **changes: Any) -> Case:
        case = self.filed(**changes)
        self.step(case, "station", action="attempt", duty="宣传劝阻", text="劝阻无效")
        self.step(case, "station", action="escalate", duty="及时报告", reason="劝阻无效")
        self.step(case, "dispatcher", action="dispatch", unit=unit, reason="就近")
        return case

    def after_photo(
        self, case: Case, *, lon: float | None = INSIDE.lon, taken: str | None = "2026:03:05 09:00:00"
    ) -> str:
        data = jpeg(lon=lon, lat=INSIDE.lat, taken=taken)
        report = the_case(self.session, case.name).report
        photo = add_photo(self.session, report.id, data, folder=self.photos, by=BY, now=self.at)
        self.session.commit()
        return photo.sha256

    def closed(self, **changes: Any) -> Case:
        case = self.dispatched(**changes)
        self.step(case, "handler", action="take")
        self.at = NOW + timedelta(days=4)
        self.step(case, "handler", action="handle", text="清理完毕", after_photo=self.after_photo(case))
        self.step(case, "checker", action="check", result="pass", text="已整改")
        self.step(case, "operator", action="answer", text="已告知", satisfaction="满意")
        self.step(case, "operator", action="close")
        return case
