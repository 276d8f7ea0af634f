"""What patrollers report, miss and cover: each figure counted by hand on squares of 100 m."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from gis_grid.assessment import Assessed, KeptCounts, assess
from gis_grid.cases import Case
from gis_grid.counted_steps import By, log_rows
from gis_grid.indicators import INDICATORS, Counted, Measure, parts, percent
from gis_grid.patrol_indicators import PatrolFigure, keep_patrol_figures
from gis_grid.periods import Period
from gis_grid.reports import Kind, Source
from gis_grid.tenures import NewTenure, appoint
from gis_grid.track_keeping import forget_tracks
from tests.builders import BY, NOW
from tests.patrols import GRID, TOWN, add_patrol, at_m, walk
from tests.stored_cases import CITY, TEAM, Desk, by

MARCH, APRIL = (Period.month(month, CITY.zone) for month in ("2026-03", "2026-04"))
LATER = NOW + timedelta(days=60)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
M = Measure
MIDDLE = at_m(50, 250)  # of the north-western square


def figures(desk: Desk, by: By = By.PATROLLER, *, period: Period = MARCH) -> dict[str, Any]:
    rows = assess(desk.session, period, by, now=LATER, kept=KeptCounts(CITY)).rows
    return {row.key: dict(row.counts) for row in rows}


def rates(row: Assessed) -> list[str]:
    return [percent(*parts(row.counts, INDICATORS[n])) for n in ("valid_report_rate", "missing_rate", "coverage_rate")]


def reported(desk: Desk, who: str = "anna", **changes: Any) -> Case:
    return desk.filed(source=Source.PATROL, kind=Kind.PATROL, sender=by(who), point=MIDDLE, **changes)


def told(desk: Desk, **changes: Any) -> Case:
    """A resident's case in the middle of the north-western square, found now."""
    return desk.filed(point=MIDDLE, **changes)


def test_reports_that_became_a_case_or_part_of_anothers_are_valid(desk: Desk) -> None:
    kept, void, twice, same = (reported(desk) for _ in range(4))
    others = told(desk)
    desk.accept(source=Source.PATROL, sender=by("anna"))  # of which nothing was decided
    desk.step(void, "supervisor", action="void", reason="误报")
    desk.step(twice, "operator", action="merge", into=kept.serial)
    desk.step(same, "operator", action="merge", into=others.serial)

    assert figures(desk)["user:anna"][M.REPORT] == Counted(4, 2, 0)
    assert figures(desk, By.GRID)[GRID][M.REPORT] == Counted(4, 2, 0)


def test_a_report_is_counted_in_the_month_in_which_it_was_decided_on_and_stays_as_it_was(desk: Desk) -> None:
    case = reported(desk)
    desk.at = APRIL.since + DAY
    desk.step(case, "supervisor", action="void", reason="误报")

    assert figures(desk)["user:anna"][M.REPORT] == Counted(1, 1, 0)
    assert figures(desk, period=APRIL) == {}


def test_reports_count_for_the_unit_of_the_patrollers_team_and_for_the_post_of_the_ground(desk: Desk) -> None:
    tenure = NewTenure(GRID, "王芳", "书记", "一居委", "0-1", None, NOW - 9 * DAY, None)
    appoint(desk.session, [tenure], by=BY, now=NOW)
    add_patrol(desk.session, "anna")
    reported(desk)
    reported(desk, "stranger")

    assert figures(desk, By.UNIT)[TEAM][M.REPORT] == Counted(1, 1, 0)
    assert figures(desk, By.POST)["一居委 · 书记"][M.REPORT] == Counted(2, 2, 0)


def test_what_others_found_and_a_patroller_had_passed_is_missed(desk: Desk) -> None:
    walk(desk.session, "anna", (20, 200), (20, 300), since=NOW - 2 * HOUR)  # 30 m from it
    walk(desk.session, "far", (120, 200), (120, 300), since=NOW - 2 * HOUR)  # 70 m
    walk(desk.session, "early", (20, 200), (20, 300), since=NOW - 25 * HOUR)
    walk(desk.session, "after", (20, 200), (20, 300), since=NOW + HOUR)
    walk(
        desk.session, "driven", (20, 50), (20, 650), since=NOW - 3 * HOUR, step_m=300
    )  # over 200 m are no ground walked
    told(desk)
    for _ in range(3):
        reported(desk)

    found = figures(desk)

    assert found["user:anna"][M.MISS] == Counted(4, 1, 0)
    assert {who for who, counts in found.items() if M.MISS in counts} == {"user:anna"}
    (anna,) = [
        row
        for row in assess(desk.session, MARCH, By.PATROLLER, now=LATER, kept=KeptCounts(CITY)).rows
        if row.key == "user:anna"
    ]
    assert rates(anna)[:2] == ["100.00", "25.00"]


def test_what_several_passed_counts_once_for_the_ground_and_the_unit(desk: Desk) -> None:
    add_patrol(desk.session, "anna", "bert")
    for who in ("anna", "bert"):
        walk(desk.session, who, (20, 200), (20, 300), since=NOW - 2 * HOUR)
    told(desk)

    assert {who: counts[M.MISS] for who, counts in figures(desk).items()} == {
        "user:anna": Counted(1, 1, 0),
        "user:bert": Counted(1, 1, 0),
    }
    for level, key in ((By.CITY, "city"), (By.TOWN, TOWN), (By.GRID, GRID), (By.UNIT, TEAM), (By.FAMILY, "event")):
        assert figures(desk, level)[key][M.MISS] == Counted(1, 1, 0)


@pytest.mark.parametrize(
    "changes",
    [{"kind": Kind.QUESTION}, {"source": Source.BLIND_SPOT}, {"source": Source.IMPORT}],
    ids=["a question", "a blind spot", "a file"],
)
def test_what_nobody_on_the_street_found_is_not_missed(desk: Desk, changes: dict[str, Any]) -> None:
    walk(desk.session, "anna", (20, 200), (20, 300), since=NOW - 2 * HOUR)
    told(desk, **changes)

    assert M.MISS not in figures(desk, By.CITY)["city"]


def test_what_turned_out_to_be_nothing_or_a_patrol_reported_too_is_not_missed(desk: Desk) -> None:
    walk(desk.session, "anna", (20, 200), (20, 300), since=NOW - 2 * HOUR)
    void, found_too = told(desk), told(desk)
    desk.step(void, "supervisor", action="void", reason="误报")
    also = reported(desk, "bert")
    desk.step(also, "operator", action="merge", into=found_too.serial)

    assert figures(desk, By.CITY)["city"][M.MISS] == Counted(1, 0, 0)


def test_a_walk_along_the_edge_of_a_square_covers_half_of_it(desk: Desk) -> None:
    tenure = NewTenure(GRID, "王芳", "书记", "一居委", "0-1", None, NOW - 9 * DAY, None)
    appoint(desk.session, [tenure], by=BY, now=NOW)
    add_patrol(desk.session, "anna", "bert")
    walk(desk.session, "anna", (0, 200), (0, 300), since=NOW)

    covered = {by: {key: counts.get(M.COVER) for key, counts in figures(desk, by).items()} for by in By}

    # 50 m of 100 m, and of nine squares what the half disc at the southern end reaches besides: a quarter of a circle.
    of_grid, of_town = covered[By.GRID][GRID], covered[By.TOWN][TOWN]
    assert of_grid is not None
    assert of_town is not None
    assert of_grid == Counted(pytest.approx(10_000, rel=0.06), pytest.approx(5_000, rel=0.06), 0)
    assert of_town == Counted(pytest.approx(90_000, rel=0.01), pytest.approx(5_000 + 1_963, rel=0.06), 0)
    assert covered[By.CITY]["city"] == of_town
    assert covered[By.PATROLLER] == {"user:anna": of_grid, "user:bert": of_grid._replace(done=0)}
    assert (covered[By.UNIT][TEAM], covered[By.POST]["一居委 · 书记"]) == (of_grid, of_grid)


def test_one_patroller_covers_what_they_saw_and_the_ground_what_all_saw(desk: Desk) -> None:
    add_patrol(desk.session, "anna", "bert")
    walk(desk.session, "anna", (0, 200), (0, 300), since=NOW)
    walk(desk.session, "bert", (100, 200), (100, 300), since=NOW)

    by_patroller, by_grid = figures(desk), figures(desk, By.GRID)[GRID][M.COVER]

    assert by_grid.done == by_grid.due
    shares = [by_patroller[f"user:{who}"][M.COVER].done / by_grid.due for who in ("anna", "bert")]
    assert sum(shares) == pytest.approx(1, abs=0.06)


def test_who_is_in_no_team_covers_the_ground_of_the_team_they_walked_for(desk: Desk) -> None:
    add_patrol(desk.session)
    walk(desk.session, "guest", (50, 200), (50, 300), since=NOW)
    walk(desk.session, "stranger", (50, 200), (50, 300), since=NOW, team="")

    covered = figures(desk)

    assert covered["user:guest"][M.COVER].due == covered["user:guest"][M.COVER].done
    assert "user:stranger" not in covered


def test_a_month_in_which_no_patrol_was_recorded_tells_no_coverage(desk: Desk) -> None:
    add_patrol(desk.session, "anna")
    walk(desk.session, "anna", (50, 200), (50, 300), since=NOW)

    assert M.COVER in figures(desk, By.GRID)[GRID]
    assert figures(desk, By.GRID, period=APRIL) == {}
    assert figures(desk, period=APRIL) == {}


def test_a_month_is_compared_with_the_one_before(desk: Desk) -> None:
    add_patrol(desk.session, "anna")
    walk(desk.session, "anna", (0, 200), (0, 300), since=NOW)
    walk(desk.session, "anna", (50, 200), (50, 300), since=APRIL.since + DAY)

    (anna,) = assess(desk.session, APRIL, By.PATROLLER, now=LATER, kept=KeptCounts(CITY)).rows

    assert anna.month_before[M.COVER] == figures(desk)["user:anna"][M.COVER]
    assert anna.counts[M.COVER].done == anna.counts[M.COVER].due
    assert anna.year_before == {}


def test_every_figure_of_a_patroller_is_as_many_rows_of_the_log(desk: Desk) -> None:
    walk(desk.session, "anna", (20, 200), (20, 300), since=NOW - 2 * HOUR)
    missed, valid = told(desk), reported(desk)

    rows = log_rows(desk.session, MARCH, By.PATROLLER, "user:anna", now=LATER, limit=9)
    of_town = log_rows(desk.session, MARCH, By.TOWN, TOWN, measure=M.MISS, now=LATER, limit=9)

    assert [(row.measure, row.case, row.seq, row.is_done) for row in rows] == [
        (M.MISS, missed.serial, 2, True),
        (M.MISS, valid.serial, 2, False),
        (M.REPORT, valid.serial, 2, True),
    ]
    assert {row.who for row in rows} == {"user:anna"}
    assert [(row.case, row.who) for row in of_town] == [(missed.serial, None), (valid.serial, None)]


@pytest.fixture
def patrolled(desk: Desk) -> Desk:
    """A month of one patroller: one case missed, one reported, half of a square covered."""
    add_patrol(desk.session, "anna")
    walk(desk.session, "anna", (0, 200), (0, 300), since=NOW - 2 * HOUR)
    told(desk)
    reported(desk)
    return desk


def drop_fixes(desk: Desk, owner: Session, *, days: int = 25) -> None:
    desk.session.commit()  # whole months go as tables, which nobody may be reading
    keep_patrol_figures(owner, before=LATER - timedelta(days=days), city=CITY, now=LATER)
    forget_tracks(owner, days=days, city=CITY, by=BY, now=LATER)
    owner.commit()


def test_a_month_that_is_over_keeps_its_figures_when_raw_fixes_are_dropped(patrolled: Desk, owner: Session) -> None:
    before = {by: figures(patrolled, by) for by in By}

    drop_fixes(patrolled, owner)
    drop_fixes(patrolled, owner, days=24)

    assert before[By.PATROLLER]["user:anna"][M.MISS] == Counted(2, 1, 0)
    assert {by: figures(patrolled, by) for by in By} == before


def test_what_was_not_kept_before_raw_fixes_were_dropped_is_not_told(patrolled: Desk, owner: Session) -> None:
    patrolled.session.commit()
    forget_tracks(owner, days=25, city=CITY, by=BY, now=LATER)
    owner.commit()

    assert figures(patrolled)["user:anna"] == {M.REPORT: Counted(1, 1, 0)}
    assert set(figures(patrolled, By.GRID)[GRID]) >= {M.REPORT, M.COVER}
    assert M.MISS not in figures(patrolled, By.GRID)[GRID]


def test_a_month_that_goes_on_keeps_nothing_and_fixes_that_stay_are_no_reason_to(
    patrolled: Desk, owner: Session
) -> None:
    in_march = MARCH.until - DAY
    kept = keep_patrol_figures(owner, before=in_march - DAY, city=CITY, now=in_march)
    old = keep_patrol_figures(owner, before=MARCH.since - 3 * DAY, city=CITY, now=LATER)

    assert (kept, old) == ([], [])
    assert owner.scalars(sa.select(PatrolFigure)).all() == []


def test_the_service_can_add_nothing_to_kept_figures(patrolled: Desk) -> None:
    row = PatrolFigure(month=MARCH.first, by="city", key="city", measure="miss", due=1, done=0, kept_at=NOW)
    patrolled.session.add(row)

    with pytest.raises(ProgrammingError, match="permission denied"):
        patrolled.session.flush()
