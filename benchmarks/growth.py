"""How build, memory and speed grow with the layer; each size in a process of its own.

`PYTHONPATH=. python benchmarks/growth.py [--sides N …] [--folds N …]`; see benchmarks/README.md.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from grown_layers import grown_layer
from placing import gather

from gis_grid.geo.lattice import LatticeIndex

POINTS = 10_000_000
ROUNDS = 3
ANSWERS = 2
COLUMNS = (
    "grids",
    "sides differ, -fold",
    "build, s",
    "build, s of CPU",
    "index, MB",
    "process at most, GB",
    "million points/s",
    "a second of CPU",
    "floor, a second of CPU",
    "load, ms",
    "first answer, s",
    "first answer, s of CPU",
)
FIRST_ANSWER = """
import sys
from pathlib import Path
from gis_grid.geo.lattice import LatticeIndex
print(LatticeIndex.load(Path(sys.argv[1])).place_one(121.4, 31.4))
"""


def main() -> None:
    """Print a row a layer."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--sides", type=int, nargs="*", default=[100, 316, 1000])
    words.add_argument("--folds", type=float, nargs="*", default=[1, 20])
    words.add_argument("--one", action="store_true", help="this process measures the first of each")
    asked = words.parse_args()
    if asked.one:
        measure(asked.sides[0], asked.folds[0])
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---:|' * len(COLUMNS)}", flush=True)
    for side in asked.sides:
        for fold in asked.folds:
            subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--one", "--sides", str(side), "--folds", str(fold)],
                check=True,
            )


def measure(side: int, fold: float) -> None:
    """Print the row of one layer."""
    polygons = grown_layer(side, fold=fold)
    start, cpu = time.perf_counter(), time.process_time()
    index = LatticeIndex.build(polygons)
    built, cpu = time.perf_counter() - start, time.process_time() - cpu
    del polygons
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rng = np.random.default_rng(1)
    x, y = rng.uniform(120.9, 121.9, POINTS), rng.uniform(30.9, 31.9, POINTS)
    out = np.empty(POINTS, dtype=np.int32)
    walls, cpus, floors = [], [], []
    for _ in range(ROUNDS + 1):  # the first warms up
        start, begun = time.perf_counter(), time.thread_time()
        index.place(x, y)
        walls.append(time.perf_counter() - start)
        cpus.append(time.thread_time() - begun)
        begun = time.thread_time()
        gather(x, y, out, index.frame, index.tables.coarse)
        floors.append(time.thread_time() - begun)
    wall, cpu_s, floor = (POINTS / np.median(each[1:]) / 1e6 for each in (walls, cpus, floors))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index.save(path)
        loads = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            LatticeIndex.load(path)
            loads.append(1000 * (time.perf_counter() - start))
        answers, cpu_before = [], _cpu_of_children()
        for _ in range(ANSWERS):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", FIRST_ANSWER, path], check=True, capture_output=True)
            answers.append(time.perf_counter() - start)
    first_cpu = (_cpu_of_children() - cpu_before) / ANSWERS
    row = [f"{side * side:,}", f"{fold:g}", f"{built:.1f}", f"{cpu:.1f}", f"{index.nbytes / 1e6:.0f}", f"{most:.1f}"]
    row += [f"{speed:.0f}" for speed in (wall, cpu_s, floor)]
    row += [f"{np.median(loads):.1f}", f"{np.median(answers):.2f}", f"{first_cpu:.2f}"]
    print(f"| {' | '.join(row)} |", flush=True)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
