"""Work on a real cluster: a scheduler and workers, each a process of its own, on the loopback."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

pytest.importorskip("distributed", reason="the extra [distributed] is not installed")

from gis_grid import clusters
from gis_grid.assigning import PlacingJob, assign_points
from gis_grid.cli import app
from gis_grid.clusters import NoCluster, UnlikeWorker, cluster_at
from gis_grid.geo import arrow_points, csv_points, track_archives
from gis_grid.geo.datum import Datum
from gis_grid.geo.placing import GridIndex
from gis_grid.geo.point_batches import Span
from gis_grid.geo.sight import burn_fixes
from gis_grid.geo.track_archives import BurnJob, merged, read_tiles, track_pieces, write_tiles
from tests.test_assign_command import run, squares, write_points


class DaskProcesses:
    """A scheduler, and workers that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self._told = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", self._told)
        self._wait(self._told.exists)

    @property
    def address(self) -> str:
        return json.loads(self._told.read_text())["address"]

    def start_workers(self, count: int) -> None:
        """Have that many workers alive."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        options = ("--no-nanny", "--nthreads", "1", "--local-directory", self.folder)
        for _ in range(count - len(self.workers)):
            self.workers.append(self._start("worker", self.address, *options))
        self._wait(lambda: self._count() == count)

    def kill_worker(self) -> None:
        self.workers[0].kill()

    def kill_all(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self._wait(lambda: self._count() == 0)

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.send_signal(signal.SIGTERM)
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def _start(self, kind: str, *options: object) -> "subprocess.Popen[bytes]":
        words = (sys.executable, "-m", f"distributed.cli.dask_{kind}", "--host", "127.0.0.1", "--no-dashboard")
        log = (self.folder / f"{kind}-{len(self.workers)}.log").open("ab")
        with log:
            return subprocess.Popen([*words, *map(str, options)], stdout=log, stderr=log, cwd=self.folder)

    def _count(self) -> int:
        with cluster_at(self.address) as connected:
            return len(connected._client.nthreads())

    def _wait(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < until, [path.read_text()[-2000:] for path in self.folder.glob("*.log")]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    yield processes
    processes.stop()


@pytest.mark.parametrize("name", ["in.parquet", "in.csv"])
def test_a_cluster_that_loses_a_worker_makes_the_file_that_one_machine_makes(tmp_path, monkeypatch, dask, name):
    monkeypatch.setattr(arrow_points, "SPAN_ROWS", 200)
    monkeypatch.setattr(csv_points, "SPAN_BYTES", 10_000)
    monkeypatch.setattr(csv_points, "BLOCK_BYTES", 5_000)
    source, whole, target = tmp_path / name, tmp_path / f"whole-{name}", tmp_path / f"out-{name}"
    write_points(source, 10_000)
    here = assign_points(source, whole, GridIndex(squares()))
    dask.start_workers(2)
    steps = []

    def kill_one(done, size):
        if not steps:
            dask.kill_worker()
        steps.append((done, size))

    with cluster_at(dask.address) as cluster:
        there = assign_points(source, target, GridIndex(squares()), on_progress=kill_one, cluster=cluster)

    assert target.read_bytes() == whole.read_bytes()
    assert there.counts == here.counts
    assert len(steps) == len(set(steps)) > 10
    assert dask.workers[0].wait(10) == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob(".*")] == []


def walks(count, fixes):
    """Outings of a fix each 10 s that wander through Minhang, on two days, by time of day."""
    rng = np.random.default_rng(4)
    start = np.repeat(rng.uniform((121.3, 31.0), (121.45, 31.2), (count, 2)), fixes, axis=0)
    way = rng.normal(0, 1e-4, (count, fixes, 2)).cumsum(axis=1).reshape(-1, 2)
    seconds = np.tile(np.arange(fixes) * 10, count) + np.repeat(rng.integers(0, 86_400, count), fixes)
    at = pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(seconds, unit="s")
    track = np.repeat([f"t{i}" for i in range(count)], fixes)
    frame = pd.DataFrame({"track": track, "lon": (start + way)[:, 0], "lat": (start + way)[:, 1], "at": at})
    return frame.assign(accuracy_m=np.where(np.arange(len(frame)) % 50 == 7, 80.0, 5.0))


def test_seen_ground_burnt_on_a_cluster_that_loses_a_worker_has_the_same_bits(tmp_path, monkeypatch, dask):
    monkeypatch.setattr(track_archives, "PIECE_FIXES", 500)
    fixes = walks(60, 100)
    by_track, by_time = fixes.iloc[:3333], fixes.iloc[3333:].sort_values("at")
    by_track.to_parquet(tmp_path / "a.parquet", row_group_size=170)
    by_time.astype({"track": "category"}).to_parquet(tmp_path / "b.parquet", row_group_size=777)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    counting = fixes[fixes["accuracy_m"] <= 50]
    expected = burn_fixes(counting, metric_crs="EPSG:4549", time_zone="Asia/Shanghai")
    dask.start_workers(2)

    def burnt_with_a_kill():
        job = BurnJob(tuple(files), "EPSG:4549", "Asia/Shanghai", 50.0)
        with cluster_at(dask.address) as cluster:
            for number, (_, seen) in enumerate(cluster.in_order(job, track_pieces(files))):
                if number == 1:
                    dask.kill_worker()
                yield seen

    write_tiles(merged(burnt_with_a_kill()), tmp_path / "there.parquet")
    done = CliRunner().invoke(app, ["seen", "burn", *map(str, files), "-o", str(tmp_path / "here.parquet")])

    assert done.exit_code == 0, done.output
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    there = read_tiles(tmp_path / "there.parquet")
    for name in ("tile_row", "tile_col", "day", "shift", "bits"):
        np.testing.assert_array_equal(getattr(there, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": pd.Timestamp("2026-03-01")}, "at: expected timestamps with a time zone"),
        ({"lon": np.nan}, "row group 0: lon: expected -180"),
        ({"lat": "31"}, "lat: expected degrees"),
        ({"track": None}, "1000 fixes without a track"),
    ],
)
def test_archives_that_cannot_be_burnt_are_explained_and_leave_nothing(tmp_path, change, message):
    walks(10, 100).assign(**change).astype({"track": "string"}).to_parquet(tmp_path / "a.parquet")
    done = CliRunner().invoke(app, ["seen", "burn", str(tmp_path / "a.parquet"), "-o", str(tmp_path / "o.parquet")])

    assert message in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_a_worker_that_could_not_do_the_same_is_named_before_any_work(tmp_path, monkeypatch, dask):
    dask.start_workers(1)
    missing = PlacingJob(tmp_path / "no.csv", tmp_path / "o.csv", GridIndex(squares()), None, None, Datum.WGS84, 50, "")

    with cluster_at(dask.address) as cluster:
        with pytest.raises(UnlikeWorker, match=r"worker tcp://127.*no\.csv: no such file"):
            next(cluster.in_order(missing, [Span(0, None, 0)]))
        monkeypatch.setattr(clusters, "versions", lambda: {"gis-grid": "9.9"})
        with pytest.raises(UnlikeWorker, match=r"has gis-grid 0\.1.*, this machine has 9\.9"):
            next(cluster.in_order(missing, [Span(0, None, 0)]))


def test_a_cluster_without_a_worker_is_named(dask):
    dask.kill_all()

    with cluster_at(dask.address) as cluster, pytest.raises(NoCluster, match="has no worker"):
        next(cluster.in_order(None, [1]))


def test_no_cluster_and_no_extra_are_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(clusters, "CONNECT_S", 1)
    write_points(tmp_path / "in.csv", 10)
    squares().to_file(tmp_path / "grids.geojson")
    words = (tmp_path / "in.csv", tmp_path / "out.csv", "--grids", tmp_path / "grids.geojson", "--dask")

    assert run(monkeypatch, *words, "tcp://127.0.0.1:1") == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err
    assert run(monkeypatch, *words, "nonsense://x") == 2
    assert "expected an address such as" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "gis_grid.clusters")
    assert run(monkeypatch, *words, "tcp://127.0.0.1:1") == 1
    assert "needs the extra [distributed]" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
