"""How a Dask cluster of 1 and 2 worker processes on this machine compares with no cluster, on one Parquet file.

`PYTHONPATH=. python benchmarks/many_machines.py POINTS.parquet [--rounds N]`; see docs/scale.md.
"""

import argparse
import os
import pickle
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np

from gis_grid.assigning import assign_points
from gis_grid.clusters import Cluster, cluster_at
from gis_grid.geo.placing import GridIndex
from tests.test_clusters import DaskProcesses

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print a row for none, 1 and 2 workers."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("points", type=Path)
    words.add_argument("--rounds", type=int, default=3)
    asked = words.parse_args()
    index = GridIndex(geopandas.read_file(ROOT / "grids.geojson"))
    print(f"load {os.getloadavg()[0]:.1f}; what a worker is sent once: {len(pickle.dumps(index)) / 1e6:.1f} MB")
    print(
        "| workers | s | million rows/s | here, s of CPU | workers, s of CPU |\n|---:|---:|---:|---:|---:|", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        print_row(asked, index, Path(folder), None, [])
        processes = DaskProcesses(Path(folder))
        try:
            for count in (1, 2):
                processes.start_workers(count)
                pids = [worker.pid for worker in processes.workers]
                with cluster_at(processes.address) as cluster:
                    print_row(asked, index, Path(folder), cluster, pids)
        finally:
            processes.stop()


def print_row(
    asked: argparse.Namespace, index: GridIndex, folder: Path, cluster: Cluster | None, pids: list[int]
) -> None:
    """Print medians of some rounds after one to warm up."""
    rows, seconds, here, there = 0, [], [], []
    for _ in range(asked.rounds + 1):
        start, cpu, theirs = time.perf_counter(), time.process_time(), cpu_of(pids)
        assigned = assign_points(asked.points, folder / "out.parquet", index, cluster=cluster)
        rows = sum(assigned.counts.values())
        seconds.append(time.perf_counter() - start)
        here.append(time.process_time() - cpu)
        there.append(cpu_of(pids) - theirs)
    took, ours, others = (float(np.median(each[1:])) for each in (seconds, here, there))
    print(f"| {len(pids) or 'none'} | {took:.2f} | {rows / took / 1e6:.2f} | {ours:.2f} | {others:.2f} |", flush=True)


def cpu_of(pids: list[int]) -> float:
    """Seconds of CPU that processes have used."""
    ticks = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13] for pid in pids]
    return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
