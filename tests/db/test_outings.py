import math
from datetime import date

import gpxpy
import numpy as np
import pytest
from sqlalchemy.orm import Session

from gis_grid.errors import InvalidInput, NotFound
from gis_grid.outings import order_stops, suggest_outing
from gis_grid.seen import Window
from tests.builders import NOW, load_squares
from tests.db.test_blindspots import alley, see
from tests.db.test_track_intake import CITY

WINDOW = Window(date(2026, 2, 23), date(2026, 3, 1))
LIMITS = {"now": NOW, "seconds": 0.2}


def test_stops_on_a_line_are_walked_from_one_end_to_the_other() -> None:
    places = np.array([[300.0, 0], [0, 0], [200, 0], [100, 0]])

    order = order_stops(places, np.ones(4) * 100, most_m=1000, seconds=0.2)

    assert order in ([1, 3, 2, 0], [0, 2, 3, 1])


def test_where_not_all_fits_the_largest_are_taken() -> None:
    places = np.array([[0.0, 0], [100, 0], [5000, 0], [5100, 0]])

    order = order_stops(places, np.array([100.0, 100, 500, 500]), most_m=1000, seconds=0.2)

    assert set(order) == {2, 3}


def test_the_unseen_ground_of_a_town_becomes_a_short_outing(session: Session) -> None:
    load_squares(session)
    see(session, but=alley().union(alley("310112001003001")))

    outing = suggest_outing(session, CITY, "310112001", WINDOW, most_m=1000, **LIMITS)  # type: ignore[arg-type]

    route = gpxpy.parse(outing.gpx("试")).routes[0]
    assert len(route.points) == len(outing.stops) >= 2
    assert outing.unseen_m2 == pytest.approx(outing.left_m2)
    assert 100 < outing.length_m < 1000
    ground = alley().union(alley("310112001003001")).buffer(1e-4)
    import shapely

    assert all(ground.contains(shapely.Point(stop)) for stop in outing.stops)


def test_a_limit_is_kept(session: Session) -> None:
    load_squares(session)

    outing = suggest_outing(session, CITY, "310112", WINDOW, most_m=300, **LIMITS)  # type: ignore[arg-type]

    assert outing.length_m <= 301
    assert 0 < outing.unseen_m2 < outing.left_m2


def test_where_nothing_is_unseen_nothing_is_suggested(session: Session) -> None:
    load_squares(session)
    see(session)

    with pytest.raises(NotFound, match="is unseen"):
        suggest_outing(session, CITY, "310112001001001", WINDOW, most_m=1000, **LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [0, 1e9, math.nan])
def test_a_length_that_nobody_walks_is_refused(session: Session, length: float) -> None:
    load_squares(session)

    with pytest.raises(InvalidInput, match="length"):
        suggest_outing(session, CITY, "310112001", WINDOW, most_m=length, **LIMITS)  # type: ignore[arg-type]
