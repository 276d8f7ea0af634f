"""Exact point-to-polygon assignment at memory speed.

A point belongs to the lowest polygon among all it lies in or on, decided without rounding error: edges are straight in
lon/lat between the stored doubles. `gis_grid.geo.lattice_tables` tells how the index is laid out,
`gis_grid.geo.lattice_build` how it is filled.
"""

import json
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.errors import InvalidInput
from gis_grid.geo.edges import ring_segments
from gis_grid.geo.exact import SMALLEST
from gis_grid.geo.lattice_build import (
    EdgeTable,
    Lists,
    Records,
    Scratch,
    Sweep,
    count_crossing,
    count_passed,
    fill_row,
    find_twins,
    list_crossing,
    list_passed,
)
from gis_grid.geo.lattice_tables import (
    MAX_SHIFT,
    NONE,
    ON_EDGE,
    Entries,
    Floats,
    Frame,
    Ints,
    Tables,
    Words,
    look_up,
    look_up_one,
)
from gis_grid.geo.whole_files import whole_file

Bools: TypeAlias = npt.NDArray[np.bool_]

MAX_POLYGONS = 2**27
MAX_DEG = 1e6
"""Larger numbers are no degrees, nor metres on Earth."""

_CELLS_A_POLYGON = 1024
_MIN_CELLS, _MANY_CELLS, _MAX_CELLS = 2**12, 2**22, 3 * 2**22
_MANY_CELLS_A_POLYGON = 128  # a table too large for the cache pays only where most of its cells would hold an edge
_MAX_TABLE_BYTES, _MIN_TABLE_BYTES, _TABLE_BYTES_AN_EDGE = 2 * 2**30, 8 * 2**20, 384
_BYTES_A_RECORD = 64
_FINEST = 4.0  # fine cells in a cell's side for each side's length of boundary in it
_ULPS_A_CELL = 2.0**20  # so that even the middle of a fine cell is a number of its own
_SMALLEST_CELL = 1e-200
_MAGIC = b"GISGRID1"
_HEAD_BYTES = 4  # its length
_ALIGNMENT = 64
_SLICE = 2**17


class UnusablePolygons(InvalidInput):
    """Polygons that no index can be built of."""


class UnusableIndex(InvalidInput):
    """A file that holds no index, or one of another version."""


@dataclass(frozen=True)
class LatticeIndex:
    """Polygons ready to have points looked up in them; safe to share between threads.

    Attributes
    ----------
    count
        How many polygons there are.
    overlap_cells
        How many cells of the lattice lie wholly in more than one polygon: over 0 where polygons overlap, but an overlap
        narrower than a cell is not seen. Points there go to the lowest polygon, as everywhere.
    """

    frame: Frame
    tables: Tables
    count: int
    overlap_cells: int

    @classmethod
    def build(cls, polygons: npt.NDArray[Any]) -> "LatticeIndex":
        """Index of polygons, their positions in order of precedence.

        Parameters
        ----------
        polygons
            Polygons and MultiPolygons, shape (n,); gaps, holes, islands, T-junctions and overlaps are allowed, an empty
            one holds nothing. In an invalid one a point is inside when a ray from it crosses the edges an odd number of
            times.

        Raises
        ------
        UnusablePolygons
            Something else than a polygon, or a coordinate that is not finite, beyond 1e6, or nearer to 0 than 1e-120
            without being 0.
        """
        polygons = np.asarray(polygons, dtype=object)
        _check(polygons)
        edges = _edges_of(polygons)
        frame = _frame_of(edges.ends, len(polygons))
        tables, overlap_cells = _fill(edges, frame, len(polygons))
        return cls(frame, tables, len(polygons), overlap_cells)

    def place(self, lon: npt.ArrayLike, lat: npt.ArrayLike, *, threads: int = 1) -> Ints:
        """Position of the lowest polygon that each point lies in or on, -1 for none.

        Parameters
        ----------
        lon, lat
            Any doubles, shape (n,); nan and infinities lie in no polygon. Nearer to 0 than 1e-120 counts as 0.
        threads
            How many to work with.

        Returns
        -------
        positions
            Int32, shape (n,).
        """
        return self._look_up(lon, lat, 0, threads)

    def place_with_edges(self, lon: npt.ArrayLike, lat: npt.ArrayLike, *, threads: int = 1) -> tuple[Ints, Bools]:
        """As `place`, and whether each point lies on its polygon's edge, shape (n,)."""
        positions = self._look_up(lon, lat, ON_EDGE, threads)
        is_edge: Bools = positions >= ON_EDGE
        positions[is_edge] -= ON_EDGE
        return positions, is_edge

    def place_one(self, lon: float, lat: float) -> int:
        """As `place`, for one point."""
        return look_up_one(lon, lat, self.frame, self.tables, 0)

    def place_one_with_edge(self, lon: float, lat: float) -> tuple[int, bool]:
        """As `place_with_edges`, for one point."""
        position = look_up_one(lon, lat, self.frame, self.tables, ON_EDGE)
        return (position - ON_EDGE, True) if position >= ON_EDGE else (position, False)

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.tables.coarse, self.tables.fine, self.tables.reals)  # integers are the reals seen otherwise
        return _of_arrays, (self.frame, parts, self.count, self.overlap_cells)

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return sum(table.nbytes for table in (self.tables.coarse, self.tables.fine, self.tables.reals))

    def _look_up(self, lon: npt.ArrayLike, lat: npt.ArrayLike, on_edge: int, threads: int) -> Ints:
        x, y = (np.asarray(axis, dtype=np.float64) for axis in (lon, lat))
        if x.ndim != 1 or x.shape != y.shape:
            raise InvalidInput(f"lon, lat: shapes {x.shape} and {y.shape}, expected one dimension of one length")
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        out = np.empty(x.shape, dtype=np.int32)
        if threads == 1 or len(x) <= _SLICE:
            look_up(x, y, out, self.frame, self.tables, on_edge)
            return out
        with ThreadPoolExecutor(threads) as pool:
            slices = [slice(start, start + _SLICE) for start in range(0, len(x), _SLICE)]
            list(pool.map(lambda at: look_up(x[at], y[at], out[at], self.frame, self.tables, on_edge), slices))
        return out

    def save(self, path: Path) -> None:
        """Write the index to a file that `load` maps into memory; it appears whole or not at all."""
        parts = (self.tables.coarse, self.tables.fine, self.tables.reals)
        head = json.dumps(
            {
                "corner_and_scale": [value.hex() for value in self.frame[:4]],
                "size": self.frame[4:],
                "lengths": [len(part) for part in parts],
                "count": self.count,
                "overlap_cells": self.overlap_cells,
            }
        ).encode()
        with whole_file(path) as made, made.open("wb") as file:
            file.write(_MAGIC + len(head).to_bytes(_HEAD_BYTES, "little") + head)
            for part in parts:
                file.write(bytes(-file.tell() % _ALIGNMENT))
                file.write(part.view(np.uint8).data)

    @classmethod
    def load(cls, path: Path) -> "LatticeIndex":
        """Index that `save` wrote, mapped: pages are read when a point needs them and shared between processes.

        Raises
        ------
        UnusableIndex
            The file is none of these, of another version, or cut off.
        """
        try:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise UnusableIndex(f"{path}: {error}") from None
        try:
            return _of_file(mapped)
        except (ValueError, KeyError, TypeError) as error:
            raise UnusableIndex(f"{path}: not an index of this version, or damaged: {error}") from None


def _of_arrays(frame: Frame, parts: tuple[Entries, Entries, Floats], count: int, overlap_cells: int) -> LatticeIndex:
    """Index of its coarse table, fine table and records."""
    coarse, fine, reals = parts
    return LatticeIndex(frame, Tables(coarse, fine, reals.view(np.int32), reals), count, overlap_cells)


def _of_file(mapped: mmap.mmap) -> LatticeIndex:
    start = len(_MAGIC) + _HEAD_BYTES
    at = start + int.from_bytes(mapped[len(_MAGIC) : start], "little")
    if mapped[: len(_MAGIC)] != _MAGIC or at > len(mapped):
        raise ValueError("it begins with something else")
    head = json.loads(mapped[start:at])
    parts = []
    for length, kind in zip(head["lengths"], (np.uint32, np.uint32, np.float64), strict=True):
        at += -at % _ALIGNMENT
        parts.append(np.frombuffer(mapped, kind, length, at))
        at += parts[-1].nbytes
    coarse, fine, reals = parts
    x0, y0, per_x, per_y = map(float.fromhex, head["corner_and_scale"])
    frame = Frame(x0, y0, per_x, per_y, *head["size"])
    return _of_arrays(frame, (coarse, fine, reals), head["count"], head["overlap_cells"])


def _check(polygons: npt.NDArray[Any]) -> None:
    if len(polygons) > MAX_POLYGONS:
        raise UnusablePolygons(f"{len(polygons)} polygons, expected at most {MAX_POLYGONS}")
    is_ground = np.isin(
        shapely.get_type_id(polygons), (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
    )
    if not is_ground.all():
        raise UnusablePolygons(f"polygon {int(np.argmin(is_ground))}: expected a Polygon or a MultiPolygon")


def _edges_of(polygons: npt.NDArray[Any]) -> EdgeTable:
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    segments = ring_segments(parts)
    ends = np.hstack([segments.start, segments.end])
    ends += 0.0  # -0.0 is 0.0
    owners = polygon_of_part[segments.owner].astype(np.int32)
    size = np.abs(ends)
    is_good = (size <= MAX_DEG) & ((size >= SMALLEST) | (size == 0.0))
    if not is_good.all():
        edge, axis = np.argwhere(~is_good)[0]
        raise UnusablePolygons(f"polygon {owners[edge]}: coordinate {float(ends[edge, axis])!r}")
    has_twin = np.zeros(len(ends), dtype=bool)
    find_twins(ends.view(np.int64), owners, shapely.is_valid(polygons), has_twin)
    return EdgeTable(ends, owners, has_twin)


def _frame_of(ends: Floats, count: int) -> Frame:
    """Lattice over all edges with an empty ring of cells around, about as many cells as polygons can use."""
    if not len(ends):
        return Frame(0.0, 0.0, 1.0, 1.0, 1, 1)
    low, high = ends.reshape(-1, 2).min(axis=0), ends.reshape(-1, 2).max(axis=0)
    many = min(max(_MANY_CELLS_A_POLYGON * count, _MANY_CELLS), _MAX_CELLS)
    cells = min(max(_CELLS_A_POLYGON * count, _MIN_CELLS), many)
    width, height = (float(extent) for extent in high - low)
    finest = max(_ULPS_A_CELL * float(np.spacing(np.abs(ends).max())), _SMALLEST_CELL)
    side = max((width * height / cells) ** 0.5, max(width, height) / cells, finest)
    columns, rows = int(width / side) + 3, int(height / side) + 3
    return Frame(float(low[0]) - side, float(low[1]) - side, 1 / side, 1 / side, columns, rows)


def _fill(edges: EdgeTable, frame: Frame, count: int) -> tuple[Tables, int]:
    """Tables of a lattice, and how many of its cells lie in more than one polygon."""
    n_cells = frame.columns * frame.rows
    n_passed, lengths = np.zeros(n_cells + 1, dtype=np.int64), np.zeros(n_cells, dtype=np.float32)
    count_passed(edges.ends, frame, n_passed, lengths)
    n_crossing = np.zeros(frame.rows + 1, dtype=np.int64)
    count_crossing(edges.ends, frame, n_crossing)
    scratch = _scratch(int(n_passed.max()))
    passed = _lists(edges.ends, frame, n_passed, list_passed)
    crossing = _lists(edges.ends, frame, n_crossing, list_crossing)
    # a boundary between two polygons is an edge of both
    shifts, n_words = _shifts(lengths / np.float32(2), len(edges.ends))
    del lengths
    is_mixed = passed.starts[1:] > passed.starts[:-1]
    fine = np.empty(int((1 << 2 * shifts[is_mixed].astype(np.int64)).sum()), dtype=np.uint32)
    coarse = np.full(n_cells, NONE, dtype=np.uint32)
    records = _records(np.empty(n_words, dtype=np.int64), 0, np.full(2 * len(edges.ends), -1))
    nowhere = np.full(count + 1, -1, dtype=np.int32)
    sweep = Sweep(nowhere.copy(), nowhere.copy(), np.zeros(1, dtype=np.int64), nowhere)
    used, overlap_cells, row = 0, 0, 0
    while row < frame.rows:
        filled, overlaps = fill_row(
            edges, passed, crossing, row, shifts, frame, coarse, fine, records, scratch, sweep, used
        )
        if filled < 0:
            grown = np.concatenate([records.words, np.empty_like(records.words)])
            records = _records(grown, int(records.used[0]), records.latest)
            continue
        used, overlap_cells, row = filled, overlap_cells + overlaps, row + 1
    reals = records.reals[: int(records.used[0])]
    return Tables(coarse, fine, reals.view(np.int32), reals), overlap_cells


def _lists(ends: Floats, frame: Frame, starts: Words, fill: Callable[[Floats, Frame, Lists], None]) -> Lists:
    """Lists filled by a kernel, from how many edges each of them has."""
    starts = np.cumsum(starts)  # `fill` goes backwards from each list's end
    lists = Lists(starts, np.empty(starts[-1], dtype=np.int32))
    fill(ends, frame, lists)
    return lists


def _shifts(lengths: npt.NDArray[np.float32], n_edges: int) -> tuple[npt.NDArray[np.uint8], int]:
    """How finely each coarse cell is cut, and about how many words all records take.

    The share of a cell's points that need a record is about the length of boundary in it divided by the fine cells in
    its side: with sides in proportion to that length the share is the same everywhere, and memory decides how small.
    """
    most = min(_MAX_TABLE_BYTES, _MIN_TABLE_BYTES + _TABLE_BYTES_AN_EDGE * n_edges)
    finest = 2 * _FINEST
    while True:
        finest /= 2
        shifts = np.clip(np.ceil(np.log2(np.maximum(finest * lengths, 1e-9))), 1, MAX_SHIFT).astype(np.uint8)
        sides = np.where(lengths > 0, np.left_shift(1, shifts.astype(np.int64)), 0)
        n_fine, n_records = int((sides**2).sum()), float((1.3 * lengths * sides).sum())
        if finest <= 1 or 4 * n_fine + _BYTES_A_RECORD * n_records < most:
            return shifts, int(n_records * _BYTES_A_RECORD / 8) + 4096


def _scratch(longest: int) -> Scratch:
    def room(kind: type) -> npt.NDArray[Any]:
        return np.empty(longest + 1, dtype=kind)

    return Scratch(
        group_starts=room(np.int32),
        group_of=room(np.int32),
        parities=room(np.uint8),
        statuses=room(np.uint8),
        held=room(np.int32),
        place_of=room(np.int32),
        listed_in=room(np.int32),
        right_ends=room(np.uint8),
        crossings=room(np.float64),
        crossing_of=room(np.int32),
        passed=np.empty(4**MAX_SHIFT + 1, dtype=np.int64),
        above=np.empty(2 * longest + 1),
        above_x=np.empty(2 * longest + 1),
    )


def _records(words: Words, used: int, latest: Words) -> Records:
    return Records(words.view(np.int32), words.view(np.float64), words, np.array([used]), latest)
