"""Units as a dated tree; files that are loaded again; posts and who holds them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from gis_grid.city import City, load_city
from gis_grid.dated import Span, timeline
from gis_grid.errors import Conflict, InvalidInput, NotFound
from gis_grid.rules import load_rules
from gis_grid.units import (
    NewHolder,
    Unit,
    appoint_holders,
    codes_below,
    dismiss,
    find_units,
    posts_of,
    read_holders,
    the_hotline,
    the_root,
    the_unit,
    units_above,
    units_at,
    units_without_first_responsible,
    vacant_posts,
)
from tests.builders import BY, NOW, load_squares

HEAD = "code,each,name,name_en,kind,parent_code,area_level,area_code,enforces_as,placement_model,since,until,is_example"
CENTRE = "c,,中心,Centre,centre,,,,,,,,false"
DEPARTMENT = "d,,城管局,Dept,department,c,,,,line,,,true"
SUB = "sub-{town},town,{name}分中心,Sub {town},sub_centre,c,,,,,,,true"
WORKSTATION = "ws-{community},community,{place}工作站,Ws {community},community_workstation,sub-{town},,,,,,,true"
TEAM_BEFORE = "t,,中队,Team,team,d,,,d,line,,2014-01-01,true"
TEAM_SINCE = "t,,中队,Team,team,sub-310112001,,,d,sunk,2014-01-01,,true"
POSTS = "kind,title,is_first_responsible,since,until,is_example\nsub_centre,书记,true,,,true\nsub_centre,主任,false,,,true\n"
LATER = NOW + timedelta(days=10)


def write(folder: Path, *rows: str, posts: str | None = None) -> City:
    """A city whose rules are these units."""
    (folder / "units.csv").write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    if posts is not None:
        (folder / "posts.csv").write_text(posts, encoding="utf-8")
    return replace(load_city(), rules=folder)


def load(session: Session, city: City, now: datetime = NOW) -> dict[str, tuple[int, int, int]]:
    done = load_rules(session, city, now=now, by=BY)
    return {table: (loaded.opened, loaded.closed, loaded.withdrawn) for table, loaded in done.items()}


def test_a_row_for_each_town_and_community_becomes_a_unit_in_each(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, write(tmp_path, CENTRE, SUB, WORKSTATION))

    units = {unit.code: unit for unit in units_at(session, at=NOW)}

    assert list(units) == ["c", "sub-310112001", "ws-310112001001", "ws-310112001002", "ws-310112001003"]
    assert units["ws-310112001002"].name == "社区2工作站"
    assert (units["ws-310112001002"].parent_code, units["ws-310112001002"].area_code) == (
        "sub-310112001",
        "310112001002",
    )


def test_units_of_a_layer_that_comes_later_are_there_since_that_layer_is(session: Session, tmp_path: Path) -> None:
    city = write(tmp_path, CENTRE, SUB)
    load(session, city)
    load_squares(session)

    assert load(session, city, LATER) == {"units": (1, 0, 0)}
    assert the_unit(session, "sub-310112001", at=NOW - timedelta(days=3000)).kind == "sub_centre"


def test_the_same_files_again_change_nothing(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    city = write(tmp_path, CENTRE, DEPARTMENT, SUB, TEAM_BEFORE, TEAM_SINCE, posts=POSTS)
    load(session, city)
    before = session.execute(sa.select(Unit.id, Unit.valid).order_by(Unit.id)).all()

    assert load(session, city, LATER) == {}
    assert session.execute(sa.select(Unit.id, Unit.valid).order_by(Unit.id)).all() == before


def test_a_changed_row_holds_from_the_load_on_and_the_old_one_until_then(session: Session, tmp_path: Path) -> None:
    load(session, write(tmp_path, CENTRE, DEPARTMENT))
    done = load(session, write(tmp_path, CENTRE, DEPARTMENT.replace("城管局", "城管执法局")), LATER)

    names = [the_unit(session, "d", at=at).name for at in (NOW, LATER - timedelta(microseconds=1), LATER)]

    assert done == {"units": (1, 1, 0)}
    assert names == ["城管局", "城管局", "城管执法局"]


def test_a_row_that_is_gone_ends_at_the_load(session: Session, tmp_path: Path) -> None:
    load(session, write(tmp_path, CENTRE, DEPARTMENT))
    load(session, write(tmp_path, CENTRE), LATER)

    assert the_unit(session, "d", at=NOW).code == "d"
    with pytest.raises(NotFound, match="no unit d"):
        the_unit(session, "d", at=LATER)


def test_a_unit_that_is_new_in_the_file_begins_at_the_load_unless_the_file_says_when(
    session: Session, tmp_path: Path
) -> None:
    load(session, write(tmp_path, CENTRE))
    dated = DEPARTMENT.replace("d,,", "e,,", 1).replace("line,,,", "line,2020-01-01,,")
    load(session, write(tmp_path, CENTRE, DEPARTMENT, dated), LATER)

    assert set(find_units(session, ["d", "e"], at=NOW)) == {"e"}
    assert set(find_units(session, ["d", "e"], at=LATER)) == {"d", "e"}


def test_what_was_to_come_is_withdrawn_when_the_file_takes_it_back(session: Session, tmp_path: Path) -> None:
    begins = DEPARTMENT.replace("line,,,", "line,2030-01-01,,")
    load(session, write(tmp_path, CENTRE, begins))

    assert load(session, write(tmp_path, CENTRE), LATER) == {"units": (0, 0, 1)}
    assert find_units(session, ["d"], at=datetime(2031, 1, 1, tzinfo=UTC)) == {}


def test_a_team_moves_from_its_department_to_the_town_at_midnight_in_the_citys_zone(
    session: Session, tmp_path: Path
) -> None:
    load_squares(session)
    load(session, write(tmp_path, CENTRE, DEPARTMENT, SUB, TEAM_BEFORE, TEAM_SINCE))
    reform = datetime(2013, 12, 31, 16, tzinfo=UTC)

    parents = [the_unit(session, "t", at=at).parent_code for at in (reform - timedelta(microseconds=1), reform)]

    assert parents == ["d", "sub-310112001"]
    assert "t" in set(session.scalars(codes_below("d", at=reform - timedelta(days=1))))
    assert "t" not in set(session.scalars(codes_below("d", at=reform)))


def test_the_way_up_ends_at_the_root(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, write(tmp_path, CENTRE, SUB, WORKSTATION))

    above = units_above(session, the_unit(session, "ws-310112001001", at=NOW), at=NOW)

    assert [unit.code for unit in above] == ["sub-310112001", "c"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([CENTRE, "a,,甲,A,team,b,,,,,,,true", "b,,乙,B,team,a,,,,,,,true"], "circle: a → b → a"),
        ([CENTRE, "a,,甲,A,team,a,,,,,,,true"], "circle: a → a"),
        ([CENTRE, "a,,甲,A,team,,,,,,,,true"], "row 3: unit a needs a parent"),
        ([CENTRE, "a,,甲,A,team,x,,,,,,,true"], "row 3: unit a has the parent x, which is not there"),
        ([CENTRE, CENTRE.replace("c,", "c2,", 1)], "c, c2 are all centres"),
        ([CENTRE.replace("centre,,,", "centre,c,,")], "is the root and can have no parent"),
        ([CENTRE, DEPARTMENT, "s,,分中心,S,sub_centre,d,,,,,,,true"], "d, which is no centre"),
        ([CENTRE, DEPARTMENT.replace(",,,,line", ",,,x,line")], "enforces as x, which is not there"),
        ([CENTRE, DEPARTMENT, DEPARTMENT], "rows 3 and 4 both hold for d"),
        ([CENTRE, DEPARTMENT.replace("department", "bureau")], "kind 'bureau' is not one of"),
        ([CENTRE, DEPARTMENT.replace("line,,", "sideways,,")], "placement_model 'sideways'"),
        ([CENTRE, DEPARTMENT.replace("d,,", "d {x},,", 1)], "{x} in 'd {x}' has no meaning"),
        ([CENTRE, DEPARTMENT.replace("line,,,", "line,2014-13-01,,")], "row 3: '2014-13-01'"),
        ([CENTRE, DEPARTMENT.replace("line,,,", "line,2015-01-01,2014-01-01,")], "is not after since"),
        ([CENTRE, DEPARTMENT.replace("line,,,true", "line,,,perhaps")], "is_example 'perhaps'"),
        ([CENTRE, DEPARTMENT + ",more"], "row 3: more cells than columns"),
        ([CENTRE, DEPARTMENT.replace("城管局", "")], "row 3: name is empty"),
        ([CENTRE, DEPARTMENT.replace("城管局", "城\0局")], "row 3: a NUL character"),
        ([CENTRE, DEPARTMENT.replace(",c,,,,line", ",c,town,,,line")], "go together"),
    ],
)
def test_a_file_that_is_no_tree_is_refused_whole_naming_the_row(
    session: Session, tmp_path: Path, rows: list[str], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(session, write(tmp_path, *rows))

    assert said in str(caught.value)
    assert units_at(session, at=NOW) == []


def test_a_parent_that_ends_before_its_child_is_named(session: Session, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"unit t has the parent d, which is not there on 2014-"):
        load(
            session,
            write(
                tmp_path,
                CENTRE,
                DEPARTMENT.replace("line,,,", "line,,2014-07-01,"),
                "t,,中队,Team,team,d,,,,,,,true",
            ),
        )


def test_a_city_without_rules_has_one_centre(session: Session) -> None:
    load_squares(session)
    load(session, replace(load_city(), rules=None))

    assert [(unit.code, unit.is_example) for unit in units_at(session, at=NOW)] == [("centre-310112", True)]


def test_nothing_is_organised_before_units_are_loaded(session: Session) -> None:
    with pytest.raises(NotFound, match="gis-grid units load"):
        the_root(session, at=NOW)


def test_the_database_itself_refuses_a_second_root_and_a_unit_above_itself(session: Session, tmp_path: Path) -> None:
    load(session, write(tmp_path, CENTRE))
    insert = "insert into units (code, name, name_en, kind, parent_code, valid) values "

    for row, said in [
        ("('c2', 'x', 'x', 'centre', null, '[2020-01-01,)')", "ex_units_root"),
        ("('c', 'x', 'x', 'team', 'd', '[2020-01-01,)')", "ex_units_valid"),
        ("('t', 'x', 'x', 'team', 't', '[2020-01-01,)')", "ck_units_parent"),
        ("('t', 'x', 'x', 'team', null, '[2020-01-01,)')", "ck_units_root"),
    ]:
        with pytest.raises(IntegrityError, match=said), session.begin_nested():
            session.execute(sa.text(insert + row))


def test_the_application_can_close_a_unit_but_neither_rename_nor_delete_it(session: Session, tmp_path: Path) -> None:
    load(session, write(tmp_path, CENTRE))

    for statement in ("update units set name = 'x'", "delete from units", "delete from limits"):
        with pytest.raises(ProgrammingError, match="permission denied"), session.begin_nested():
            session.execute(sa.text(statement))


def holder(name: str = "王芳", *, title: str = "书记", since: datetime = NOW) -> NewHolder:
    return NewHolder("sub-310112001", title, name, None, since, None)


def test_a_post_has_one_holder_at_a_time(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, write(tmp_path, CENTRE, SUB, posts=POSTS))
    appoint_holders(session, [holder()], by=BY, now=NOW)

    with pytest.raises(Conflict, match="sub-310112001"):
        appoint_holders(session, [holder("李雷", since=LATER)], by=BY, now=NOW)

    dismiss(session, "sub-310112001", "书记", by=BY, at=LATER)
    appoint_holders(session, [holder("李雷", since=LATER)], by=BY, now=NOW)
    held = [posts_of(session, "sub-310112001", at=at)[0][1] for at in (NOW, LATER)]
    assert [one.person.name if one else None for one in held] == ["王芳", "李雷"]


def test_units_without_a_first_responsible_person_are_listed(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, write(tmp_path, CENTRE, SUB, posts=POSTS))
    appoint_holders(session, [holder(title="主任")], by=BY, now=NOW)
    vacant = [[unit.code for unit in units_without_first_responsible(session, at=NOW)]]

    appoint_holders(session, [holder()], by=BY, now=NOW)
    vacant.append([unit.code for unit in units_without_first_responsible(session, at=NOW)])

    assert vacant == [["c", "sub-310112001"], ["c"]]


def test_a_post_is_vacant_until_somebody_holds_it(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, write(tmp_path, CENTRE, SUB, posts=POSTS))
    appoint_holders(session, [holder(since=LATER)], by=BY, now=NOW)

    vacant = [[post.title for post in vacant_posts(session, at=at)] for at in (NOW, LATER)]

    assert vacant == [["主任", "书记"], ["主任"]]


def test_two_first_responsible_posts_in_one_unit_are_refused(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    city = write(tmp_path, CENTRE, SUB, posts=POSTS.replace("主任,false", "主任,true"))

    with pytest.raises(InvalidInput, match="rows 2 and 3 both hold for sub_centre first responsible"):
        load(session, city)


def test_a_post_that_no_unit_has_is_named(session: Session, tmp_path: Path) -> None:
    load_squares(session)
    load(session, write(tmp_path, CENTRE, SUB, posts=POSTS))

    with pytest.raises(InvalidInput, match="厨师 of sub-310112001"):
        appoint_holders(session, [holder(title="厨师")], by=BY, now=NOW)


def test_holders_are_read_from_a_file_and_its_faults_named(tmp_path: Path) -> None:
    path = tmp_path / "holders.csv"
    head = "unit_code,title,name,own_phone,since,until\n"
    path.write_text(head + "c,书记,王芳,,2026-01-01,\n", encoding="utf-8")
    (read,) = read_holders(path, zone=load_city().zone)
    path.write_text(head + "c,书记,,,2026-01-01,\nc,书记,王芳,,soon,\n", encoding="utf-8")

    assert (read.name, read.since) == ("王芳", datetime(2025, 12, 31, 16, tzinfo=UTC))
    with pytest.raises(InvalidInput, match=r"row 2: name is empty; row 3: 'soon'"):
        read_holders(path, zone=load_city().zone)


def test_a_number_is_known_however_it_is_spaced_and_a_strange_one_is_not(session: Session, tmp_path: Path) -> None:
    city = write(tmp_path, CENTRE, DEPARTMENT)
    (tmp_path / "hotlines.csv").write_text(
        "number,name,unit_code,role,since,until,is_example\n000-962001,城管热线,d,merged,,,true\n", encoding="utf-8"
    )
    load(session, city)

    assert the_hotline(session, "000 962 001", at=NOW).unit_code == "d"
    with pytest.raises(InvalidInput, match="12306"):
        the_hotline(session, "12306", at=NOW)


MOMENTS = st.integers(0, 12).map(lambda month: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=30 * month))


@st.composite
def histories(draw: st.DrawFn) -> list[Span]:
    cuts = sorted(draw(st.sets(MOMENTS, min_size=2, max_size=6)))
    pairs = [pair for pair in pairwise(cuts) if draw(st.booleans())]
    return [Span(lower, upper, (draw(st.sampled_from("ab")),)) for lower, upper in pairs]


def said(spans: list[Span], at: datetime) -> tuple[str, ...] | None:
    return next((span.values for span in spans if span.lower <= at and (span.upper is None or at < span.upper)), None)


@given(histories(), histories(), MOMENTS)
def test_the_past_stays_as_stored_and_the_future_is_as_wanted(
    stored: list[Span], wanted: list[Span], now: datetime
) -> None:
    merged = timeline(stored, wanted, now=now)

    for day in range(-10, 400, 10):
        at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)
        assert said(merged, at) == said(stored if at < now else wanted, at)
    assert timeline(merged, wanted, now=now) == merged
    assert all(one.upper is not None and one.upper <= two.lower for one, two in pairwise(merged))
