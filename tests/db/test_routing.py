"""Which unit answers for what, how long it may take, and what goes to 110."""

import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.city import load_city
from gis_grid.clocks import Limit, LimitUnit
from gis_grid.database import Change
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.routing import Alarm, Desk, Proposal, Step, Urgency, exchange_110, exchange_table, limits_for, route
from gis_grid.rules import calendar_at, load_rules, thresholds_at
from gis_grid.territory import Level, the_grid
from tests.builders import BY, NOW, load_squares

LATER = NOW + timedelta(days=10)
GRID = "310112001002002"
UNITS = """\
code,each,name,name_en,kind,parent_code,area_level,area_code,enforces_as,placement_model,since,until,is_example
c,,中心,Centre,centre,,,,,,,,true
d,,城管局,Dept,department,c,,,,,,,true
sub-{town},town,{name}分中心,Sub,sub_centre,c,,,,,,,true
ws-{community},community,{place}工作站,Ws,community_workstation,sub-{town},,,,,,,true
team-{town},town,{name}中队,Team,team,sub-{town},,,d,sunk,2020-01-01,,true
"""
ROUTING = "event_type,urgency,level,unit,since,until,is_example\n"
COMMUNITY = "*,normal,community,ws-{community},,,true\n"
TOWN = "E01,*,town,team-{town},,,true\n"
DISTRICT = "E01,*,district,d,,,true\n"
LIMITS = "event_type,urgency,step,amount,unit,since,until,is_example\n"
EXCHANGE = """\
is_police,alarm,desk,since,until,is_example
true,none,110,,,true
true,security,110,,,true
true,other,110,,,true
false,security,110,,,true
false,none,centre,,,true
false,other,centre,,,true
"""
ARTICLES_TABLE = {(True, alarm): Desk.POLICE for alarm in Alarm} | {
    (False, Alarm.SECURITY): Desk.POLICE,
    (False, Alarm.NONE): Desk.CENTRE,
}


def load(session: Session, folder: Path, *, now: datetime = NOW, **files: str) -> None:
    for name, text in ({"units": UNITS} | files).items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    load_rules(session, replace(load_city(), rules=folder), now=now, by=BY)


def propose(session: Session, event_type: str = "E0102", *, at: datetime = NOW, **asked: object) -> Proposal:
    return route(session, event_type, the_grid(session, GRID, at=at), at=at, **asked)  # type: ignore[arg-type]


def test_what_can_wait_goes_to_the_grids_own_workstation_first(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + COMMUNITY + TOWN + DISTRICT)

    proposal = propose(session)

    assert proposal.unit.code == "ws-310112001002"
    assert [unit.code for unit in proposal.alternatives] == ["team-310112001", "d", "sub-310112001", "c"]


def test_what_is_urgent_skips_the_workstation(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + COMMUNITY + TOWN + DISTRICT)

    assert propose(session, urgency=Urgency.URGENT).unit.code == "team-310112001"


def test_a_case_that_goes_up_is_routed_from_the_level_above(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + COMMUNITY + TOWN + DISTRICT)

    units = [propose(session, from_level=level).unit.code for level in (Level.TOWN, Level.DISTRICT)]

    assert units == ["team-310112001", "d"]


def test_a_rule_for_the_type_beats_its_classs_which_beats_the_one_for_all(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    rules = "*,*,town,sub-{town},,,true\nE01,*,town,d,,,true\nE0102,*,town,team-{town},,,true\n"
    load(session, tmp_path, routing=ROUTING + rules)

    assert [propose(session, type_).unit.code for type_ in ("E0102", "E0103", "E0201")] == [
        "team-310112001",
        "d",
        "sub-310112001",
    ]


def test_a_rule_that_names_the_urgency_beats_one_that_does_not_but_not_one_for_the_type(
    session: Session, tmp_path: Path
) -> None:
    load_squares(session)
    rules = "E0102,*,town,team-{town},,,true\nE01,urgent,town,d,,,true\nE01,*,town,c,,,true\n"
    load(session, tmp_path, routing=ROUTING + rules)

    asked = [propose(session, type_, urgency=Urgency.URGENT).unit.code for type_ in ("E0102", "E0103")]

    assert asked == ["team-310112001", "d"]


def test_an_empty_unit_says_that_the_level_has_nobody_for_it(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + COMMUNITY + "E0102,*,community,,,,true\n" + TOWN)

    assert propose(session).unit.code == "team-310112001"
    assert propose(session, "E0103").unit.code == "ws-310112001002"


def test_of_several_units_the_first_that_is_there_counts(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    squad = "squad-310112001003,,小分队,Squad,squad,ws-310112001003,community,310112001003,,,,,true\n"
    rule = "E01,*,community,squad-{community}|ws-{community},,,true\n"
    load(session, tmp_path, units=UNITS + squad, routing=ROUTING + rule)

    units = [
        route(session, "E0102", the_grid(session, grid, at=NOW), at=NOW).unit.code
        for grid in ("310112001003001", "310112001002001")
    ]

    assert units == ["squad-310112001003", "ws-310112001002"]


@pytest.mark.parametrize("unit", ["squad-{community}|ws-{community}", "ws-{community}|", "|", "ws-{community}|x"])
def test_each_of_several_units_must_be_one(session: Session, tmp_path: Path, unit: str) -> None:
    load_squares(session)

    with pytest.raises(InvalidInput, match=r"routing.csv.*is no unit of this city"):
        load(session, tmp_path, routing=ROUTING + f"E01,*,community,{unit},,,true\n")


def test_what_no_rule_names_falls_to_the_grounds_own_town(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + TOWN)

    proposal = propose(session, "C0101")

    assert (proposal.unit.code, proposal.rule, proposal.is_fallback) == ("sub-310112001", None, True)


def test_a_city_with_a_centre_and_nothing_more_routes_all_to_it(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, units="\n".join(UNITS.splitlines()[:2]) + "\n")

    assert (propose(session).unit.code, propose(session).alternatives) == ("c", ())


def test_a_unit_that_was_not_there_yet_is_passed_over(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + TOWN + DISTRICT)

    proposal = propose(session, at=datetime(2019, 6, 1, tzinfo=UTC))

    assert proposal.unit.code == "d"
    assert [(one["level"], one["unit"]) for one in proposal.evidence["considered"]] == [
        ("town", None),
        ("district", "d"),
    ]


def test_a_changed_rule_counts_from_its_load_and_the_old_one_for_what_was_before(
    session: Session, tmp_path: Path
) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + TOWN)
    load(session, tmp_path, routing=ROUTING + "E01,*,town,d,,,true\n", now=LATER)

    assert [propose(session, at=at).unit.code for at in (NOW, LATER)] == ["team-310112001", "d"]


def test_the_evidence_says_where_and_by_which_rule_and_goes_into_json(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path, routing=ROUTING + TOWN)

    evidence = json.loads(json.dumps(propose(session).evidence))

    assert (evidence["grid_code"], evidence["town_code"], evidence["event_class"]) == (GRID, "310112001", "E01")
    assert evidence["considered"] == [
        {"level": "town", "rule": "E01 *", "says": "team-{town}", "unit": "team-310112001"}
    ]


def test_an_event_type_that_there_is_not_is_named(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, tmp_path)

    with pytest.raises(NotFound, match="X99"):
        propose(session, "X99")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("routing", ROUTING + "X9,*,town,d,,,true\n", "row 2: event_type 'X9'"),
        ("routing", ROUTING + "E01,soon,town,d,,,true\n", "urgency 'soon'"),
        ("routing", ROUTING + "E01,*,village,d,,,true\n", "level 'village'"),
        ("routing", ROUTING + "E01,*,town,nobody,,,true\n", "unit 'nobody' is no unit"),
        ("routing", ROUTING + "E01,*,town,taem-{town},,,true\n", "unit 'taem-{town}' is no unit"),
        ("routing", ROUTING + "E01,*,town,team-{village},,,true\n", "{village}"),
        ("routing", ROUTING + TOWN + TOWN, "rows 2 and 3 both hold for E01 * town"),
        ("routing", "event_type,unit\nE01,d\n", "needs the columns"),
        ("limits", LIMITS + "E01,*,handle,0,work_days,,,true\n", "row 2"),
        ("limits", LIMITS + "E01,*,handle,0.5,work_days,,,true\n", "row 2"),
        ("limits", LIMITS + "E01,*,handle,nan,work_hours,,,true\n", "'nan'"),
        ("limits", LIMITS + "E01,*,handle,1e400,work_hours,,,true\n", "'1e400'"),
        ("limits", LIMITS + "E01,*,handle,4,fortnights,,,true\n", "unit 'fortnights'"),
        ("limits", LIMITS + "E01,*,think,4,work_days,,,true\n", "step 'think'"),
        ("exchange_110", EXCHANGE.replace("false,other,centre,,,true\n", ""), "is_police false, alarm other"),
        ("exchange_110", EXCHANGE.replace("false,other,centre", "false,other,119"), "desk '119'"),
        ("hotlines", "number,name,unit_code,role,since,until,is_example\n1-2x,x,d,merged,,,true\n", "'1-2x'"),
        ("hotlines", "number,name,unit_code,role,since,until,is_example\n123,x,z,merged,,,true\n", "unit_code 'z'"),
        ("calendar", "day,kind,name\n2026-02-30,work,\n", "row 2"),
        ("office_hours", "weekday,from,until,is_example\nall,09:00,08:00,true\n", "end before they begin"),
        ("lights", "light,share,is_example\nyellow,0.5,true\n", "one row each"),
    ],
)
def test_a_bad_file_is_refused_naming_the_row_and_nothing_of_any_file_is_stored(
    session: Session, tmp_path: Path, name: str, text: str, said: str
) -> None:
    load_squares(session)

    with pytest.raises(InvalidInput) as caught:
        load(session, tmp_path, **{name: text})

    assert said in str(caught.value)
    assert session.scalar(sa.text("select count(*) from units")) == 0


@pytest.mark.parametrize(("call", "desk"), ARTICLES_TABLE.items())
def test_calls_go_where_the_article_says(
    session: Session, tmp_path: Path, call: tuple[bool, Alarm], desk: Desk
) -> None:
    load(session, tmp_path, exchange_110=EXCHANGE)

    assert exchange_110(exchange_table(session, at=NOW), is_police=call[0], alarm=call[1]) is desk


@pytest.mark.parametrize("desk", Desk)
def test_where_an_urgent_call_without_police_or_security_goes_is_the_citys_choice(
    session: Session, tmp_path: Path, desk: Desk
) -> None:
    load(session, tmp_path, exchange_110=EXCHANGE.replace("false,other,centre", f"false,other,{desk}"))

    assert exchange_110(exchange_table(session, at=NOW), is_police=False, alarm=Alarm.OTHER) is desk


def test_a_call_that_no_rule_covers_is_said_not_guessed() -> None:
    with pytest.raises(NotFound, match="non-police calls with the alarm none"):
        exchange_110({}, is_police=False, alarm=Alarm.NONE)


def test_the_most_particular_limit_counts_for_each_step(session: Session, tmp_path: Path) -> None:
    rows = (
        "*,*,handle,5,work_days,,,true\n*,*,check,1,work_days,,,true\nE01,normal,handle,3,work_days,,,true\n"
        "E0102,normal,handle,4.5,work_hours,,,true\n*,urgent,handle,2,urgent_hours,,,true\n"
    )
    load(session, tmp_path, limits=LIMITS + rows)

    limits = {type_: limits_for(session, type_, urgency=Urgency.NORMAL, at=NOW) for type_ in ("E0102", "E0103", "C01")}

    assert limits["E0102"] == {
        Step.HANDLE: Limit(Decimal("4.5"), LimitUnit.WORK_HOURS),
        Step.CHECK: Limit(1, LimitUnit.WORK_DAYS),
    }
    assert limits["E0103"][Step.HANDLE] == Limit(3, LimitUnit.WORK_DAYS)
    assert limits["C01"][Step.HANDLE] == Limit(5, LimitUnit.WORK_DAYS)
    assert str(limits_for(session, "C01", urgency=Urgency.URGENT, at=NOW)[Step.HANDLE]) == "2 urgent_hours"


def test_a_case_keeps_the_limit_of_its_time_when_the_limit_changes(session: Session, tmp_path: Path) -> None:
    load(session, tmp_path, limits=LIMITS + "*,*,handle,5,work_days,,,true\n")
    load(session, tmp_path, limits=LIMITS + "*,*,handle,7,work_days,,,true\n", now=LATER)

    amounts = [
        limits_for(session, "E01", urgency=Urgency.NORMAL, at=at)[Step.HANDLE].amount
        for at in (NOW, LATER - timedelta(microseconds=1), LATER)
    ]

    assert amounts == [5, 5, 7]


def test_office_hours_and_lights_change_from_their_load_on_and_days_are_corrected(
    session: Session, tmp_path: Path
) -> None:
    hours = "weekday,from,until,is_example\nall,{},17:00,true\n"
    lights = "light,share,is_example\nyellow,{},true\norange,0.8,true\nred,1.0,true\n"
    calendar = "day,kind,name\n2026-03-03,{},\n"
    for now, opens, share, kind in ((NOW, "09:00", "0.5", "work"), (LATER, "08:00", "0.6", "rest")):
        files = {"office_hours": hours.format(opens), "lights": lights.format(share), "calendar": calendar.format(kind)}
        load(session, tmp_path, now=now, **files)

    zone = load_city().zone
    calendars = [calendar_at(session, zone, at=at) for at in (NOW, LATER)]
    assert [calendar.office_hours for calendar in calendars] == [((time(9), time(17)),), ((time(8), time(17)),)]
    assert [float(thresholds_at(session, at=at).yellow) for at in (NOW, LATER)] == [0.5, 0.6]
    assert [calendar.is_work_day(datetime(2026, 3, 3, tzinfo=UTC).date()) for calendar in calendars] == [False, False]


def test_without_office_hours_or_lights_the_missing_file_is_named(session: Session, tmp_path: Path) -> None:
    load(session, tmp_path)

    with pytest.raises(NotFound, match=r"office_hours\.csv"):
        calendar_at(session, load_city().zone, at=NOW)
    with pytest.raises(NotFound, match=r"lights\.csv"):
        thresholds_at(session, at=NOW)


def test_a_load_that_changes_something_is_on_record_and_one_that_does_not_is_not(
    session: Session, tmp_path: Path
) -> None:
    for now in (NOW, LATER):
        load(session, tmp_path, now=now, routing=ROUTING + TOWN)

    (record,) = session.scalars(sa.select(Change).where(Change.thing == "rules"))
    assert record.after is not None
    assert record.after["routing_rules"] == {"opened": 1, "closed": 0, "withdrawn": 0}
