"""Cut ground into compact pieces of given size, on a raster in a plane of metres."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

OUTSIDE = -1
CANDIDATES = 12
RELAX_TURNS = 50


def smooth_noise(shape: tuple[int, int], wavelength_px: float, rng: np.random.Generator) -> Floats:
    """Random surface with mean 0 and standard deviation 1, hills about `wavelength_px` apart.

    Three box blurs stand in for a Gaussian: they only add and multiply, so every machine gets the same bits.
    """
    size = max(int(wavelength_px / 3) | 1, 3)
    pad = 2 * size
    noise = rng.random((shape[0] + 2 * pad, shape[1] + 2 * pad)) - 0.5
    for _ in range(3):
        noise = ndimage.uniform_filter(noise, size)
    noise = noise[pad:-pad, pad:-pad]
    even: Floats = (noise - noise.mean()) / noise.std()
    return even


@dataclass(frozen=True)
class Ground:
    """Where each pixel lies once the plane is bent: cells are cut straight there and come back curved.

    `x`, `y` are bent metres; (`cos`, `sin`) the direction streets run in at the pixel; all of the raster's shape.
    A pixel is a square of `pixel_m`.
    """

    x: Floats
    y: Floats
    cos: Floats
    sin: Floats
    pixel_m: float

    def crop(self, window: tuple[slice, slice]) -> "Ground":
        """The same ground in a window of the raster."""
        return Ground(self.x[window], self.y[window], self.cos[window], self.sin[window], self.pixel_m)


def partition(
    ground: Ground,
    where: Mask,
    targets: Floats,
    rng: np.random.Generator,
    *,
    step: int = 1,
    zones: tuple[npt.NDArray[np.int64], Labels] | None = None,
) -> Labels:
    """Cut the pixels of `where` into one piece for each target.

    A centroidal power diagram under the norm (u⁸ + v⁸)^¼ along the streets, which prefers squares to hexagons
    (Lévy & Liu 2010, Lp centroidal Voronoi tessellation); weights are adjusted until areas are near their targets.

    Parameters
    ----------
    targets
        Relative areas, shape (n,), positive.
    step
        Only each `step`-th pixel in both directions is used to find the seeds.
    zones
        The zone each piece starts in, shape (n,), and the zone of each pixel; without it pieces start anywhere.

    Returns
    -------
    labels
        0 … n-1 inside, `OUTSIDE` elsewhere. Pieces may have strays: see `connect`.
    """
    rows, cols = np.nonzero(where)
    coarse = (rows % step == 0) & (cols % step == 0)
    points = np.column_stack([layer[where] for layer in (ground.x, ground.y, ground.cos, ground.sin)])
    areas_m2 = targets / targets.sum() * len(rows) * ground.pixel_m**2
    homes = np.zeros(len(targets), np.int64) if zones is None else zones[0]
    pixel_zones = np.zeros(int(coarse.sum()), np.int32) if zones is None else zones[1][where][coarse]
    # a small problem easily settles into a poor cut, so it is tried more often
    tries = 4 if 1 < len(targets) <= 6 else 1
    found = [relax(points[coarse], _start(homes, pixel_zones, rng), areas_m2) for _ in range(tries)]
    _, seeds, weights = min(found, key=lambda result: result[0])
    labels = np.full(where.shape, OUTSIDE, np.int32)
    labels[where] = nearest(points, seeds, weights)
    return labels


def _start(homes: npt.NDArray[np.int64], zones: Labels, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    chosen = np.empty(len(homes), np.int64)
    for zone in np.unique(homes):
        slots = np.flatnonzero(homes == zone)
        pool = np.flatnonzero(zones == zone)
        chosen[slots] = rng.choice(pool if len(pool) >= len(slots) else len(zones), len(slots), replace=False)
    return chosen


def relax(points: Floats, start: npt.NDArray[np.int64], areas_m2: Floats) -> tuple[float, Floats, Floats]:
    """Lloyd's iteration with weights that steer the areas; returns (spread, seeds, weights), best with least spread.

    Parameters
    ----------
    points
        x, y, cos, sin of pixels that share the ground equally, shape (m, 4).
    start
        Which points the seeds begin at, shape (n,).
    """
    count = len(areas_m2)
    pixel_m2 = areas_m2.sum() / len(points)
    seeds = points[start, :2].copy()
    weights = np.zeros(count)
    owner = nearest(points, seeds, weights)
    for turn in range(RELAX_TURNS):
        got = np.bincount(owner, minlength=count)
        for axis in (0, 1):
            total = np.bincount(owner, points[:, axis], minlength=count)
            seeds[:, axis] = np.where(got > 0, total / np.maximum(got, 1), seeds[:, axis])
        if turn >= RELAX_TURNS // 5:
            weights += 0.25 * (areas_m2 - got * pixel_m2)
            weights = np.clip(weights - weights.mean(), -0.6 * areas_m2, 0.6 * areas_m2)
        owner = nearest(points, seeds, weights)
    misfit = np.abs(np.bincount(owner, minlength=count) * pixel_m2 - areas_m2).mean()
    spread = ((points[:, :2] - seeds[owner]) ** 2).sum(axis=1).mean()
    return float(spread + misfit / 10), seeds, weights


def nearest(points: Floats, seeds: Floats, weights: Floats) -> npt.NDArray[np.int64]:
    """Index of the seed that owns each point; `points` has columns x, y, cos, sin."""
    if len(seeds) <= CANDIDATES:
        near = np.tile(np.arange(len(seeds)), (len(points), 1))
    else:
        near = cKDTree(seeds).query(points[:, :2], k=CANDIDATES)[1]
    away_x = points[:, :1] - seeds[near, 0]
    away_y = points[:, 1:2] - seeds[near, 1]
    along = points[:, 2:3] * away_x + points[:, 3:4] * away_y
    across = points[:, 2:3] * away_y - points[:, 3:4] * away_x
    along, across = (along * along) ** 2, (across * across) ** 2
    cost = np.sqrt(np.sqrt(along * along + across * across)) - weights[near]
    owner: npt.NDArray[np.int64] = near[np.arange(len(points)), cost.argmin(axis=1)]
    return owner


def blunt(labels: Labels, width_px: int) -> Labels:
    """Labels without spikes: ground narrower than `width_px` goes to whichever label is near and wider."""
    cores = np.full(labels.shape, OUTSIDE, np.int32)
    for label, window in enumerate(ndimage.find_objects(labels + 1)):
        own = np.pad(labels[window] == label, width_px)
        wide = ndimage.maximum_filter(ndimage.minimum_filter(own, width_px), width_px)
        inner = tuple(slice(width_px, -width_px) for _ in range(2))
        cores[window][wide[inner] & own[inner]] = label
    near = ndimage.distance_transform_edt(cores == OUTSIDE, return_distances=False, return_indices=True)
    return np.where(labels == OUTSIDE, OUTSIDE, cores[tuple(near)]).astype(np.int32)


def connect(labels: Labels, parents: Labels) -> Labels:
    """Give each stray part of a label to the neighbour with the longest contact, inside the same parent.

    A label keeps its largest part; parts hang together by pixel edges. Pixels of one label that meet only at a
    corner are joined too, because a polygon must not touch itself.
    """
    labels = labels.copy()
    for _ in range(20):
        changed = _move_strays(labels, parents) + _fill_corners(labels, parents)
        if not changed:
            return labels
    raise ValueError("labels do not settle into connected parts")


def _move_strays(labels: Labels, parents: Labels) -> int:
    moved = 0
    for label, window in enumerate(ndimage.find_objects(labels + 1)):
        if window is None:
            continue
        parts, count = ndimage.label(labels[window] == label)
        if count < 2:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        for part in np.flatnonzero(np.arange(count) != sizes.argmax()) + 1:
            rows, cols = np.nonzero(parts == part)
            moved += _give_away(labels, parents, rows + window[0].start, cols + window[1].start)
    return moved


def _give_away(labels: Labels, parents: Labels, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64]) -> int:
    own, parent = labels[rows[0], cols[0]], parents[rows[0], cols[0]]
    around = []
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        next_labels = labels[rows + down, cols + right]
        fits = (next_labels != own) & (next_labels != OUTSIDE) & (parents[rows + down, cols + right] == parent)
        around.append(next_labels[fits])
    neighbours = np.concatenate(around)
    if not len(neighbours):
        return 0
    labels[rows, cols] = np.bincount(neighbours).argmax()
    return len(rows)


def _fill_corners(labels: Labels, parents: Labels) -> int:
    a, b, c, d = labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]
    filled = 0
    for row, col in zip(*np.nonzero((a == d) & (b != a) & (c != a) & (a != OUTSIDE)), strict=True):
        filled += _fill(labels, parents, (row, col), ((row, col + 1), (row + 1, col)))
    for row, col in zip(*np.nonzero((b == c) & (a != b) & (d != b) & (b != OUTSIDE)), strict=True):
        filled += _fill(labels, parents, (row, col + 1), ((row, col), (row + 1, col + 1)))
    return filled


def _fill(labels: Labels, parents: Labels, own: tuple[int, int], others: Iterable[tuple[int, int]]) -> int:
    for other in others:
        if labels[other] != OUTSIDE and parents[other] == parents[own]:
            labels[other] = labels[own]
            return 1
    return 0
