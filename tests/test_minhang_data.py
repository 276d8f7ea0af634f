"""What ships for Minhang: loaded whole into a real database, with the real grids' towns and communities."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.city import load_city
from gis_grid.clocks import Limit, LimitUnit, due_at
from gis_grid.database import connect, sessions
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.event_types import EventType
from gis_grid.layers import load_layer_file
from gis_grid.routing import Alarm, Desk, Step, Urgency, exchange_110, exchange_table, limits_for, route
from gis_grid.rules import calendar_at, load_rules, thresholds_at
from gis_grid.territory import Grid, grids_frame, the_grid, the_layer
from gis_grid.units import (
    HotlineRole,
    PlacementModel,
    UnitKind,
    codes_below,
    enforcement_body,
    hotlines,
    the_root,
    the_unit,
    units_at,
    units_without_first_responsible,
)
from tests.builders import BY, NOW

TEAMS = ("land", "housing", "chengguan", "water", "health")
STATIONS = ("police", "market", "food")
BEFORE_THE_REFORM = datetime(2013, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def minhang(cluster: EmbeddedPostgis, template: str) -> Iterator[Session]:
    city = load_city()
    cluster.create_database_from(template, "minhang")
    engine = connect(cluster.url("minhang", role="gis_grid_app"))
    with sessions(engine)() as session:
        assert city.grids is not None
        load_layer_file(session, city.grids, city=city, by=BY, now=NOW)
        load_rules(session, city, now=NOW, by=BY)
        session.commit()
        yield session
    engine.dispose()
    cluster.drop_database("minhang")


def test_the_units_of_every_kind_are_as_many_as_the_article_and_the_grids_have(minhang: Session) -> None:
    kinds = Counter(unit.kind for unit in units_at(minhang, at=NOW))

    assert kinds == {
        UnitKind.CENTRE: 1,
        UnitKind.DEPARTMENT: 53,
        UnitKind.SUB_CENTRE: 13,
        UnitKind.COMMUNITY_WORKSTATION: 558,
        UnitKind.COMMITTEE: 558,
        UnitKind.TEAM: 5 * 13,
        UnitKind.STATION: 3 * 13,
        UnitKind.SQUAD: 1,
    }


def test_all_units_hang_under_the_one_centre(minhang: Session) -> None:
    root = the_root(minhang, at=NOW)

    below = set(minhang.scalars(codes_below(root.code, at=NOW)))

    assert below == {unit.code for unit in units_at(minhang, at=NOW)}


def test_the_sub_centres_share_out_the_workstations_without_rest(minhang: Session) -> None:
    counts = [
        sum(code.startswith("ws-") for code in minhang.scalars(codes_below(sub.code, at=NOW)))
        for sub in units_at(minhang, at=NOW, kinds=[UnitKind.SUB_CENTRE])
    ]

    assert (len(counts), sum(counts), min(counts), max(counts)) == (13, 558, 10, 106)


def test_five_teams_are_sunk_and_three_stations_stationed_in_every_town(minhang: Session) -> None:
    towns = grids_frame(minhang, the_layer(minhang, NOW))["town_code"].unique()
    models = {unit.code: unit.placement_model for unit in units_at(minhang, at=NOW)}

    expected = {f"team-{team}-{town}": PlacementModel.SUNK for team in TEAMS for town in towns}
    expected |= {f"station-{station}-{town}": PlacementModel.STATIONED for station in STATIONS for town in towns}
    assert {code: models[code] for code in expected} == expected
    assert models["dept-education"] == PlacementModel.LINE


def test_the_town_runs_the_city_management_team_that_enforces_in_the_departments_name(minhang: Session) -> None:
    before, after = (the_unit(minhang, "team-chengguan-310112102", at=at) for at in (BEFORE_THE_REFORM, NOW))

    assert (before.parent_code, before.placement_model) == ("dept-chengguan", "line")
    assert (after.parent_code, after.name) == ("sub-310112102", "七宝镇城管中队")
    assert enforcement_body(minhang, after, at=NOW).code == "dept-chengguan"


def test_thirty_four_departments_numbers_ring_at_the_one_intake(minhang: Session) -> None:
    numbers = hotlines(minhang, at=NOW)
    merged = [line for line in numbers.values() if line.role == HotlineRole.MERGED]
    departments = {unit.code for unit in units_at(minhang, at=NOW, kinds=[UnitKind.DEPARTMENT])}

    assert len(merged) == len({line.unit_code for line in merged}) == 34
    assert {line.unit_code for line in merged} <= departments
    assert [number for number, line in numbers.items() if not line.is_example] == ["110", "12345", "962000"]
    assert all(line.is_example and line.number.startswith("000-") for line in merged)


def test_every_unit_of_the_three_levels_waits_for_one_first_responsible_person(minhang: Session) -> None:
    vacant = units_without_first_responsible(minhang, at=NOW)

    assert len(vacant) == 1 + 13 + 558


def test_every_event_type_finds_a_unit_in_every_town_at_either_urgency(minhang: Session) -> None:
    types = list(minhang.scalars(sa.select(EventType.code)))
    frame = grids_frame(minhang, the_layer(minhang, NOW)).groupby("town_code")["grid_code"].first()
    proposals = [
        route(minhang, type_, the_grid(minhang, grid, at=NOW), at=NOW, urgency=urgency)
        for grid in frame
        for type_ in types
        for urgency in Urgency
    ]

    kinds = Counter(proposal.unit.kind for proposal in proposals)
    named = {rule["unit"] for proposal in proposals for rule in proposal.evidence["considered"] if rule["says"]}
    assert None not in named
    assert kinds[UnitKind.COMMUNITY_WORKSTATION] > 0
    assert kinds[UnitKind.TEAM] > 0


@pytest.mark.parametrize(
    ("grid", "unit"),
    [
        ("310112102204001", "squad-illegal-building-310112102204"),  # 联明村 has a squad of its own
        ("310112001001001", "ws-310112001001"),
    ],
)
@pytest.mark.parametrize("urgency", list(Urgency))
def test_illegal_building_goes_to_the_villages_special_squad_where_there_is_one(
    minhang: Session, grid: str, unit: str, urgency: Urgency
) -> None:
    proposal = route(minhang, "E0101", the_grid(minhang, grid, at=NOW), at=NOW, urgency=urgency)

    assert proposal.unit.code == unit


def test_every_event_type_has_a_limit_for_each_step_and_no_step_is_longer_than_the_whole(minhang: Session) -> None:
    calendar = calendar_at(minhang, load_city().zone, at=NOW)
    for type_ in minhang.scalars(sa.select(EventType.code)):
        for urgency in Urgency:
            limits = limits_for(minhang, type_, urgency=urgency, at=NOW)
            due = {step: due_at(NOW, limit, calendar) for step, limit in limits.items()}

            assert set(limits) == set(Step)
            assert max(due.values()) == due[Step.WHOLE], (type_, urgency)


def test_the_lights_change_at_a_half_four_fifths_and_the_whole(minhang: Session) -> None:
    assert [float(share) for share in thresholds_at(minhang, at=NOW).shares] == [0.5, 0.8, 1.0]


def test_the_shipped_exchange_is_the_articles_truth_table(minhang: Session) -> None:
    table = exchange_table(minhang, at=NOW)

    to_centre = [
        (is_police, alarm)
        for is_police in (True, False)
        for alarm in Alarm
        if exchange_110(table, is_police=is_police, alarm=alarm) is Desk.CENTRE
    ]

    assert to_centre == [(False, Alarm.NONE), (False, Alarm.OTHER)]


def test_a_holiday_moves_what_is_due(minhang: Session) -> None:
    calendar = calendar_at(minhang, load_city().zone, at=NOW)
    eve = datetime(2026, 9, 30, 2, tzinfo=UTC)

    due = due_at(eve, Limit(1, LimitUnit.WORK_DAYS), calendar)

    assert (due - eve).days >= 7


def test_the_same_files_again_change_nothing(minhang: Session) -> None:
    assert load_rules(minhang, load_city(), now=datetime(2026, 5, 1, tzinfo=UTC), by=BY) == {}


def test_no_name_in_the_layer_is_left_unfilled(minhang: Session) -> None:
    assert [unit.code for unit in units_at(minhang, at=NOW) if "{" in unit.code + unit.name + unit.name_en] == []
    assert minhang.scalar(sa.select(sa.func.count()).select_from(Grid)) == 1002


def test_the_rules_can_be_loaded_before_any_grid_is(session: Session) -> None:
    load_rules(session, load_city(), now=NOW, by=BY)

    assert {unit.kind for unit in units_at(session, at=NOW)} == {UnitKind.CENTRE, UnitKind.DEPARTMENT}
