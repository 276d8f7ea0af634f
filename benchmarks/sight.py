"""Seen shares of 1002 grids: exact buffers, PostGIS and the tiles, side by side in one run, with errors and memory.

    .venv/bin/python benchmarks/sight.py             # about ten minutes, 3 GB
    .venv/bin/python benchmarks/sight.py --most 1000000 --no-windows

First the real GeoLife outings, where ../shared/data is there. Then simulated fixes (`ingest.outing`), from 20 thousand
to 10 million: the contestants take turns, and shapely and PostGIS go as far as they get in two minutes each. Last, what
a window of 30 days and of a year costs when asked in SQL, with few fixes and with ten times as many.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from ingest import CITY, outing, ticks
from sqlalchemy.orm import Session

from gis_grid.database import connect, sessions
from gis_grid.geo.sight import burn_fixes, burn_steps, seen_shares, walked_steps
from gis_grid.geo.tiles import SeenTiles, masks_of, merge, to_metric
from gis_grid.geo.tracks import read_fixes
from gis_grid.installation import by_system, open_installation
from gis_grid.layers import load_layer_file
from gis_grid.seen import SeenTile, Window, add_seen, roll_up
from gis_grid.seen_shares import PlaceLevel, seen_shares_at
from gis_grid.settings import Settings
from gis_grid.territory import grids_frame, the_layer

SIGHT_M, PATIENCE_S, MINUTES, QUARTER_SEGMENTS = 50.0, 120.0, 480, 64
FIXES_A_PERSON = MINUTES * 6 + 1
SIZES = (20_000, 100_000, 500_000, 2_000_000, 10_000_000)
AT_ONCE = 500  # people whose fixes are held at a time
GEOLIFE = Path(__file__).parents[2] / "shared" / "data" / "geolife_minhang_tracks.csv"
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MORNING = datetime(2026, 3, 2, 8, tzinfo=CITY.zone)


class TooSlow(Exception):
    """A contestant has used up its time."""


@dataclass
class Turn:
    """What one contestant took for one size, median of its rounds."""

    wall_s: float
    cpu_s: float
    peak_mb: float


class Contestant:
    """Works the shares out in its way, as long as it has time left."""

    def __init__(self, name: str, work: Callable[[int], Any], *, pid: int | None, patience_s: float) -> None:
        self.name, self._work, self._pid, self.left_s = name, work, pid, patience_s
        self._last: tuple[int, float] | None = None
        self.shares: Any = None

    def has_time_for(self, people: int) -> bool:
        """Whether it would be done in time, going by the last turn."""
        return self.left_s > 0 and (self._last is None or self._last[1] * people / self._last[0] <= self.left_s)

    def turn(self, people: int) -> Turn:
        """Take a turn; raises `TooSlow` where it has, or would have, no time for it."""
        if not self.has_time_for(people):
            raise TooSlow
        process = Path(f"/proc/{self._pid or 'self'}")
        (process / "clear_refs").write_text("5")  # the peak of the memory in use starts from here
        held, cpu, started = _memory_mb(process, "VmRSS"), self._cpu_s(), time.perf_counter()
        try:
            self.shares = self._work(people)
        finally:
            wall = time.perf_counter() - started
            self.left_s -= wall
        self._last = people, wall
        return Turn(wall, self._cpu_s() - cpu, _memory_mb(process, "VmHWM") - held)

    def _cpu_s(self) -> float:
        other = ticks(Path(f"/proc/{self._pid}")) / os.sysconf("SC_CLK_TCK") if self._pid else 0.0
        return time.process_time() + other


def _memory_mb(process: Path, name: str) -> float:
    text = (process / "status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) / 1000


def fixes_of(people: range) -> tuple[Any, ...]:
    """Person, nanoseconds, lon and lat of simulated fixes."""
    walks = [outing(person, MINUTES, MORNING.timestamp()) for person in people]
    at, lon, lat = (np.concatenate([walk[k] for walk in walks]) for k in range(3))
    return np.repeat(np.arange(len(walks)), FIXES_A_PERSON), (at * 1e9).astype(np.int64), lon, lat


def batches(people: int) -> Iterator[tuple[Any, ...]]:
    """The fixes of so many people, some at a time."""
    for start in range(0, people, AT_ONCE):
        yield fixes_of(range(start, min(start + AT_ONCE, people)))


def burnt(people: int) -> SeenTiles:
    """What so many people saw."""
    parts = []
    for track, at_ns, lon, lat in batches(people):
        steps = walked_steps(track, at_ns, lon, lat, metric_crs=CITY.metric_crs)
        parts.append(burn_steps(steps, time_zone=CITY.time_zone, sight_m=SIGHT_M))
    return merge(parts)


def lines_of(people: int) -> Any:
    """Lines of ten minutes, in metres, as they are stored."""
    lines = []
    for _, _, lon, lat in batches(people):
        xy = np.column_stack(to_metric("EPSG:4326", CITY.metric_crs).transform(lon, lat)).reshape(-1, FIXES_A_PERSON, 2)
        lines += [walk[k : k + 61] for walk in xy for k in range(0, FIXES_A_PERSON - 1, 60)]
    return shapely.linestrings(np.array(lines))


def exact_shares(grids: Any, lines: Any, *, until: float = np.inf) -> Any:
    """Share of each grid within sight of the lines, by GEOS."""
    buffers = shapely.buffer(lines, SIGHT_M, quad_segs=QUARTER_SEGMENTS)
    near = shapely.STRtree(buffers)
    shares = np.zeros(len(grids))
    for k, grid in enumerate(grids):
        if time.perf_counter() > until:
            raise TooSlow
        found = near.query(grid, predicate="intersects")
        if len(found):
            shares[k] = shapely.area(shapely.intersection(grid, shapely.union_all(buffers[found]))) / shapely.area(grid)
    return shares


POSTGIS = sa.text(
    "select g.place, coalesce(ST_Area(ST_Intersection(g.geom, s.geom)) / ST_Area(g.geom), 0) from metric_grids g "
    "left join lateral (select ST_Union(ST_Buffer(l.geom, :sight, :segments)) as geom from metric_lines l "
    "where ST_DWithin(l.geom, g.geom, :sight)) s on true order by g.place"
)


class InPostgis:
    """Shares by ST_Buffer, ST_Union and ST_Intersection over indexed lines; filling the tables is not counted."""

    def __init__(self, session: Session, grids: Any) -> None:
        self.session = session
        for table in ("grids", "lines"):
            session.execute(sa.text(f"create temp table metric_{table} (place int, geom geometry)"))
        self._fill("grids", grids)

    def _fill(self, table: str, shapes: Any) -> None:
        self.session.execute(sa.text(f"truncate metric_{table}"))
        for start in range(0, len(shapes), 5000):
            wkb = [shape.hex() for shape in shapely.to_wkb(shapes[start : start + 5000])]
            insert = (
                f"insert into metric_{table} select :start + n, ST_GeomFromWKB(decode(w, 'hex')) from unnest(:wkb) "
            )
            self.session.execute(sa.text(insert + "with ordinality as t (w, n)"), {"start": start, "wkb": wkb})
        self.session.execute(
            sa.text(f"create index if not exists metric_{table}_geom on metric_{table} using gist (geom)")
        )
        self.session.execute(sa.text(f"analyze metric_{table}"))
        self.session.commit()

    def fill(self, lines: Any) -> None:
        """Have it hold these lines."""
        self._fill("lines", lines)

    def shares(self, left_s: float) -> Any:
        """Share of each grid."""
        self.session.execute(sa.text(f"set local statement_timeout = {int(left_s * 1000)}"))
        try:
            asked = {"sight": SIGHT_M, "segments": QUARTER_SEGMENTS}
            found = self.session.execute(POSTGIS, asked).all()
            self.session.commit()
        except sa.exc.OperationalError as error:
            self.session.rollback()
            raise TooSlow from error
        return np.array([row[1] for row in found])


def compare(session: Session, frame: gpd.GeoDataFrame, *, most: int) -> None:
    """Print what each contestant took for each size, and how far the tiles are from exact."""
    grids = frame.to_crs(CITY.metric_crs).geometry.to_numpy()
    mask_codes = list(frame["grid_code"])
    pid = session.scalar(sa.text("select pg_backend_pid()"))
    postgis = InPostgis(session, grids)
    lines: dict[int, Any] = {}

    def in_sql(_people: int) -> Any:
        window = Window(MORNING.date(), MORNING.date())
        told = seen_shares_at(session, PlaceLevel.GRID, window, city=CITY, at=NOW)
        session.commit()
        return told["seen_share"].reindex(mask_codes).to_numpy()

    def in_python(people: int) -> Any:
        return seen_shares(frame, burnt(people), metric_crs=CITY.metric_crs)["seen_share"].to_numpy()

    exact = Contestant(
        "exact buffers (shapely)",
        lambda people: exact_shares(grids, lines[people], until=time.perf_counter() + exact.left_s),
        pid=None,
        patience_s=PATIENCE_S,
    )
    asked = Contestant("PostGIS", lambda _: postgis.shares(asked_left()), pid=pid, patience_s=PATIENCE_S)

    def asked_left() -> float:
        return asked.left_s

    burning = Contestant("tiles: burnt and asked in Python", in_python, pid=None, patience_s=np.inf)
    asking = Contestant("tiles: asked in SQL, burnt before", in_sql, pid=pid, patience_s=np.inf)
    in_python(10)  # compiled
    print("\n| fixes | how | s | of it CPU | times the tiles in Python | peak MB |\n|---:|---|---:|---:|---:|---:|")
    for size in (size for size in SIZES if size <= most):
        people = max(1, size // FIXES_A_PERSON)
        contestants = [burning, asking]
        slow = [one for one in (exact, asked) if one.has_time_for(people)]
        if slow:
            lines[people] = lines_of(people)
            postgis.fill(lines[people])
        session.execute(sa.delete(SeenTile))
        add_seen(session, burnt(people))
        session.commit()
        take_turns([*contestants, *slow], people, rounds=3 if size <= 100_000 else 1)
        for one in {exact, asked} - set(slow):
            print(f"| {people * FIXES_A_PERSON:,} | {one.name} | not in {PATIENCE_S:.0f} s in all | | | |")
        if exact.shares is not None:
            tell_errors(burning.shares, exact.shares, asked.shares, asking.shares)
        exact.shares = asked.shares = None
        lines.clear()


def take_turns(contestants: list[Contestant], people: int, *, rounds: int) -> None:
    """Have contestants take turns and print a line for each."""
    turns: dict[str, list[Turn]] = {one.name: [] for one in contestants}
    for _ in range(rounds):
        for one in contestants:
            try:
                turns[one.name].append(one.turn(people))
            except TooSlow:
                one.left_s = 0.0
    base = turns[contestants[0].name]
    for one in contestants:
        done = turns[one.name]
        label = f"| {people * FIXES_A_PERSON:,} | {one.name} |"
        if not done:
            print(f"{label} not in {PATIENCE_S:.0f} s in all | | | |", flush=True)
            continue
        wall, cpu, peak = (statistics.median(getattr(turn, k) for turn in done) for k in ("wall_s", "cpu_s", "peak_mb"))
        ratio = statistics.median(turn.cpu_s / other.cpu_s for turn, other in zip(done, base, strict=False))
        print(f"{label} {wall:.2f} | {cpu:.2f} | {ratio:.3g} | {peak:.0f} |", flush=True)


def tell_errors(ours: Any, exact: Any, postgis: Any, in_sql: Any) -> None:
    """Print mean error and bias against exact buffers over the grids that were reached."""
    reached = exact > 0
    error = 100 * (ours - exact)[reached]
    print(
        f"\ntiles against exact buffers: mean error {np.abs(error).mean():.4f} percentage points, bias "
        f"{error.mean():+.4f}, worst {np.abs(error).max():.3f}, over {reached.sum()} grids seen to "
        f"{100 * exact[reached].mean():.1f} % in the mean; SQL and Python differ in {(ours != in_sql).sum()} grids"
        + ("" if postgis is None else f"; PostGIS and shapely by {100 * np.abs(postgis - exact).max():.4f} at most")
        + "\n",
        flush=True,
    )


def geolife(frame: gpd.GeoDataFrame) -> None:
    """Print the same on real outings."""
    if not GEOLIFE.exists():
        print(f"\nGeoLife: skipped, {GEOLIFE.name} is not in the folder of shared data")
        return
    fixes = read_fixes(GEOLIFE, time_zone="UTC").fixes
    started = time.perf_counter()
    seen = burn_fixes(fixes, metric_crs=CITY.metric_crs, time_zone=CITY.time_zone, sight_m=SIGHT_M)
    ours = seen_shares(frame, seen, metric_crs=CITY.metric_crs)["seen_share"].to_numpy()
    tiles_s = time.perf_counter() - started
    track, _ = pd.factorize(fixes["track"])
    at_ns = fixes["at"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ns]").view(np.int64)
    steps = walked_steps(track, at_ns, fixes["lon"].to_numpy(), fixes["lat"].to_numpy(), metric_crs=CITY.metric_crs)
    lines = shapely.linestrings(steps.xy.reshape(-1, 2, 2))
    started = time.perf_counter()
    exact = exact_shares(frame.to_crs(CITY.metric_crs).geometry.to_numpy(), lines)
    print(
        f"\nGeoLife, {len(fixes):,} real fixes: tiles {tiles_s:.2f} s, exact {time.perf_counter() - started:.2f} s",
        end="",
    )
    tell_errors(ours, exact, None, ours)


def windows(session: Session, owner: sa.Engine) -> None:
    """Print what windows cost when asked in SQL, with few fixes and with many."""
    print("\n| people a shift | fixes in 30 days | tile rows | 30 days, s | of it CPU | a year, s | of it CPU |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for people in (20, 200):
        with sessions(owner).begin() as clean:
            for table in ("seen_tiles", "seen_months", "rolled_months"):
                clean.execute(sa.text(f"delete from {table}"))
        fixes = fill_a_month(session, people)
        rows = session.scalar(sa.text("select count(*) from seen_tiles"))
        session.commit()
        with sessions(owner).begin() as copying:
            copying.execute(EARLIER_MONTHS)
            roll_up(copying, before=date(2026, 3, 1), now=NOW)
        with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("vacuum analyze seen_tiles, seen_months"))
        told = [asked(session, days) for days in (30, 365)]
        cells = " | ".join(f"{wall:.2f} | {cpu:.2f}" for wall, cpu in told)
        print(f"| {people} | {fixes:,} | {rows:,} | {cells} |", flush=True)


EARLIER_MONTHS = sa.text(
    "insert into seen_tiles "
    "select tile_row, tile_col, (day - make_interval(months => n))::date, shift, bits "
    "from seen_tiles, generate_series(1, 11) n on conflict do nothing"
)


def fill_a_month(session: Session, people: int) -> int:
    """Store what people saw in 30 days of March and their nights; how many fixes that took."""
    fixes = 0
    for day in range(30):
        for hour, minutes in ((9, 480), (22, 110)):
            begin = datetime(2026, 3, 1, hour, 1, tzinfo=CITY.zone) + timedelta(days=day)
            walks = [outing(day * 10_000 + hour * 400 + k, minutes, begin.timestamp()) for k in range(people)]
            at, lon, lat = (np.concatenate([walk[k] for walk in walks]) for k in range(3))
            track = np.repeat(np.arange(people), len(walks[0][0]))
            steps = walked_steps(track, (at * 1e9).astype(np.int64), lon, lat, metric_crs=CITY.metric_crs)
            add_seen(session, burn_steps(steps, time_zone=CITY.time_zone, sight_m=SIGHT_M))
            session.commit()
            fixes += len(at)
    return fixes


def asked(session: Session, days: int) -> tuple[float, float]:
    """Median seconds of shares of all grids in a window that ends on 30 March, and of its processor time."""
    window = Window(date(2026, 3, 30) - timedelta(days=days - 1), date(2026, 3, 30))
    told = []
    for _ in range(5):
        server = Path(f"/proc/{session.scalar(sa.text('select pg_backend_pid()'))}")
        started, cpu = time.perf_counter(), time.process_time() + ticks(server) / os.sysconf("SC_CLK_TCK")
        seen_shares_at(session, PlaceLevel.GRID, window, city=CITY, at=NOW)
        cpu = time.process_time() + ticks(server) / os.sysconf("SC_CLK_TCK") - cpu
        told.append((time.perf_counter() - started, cpu))
        session.commit()
    return statistics.median(row[0] for row in told), statistics.median(row[1] for row in told)


def main() -> None:
    """Run it all in a private, durable database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="fixes of the largest size; 0: windows alone")
    parser.add_argument("--no-windows", dest="windows", action="store_false", help="leave out 30 days and a year")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the start")
    with tempfile.TemporaryDirectory(prefix="gg-sight-") as folder, open_installation(Settings(data=folder)) as ours:
        with ours.sessions.begin() as session:
            load_layer_file(session, CITY.grids, city=CITY, by=by_system(), now=NOW - timedelta(days=3000))
        owner = connect(ours.owner_url, role=None)
        with sessions(owner)() as session:
            frame = grids_frame(session, the_layer(session, NOW))
            masks_of(frame, CITY.metric_crs)
            geolife(frame)
            compare(session, frame, most=options.most)
            if options.windows:
                windows(session, owner)
        owner.dispose()
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
