"""Supervision on a million cases: a sweep of all open ones, a month's bulletin, a month's assessment, with their plans.

    .venv/bin/python benchmarks/cases.py --clients 0 --data FOLDER
    .venv/bin/python benchmarks/supervision.py --data FOLDER [--plans]

The sweep issues what is due and so is measured once a database; again it finds nothing.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cases import _recorded
from sqlalchemy.orm import Session

from gis_grid.accountability import proposals
from gis_grid.assessment import KeptCounts, assess
from gis_grid.bulletin import red_cases
from gis_grid.counted_steps import By, count_steps, log_rows
from gis_grid.indicators import Measure
from gis_grid.installation import Installation, open_installation, utc_now
from gis_grid.notices import Notice
from gis_grid.patrol_indicators import count_patrols
from gis_grid.periods import Period
from gis_grid.permissions import Caller, Grant, Role, Scope, ScopeKind
from gis_grid.settings import Settings
from gis_grid.supervision import count_unread
from gis_grid.sweeping import sweep_all

RUNS = 2


def main() -> None:
    """Sweep, then ask for the bulletin and the assessment of the last whole month."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--plans", action="store_true", help="print the nodes of each plan that took longest")
    given = parser.parse_args()
    with open_installation(Settings(data=given.data)) as installation:
        now = utc_now()
        _sweep(installation, now)
        _sweep(installation, now)
        _ask(installation, now, with_plans=given.plans)


def _sweep(installation: Installation, now: datetime) -> None:
    started = time.perf_counter()
    done = sweep_all(installation, now=now)
    took = time.perf_counter() - started
    with installation.sessions() as session:
        open_cases = session.scalar(sa.text("select count(*) from cases where closed_at is null"))
        notices = session.scalar(sa.select(sa.func.count()).select_from(Notice))
    print(f"sweep of {open_cases:,} open cases: {done.issued:,} acts, {len(done.faults)} faults, {took:.1f} s")
    print(f"notices: {notices:,}")


def _ask(installation: Installation, now: datetime, *, with_plans: bool) -> None:
    zone = installation.city.zone
    month = Period.month(f"{now.astimezone(zone).replace(day=1) - timedelta(days=1):%Y-%m}", zone)
    print(
        f"\nmonth {month}\n\n| question | rows | best s | worst s | slowest statement, s | blocks |\n|---|{'---:|' * 5}"
    )
    for name, ask in _questions(installation, month, now).items():
        _measure(installation, name, ask, with_plans=with_plans)


def _questions(installation: Installation, month: Period, now: datetime) -> dict[str, Callable[[Session], Any]]:
    with installation.sessions() as session:
        # The first count reads the month from the disk.
        unit = max(
            count_steps(session, month, By.UNIT, now=now).items(),
            key=lambda row: sum(one.due for one in row[1].values()),
        )
        station = session.scalar(sa.text("select unit_code from notices group by 1 order by count(*) desc limit 1"))
    caller = Caller("user:x", (Grant(Role.HANDLER, Scope(ScopeKind.UNIT, station or "ws-x")),))
    asked: dict[str, Callable[[Session], Any]] = {
        "bulletin": lambda session: red_cases(session, month, now=now).runs,
        "proposals of accountability": lambda session: proposals(session, month, now=now),
        "log rows of the busiest unit, cases due to close": lambda session: log_rows(
            session, month, By.UNIT, unit[0], measure=Measure.CLOSE, now=now, limit=500
        ),
        "a unit's unread notices, counted to 100": lambda session: range(count_unread(session, caller, now=now)),
    }
    for by in (By.UNIT, By.TOWN, By.GRID, By.POST):
        asked[f"indicators of one month by {by}"] = lambda session, by=by: count_steps(session, month, by, now=now)
        asked[f"patrols of one month by {by}"] = lambda session, by=by: count_patrols(
            session, month, by, city=installation.city, now=now
        )
    asked["assessment by unit with both comparisons"] = lambda session: (
        assess(session, month, By.UNIT, now=now, kept=KeptCounts(installation.city)).rows
    )
    return asked


def _measure(installation: Installation, name: str, ask: Callable[[Session], Any], *, with_plans: bool) -> None:
    times, rows = [], 0
    for _ in range(RUNS):
        with installation.sessions() as session:
            session.execute(sa.text("select 1"))
            started = time.perf_counter()
            rows = len(ask(session))
            times.append(time.perf_counter() - started)
    with installation.sessions() as session, _recorded(installation.engine) as statements:
        ask(session)
    plans = [
        _plan(installation, statement)
        for statement in statements
        if "case_events" in statement[0] or "notices" in statement[0]
    ]
    slowest = max(plans, key=lambda plan: plan["Actual Total Time"])
    blocks = slowest["Shared Hit Blocks"] + slowest["Shared Read Blocks"]
    took = slowest["Actual Total Time"] / 1000
    print(f"| {name} | {rows:,} | {min(times):.2f} | {max(times):.2f} | {took:.2f} | {blocks:,} |", flush=True)
    print(f"<!-- {json.dumps(_scans(slowest), ensure_ascii=False)} -->")
    if with_plans:
        _print_nodes(slowest)


def _plan(installation: Installation, asked: tuple[str, Any]) -> dict[str, Any]:
    with installation.engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("explain (analyze, buffers, format json) " + asked[0], asked[1])
        plan: dict[str, Any] = cursor.fetchone()[0][0]["Plan"]
    return plan


def _scans(plan: dict[str, Any]) -> dict[str, int]:
    """How the log and the cases were read: scans by table and kind, loops included."""
    found: Counter[str] = Counter()
    rest = [plan]
    while rest:
        node = rest.pop()
        rest += node.get("Plans", [])
        if node.get("Relation Name") in {"case_events", "cases", "notices"}:
            name = f"{node['Node Type']} {node['Relation Name']} {node.get('Index Name', '')}".strip()
            found[name] += node["Actual Loops"]
    return dict(found)


def _print_nodes(plan: dict[str, Any], depth: int = 0) -> None:
    took = plan["Actual Total Time"] * plan["Actual Loops"] / 1000
    if took > 0.05:
        what = " ".join(str(plan.get(key, "")) for key in ("Node Type", "Relation Name", "Index Name", "Subplan Name"))
        filtered = plan.get("Rows Removed by Filter", 0)
        rows = f"{plan['Actual Rows']} × {plan['Actual Loops']} (−{filtered}), expected {plan['Plan Rows']}"
        print(f"{'  ' * depth}{took:8.2f} s {rows} {what}")
    for below in plan.get("Plans", []):
        _print_nodes(below, depth + 1)


if __name__ == "__main__":
    main()
