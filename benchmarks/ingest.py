"""How fast tracks are taken in, what they saw burnt in the same transaction, beside a plain COPY of the same fixes.

Several client processes send a simulated day of patrollers to one private, durable (fsync on) database:

    .venv/bin/python benchmarks/ingest.py --clients 4 --people 400 --chunks 10

A person makes a fix each 10 s, walking streets around home; a chunk is 60 fixes, ten minutes.
"""

import argparse
import io
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import sqlalchemy as sa

from gis_grid.city import load_city
from gis_grid.database import connect, sessions
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.event_types import load_event_types
from gis_grid.geo.tiles import to_metric
from gis_grid.geo.track_chunks import Chunk, Judge, make_chunk
from gis_grid.migrating import migrate
from gis_grid.track_intake import take_in

CITY = load_city()
FIX_EVERY_S, FIXES, STREET_M = 10, 60, 120.0
EAST, NORTH = (622_000.0, 646_000.0), (3_432_000.0, 3_452_000.0)


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


def chunks_of(person: int, minutes: int, begin: float) -> list[dict[str, Any]]:
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


def send_by_function(url: str, uploads: list[list[dict[str, Any]]]) -> Callable[[], None]:
    """Return what takes uploads in, each in a transaction of its own."""
    engine = connect(url, pool_size=1)
    make = sessions(engine)

    def run() -> None:
        info: dict[str, Any] = {}
        for upload in uploads:
            with make.begin() as session:
                session.info.update(info)
                chunks: list[Chunk] = [make_chunk(**chunk) for chunk in upload]
                take_in(session, chunks, city=CITY, judge=Judge((121, 30.9, 121.7, 31.3)), source="b", now=NOW)
                info = dict(session.info)

    return run


NOW = datetime(2026, 3, 31, tzinfo=UTC)


def client(url: str, people: range, options: argparse.Namespace, *, begin: float, gate: Any, told: Any) -> None:
    """One client process: make its uploads, wait for the others, send."""
    uploads = []
    for person in people:
        chunks = chunks_of(person, options.minutes, begin)
        uploads += [chunks[k : k + options.chunks] for k in range(0, len(chunks), options.chunks)]
    np.random.default_rng(people.start).shuffle(uploads)  # people are out at once, not one after the other
    run = send_by_function(url, uploads)
    warm = send_by_function(url, [chunks_of(10_000_000 + people.start, 20, begin - 86_400)])
    warm()
    gate.wait()
    started, cpu = time.perf_counter(), time.process_time()
    run()
    cpu = time.process_time() - cpu
    told.put(
        (started, time.perf_counter(), sum(len(chunk["epoch_s"]) for up in uploads for chunk in up), len(uploads), cpu)
    )


def server_cpu_s(folder: Path) -> float:
    """Return the processor time of the living processes of a cluster."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if Path(stat.parent / "cwd").resolve().is_relative_to(folder):
                ticks += sum(int(field) for field in stat.read_text().rsplit(")", 1)[1].split()[11:13])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def copy_alone(url: str, options: argparse.Namespace, begin: float) -> float:
    """Return fixes a second of a plain COPY of the same fixes into a table of numbers, by one client."""
    text = io.StringIO()
    count = 0
    for person in range(options.people):
        at, lon, lat = outing(person, options.minutes, begin)
        text.writelines(f"{person}\t{t}\t{x}\t{y}\t5\n" for t, x, y in zip(at, lon, lat, strict=True))
        count += len(at)
    text.seek(0)
    address = sa.make_url(url)
    with (
        psycopg2.connect(
            host=address.query["host"], port=address.query["port"], user=address.username, dbname=address.database
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("create table plain (person int, at float8, lon float8, lat float8, accuracy_m real)")
        started = time.perf_counter()
        cursor.copy_expert("copy plain from stdin", text)
        connection.commit()
        return count / (time.perf_counter() - started)


def sizes(url: str) -> dict[str, float]:
    """Return megabytes of the tables, and the place in the log."""
    engine = connect(url, role=None)
    with engine.connect() as connection:
        row = connection.execute(
            sa.text(
                "select (select sum(pg_total_relation_size(c.oid)) from pg_class c "
                "where relnamespace = 'track_months'::regnamespace and relkind = 'r') as chunks, "
                "pg_total_relation_size('seen_tiles') as seen, pg_current_wal_lsn() - '0/0'::pg_lsn as wal, "
                "(select count(*) from seen_tiles) as rows"
            )
        ).one()
    engine.dispose()
    return {"chunks": float(row.chunks or 0), "seen": float(row.seen), "wal": float(row.wal), "rows": float(row.rows)}


def main() -> None:
    """Run the clients and say what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--minutes", type=int, default=480)
    parser.add_argument("--chunks", type=int, default=10, help="in an upload")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gg-ingest-"))
    with EmbeddedPostgis(folder / "data") as server:
        server.ensure_database("gis_grid")
        owner = connect(server.url(), role=None)
        migrate(owner)
        with sessions(owner).begin() as session:
            load_event_types(session, CITY.event_types)
        owner.dispose()
        begin = (NOW - timedelta(days=1)).timestamp()
        context = multiprocessing.get_context("spawn")
        gate, told = context.Barrier(options.clients + 1), context.Queue()
        share = options.people // options.clients
        parts = [range(n * share, (n + 1) * share) for n in range(options.clients)]
        url = server.url(role="gis_grid_app")
        workers = [
            context.Process(
                target=client, args=(url, part, options), kwargs={"begin": begin, "gate": gate, "told": told}
            )
            for part in parts
        ]
        for worker in workers:
            worker.start()
        gate.wait()
        before, busy = sizes(server.url()), server_cpu_s(folder)
        results = [told.get() for _ in workers]
        busy = server_cpu_s(folder) - busy
        for worker in workers:
            worker.join()
        after = sizes(server.url())
        wall = max(row[1] for row in results) - min(row[0] for row in results)
        fixes, uploads = sum(row[2] for row in results), sum(row[3] for row in results)
        print(
            f"{options.people} people, {options.clients} clients, {options.chunks} chunks an upload: "
            f"{fixes:,} fixes in {uploads:,} uploads, {wall:.1f} s: "
            f"{fixes / wall:,.0f} fixes/s, {uploads / wall:,.0f} uploads/s"
        )
        ours = sum(row[4] for row in results)
        print(
            f"processor time: {ours:.1f} s of clients, {busy:.1f} s of PostgreSQL; two whole cores would have done "
            f"{2 * fixes / (ours + busy):,.0f} fixes/s"
        )
        grown = {name: (after[name] - before[name]) for name in after}
        print(
            f"a fix: {grown['chunks'] / fixes:.1f} B of chunks, {grown['wal'] / fixes:.1f} B of log; "
            f"seen tiles {after['rows']:,.0f} rows, {after['seen'] / 1e6:.1f} MB"
        )
        print(f"plain COPY of the same fixes, one client: {copy_alone(server.url(), options, begin):,.0f} fixes/s")


if __name__ == "__main__":
    main()
