"""A million cases in an embedded, durable PostGIS: what boards and queues cost, then 200 people at work at once.

    .venv/bin/python benchmarks/cases.py [--cases 1000000] [--open 20000] [--clients 200] [--workers 1] [--seconds 60]
        [--data FOLDER]

Stops with an error where a question about open cases reads closed ones, where the state of a case is not what its log
says, and where a client gets an answer that it should not get. `--data` keeps the database and uses it again.
"""

import argparse
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from case_clients import Worked, work
from case_rows import make_cases
from sqlalchemy.orm import Session

from gis_grid.case_queues import CaseFilter, find_cases, in_scope, lights_by_grid
from gis_grid.case_verifying import verify_cases
from gis_grid.cases import Case, CaseLogEntry, is_rebuilt_by_its_log, log_of, the_case
from gis_grid.database import connect, sessions
from gis_grid.duplicates import likely_duplicates
from gis_grid.geo.datum import LonLat
from gis_grid.installation import Installation, by_system, open_installation, utc_now
from gis_grid.layers import load_layer_file
from gis_grid.permissions import Caller, Grant, Permission, Role, Scope, ScopeKind
from gis_grid.rules import load_rules
from gis_grid.settings import Settings
from gis_grid.supervision import BY_SWEEP
from gis_grid.sweeping import sweep_all
from gis_grid.territory import layer_in_force

RUNS = 9
SAMPLE = 500
STEPS = sa.select(sa.func.count()).where(CaseLogEntry.who != BY_SWEEP.who)  # what falls due meanwhile is no client's
PAGE = 101  # what the API asks for: a page of 100 and one more

Ask = Callable[[Session], Any]


def main() -> None:
    """Make the cases, ask, and let people work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--open", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1, help="processes of the service")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    folder = given.data or Path(tempfile.mkdtemp(prefix="gg-cases-"))
    try:
        with open_installation(Settings(data=folder)) as installation:
            _prepare(installation, cases=given.cases, open_cases=given.open)
            now = utc_now()
            _describe(installation)
            _check_sample(installation)
            measure(installation, now=now)
            if given.clients:
                sweep_all(installation, now=utc_now())  # or the service does it while they work
                before = _newest(installation)
                worked = work(installation, clients=given.clients, seconds=given.seconds, workers=given.workers)
                _check_log(installation, worked, before)
    finally:
        if given.data is None:
            shutil.rmtree(folder)


def _prepare(installation: Installation, *, cases: int, open_cases: int) -> None:
    now, city = utc_now(), installation.city
    with installation.sessions() as session:
        is_made = layer_in_force(session, now) is not None
    if is_made:
        return
    started = time.perf_counter()
    with installation.sessions.begin() as session:
        load_layer_file(session, city.grids, city=city, by=by_system(), now=now)
    with installation.sessions.begin() as session:
        load_rules(session, city, now=now, by=by_system())
    owner = connect(installation.owner_url, role=None)
    with sessions(owner)() as session:
        make_cases(session, city=city, cases=cases, open_cases=open_cases, now=now)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("vacuum analyze"))
    owner.dispose()
    print(f"made in {time.perf_counter() - started:.0f} s")


def _describe(installation: Installation) -> None:
    queries = {
        "PostgreSQL": "show server_version",
        "PostGIS": "select postgis_lib_version()",
        "fsync": "show fsync",
        "shared_buffers": "show shared_buffers",
        "cases": "select count(*) from cases",
        "open": "select count(*) from cases where closed_at is null",
        "log rows": "select count(*) from case_events",
        "of cases, with indexes": "select pg_size_pretty(pg_total_relation_size('cases'))",
        "of the log": "select pg_size_pretty(pg_total_relation_size('case_events'))",
    }
    print(f"Python {platform.python_version()}, {platform.machine()}")
    with installation.sessions() as session:
        for name, query in queries.items():
            print(f"{name}: {session.scalar(sa.text(query))}")


def _check_sample(installation: Installation) -> None:
    with installation.sessions() as session:
        query = sa.select(Case).from_statement(
            sa.text(
                "select * from cases where id in (select 1 + (random() * (select max(id) - 1 from cases))::bigint "
                "from generate_series(1, :most))"
            )
        )
        cases = session.scalars(query, {"most": SAMPLE}).all()
        wrong = [case.name for case in cases if not is_rebuilt_by_its_log(session, case)]
    _demand(not wrong, f"not rebuilt by their logs: {wrong}")
    print(f"{len(cases)} random cases are what the replay of their logs gives")


def measure(installation: Installation, *, now: datetime) -> None:
    """Ask every question `RUNS` times, and once with its plan."""
    with installation.sessions() as session:
        open_cases = session.scalar(sa.select(sa.func.count()).where(Case.closed_at.is_(None))) or 0
        questions = _questions(session, now)
    print(f"\n| question | rows | median ms | worst ms | rows read of cases | blocks |\n|---|{'---:|' * 5}")
    for name, (ask, is_about_open) in questions.items():
        with installation.sessions() as session, _recorded(installation.engine) as statements:
            rows = len(ask(session))
            asked = statements[-1] if "likely" in name else next(one for one in statements if "case" in one[0])
        times = [_timed(installation, ask) for _ in range(RUNS)]
        plan = _plan(installation, asked)
        scans, read, blocks = _of_cases(plan)
        if is_about_open:
            _demand("Seq Scan" not in scans, f"{name}: scans all cases")
            _demand(read <= 1.05 * open_cases + PAGE, f"{name}: reads {read} rows of cases; {open_cases} are open")
        median, worst = statistics.median(times), max(times)
        print(f"| {name} | {rows:,} | {median:.1f} | {worst:.1f} | {read:,} | {blocks:,} |", flush=True)


def _questions(session: Session, now: datetime) -> dict[str, tuple[Ask, bool]]:
    """What is asked, and whether it is about open cases only; places and units are those with the most of them."""
    most = {
        column: session.scalar(
            sa.text(
                f"select {column} from cases where closed_at is null and {where} group by 1 order by count(*) desc "
                "limit 1"
            )
        )
        for column, where in (("grid_code", "true"), ("town_code", "true"))
    }
    station, team = (
        session.scalar(
            sa.text(
                "select unit from cases where closed_at is null and unit like :kind group by 1 "
                "order by count(*) desc limit 1"
            ),
            {"kind": kind},
        )
        for kind in ("ws-%", "team-%")
    )
    far = (
        session.scalars(
            sa.select(Case).where(Case.closed_at.is_(None)).order_by(Case.due_at, Case.id).offset(15_000).limit(1)
        ).first()
        or session.scalars(sa.select(Case).where(Case.closed_at.is_(None)).limit(1)).one()
    )
    case = session.scalars(sa.select(Case).where(Case.stage == "closed").order_by(Case.seq.desc()).limit(1)).one()
    lon, lat = session.execute(
        sa.text("select ST_X(geom), ST_Y(geom) from reports where id = :id"), {"id": far.report_id}
    ).one()

    def board(**changes: Any) -> Ask:
        which = {"which": CaseFilter(), "now": now, "limit": PAGE} | changes
        return lambda session: find_cases(session, **which)

    def scope(kind: ScopeKind, code: str) -> sa.ColumnElement[bool]:
        caller = Caller("user:x", (Grant(Role.DISPATCHER, Scope(kind, code)),))
        return in_scope(caller, Permission.SEE_REPORT_DETAILS, now=now)

    def likely(session: Session) -> Any:
        return likely_duplicates(session, LonLat(lon, lat), far.event_type, observed_at=far.accepted_at, now=now)

    return {
        "open cases, first page": (board(), True),
        "open cases, page 150": (board(after=(far.due_at, far.id)), True),
        "open cases in one town's scope": (board(scope=scope(ScopeKind.AREA, most["town_code"])), True),
        "open cases in one unit's scope": (board(scope=scope(ScopeKind.UNIT, team)), True),
        "open cases of one town": (board(which=CaseFilter(area=most["town_code"])), True),
        "one grid's open cases": (board(which=CaseFilter(grid=most["grid_code"])), True),
        "one grid's ended cases, latest page": (board(which=CaseFilter(grid=most["grid_code"], is_open=False)), False),
        "a workstation's queue": (board(which=CaseFilter(unit=station)), True),
        "a team's queue": (board(which=CaseFilter(unit=team)), True),
        "lights of all open cases, by grid": (lambda session: lights_by_grid(session, now=now), True),
        "likely duplicates of a report": (likely, False),
        "one case with its log": (lambda session: log_of(session, the_case(session, case.serial)), False),
    }


def _timed(installation: Installation, ask: Ask) -> float:
    with installation.sessions() as session:
        session.execute(sa.text("select 1"))
        started = time.perf_counter()
        ask(session)
        return 1000 * (time.perf_counter() - started)


@contextmanager
def _recorded(engine: sa.Engine) -> Iterator[list[tuple[str, Any]]]:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def _plan(installation: Installation, asked: tuple[str, Any]) -> dict[str, Any]:
    statement, parameters = asked
    with installation.engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("explain (analyze, buffers, format json) " + statement, parameters)
        plan: dict[str, Any] = cursor.fetchone()[0][0]["Plan"]
    return plan


def _of_cases(plan: dict[str, Any]) -> tuple[set[str], int, int]:
    """How cases were read, how many rows of them the scans met, and blocks of the whole plan."""
    scans, read, rest = set(), 0, [plan]
    while rest:
        node = rest.pop()
        rest += node.get("Plans", [])
        is_bitmap_index = node["Node Type"] == "Bitmap Index Scan"
        if node.get("Relation Name") == "cases" and not is_bitmap_index:
            scans.add(node["Node Type"])
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            read += round((node["Actual Rows"] + removed) * node["Actual Loops"])
    return scans, read, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def _newest(installation: Installation) -> tuple[int, int]:
    with installation.sessions() as session:
        return session.scalar(sa.select(sa.func.max(Case.id))) or 0, session.scalar(STEPS) or 0


def _check_log(installation: Installation, worked: Worked, before: tuple[int, int]) -> None:
    """Every acknowledged step is in the log once, and every case that was touched is what its log says."""
    last_id, events = before
    replayed, differing = 0, []
    with installation.sessions() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        added = (session.scalar(STEPS) or 0) - events
        while (batch := verify_cases(session, after_id=last_id)).looked_at:
            replayed, last_id = replayed + batch.looked_at, batch.last_id
            differing += batch.differing
    print(f"{worked.acknowledged:,} steps acknowledged, {added:,} rows added to the log")
    print(f"{replayed:,} cases touched and replayed, {len(differing)} not as in their logs")
    _demand(added == worked.acknowledged, "steps were lost or doubled")
    _demand(not differing, f"not as in their logs: {differing[:3]}")
    _demand(not worked.wrong, f"wrong answers: {worked.wrong[:5]}")


def _demand(is_so: object, otherwise: str) -> None:
    if not is_so:
        sys.exit(f"FAILED {otherwise}")


if __name__ == "__main__":
    main()
