from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.blocks import BlockLayer
from gis_grid.city import load_city
from gis_grid.errors import InvalidInput
from gis_grid.layers import load_layer_file
from gis_grid.patrol_rules import load_patrol_rules
from gis_grid.shift_gaps import ShiftGap, shift_gaps
from gis_grid.teams import TeamKind, TeamMember, block_staff, full_time_patrollers, load_teams, read_teams
from tests.builders import BY, NOW, load_squares
from tests.db.test_blocks import GRID, halves
from tests.db.test_blocks import load as load_some_blocks

SHANGHAI = ZoneInfo("Asia/Shanghai")
OTHER = "310112001001002"
HEADS = {
    "teams": "code,name,name_en,kind,unit_code,since,until,is_example",
    "team_members": "team,name,own_phone,origin,ground,code,is_full_time,since,until,is_example",
    "team_grounds": "team,ground,code,since,until,is_example",
    "team_shifts": "team,weekday,starts,ends,kind,first_duty,second_duty,since,until,is_example",
}
TEAMS = ["c,社区队,Community,community,,,,false", "s,街面队,Street,street,,,,false"]
GROUNDS = ["c,area,310112001,,,false", "s,area,310112001,,,false"]
ROUND_THE_CLOCK = ["c,daily,00:00,00:00,day,reporting,,,,false", "s,daily,00:00,00:00,day,facilities,,,,false"]


def folder_of(tmp_path: Path, **rows: list[str]) -> Path:
    given = {"teams": TEAMS, "team_grounds": GROUNDS, "team_shifts": ROUND_THE_CLOCK, "team_members": []} | rows
    for name, head in HEADS.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *given[name]]) + "\n", encoding="utf-8")
    return tmp_path


def gaps(session: Session, tmp_path: Path, **rows: list[str]) -> list[ShiftGap]:
    load_teams(session, read_teams(folder_of(tmp_path, **rows), zone=SHANGHAI), by=BY, now=NOW)
    return shift_gaps(session, at=NOW)


def test_teams_round_the_clock_leave_no_gap(session: Session, tmp_path: Path) -> None:
    load_squares(session)

    assert gaps(session, tmp_path) == []


def test_a_planted_gap_of_ten_minutes_is_found_for_its_role_in_every_grid(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    shifts = [ROUND_THE_CLOCK[0], "s,daily,06:00,22:00,day,appearance,security,,,false"]
    shifts += [f"s,{day},22:00,06:00,night,security,,,,false" for day in "124567"]
    shifts += ["s,3,22:10,06:00,night,security,,,,false"]

    found = gaps(session, tmp_path, team_shifts=shifts)

    assert len(found) == 9
    assert {(one.kind, one.ground, str(one.gap)) for one in found} == {
        (TeamKind.STREET, "streets", "Wed 22:00–Wed 22:10")
    }


def test_a_grid_whose_every_block_has_somebody_has_somebody(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load_some_blocks(session, halves())
    grounds = [f"c,block,{GRID}-1,,,false", f"c,block,{GRID}-2,,,false", GROUNDS[1]]

    without = {one.code for one in gaps(session, tmp_path, team_grounds=grounds)}

    assert without.isdisjoint({GRID, f"{GRID}-1", f"{GRID}-2"})
    assert len(without) == 8


def test_one_block_without_a_team_is_a_gap_of_the_block_and_its_grid(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load_some_blocks(session, halves())
    grounds = [f"c,block,{GRID}-1,,,false", GROUNDS[1]]

    without = {one.code for one in gaps(session, tmp_path, team_grounds=grounds)}

    assert {f"{GRID}-2", GRID} <= without
    assert f"{GRID}-1" not in without


def test_a_team_that_comes_later_leaves_its_grids_alone_until_then(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    teams = [TEAMS[0].replace(",,,,", ",,2026-04-01,,"), TEAMS[1]]
    gaps(session, tmp_path, teams=teams)

    found = [len(shift_gaps(session, at=NOW + timedelta(days=days))) for days in (1, 60)]

    assert found == [9, 0]


def test_people_are_counted_by_block_and_a_short_one_is_named(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load_some_blocks(session, halves(least=2))
    members = [f"c,某{n},1{n},cadre,block,{GRID}-{block},false,,,false" for n, block in enumerate((1, 1, 2))]
    members.append(f"c,专职,9,patroller,grid,{GRID},true,,,false")
    load_teams(session, read_teams(folder_of(tmp_path, team_members=members), zone=SHANGHAI), by=BY, now=NOW)

    staff = block_staff(session, at=NOW)

    assert [(one.people, one.is_short) for one in staff] == [(2, False), (1, True)]
    assert full_time_patrollers(session, GRID, at=NOW) == 1


def test_the_same_files_again_change_nothing_and_who_left_stays_known(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    member = "c,王芳,1,guard,,,false,,,false"
    first = read_teams(folder_of(tmp_path, team_members=[member]), zone=SHANGHAI)
    load_teams(session, first, by=BY, now=NOW)

    again = load_teams(session, first, by=BY, now=NOW + timedelta(days=1))
    load_teams(session, read_teams(folder_of(tmp_path), zone=SHANGHAI), by=BY, now=NOW + timedelta(days=2))

    assert again == {}
    assert session.scalars(sa.select(TeamMember)).one().valid.upper == NOW + timedelta(days=2)


@pytest.mark.parametrize(
    ("table", "row", "fault"),
    [
        ("team_grounds", "x,grid,1,,,false", "no team x"),
        ("team_grounds", "c,moon,1,,,false", "ground 'moon'"),
        ("team_members", "c,王芳,1,army,,,false,,,false", "origin 'army'"),
        ("team_members", "c,王芳,1,guard,grid,,false,,,false", "go together"),
        ("team_shifts", "c,8,06:00,22:00,day,security,,,,false", "weekday '8'"),
        ("team_shifts", "c,1,6,22:00,day,sleep,,,,false", "first_duty 'sleep'|time of day"),
        ("team_shifts", "c,1,06:00:30,22:00,day,security,,,,false", "whole minute"),
        ("teams", "d,队,Team,army,,,,false", "kind 'army'"),
    ],
)
def test_a_row_at_fault_is_named(tmp_path: Path, table: str, row: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=f"row 2: .*({fault})"):
        read_teams(folder_of(tmp_path, **{table: [row]}), zone=SHANGHAI)


def test_a_ground_that_no_layer_has_is_refused(session: Session, tmp_path: Path) -> None:
    load_squares(session)

    with pytest.raises(InvalidInput, match="grids: 999"):
        gaps(session, tmp_path, team_grounds=["c,grid,999,,,false"])


def test_the_shipped_examples_have_the_people_that_the_article_names(session: Session) -> None:
    city = load_city()
    assert city.grids is not None
    load_layer_file(session, city.grids, city=city, by=BY, now=NOW)

    load_patrol_rules(session, city, by=BY, now=NOW)

    staff = {one.block_code: one for one in block_staff(session, at=NOW)}
    village = [one.people for code, one in staff.items() if code.startswith("310112102204")]
    assert (len(village), set(village)) == (8, {4, 5})
    assert [one.people for code, one in staff.items() if code.startswith("310112001046")] == [1] * 5
    assert full_time_patrollers(session, "310112001046", at=NOW) == 2
    assert not any(one.is_short for one in staff.values())
    assert session.scalar(sa.select(sa.func.bool_and(BlockLayer.is_synthetic))) is True
    covered = {one.code for one in shift_gaps(session, at=NOW)}
    assert not covered & {"310112001046001", *(f"31011210220400{n}" for n in range(1, 5)), *staff}
