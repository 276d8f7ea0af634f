"""From labelled pixels to smooth polygons that fit each other exactly on the 1e-7 degree lattice.

Every boundary line is made once, between two junctions that stay where they are, and both neighbours take it.
Lines that reach the district's outline end on a lattice point that lies exactly on it, so the grids' union is the
outline itself and not nearly so.
"""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely

from gridmaker.cuts import METRES_PER_DEGREE, ORIGIN, Raster, to_metres, to_units
from gridmaker.raster import OUTSIDE, Floats, Labels
from gridmaker.sources import UNITS_PER_DEGREE

Units = npt.NDArray[np.int64]
Corner = tuple[int, int]

LANDING_GAP_M = 12.0
LANDING_REACH_M = 400.0
SMOOTHING_PASSES = (48, 24, 12, 6, 3, 0)
TOLERANCE_M = 1.0


def trace_arcs(grids: Labels) -> list[list[Corner]]:
    """Lines between different labels inside the district, each a run of pixel corners (column, row).

    A run begins and ends where three labels meet or at the raster's rim.
    """
    links = _inner_edges(grids)
    nodes = {corner for corner, near in links.items() if len(near) != 2 or is_on_rim(corner, grids)}
    runs, used = [], set()
    for node in sorted(nodes):
        for step in sorted(links[node]):
            if (node, step) in used:
                continue
            run = [node, step]
            while run[-1] not in nodes:
                ahead = [corner for corner in links[run[-1]] if corner != run[-2]]
                run.append(ahead[0])
            used.update({(run[0], run[1]), (run[-1], run[-2])})
            runs.append(run)
    return runs


def _inner_edges(grids: Labels) -> dict[Corner, list[Corner]]:
    links: dict[Corner, list[Corner]] = defaultdict(list)
    left, right = grids[:, :-1], grids[:, 1:]
    for row, col in zip(*np.nonzero((left != right) & (left != OUTSIDE) & (right != OUTSIDE)), strict=True):
        a, b = (int(col) + 1, int(row)), (int(col) + 1, int(row) + 1)
        links[a].append(b)
        links[b].append(a)
    low, high = grids[:-1], grids[1:]
    for row, col in zip(*np.nonzero((low != high) & (low != OUTSIDE) & (high != OUTSIDE)), strict=True):
        a, b = (int(col), int(row) + 1), (int(col) + 1, int(row) + 1)
        links[a].append(b)
        links[b].append(a)
    return links


def is_on_rim(corner: Corner, grids: Labels) -> bool:
    """Whether one of the four pixels around the corner (column, row) is outside."""
    col, row = corner
    return bool((grids[row - 1 : row + 1, col - 1 : col + 1] == OUTSIDE).any())


def landing_points(ring: Units) -> Units:
    """Lattice points that lie exactly on the ring (n, 2), its vertices among them, about `LANDING_GAP_M` apart.

    Returns
    -------
    points
        Shape (m, 2), in the ring's order. The source has six decimals, so that a side from p to q has at least nine
        lattice points p + k (q - p) / gcd between its ends.
    """
    runs = []
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        count = int(np.gcd(*(end - start)))
        length_m = float(np.hypot(*((end - start) / UNITS_PER_DEGREE * METRES_PER_DEGREE)))
        stride = max(1, round(count * LANDING_GAP_M / length_m))
        steps = np.arange(0, count, stride)
        runs.append(start + steps[:, None] * ((end - start) // count))
    return np.concatenate(runs)


class Shore:
    """The outline as seen from inside: where boundary lines may end on it, and what is in their way.

    `lines` are the boundary lines inside, plane metres.
    """

    def __init__(self, ring: Units, lines: list[shapely.LineString]) -> None:
        self.spots = landing_points(ring)
        self.spots_m = to_metres(self.spots / UNITS_PER_DEGREE)
        corners = to_metres(ring / UNITS_PER_DEGREE)
        self.spot_tree = shapely.STRtree(shapely.points(self.spots_m))
        self.side_tree = shapely.STRtree(shapely.linestrings(np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)))
        self.line_tree = shapely.STRtree(lines)
        self.taken: list[shapely.LineString] = []

    def land(self, start: Floats) -> Units:
        """Take the nearest spot (lattice units) that a straight line from `start` (plane metres) reaches freely.

        Raises
        ------
        ValueError
            If there is none within `LANDING_REACH_M`.
        """
        near = self.spot_tree.query(shapely.Point(start), predicate="dwithin", distance=LANDING_REACH_M)
        for spot in near[np.hypot(*(self.spots_m[near] - start).T).argsort(kind="stable")]:
            way = shapely.LineString([start, self.spots_m[spot]])
            if self._is_free(way):
                self.taken.append(way)
                landing: Units = self.spots[spot]
                return landing
        raise ValueError(f"no way to the outline from {start.tolist()}")

    def _is_free(self, way: shapely.LineString) -> bool:
        start, end = shapely.get_coordinates(way)
        without_end = shapely.LineString([start, start + 0.999 * (end - start)])
        without_start = shapely.LineString([start + 0.01 * (end - start), end])
        return not (
            len(self.side_tree.query(without_end, predicate="intersects"))
            or len(self.line_tree.query(without_start, predicate="intersects"))
            or any(way.distance(other) < 1.0 for other in self.taken)
        )


def smooth(points: Floats, passes: int) -> Floats:
    """The line (n, 2) through the midpoints of its steps, each pass a ¼ ½ ¼ blur; its ends stay."""
    if passes == 0:
        return points
    line = np.concatenate([points[:1], (points[:-1] + points[1:]) / 2, points[-1:]])
    for _ in range(passes):
        line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
    return line


def build_lines(raster: Raster, grids: Labels, ring: Units) -> tuple[list[Units], set[tuple[int, int]]]:
    """All inner boundary lines on the lattice, and the lattice points where they end on the outline."""
    runs = trace_arcs(grids)
    stairs = [raster.corners_to_metres(np.array(run)) for run in runs]
    shore = Shore(ring, [shapely.LineString(stair) for stair in stairs])
    meeting = Counter(end for run in runs for end in (run[0], run[-1]))
    landings: set[tuple[int, int]] = set()
    legs: dict[Corner, Floats] = {}
    for node in sorted(meeting):
        if is_on_rim(node, grids):
            start = raster.corners_to_metres(np.array(node))
            spot = shore.land(start)
            landings.add((int(spot[0]), int(spot[1])))
            legs[node] = _leg(start, to_metres(spot / UNITS_PER_DEGREE))
    single = {node: leg for node, leg in legs.items() if meeting[node] == 1}
    joined = [
        _join_legs(stair, single.get(run[0]), single.get(run[-1])) for run, stair in zip(runs, stairs, strict=True)
    ]
    return settle(joined + [leg for node, leg in legs.items() if node not in single], ring), landings


def _join_legs(stair: Floats, first: Floats | None, last: Floats | None) -> Floats:
    before = stair[:0] if first is None else first[:0:-1]
    after = stair[:0] if last is None else last[1:]
    return np.concatenate([before, stair, after])


def _leg(start: Floats, end: Floats) -> Floats:
    pieces = max(1, round(float(np.hypot(*(end - start))) / 20))
    return start + np.linspace(0, 1, pieces + 1)[:, None] * (end - start)


def settle(stairs: list[Floats], ring: Units) -> list[Units]:
    """Smooth lines on the lattice that meet only at their ends.

    A line that would cross or touch another is smoothed less, down to its pixel edges.

    Raises
    ------
    ValueError
        If lines cross even so.
    """
    level = np.zeros(len(stairs), int)
    sides = shapely.linestrings(np.stack([ring, np.roll(ring, -1, axis=0)], axis=1).astype(float))
    for _ in range(4 * len(SMOOTHING_PASSES)):
        lines = [finish(points, SMOOTHING_PASSES[k]) for points, k in zip(stairs, level, strict=True)]
        faulty = faulty_lines([shapely.LineString(line) for line in lines], sides)
        if not len(faulty):
            return lines
        level[faulty] = np.minimum(level[faulty] + 1, len(SMOOTHING_PASSES) - 1)
    raise ValueError(f"lines {faulty.tolist()} cross others whatever the smoothing")


def finish(points: Floats, passes: int) -> Units:
    """The smoothed and simplified line as lattice points, no two in a row the same."""
    line = shapely.simplify(shapely.LineString(smooth(points, passes)), TOLERANCE_M)
    units = to_units(shapely.get_coordinates(line))
    distinct: Units = units[np.concatenate([[True], (np.diff(units, axis=0) != 0).any(axis=1)])]
    return distinct


def faulty_lines(lines: list[shapely.LineString], sides: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Lines that cross themselves, another line or the outline, other than end to end."""
    every = np.array(lines, dtype=object)
    faulty = set(np.flatnonzero(~shapely.is_simple(every)).tolist())
    tree = shapely.STRtree(every)
    one, other = tree.query(every, predicate="intersects")
    pairs = one < other
    one, other = one[pairs], other[pairs]
    # two lines may share end points and nothing else
    ends = shapely.boundary(every)
    meet = shapely.intersection(every[one], every[other])
    shared = shapely.intersection(ends[one], ends[other])
    wrong = ~shapely.equals(meet, shared)
    faulty.update(one[wrong].tolist(), other[wrong].tolist())
    line, side = tree.query(sides, predicate="intersects")[::-1]
    meet = shapely.intersection(every[line], sides[side])
    wrong = ~((shapely.get_type_id(meet) == 0) & (shapely.distance(meet, ends[line]) < 1.0))
    faulty.update(line[wrong].tolist())
    return np.array(sorted(faulty), dtype=np.int64)


def insert_landings(ring: Units, landings: set[tuple[int, int]]) -> Units:
    """The same ring with the landings as vertices; each lies exactly on a side."""
    result = []
    left = set(landings)
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        result.append(tuple(start.tolist()))
        way = end - start
        on_side = []
        for spot in left:
            off = np.array(spot) - start
            along = int(off @ way)
            if off[0] * way[1] == off[1] * way[0] and 0 <= along < int(way @ way):
                on_side.append((along, spot))
        left -= {spot for _, spot in on_side}
        result.extend(spot for along, spot in sorted(on_side) if along > 0)
    if left:
        raise ValueError(f"landings off the outline: {sorted(left)}")
    return np.array(result, np.int64)


def split_ring(ring: Units, stops: set[tuple[int, int]]) -> list[Units]:
    """The pieces of a ring (n, 2), not closed, between neighbouring stops; each stop is one of its vertices."""
    at = np.flatnonzero([tuple(spot) in stops for spot in ring.tolist()])
    turned = np.concatenate([np.roll(ring, -at[0], axis=0), ring[at[:1]]])
    ends = [*(at - at[0]).tolist(), len(ring)]
    return [turned[begin : end + 1] for begin, end in pairwise(ends)]


def build_polygons(raster: Raster, grids: Labels, ring: Units) -> tuple[list[shapely.Polygon], Units]:
    """One polygon for each label, in whole 1e-7 degrees, and the outline with the landings as vertices.

    Raises
    ------
    ValueError
        If a label has no polygon or more than one.
    """
    lines, landings = build_lines(raster, grids, ring)
    full = insert_landings(ring, landings)
    arcs = split_ring(full, landings)
    faces = shapely.get_parts(shapely.polygonize([shapely.LineString(arc) for arc in [*lines, *arcs]]))
    owners = label_faces(faces, raster, grids)
    if sorted(owners) != list(range(int(grids.max()) + 1)):
        raise ValueError(f"{len(faces)} faces for {int(grids.max()) + 1} labels")
    by_label = dict(zip(owners, shapely.orient_polygons(faces), strict=True))
    return [by_label[label] for label in range(len(by_label))], full


def label_faces(faces: npt.NDArray[np.object_], raster: Raster, grids: Labels) -> list[int]:
    """Label that holds most pixel centres of each face."""
    plane = shapely.transform(faces, lambda units: (units / UNITS_PER_DEGREE - ORIGIN) * METRES_PER_DEGREE)
    x, y = raster.centres()
    where = grids != OUTSIDE
    tree = shapely.STRtree(shapely.points(x[where], y[where]))
    face, point = tree.query(plane, predicate="contains")
    votes = np.zeros((len(faces), int(grids.max()) + 1), np.int32)
    np.add.at(votes, (face, grids[where][point]), 1)
    return [int(label) for label in votes.argmax(axis=1)]
