"""`gis-grid cases`."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gis_grid.case_deciding import ANY_STEP, AnyStep
from gis_grid.case_queues import CaseFilter, Lights, find_cases, light_of, lights_by_grid
from gis_grid.case_state import CaseClock, Stage
from gis_grid.case_verifying import count_cases, verify_cases
from gis_grid.cases import Case, CaseLogEntry, accept_report, lock_cases, log_of, needed_cases, take_step, the_case
from gis_grid.cli.options import City, err, open_city, out, settings
from gis_grid.clocks import Light
from gis_grid.database import by_command
from gis_grid.errors import InvalidInput
from gis_grid.event_types import the_event_type
from gis_grid.installation import open_installation, utc_now
from gis_grid.routing import Urgency
from gis_grid.territory import the_area

Name = Annotated[str, typer.Argument(metavar="CASE", help="The serial number, or the id before there is one.")]
MOST_LETTERS = 60
NO_LIGHT = "none"  # before the filing and after the end


class Which(StrEnum):
    """Open cases, ended ones or both."""

    OPEN = "open"
    ENDED = "ended"
    ALL = "all"


def list_(
    *,
    grid: Annotated[str | None, typer.Option(help="Code of a grid.")] = None,
    area: Annotated[str | None, typer.Option(help="Code of a community, a town or the district.")] = None,
    unit: Annotated[str | None, typer.Option(help="Code of the unit in whose own queue they are.")] = None,
    stage: Annotated[Stage | None, typer.Option(help="Where they stand.")] = None,
    light: Annotated[Light | None, typer.Option(help="The light that they show now.")] = None,
    event_type: Annotated[str | None, typer.Option(help="Code of a type, or of a class with its types.")] = None,
    state: Annotated[Which, typer.Option(help="Open ones come by due time, others the latest first.")] = Which.OPEN,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 100,
    city: City = None,
) -> None:
    """List cases: name, light, stage, when the first clock runs out, unit, grid and event type.

    Example: `gis-grid cases list --area 310112101 --light red`
    """
    with open_city(city) as (installation, session):
        if event_type is not None:
            the_event_type(session, event_type)
        which = CaseFilter(
            grid=grid,
            area=area,
            unit=unit,
            stage=stage.value if stage else None,
            light=light,
            event_type=event_type,
            is_open={Which.OPEN: True, Which.ENDED: False, Which.ALL: None}[state],
        )
        now = utc_now()
        found = find_cases(session, which, now=now, limit=limit + 1)
        for case in found[:limit]:
            due = _local(case.red_at, installation.city.zone)
            columns = (case.name, _light(case, now), case.stage, due, case.unit or "-", case.grid_code, case.event_type)
            typer.echo("\t".join(columns) + ("\tdrill" if case.is_drill else ""))
    out.print(f"{min(len(found), limit)} cases{', and more: see --limit' if len(found) > limit else ''}")


def show(name: Name, *, city: City = None) -> None:
    """Show one case: where it stands, both clocks, and its log.

    Example: `gis-grid cases show 3101122026112500001`
    """
    with open_city(city) as (installation, session):
        case, now, zone = the_case(session, name), utc_now(), installation.city.zone
        rows, log = _rows(case, now, zone), log_of(session, case)
    table = Table(show_header=False, box=None)
    for label, value in rows.items():
        table.add_row(label, value)
    out.print(table)
    for entry in log:
        out.print(_line(entry, zone), markup=False, soft_wrap=True)


def _rows(case: Case, now: datetime, zone: ZoneInfo) -> dict[str, str]:
    state = case.read_state()
    is_open = state.stage.is_open
    return {
        "case": f"{case.name}, a drill" if case.is_drill else case.name,
        "report": str(case.report_id),
        "stage": f"{case.stage}{', suspended' if state.is_suspended else ''}, step {case.seq}",
        "light": _light(case, now),
        "with": f"{case.unit} ({case.level})" if case.unit else "nobody yet",
        "grid": case.grid_code,
        "event type": f"{case.event_type}, {case.urgency}, {case.kind}",
        "this step": _clock(state.step, now, zone, is_open=is_open),
        "the whole": _clock(state.whole, now, zone, is_open=is_open),
        "tries, refusals, rework": f"{state.attempts}, {state.returns}, {state.reworks}",
        "waits for approval": f"{state.request.asks} asked by {state.request.by}" if state.request else "nothing",
    }


def _clock(clock: CaseClock | None, now: datetime, zone: ZoneInfo, *, is_open: bool) -> str:
    if clock is None:
        return "no limit"
    more = "".join(f" + {extended}" for extended in clock.extended)
    light = f"{clock.light(now)}, " if is_open else ""
    return f"{light}{clock.limit}{more} since {_local(clock.started_at, zone)}, due {_local(clock.red_at, zone)}"


def _line(entry: CaseLogEntry, zone: ZoneInfo) -> str:
    said = "; ".join(f"{name} {_short(value)}" for name, value in entry.said.items() if _is_word(value))
    where = f" → {entry.unit}" if entry.unit else ""
    return (
        f"{entry.seq:3}  {_local(entry.at, zone)}  {entry.action:14} {entry.after}{where}  by {entry.who}"
        f"{': ' if said else ''}{said}"
    )


def _is_word(value: object) -> bool:
    return isinstance(value, str | int | float) and value is not False


def _short(value: float | str) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} …"


def _local(at: datetime | None, zone: ZoneInfo) -> str:
    return at.astimezone(zone).isoformat(sep=" ", timespec="seconds") if at else "-"


def _light(case: Case, now: datetime) -> str:
    light = light_of(case, now)
    return light.value if light else NO_LIGHT


def accept(
    report_id: Annotated[uuid.UUID, typer.Argument(metavar="REPORT", help="The report's id.")],
    *,
    file: Annotated[
        bool, typer.Option("--file", help="Give it its serial number too, which starts both clocks.")
    ] = False,
    urgent: Annotated[bool, typer.Option("--urgent", help="It cannot wait its turn.")] = False,
    city: City = None,
) -> None:
    """Accept a report as a case.

    Example: `gis-grid cases accept 6f1c0c64-3b0e-4c52-9a55-0f5d0a3c7e11 --file`
    """
    with open_city(city) as (installation, session):
        now, by = utc_now(), by_command()
        urgency = Urgency.URGENT if urgent else Urgency.NORMAL
        case = accept_report(session, report_id, urgency=urgency, by=by, now=now)
        if file:
            cases = lock_cases(session, [case.name])
            take_step(
                session,
                cases,
                ANY_STEP.validate_python({"action": "file"}),
                city=installation.city,
                photos=installation.photos,
                by=by,
                now=now,
            )
    _say(case)


def step(
    name: Name,
    action: Annotated[str, typer.Argument(help="attempt, escalate, dispatch, take, return, handle, check, answer, …")],
    *,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="What the step needs. Repeatable.")
    ] = None,
    city: City = None,
) -> None:
    """Take a step on a case, as the user of this terminal; the fields are those of the HTTP API.

    With `--set expected_seq=N` it is refused when the case has gone on since step N.

    Example: `gis-grid cases step 3101122026112500001 dispatch --set unit=team-chengguan-310112101`
    """
    asked = _step(action, set_ or ())
    with open_city(city) as (installation, session):
        cases = lock_cases(session, needed_cases(name, asked))
        take_step(
            session,
            cases,
            asked,
            city=installation.city,
            photos=installation.photos,
            by=by_command(),
            now=utc_now(),
        )
    _say(cases[0])


def _step(action: str, given: Sequence[str]) -> AnyStep:
    fields: dict[str, Any] = {"action": action}
    for text in given:
        field, is_pair, value = text.partition("=")
        if not is_pair or field in fields:
            raise InvalidInput(f"--set {text}: expected FIELD=VALUE, each field once and the action apart")
        # The only number: on the wire it has to be one.
        fields[field] = int(value) if field == "expected_seq" and value.isdecimal() else value
    try:
        return ANY_STEP.validate_python(fields)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'][1:])) or 'action'}: {one['msg']}" for one in error.errors()]
        raise InvalidInput(f"{action}: {'; '.join(wrong)}") from None


def _say(case: Case) -> None:
    out.print(f"case {case.name} is {case.stage}, step {case.seq}, with {case.unit or 'nobody yet'}", soft_wrap=True)


def verify(*, city: City = None) -> None:
    """Replay the log of every case and compare it with what is stored; exit code 1 where any differs.

    Example: `gis-grid cases verify`
    """
    columns = (TextColumn("Replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    count = differing = last_id = 0
    bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
    with open_installation(settings(city)) as installation, bar as progress:
        with installation.sessions() as session:
            task = progress.add_task("Replaying", total=count_cases(session))
        while True:
            with installation.sessions() as session:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                batch = verify_cases(session, after_id=last_id)
            if not batch.looked_at:
                break
            for one in batch.differing:
                out.print(f"{one.case}: {one.why}", markup=False, soft_wrap=True)
            count, differing, last_id = count + batch.looked_at, differing + len(batch.differing), batch.last_id
            progress.update(task, completed=count)
    out.print(f"{count} cases replayed, {differing} not as in their logs")
    if differing:
        raise typer.Exit(1)


def lights(
    *,
    area: Annotated[str | None, typer.Option(help="Code of a community, a town or the district.")] = None,
    city: City = None,
) -> None:
    """Count the open cases of each grid by the light they show; those that wait to be filed show none.

    Example: `gis-grid cases lights --area 310112101`
    """
    with open_city(city) as (_, session):
        now = utc_now()
        if area is not None:
            the_area(session, area, at=now)
        grids = lights_by_grid(session, now=now, which=CaseFilter(area=area))
    table = Table("grid", *Lights._fields, "all", box=None)
    total = Lights()
    for code, one in sorted(grids.items()):
        total = total.plus(one)
        table.add_row(code, *map(str, one), str(one.total))
    table.add_row(f"{len(grids)} grids", *map(str, total), str(total.total))
    out.print(table)
