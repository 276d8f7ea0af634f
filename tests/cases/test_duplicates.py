"""What is likely the same thing, at the very bounds in space and time."""

from datetime import timedelta

import pytest

from gis_grid.cases import Case
from gis_grid.duplicates import likely_duplicates
from gis_grid.geo.datum import LonLat
from gis_grid.geo.placing import metres_per_degree
from tests.stored_cases import INSIDE, Desk

MICROSECOND = timedelta(microseconds=1)
DAYS, LATELY = timedelta(days=7), timedelta(days=3)  # Minhang's numbers, and 100 m


def offered(desk: Desk, case: Case, *, north_m: float = 0.0, after: timedelta = timedelta(), **asked: object) -> bool:
    """Whether a case is offered to who asks so far north of it, so long after it was reported."""
    _, my = metres_per_degree(INSIDE.lat)
    # A millimetre is smaller than the scale's change over 100 m of latitude, and larger than rounding.
    point = LonLat(INSIDE.lon, INSIDE.lat + north_m / float(my))
    seen = case.report.received_at + after
    said = {"observed_at": seen, "now": desk.at} | asked
    likely = likely_duplicates(desk.session, point, "E0104", **said)  # type: ignore[arg-type]
    return case.id in {one.case.id for one in likely}


@pytest.mark.parametrize(("north_m", "is_offered"), [(99.99, True), (-99.99, True), (100.01, False), (-100.01, False)])
def test_a_hundred_metres_are_near_and_more_are_not(desk: Desk, north_m: float, is_offered: bool) -> None:
    assert offered(desk, desk.filed(), north_m=north_m) == is_offered


@pytest.mark.parametrize("sign", [1, -1])
def test_seven_days_are_near_and_a_microsecond_more_is_not(desk: Desk, sign: int) -> None:
    case = desk.filed()

    assert offered(desk, case, after=sign * DAYS)
    assert not offered(desk, case, after=sign * (DAYS + MICROSECOND))


def test_a_closed_case_is_offered_for_three_days_and_no_microsecond_more(desk: Desk) -> None:
    case = desk.closed()
    closed_at = case.closed_at
    assert closed_at is not None

    assert offered(desk, case, now=closed_at + LATELY)
    assert not offered(desk, case, now=closed_at + LATELY + MICROSECOND)


def test_what_was_merged_or_voided_is_never_offered(desk: Desk) -> None:
    stays, merged, void = desk.filed(), desk.filed(), desk.filed()
    desk.step(merged, "operator", action="merge", into=stays.serial)
    desk.step(void, "supervisor", action="void", reason="误报")

    assert [offered(desk, case) for case in (stays, merged, void)] == [True, False, False]
