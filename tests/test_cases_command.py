"""`gis-grid cases` as it is typed."""

import getpass
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from gis_grid.cases import Case, log_of, the_case
from gis_grid.cli import app
from gis_grid.cli.options import out
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import GridError
from tests.stored_cases import TEAM, WORKSTATION, Desk

Run = Callable[..., Result]
GRID = "310112001001001"
TRIES = ("attempt", "--set", "duty=宣传劝阻", "--set", "text=劝阻无效")


@pytest.fixture
def template(furnished: str) -> str:
    return furnished


@pytest.fixture
def desk(session: Session, tmp_path: Path) -> Desk:
    return Desk(session, tmp_path)


@pytest.fixture
def run(cluster: EmbeddedPostgis, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url(database, role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url(database))
    monkeypatch.setenv("GIS_GRID_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(out, "_width", 200)
    return lambda *words: CliRunner().invoke(app, ("cases", *words))


def test_a_report_is_accepted_filed_worked_on_and_shown_with_its_log(run: Run, desk: Desk) -> None:
    report = desk.report()
    desk.session.commit()

    accepted = run("accept", str(report.id), "--file")
    (serial,) = desk.session.scalars(sa.select(Case.serial))
    stepped = [run("step", serial, *TRIES), run("step", serial, "take", "--set", "duty=快速处置")]
    shown = run("show", serial).output

    assert (accepted.exit_code, [one.exit_code for one in stepped]) == (0, [0, 0]), accepted.output
    assert f"case {serial} is filed, step 2, with {WORKSTATION}" in accepted.output
    assert f"case {serial} is taken, step 4" in stepped[-1].output
    assert [line.split()[3] for line in shown.splitlines()[-4:]] == ["accept", "file", "attempt", "take"]
    assert f"by os:{getpass.getuser()}: duty 宣传劝阻; text 劝阻无效" in shown
    assert "blue, 5 work_days" not in shown  # the garbage at the gate has four work hours
    assert "blue, 4 work_hours since" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dance",), "dance: action: Input tag 'dance'"),
        (("attempt", "--set", "duty=跳舞", "--set", "text=x"), "attempt: duty: Input should be"),
        (("attempt", "--set", "text"), "--set text: expected FIELD=VALUE"),
        (("take", "--set", "why=x", "--set", "duty=快速处置"), "take: why: Extra inputs"),
        (("close",), "closing needs disposal, check, answer first"),
        (("dispatch", "--set", f"unit={TEAM}"), "the community tries it, or passes it up, first"),
        (("take", "--set", "duty=快速处置", "--set", "expected_seq=1"), "you saw step 1"),
        (("merge", "--set", "into=77"), "there is no case 77"),
    ],
)
def test_a_step_that_cannot_be_is_refused_in_one_line_and_changes_nothing(
    run: Run, desk: Desk, words: tuple[str, ...], said: str
) -> None:
    case = desk.filed()

    result = run("step", case.name, *words)

    assert isinstance(result.exception, GridError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    desk.session.expire_all()
    assert len(log_of(desk.session, the_case(desk.session, case.name))) == 2


def test_cases_are_listed_by_due_time_with_their_lights_as_words(run: Run, desk: Desk) -> None:
    filed, accepted = desk.filed(), desk.accept()

    both = run("list", "--grid", GRID).output.splitlines()
    red = run("list", "--light", "red", "--limit", "1").output.splitlines()

    # The clocks of the test's desk stand in March 2026, the command's own shows what is later.
    assert [line.split("\t")[:3] for line in both[:-1]] == [
        [filed.name, "red", "filed"], [accepted.name, "none", "accepted"],
    ]  # fmt: skip
    assert both[-1] == "2 cases"
    assert red[0].startswith(filed.name)
    assert run("list", "--limit", "1").output.splitlines()[-1] == "1 cases, and more: see --limit"


def test_the_lights_of_each_grid_are_counted_and_summed(run: Run, desk: Desk) -> None:
    desk.filed()
    desk.accept()

    counted = [line.split() for line in run("lights", "--area", "310112001").output.splitlines()]

    assert counted == [
        ["grid", "waiting", "blue", "yellow", "orange", "red", "all"],
        [GRID, "1", "0", "0", "0", "1", "2"],
        ["1", "grids", "1", "0", "0", "0", "1", "2"],
    ]


def test_an_area_that_is_not_there_has_no_lights_to_count(run: Run) -> None:
    assert "area 999 is not in the layer" in str(run("lights", "--area", "999").exception)


def test_verify_names_each_case_that_is_not_what_its_log_says(run: Run, desk: Desk) -> None:
    cases = [desk.filed() for _ in range(4)]
    sound = run("verify")
    for name, change in (
        (cases[0].name, {"unit": "elsewhere"}),
        (cases[1].name, {"state": cases[1].state | {"attempts": 7}}),
        (cases[2].name, {"state": {"seq": 2}}),
    ):
        desk.session.execute(sa.update(Case).where(Case.serial == name).values(change))
    desk.session.commit()

    broken = run("verify")

    assert (sound.exit_code, sound.output.splitlines()[-1]) == (0, "4 cases replayed, 0 not as in their logs")
    assert broken.exit_code == 1
    assert broken.output.splitlines()[-4:] == [
        f"{cases[0].name}: unit not as in the log",
        f"{cases[1].name}: state.attempts not as in the log",
        f"{cases[2].name}: state or log cannot be read: stage",
        "4 cases replayed, 3 not as in their logs",
    ]
