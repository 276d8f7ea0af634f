"""Indicators out of the log: a real bulletin to the digit, a month that keeps its figures, and the rows behind them."""

import csv
import io
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gis_grid.assessment import Assessed, KeptCounts, assess, assessment_csv
from gis_grid.cases import Case, CaseLogEntry
from gis_grid.counted_steps import By, log_rows
from gis_grid.indicators import INDICATORS, Counted, Measure, parts, percent
from gis_grid.periods import Period
from tests.builders import NOW
from tests.stored_cases import CITY, SUB_CENTRE, TEAM, WORKSTATION, Desk

MARCH = Period.month("2026-03", CITY.zone)
LATER = NOW + timedelta(days=60)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
M = Measure
SLOW = "E0107"  # five work days to handle, seven for the whole


def rates(row: Assessed) -> dict[str, str]:
    return {name: percent(*parts(row.counts, indicator)) for name, indicator in INDICATORS.items()}


def counts(desk: Desk, by: By = By.CITY, *, now: datetime = LATER, period: Period = MARCH) -> dict[str, Any]:
    return {row.key: dict(row.counts) for row in assess(desk.session, period, by, now=now, kept=KeptCounts(CITY)).rows}


class Log:
    """Cases written straight into the tables: only what the figures are taken from."""

    def __init__(self, desk: Desk) -> None:
        self.session, self.model = desk.session, desk.report()
        self.reports: list[dict[str, Any]] = []
        self.cases: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []

    def case(
        self, event_type: str, source: str, *, filed: datetime | None, red: datetime, closed: datetime | None
    ) -> None:
        number, report = 1_000_000 + len(self.cases), str(uuid.uuid4())
        accepted = MARCH.since + HOUR
        self.reports.append({"id": report, "source": source, "event_type": event_type})
        self.cases.append(
            {
                "id": number, "opening_report_id": uuid.UUID(report), "report_id": uuid.UUID(report), "kind": "投诉",
                "grid_id": self.model.grid_id, "event_type": event_type, "urgency": "normal", **GROUND,
                "district_code": "310112", "accepted_at": accepted, "due_at": red, "seq": 1, "stage": "accepted", "state": {},
            }
        )  # fmt: skip
        self._step(number, 1, "accept", accepted, GROUND | {"event_type": event_type, "report_id": report})
        if filed is not None:
            run = {"started_at": _iso(filed), "limit": "7 work_days", "red_at": _iso(red)}
            self._step(number, 2, "file", filed, {"whole": run})
        if closed is not None:
            self._step(number, 3, "close", closed, {}, after="closed")

    def _step(
        self, case: int, seq: int, action: str, at: datetime, changed: dict[str, Any], *, after: str = "filed"
    ) -> None:
        self.steps.append(
            {
                "case_id": case, "seq": seq, "at": at, "action": action, "who": "user:x", "unit": TEAM, "before": None,
                "after": after, "said": {}, "changed": changed, "channel": "test", "request_id": "r",
            }
        )  # fmt: skip

    def store(self) -> None:
        copied = (
            "insert into reports select (jsonb_populate_record(r, cast(:it as jsonb))).* from reports r where id = :id"
        )
        self.session.execute(sa.text(copied), [{"it": json.dumps(one), "id": self.model.id} for one in self.reports])
        self.session.execute(sa.insert(Case), self.cases)
        self.session.execute(sa.insert(CaseLogEntry), self.steps)


GROUND = {"grid_code": "310112001001001", "community_code": "310112001001", "town_code": "310112001"}


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@pytest.fixture
def tianmen(desk: Desk) -> Desk:
    """Tianmen in December 2016 (hbcic.net.cn/74587): 1054 accepted, 996 filed, 972 due, 911 closed, 737 of these in time.

    Of those due 956 were events, 902 of them closed, and 16 components, 9 closed; by source 953 and 43 were filed.
    """
    log, filed, red = Log(desk), MARCH.since + 2 * HOUR, MARCH.since + 10 * DAY
    in_time = [red - HOUR] * 737 + [red + HOUR] * (911 - 737)
    closings = {"E0102": in_time[:902] + [None] * 54, "C0101": in_time[902:] + [None] * 7}
    due = [(kind, closed) for kind, all_ in closings.items() for closed in all_]
    sources = ["patrol"] * 953 + ["962000"] * 43
    for (kind, closed), source in zip(due, sources, strict=False):
        log.case(kind, source, filed=filed, red=red, closed=closed)
    for source in sources[len(due) :]:
        log.case("E0102", source, filed=filed, red=MARCH.until + DAY, closed=None)
    for _ in range(1054 - 996):
        log.case("E0102", "resident", filed=None, red=red, closed=None)
    log.store()
    return desk


def test_a_real_bulletin_comes_out_to_the_digit(tianmen: Desk) -> None:
    (city,) = assess(tianmen.session, MARCH, By.CITY, now=LATER, kept=KeptCounts(CITY)).rows
    families = {
        row.key: row for row in assess(tianmen.session, MARCH, By.FAMILY, now=LATER, kept=KeptCounts(CITY)).rows
    }
    sources = {
        row.key: row.counts[M.FILE]
        for row in assess(tianmen.session, MARCH, By.SOURCE, now=LATER, kept=KeptCounts(CITY)).rows
    }

    assert city.counts[M.FILE] == (1054, 996, 996)
    assert city.counts[M.CLOSE] == (972, 911, 737)
    assert (rates(city)["filing_rate"], rates(city)["closing_rate"]) == ("94.50", "93.72")
    assert rates(city)["closing_in_time_rate"] == "75.82"
    assert (families["event"].counts[M.CLOSE][:2], rates(families["event"])["closing_rate"]) == ((956, 902), "94.35")
    assert (families["component"].counts[M.CLOSE][:2], rates(families["component"])["closing_rate"]) == (
        (16, 9),
        "56.25",
    )
    filed = {source: counted.done for source, counted in sources.items() if counted.done}
    assert filed == {"patrol": 953, "962000": 43}
    assert {source: percent(done, 996) for source, done in filed.items()} == {"patrol": "95.68", "962000": "4.32"}


def test_a_month_is_compared_with_the_one_before_and_the_year_before(tianmen: Desk) -> None:
    (march,) = assess(tianmen.session, MARCH, By.CITY, now=LATER, kept=KeptCounts(CITY)).rows
    (april,) = assess(
        tianmen.session, Period.month("2026-04", CITY.zone), By.CITY, now=LATER, kept=KeptCounts(CITY)
    ).rows
    (year,) = assess(tianmen.session, MARCH, By.CITY, now=LATER, kept=KeptCounts(CITY)).rows

    assert april.month_before == march.counts
    assert april.counts[M.CLOSE] == (24, 0, 0)
    assert year.year_before == {}


def test_a_month_keeps_its_figures_whatever_happens_afterwards(desk: Desk) -> None:
    closed = desk.closed(event_type=SLOW)
    desk.at = NOW
    left = desk.filed()
    before = counts(desk)
    desk.step(closed, "checker", after=40 * DAY, action="reopen", reason="复发")
    desk.step(left, "supervisor", action="void", reason="误报")

    assert counts(desk) == before
    assert before["city"][M.CLOSE] == Counted(2, 1, 1)


def test_a_month_that_goes_on_counts_only_what_has_fallen_due(desk: Desk) -> None:
    desk.filed()

    figures = counts(desk, now=desk.at + timedelta(minutes=1))["city"]

    assert figures == {M.FILE: Counted(1, 1, 1)}


def test_a_case_done_in_time_is_counted_for_who_did_it(desk: Desk) -> None:
    desk.closed(event_type=SLOW)

    units, people = counts(desk, By.UNIT), counts(desk, By.PERSON)

    assert units[TEAM][M.HANDLE] == Counted(1, 1, 1)
    assert units[TEAM][M.RETURN] == Counted(1, 0, 0)
    assert units[TEAM][M.REWORK] == Counted(1, 0, 0)
    assert units[TEAM][M.SATISFY] == Counted(1, 1, 0)
    assert units[SUB_CENTRE][M.DISPATCH] == Counted(1, 1, 1)
    assert people["user:handler"][M.HANDLE] == Counted(1, 1, 1)
    assert people["user:checker"][M.CHECK].done == 1


def test_a_returned_case_is_a_return_of_the_unit_and_a_wrong_dispatch_of_the_centre(desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="return", reason_code="属地不符", text="不在辖区")
    desk.step(case, "dispatcher", action="dispatch", unit="team-housing-310112001", reason="房管")

    units = counts(desk, By.UNIT)

    assert units[TEAM][M.RETURN] == Counted(1, 1, 0)
    assert units["team-housing-310112001"][M.RETURN] == Counted(1, 0, 0)
    assert units[SUB_CENTRE][M.DISPATCH] == Counted(2, 1, 1)


def test_a_failed_check_is_rework_and_a_check_not_passed(desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")
    desk.at = NOW + 4 * DAY
    desk.step(case, "handler", action="handle", text="清理完毕", after_photo=desk.after_photo(case))
    desk.step(case, "checker", action="check", result="fail", text="还有")

    figures = counts(desk)["city"]

    assert figures[M.REWORK] == Counted(1, 1, 0)
    assert figures[M.PASS] == Counted(1, 0, 0)


def test_what_was_not_handled_when_its_time_ran_out_stays_due(desk: Desk) -> None:
    case = desk.dispatched()
    desk.step(case, "handler", action="take")

    assert counts(desk, By.UNIT)[TEAM][M.HANDLE] == Counted(1, 0, 0)
    desk.at = NOW + 20 * DAY
    desk.step(case, "handler", action="handle", text="清理完毕", after_photo=desk.after_photo(case))
    assert counts(desk, By.UNIT)[TEAM][M.HANDLE] == Counted(1, 1, 0)


def test_time_added_moves_what_is_due_and_void_or_merged_cases_are_due_no_more(desk: Desk) -> None:
    longer, void, merged, kept = (desk.filed() for _ in range(4))
    desk.step(longer, "station", action="ask_extension", clock="whole", more="60 work_days", reason="雨")
    desk.step(longer, "dispatcher", action="approve")
    desk.step(void, "supervisor", action="void", reason="误报")
    desk.step(merged, "operator", action="merge", into=kept.serial)

    assert counts(desk)["city"][M.CLOSE] == Counted(1, 0, 0)


def test_the_figures_of_towns_communities_and_grids_add_up(tianmen: Desk) -> None:
    tianmen.closed()
    city = counts(tianmen)["city"]

    for by in (By.TOWN, By.COMMUNITY, By.GRID):
        parts_of = counts(tianmen, by).values()
        summed = {
            measure: tuple(
                sum(column) for column in zip(*(one[measure] for one in parts_of if measure in one), strict=True)
            )
            for measure in city
        }
        assert summed == {measure: tuple(counted) for measure, counted in city.items()}


def test_every_figure_is_as_many_rows_of_the_log(desk: Desk) -> None:
    desk.closed()
    desk.at = NOW
    desk.dispatched()

    for key, figures in counts(desk, By.UNIT).items():
        rows = log_rows(desk.session, MARCH, By.UNIT, key, now=LATER, limit=1000)
        for measure, counted in figures.items():
            mine = [row for row in rows if row.measure is measure]
            assert counted == (len(mine), sum(row.is_done for row in mine), sum(row.is_in_time for row in mine))
        assert len(rows) == sum(counted.due for counted in figures.values())
        assert all(desk.session.get(CaseLogEntry, (_id(desk, row.case), row.seq)) for row in rows)


def _id(desk: Desk, name: str) -> int:
    return desk.session.scalars(sa.select(Case.id).where(Case.serial == name)).one()


def test_the_csv_shows_the_half_that_the_platform_counts_for(desk: Desk) -> None:
    desk.closed(event_type=SLOW)

    rows = list(
        csv.DictReader(
            io.StringIO(assessment_csv(assess(desk.session, MARCH, By.UNIT, now=LATER, kept=KeptCounts(CITY)))[1:])
        )
    )

    team = {row["indicator"]: row for row in rows if row["key"] == TEAM}
    assert set(team) == set(INDICATORS)
    assert (team["closing_rate"]["name"], team["closing_rate"]["percent"]) == ("江川路街道城管中队", "100.00")
    assert (team["closing_rate"]["official_points"], team["closing_rate"]["platform_share"]) == ("100.00", "0.5")
    assert team["closing_rate"]["official_contribution"] == "50.00"
    assert team["closing_rate"]["month_before_percent"] == ""


def test_a_unit_is_shown_with_its_first_responsible_post(desk: Desk) -> None:
    desk.filed()
    units = {row.key: row.post for row in assess(desk.session, MARCH, By.UNIT, now=LATER, kept=KeptCounts(CITY)).rows}

    assert units[WORKSTATION] == "党组织书记"
