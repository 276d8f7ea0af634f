"""How fast points are placed, side by side with peers, in interleaved rounds of one process.

`python benchmarks/placing.py [--layer GRIDS] [--points N] [--rounds N] [--without NAME …]`; see benchmarks/README.md.
"""

import argparse
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import geopandas
import numba
import numpy as np
import numpy.typing as npt
import shapely
from peers import MAKERS, Peer
from points import generated_points, real_points

from gis_grid.geo.lattice import LatticeIndex

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "numba", "shapely", "geopandas", "duckdb", "sedonadb", "h3")


@numba.njit(nogil=True, boundscheck=False, error_model="numpy")
def stream(x: Any, y: Any, out: Any) -> None:
    """Floor 1: read 16 bytes, write 4."""
    for i in range(len(x)):
        out[i] = np.int32(x[i] + y[i])


@numba.njit(nogil=True, boundscheck=False, error_model="numpy")
def gather(x: Any, y: Any, out: Any, frame: Any, table: Any) -> None:
    """Floor 2: the arithmetic to a cell, and one look-up in a table."""
    x0, y0, per_x, per_y, columns, rows = frame
    top_x, top_y, wide = float(columns - 1), float(rows - 1), np.int32(columns)
    for i in range(len(x)):
        u, v = (x[i] - x0) * per_x, (y[i] - y0) * per_y
        u, v = (u if u > 0 else 0.0), (v if v > 0 else 0.0)
        u, v = (u if u < top_x else top_x), (v if v < top_y else top_y)  # noqa: FURB136
        out[i] = np.int32(table[np.uint32(np.int32(v) * wide + np.int32(u))])


def resident_mb() -> float:
    """Memory that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, the most memory above what was held before, MB, and the result."""
    before, most, is_done = resident_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not is_done.wait(0.005):
            most = max(most, resident_mb() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    is_done.set()
    watcher.join()
    return seconds, most, result


def contestants(
    index: LatticeIndex, x: Any, y: Any, polygons: Any, without: list[str]
) -> dict[str, tuple[Callable[[], Any], int, Peer | None]]:
    """What is measured: name → work, how many points, the peer if it is one."""
    out = np.empty(len(x), dtype=np.int32)
    frame = index.frame
    small = frame._replace(
        per_x=frame.per_x * 512 / frame.columns, per_y=frame.per_y * 512 / frame.rows, columns=512, rows=512
    )
    all_: dict[str, tuple[Callable[[], Any], int, Peer | None]] = {
        "floor: read 16 B, write 4 B": (lambda: stream(x, y, out), len(x), None),
        "floor: the same and one look-up, 1 MB table": (
            lambda: gather(x, y, out, small, index.tables.coarse),
            len(x),
            None,
        ),
        "floor: the same, the index's coarse table": (
            lambda: gather(x, y, out, frame, index.tables.coarse),
            len(x),
            None,
        ),
        "LatticeIndex": (lambda: index.place(x, y), len(x), None),
        "LatticeIndex, 2 threads": (lambda: index.place(x, y, threads=2), len(x), None),
    }
    for name, (make, count) in MAKERS.items():
        if name in without:
            continue
        try:
            peer = make(polygons)
            count = min(count, len(x))  # noqa: PLW2901
            ready = peer.ready(x[:count], y[:count])
            all_[name] = (lambda peer=peer, ready=ready: peer.place(ready), count, peer)
            print(f"{name}: ready", file=sys.stderr)
        except Exception as error:  # noqa: BLE001 - a peer that is not there must not stop the others
            print(f"skipped: {name}: {str(error).splitlines()[0][:160]!r}")
    return all_


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--layer", type=Path, default=ROOT / "grids.geojson")
    words.add_argument("--points", type=int, default=10_000_000)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--without", nargs="*", default=[])
    words.add_argument("--density", type=float, help="longest edge in degrees: longer ones are cut")
    words.add_argument("--crs", help="what the layer is really in, where its file says otherwise")
    words.add_argument("--real", type=Path, help="a CSV of real points, repeated in random order up to N")
    asked = words.parse_args()
    layer = geopandas.read_file(asked.layer)
    if asked.crs:
        layer = layer.set_crs(asked.crs, allow_override=True).to_crs(4326)
    if "grid_code" in layer:
        layer = layer.sort_values("grid_code")
    polygons = np.array(layer.geometry.to_numpy(), dtype=object)
    if asked.density:
        polygons = shapely.segmentize(polygons, asked.density)
    x, y = real_points(asked.real, asked.points) if asked.real else generated_points(polygons, asked.points)
    cpu = time.process_time()
    seconds, memory, index = timed(lambda: LatticeIndex.build(polygons))
    print(f"{platform.processor() or platform.machine()}, {cpu_name()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {version_of(name)}" for name in PACKAGES))
    print(
        f"{len(polygons)} polygons, {shapely.get_num_coordinates(polygons).sum()} vertices, {len(x)} points; "
        f"built in {seconds:.2f} s ({time.process_time() - cpu:.2f} s CPU), index {index.nbytes / 1e6:.1f} MB, "
        f"{memory:.0f} MB while building"
    )
    rows = measure(contestants(index, x, y, polygons, asked.without), index.place(x, y), asked.rounds)
    print_table(rows)
    one = [time_one(index, x, y) for _ in range(5)]
    print(f"one point from Python: {np.median(one):.2f} µs median")


def measure(
    work: dict[str, Any], expected: npt.NDArray[Any], rounds: int
) -> list[tuple[str, float, float, float, float]]:
    """Name, million points a second, ratio to LatticeIndex, memory in MB, share of wrong answers; medians of rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    memory, wrong = dict.fromkeys(work, 0.0), dict.fromkeys(work, np.nan)
    for _ in range(rounds + 1):  # the first warms up
        for name, (do, count, peer) in work.items():
            took, most, result = timed(do)
            seconds[name].append(took)
            memory[name] = max(memory[name], most)
            if peer is not None:
                wrong[name] = float((result != expected[:count]).mean())
    speed = {name: work[name][1] / np.array(took[1:]) / 1e6 for name, took in seconds.items()}
    ratio = {name: np.median(speed["LatticeIndex"] / each) for name, each in speed.items()}
    return [(name, float(np.median(speed[name])), float(ratio[name]), memory[name], wrong[name]) for name in work]


def print_table(rows: list[tuple[str, float, float, float, float]]) -> None:
    """Print a Markdown table."""
    print("\n| what | million points/s | LatticeIndex is × as fast | extra memory, MB | differs from LatticeIndex |")
    print("|---|---:|---:|---:|---:|")
    for name, speed, ratio, memory, wrong in rows:
        differs = "" if np.isnan(wrong) else f"{100 * wrong:.3f} %" if wrong else "nowhere"
        print(f"| {name} | {speed:.3g} | {ratio:.3g} | {memory:.0f} | {differs} |")


def time_one(index: LatticeIndex, x: Any, y: Any) -> float:
    """Microseconds a point, asked one by one."""
    pairs = list(zip(x[:20_000].tolist(), y[:20_000].tolist(), strict=True))
    start = time.perf_counter()
    for lon, lat in pairs:
        index.place_one(lon, lat)
    return (time.perf_counter() - start) / len(pairs) * 1e6


def version_of(package: str) -> str:
    """Version, or that there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def cpu_name() -> str:
    """Model and number of cores."""
    lines = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout.splitlines()
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    return f"{about.get('Model name', '?').strip()} × {about.get('CPU(s)', '?').strip()}"


if __name__ == "__main__":
    main()
