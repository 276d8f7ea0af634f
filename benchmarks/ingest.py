"""How fast tracks are taken in, what they saw burnt in the same transaction, beside a plain COPY of the same fixes.

A simulated day of patrollers, cut into parts, is sent by several client processes to one private, durable (fsync on)
database. A part is taken in, then copied, then comes the next:

    .venv/bin/python benchmarks/ingest.py --clients 4 --people 400 --chunks 10
    .venv/bin/python benchmarks/ingest.py --clients 2 --people 100 --chunks 1 --senders 16
    .venv/bin/python benchmarks/ingest.py --clients 4 --people 100 --chunks 1 --http

Each client stores upload after upload, each in a transaction of its own; with `--senders` that many threads of it hand
in uploads at once, and those that come together share a transaction, as in the service; with `--http` they send to
`gis-grid serve` instead, on the same cores. A person makes a fix each 10 s, walking streets around home; a
chunk is 60 fixes, ten minutes, and its predecessor's last. Last, what each person saw is kept, as the service does once
a day.
"""

import argparse
import http.client
import io
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import sqlalchemy as sa
from case_clients import Served

from gis_grid.accounts import add_key
from gis_grid.city import load_city
from gis_grid.database import connect, sessions
from gis_grid.geo.tiles import to_metric
from gis_grid.geo.track_chunks import Judge, make_chunk
from gis_grid.installation import Installation, by_system, open_installation, utc_now
from gis_grid.joint_intake import JointIntake
from gis_grid.layers import load_layer_file
from gis_grid.permissions import Grant, Role
from gis_grid.settings import Settings
from gis_grid.track_intake import Upload, take_in
from gis_grid.walked_ground import keep_walked, months_walked, walked_ground

CITY = load_city()
FIX_EVERY_S, FIXES, STREET_M = 10, 60, 120.0
PATIENCE_S = 600
TICKS = os.sysconf("SC_CLK_TCK")
EAST, NORTH = (622_000.0, 646_000.0), (3_432_000.0, 3_452_000.0)
Sent = list[dict[str, Any]]
JUDGE = Judge((121, 30.9, 121.7, 31.3))


@dataclass(frozen=True)
class Plan:
    """What the clients send, and where to."""

    url: str
    port: int | None
    key: str
    begin: float
    minutes: int
    chunks: int
    senders: int


def outing(person: int, minutes: int, begin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return epoch, lon and lat of a person's walk: streets of 120 m around home, 1.2 m/s, 4 m of noise."""
    rng = np.random.default_rng(person)
    n = minutes * 60 // FIX_EVERY_S + 1
    turns = int(n * FIX_EVERY_S * 1.2 / STREET_M) + 2
    heading = np.cumsum(rng.choice([0, 1, -1], turns, p=[0.4, 0.3, 0.3])) * np.pi / 2
    corners = np.vstack([[0, 0], np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]), axis=0)]) * STREET_M
    along = np.arange(n) * FIX_EVERY_S * 1.2 / STREET_M
    home = rng.uniform((EAST[0], NORTH[0]), (EAST[1], NORTH[1]))
    xy = home + np.column_stack([np.interp(along, np.arange(turns + 1), corners[:, k]) for k in (0, 1)])
    xy += rng.normal(0, 4, xy.shape)
    lon, lat = to_metric("EPSG:4326", CITY.metric_crs).transform(xy[:, 0], xy[:, 1], direction="INVERSE")
    return begin + np.arange(n) * FIX_EVERY_S, lon, lat


def chunks_of(person: int, minutes: int, begin: float) -> Sent:
    """Columns of each chunk of an outing, as a phone sends them."""
    at, lon, lat = outing(person, minutes, begin)
    starts = range(0, len(at) - 1, FIXES)
    return [
        {
            "track": f"{begin:.0f}-{person}",
            "sequence": number,
            "epoch_s": at[start : start + FIXES + 1].tolist(),
            "lon": np.round(lon[start : start + FIXES + 1], 7).tolist(),
            "lat": np.round(lat[start : start + FIXES + 1], 7).tolist(),
            "accuracy_m": [5.0] * len(at[start : start + FIXES + 1]),
        }
        for number, start in enumerate(starts)
    ]


def sender(plan: Plan) -> Callable[[list[Sent]], Callable[[], None]]:
    """Return what makes uploads ready and returns what sends them, each a transaction of its own."""
    return _by_http(plan) if plan.port is not None else _by_function(plan)


def _by_function(plan: Plan) -> Callable[[list[Sent]], Callable[[], None]]:
    make = sessions(connect(plan.url))
    intake = JointIntake(make, city=CITY)

    def send(upload: Sent) -> None:
        read = Upload(
            [make_chunk(**chunk, walker=f"key:bench/{chunk['track']}") for chunk in upload], JUDGE, "b", utc_now()
        )
        if plan.senders > 1:
            intake.take_in(read)
            return
        with make.begin() as session:
            take_in(session, read, city=CITY)

    return lambda uploads: lambda: _shared_out(send, uploads, plan.senders)


def _by_http(plan: Plan) -> Callable[[list[Sent]], Callable[[], None]]:
    headers = {"Authorization": f"Bearer {plan.key}", "Content-Type": "application/json"}

    def send(bodies: list[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", plan.port or 0, timeout=120)
        for body in bodies:
            connection.request("POST", "/api/v1/tracks", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200 or any(one["status"] != 201 for one in json.loads(text)["results"]):
                raise RuntimeError(text[:500])
        connection.close()

    def ready(uploads: list[Sent]) -> Callable[[], None]:
        bodies = [json.dumps({"chunks": upload}).encode() for upload in uploads]
        return lambda: _shared_out(send, [bodies[k :: plan.senders] for k in range(plan.senders)], plan.senders)

    return ready


def _shared_out(send: Callable[[Any], None], items: list[Any], senders: int) -> None:
    """Have threads send items, each the next when it is done with one; what was wrong is raised."""
    if senders == 1:
        for item in items:
            send(item)
        return
    with ThreadPoolExecutor(senders) as pool:
        for _ in pool.map(send, items):
            pass


def client(plan: Plan, parts: list[range], gate: Any, told: Any) -> None:
    """One client process: for each part make its uploads, wait for the others, send."""
    ready = sender(plan)
    warm = chunks_of(10_000_000 + parts[0].start, 20, plan.begin - 86_400)
    ready([warm])()
    for people in parts:
        uploads = []
        for person in people:
            chunks = chunks_of(person, plan.minutes, plan.begin)
            uploads += [chunks[k : k + plan.chunks] for k in range(0, len(chunks), plan.chunks)]
        np.random.default_rng(people.start).shuffle(uploads)  # people are out at once, not one after the other
        run = ready(uploads)
        gate.wait()
        started, cpu = time.perf_counter(), time.process_time()
        run()
        cpu = time.process_time() - cpu
        fixes = sum(len(chunk["epoch_s"]) for up in uploads for chunk in up)
        told.put((started, time.perf_counter(), fixes, len(uploads), cpu))
        gate.wait()


def server_cpu_s(folder: Path) -> float:
    """Return the processor time of the living processes at work in a folder."""
    return sum(ticks(one) for one in Path("/proc").glob("[0-9]*") if _works_in(one, folder)) / TICKS


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").resolve().is_relative_to(folder)
    except OSError:
        return False


def service_cpu_s(served: Served | None) -> float:
    """Return the processor time of the service and its workers."""
    if served is None:
        return 0.0
    children = Path(f"/proc/{served.pid}/task/{served.pid}/children").read_text().split()
    return sum(ticks(Path("/proc") / pid) for pid in (str(served.pid), *children)) / TICKS


def ticks(process: Path) -> int:
    """Return the processor time of a process in the system's ticks, 0 for one that is gone."""
    try:
        return sum(int(field) for field in (process / "stat").read_text().rsplit(")", 1)[1].split()[11:13])
    except OSError:
        return 0


def copy_alone(url: str, plan: Plan, people: range) -> float:
    """Return seconds of a plain COPY of people's fixes into a table of numbers, by one client."""
    text = io.StringIO()
    for person in people:
        at, lon, lat = outing(person, plan.minutes, plan.begin)
        text.writelines(f"{person}\t{t}\t{x}\t{y}\t5\n" for t, x, y in zip(at, lon, lat, strict=True))
    text.seek(0)
    address = sa.make_url(url)
    query = address.query
    with (
        psycopg2.connect(
            host=query["host"], port=query["port"], user=address.username, dbname=address.database
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "create table if not exists plain (person int, at float8, lon float8, lat float8, accuracy_m real)"
        )
        started = time.perf_counter()
        cursor.copy_expert("copy plain from stdin", text)
        connection.commit()
        return time.perf_counter() - started


SIZES = sa.text(
    "select (select sum(pg_total_relation_size(c.oid)) from pg_class c "
    "where relnamespace = 'track_months'::regnamespace and relkind = 'r') as chunks, "
    "(select sum(pg_indexes_size(c.oid)) from pg_class c "
    "where relnamespace = 'track_months'::regnamespace and relkind = 'r') as indexes, "
    "pg_total_relation_size('seen_tiles') as seen, pg_current_wal_lsn() - '0/0'::pg_lsn as log, "
    "(select count(*) from seen_tiles) as tiles, pg_database_size(current_database()) as database"
)


def sizes(url: str) -> dict[str, float]:
    """Return bytes of the tables and the database, and the place in the log."""
    engine = connect(url, role=None)
    with engine.connect() as connection:
        row = connection.execute(SIZES).mappings().one()
    engine.dispose()
    return {name: float(value or 0) for name, value in row.items()}


@dataclass
class Measured:
    """What a part took: of the clients together, of the processors, and of COPY."""

    fixes: int
    uploads: int
    wall_s: float
    cpu_s: dict[str, float]
    copy_s: float
    grown: dict[str, float]

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time a fix, clients that only send over HTTP left out."""
        return ((self.cpu_s["service"] or self.cpu_s["clients"]) + self.cpu_s["postgres"]) / self.fixes * 1e6


def measure(installation: Installation, options: argparse.Namespace, served: Served | None) -> list[Measured]:
    """Have the clients send all parts, and copy each after it."""
    now, folder = utc_now(), installation.settings.data
    with installation.sessions.begin() as session:
        grants = [Grant(Role.ADMINISTRATOR)]
        key = add_key(session, f"bench-{now.timestamp():.0f}", grants=grants, by=by_system(), now=now)
    midnight = now.astimezone(CITY.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = midnight - timedelta(days=1) + timedelta(hours=8)
    port = served.port if served else None
    plan = Plan(installation.url, port, key, begin.timestamp(), options.minutes, options.chunks, options.senders)
    context = multiprocessing.get_context("spawn")
    gate, told = context.Barrier(options.clients + 1, timeout=PATIENCE_S), context.Queue()
    share = options.people // options.parts // options.clients
    spans = [
        [range((p * options.clients + c) * share, (p * options.clients + c + 1) * share) for p in range(options.parts)]
        for c in range(options.clients)
    ]
    workers = [context.Process(target=client, args=(plan, parts, gate, told)) for parts in spans]
    for worker in workers:
        worker.start()
    measured = []
    for part in range(options.parts):
        before = sizes(installation.owner_url)
        gate.wait()
        busy = server_cpu_s(folder), service_cpu_s(served)
        rows = [told.get(timeout=PATIENCE_S) for _ in workers]
        cpu_s = {
            "clients": sum(row[4] for row in rows),
            "postgres": server_cpu_s(folder) - busy[0],
            "service": service_cpu_s(served) - busy[1],
        }
        after = sizes(installation.owner_url)
        people = range(part * options.clients * share, (part + 1) * options.clients * share)
        measured.append(
            Measured(
                fixes=sum(row[2] for row in rows),
                uploads=sum(row[3] for row in rows),
                wall_s=max(row[1] for row in rows) - min(row[0] for row in rows),
                cpu_s=cpu_s,
                copy_s=copy_alone(installation.owner_url, plan, people),
                grown={name: after[name] - before[name] for name in after},
            )
        )
        gate.wait()
    for worker in workers:
        worker.join()
    return measured


def tell(options: argparse.Namespace, measured: list[Measured], load: float) -> None:
    """Print what was measured."""
    fixes, uploads = sum(one.fixes for one in measured), sum(one.uploads for one in measured)
    wall = sum(one.wall_s for one in measured)
    way = f"over HTTP, {options.workers} processes of the service" if options.http else "by function"
    way += f", {options.senders} senders each" if options.senders > 1 else ""
    print(
        f"{options.people} people, {options.clients} clients {way}, {options.chunks} chunks an upload, "
        f"load {load:.1f}: {fixes:,} fixes in {uploads:,} uploads, {wall:.1f} s: {fixes / wall:,.0f} fixes/s "
        f"(best part {max(one.fixes / one.wall_s for one in measured):,.0f}), {uploads / wall:,.0f} uploads/s"
    )
    cpu = statistics.median(one.cpu_us for one in measured)
    of = {name: sum(one.cpu_s[name] for one in measured) for name in measured[0].cpu_s}
    told = ", ".join(f"{seconds:.1f} s of {name}" for name, seconds in of.items() if seconds)
    print(f"processor time: {told}; {cpu:.1f} µs a fix: two whole cores would do {2e6 / cpu:,.0f} fixes/s")
    ratio = statistics.median(one.wall_s / one.copy_s for one in measured)
    copied = fixes / sum(one.copy_s for one in measured)
    print(f"plain COPY of the same fixes, one client: {copied:,.0f} fixes/s; taking in takes {ratio:.1f} times as long")
    grown = {name: sum(one.grown[name] for one in measured) for name in measured[0].grown}
    print(
        f"a fix: {grown['chunks'] / fixes:.1f} B of chunks ({grown['indexes'] / fixes:.1f} B of it indexes), "
        f"{grown['log'] / fixes:.1f} B of log; seen tiles: {grown['tiles']:,.0f} rows, "
        f"{grown['seen'] / 1e6:.1f} MB; database {grown['database'] / 1e6:,.0f} MB more"
    )


def tell_kept(installation: Installation) -> None:
    """Keep what each person saw, and print what that took."""
    now = utc_now()
    with installation.sessions.begin() as session:
        started, cpu = time.perf_counter(), time.process_time()
        months = months_walked(session, before=now.astimezone(CITY.zone).date(), city=CITY)
        for month in months:
            keep_walked(session, month, city=CITY, now=now)
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        rows, people, size = session.execute(
            sa.text("select count(*), count(distinct walker), pg_total_relation_size('walked_tiles') from walked_tiles")
        ).one()
        count = "select sum(ST_NPoints(geom)) from track_chunks"
        fixes = session.scalar(sa.text(count)) or 0
        session.execute(sa.text("analyze walked_tiles"))
        started = time.perf_counter()
        told = sum(1 for month in months for _ in walked_ground(session, month, city=CITY))
        asked = time.perf_counter() - started
    print(
        f"what {people:,} people saw in their day, {fixes:,} fixes, kept in {took:.1f} s, {cpu:.1f} s of it in Python: "
        f"{fixes / took:,.0f} fixes/s; {rows:,} tiles, {size / 1e6:.1f} MB; told again of {told:,} in {asked:.1f} s"
    )


def main() -> None:
    """Run the clients and say what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--minutes", type=int, default=480)
    parser.add_argument("--chunks", type=int, default=10, help="in an upload")
    parser.add_argument("--parts", type=int, default=3, help="that the day is cut into")
    parser.add_argument("--senders", type=int, default=1, help="threads of a client")
    parser.add_argument("--http", action="store_true", help="send to gis-grid serve")
    parser.add_argument("--workers", type=int, default=1, help="processes of the service")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gg-ingest-") as name:
        folder = Path(name)
        with open_installation(Settings(data=folder)) as installation:
            with installation.sessions.begin() as session:
                load_layer_file(session, CITY.grids, city=CITY, by=by_system(), now=utc_now() - timedelta(days=30))
            if options.http:
                with Served(installation, workers=options.workers) as served:
                    measured = measure(installation, options, served)
            else:
                measured = measure(installation, options, None)
            tell(options, measured, os.getloadavg()[0])
            if not options.http:
                tell_kept(installation)


if __name__ == "__main__":
    main()
