"""Which pixel belongs to which town, community and grid."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from scipy import ndimage

from gridmaker.raster import OUTSIDE, Floats, Ground, Labels, Mask, blunt, connect, partition, smooth_noise
from gridmaker.sources import QUARTERS, UNITS_PER_DEGREE, Community

# An affine plane of metres: straight lines there stay straight in lon/lat. Metres per degree are WGS84's at 31.1° N.
ORIGIN: Floats = np.array([121.4, 31.1])
METRES_PER_DEGREE: Floats = np.array([95443.0, 110867.0])

PIXEL_M = 20.0
MARGIN_PX = 20
GRID_COUNT = 1002
SPIKE_M = 300.0

# Where the Huangpu turns north, set by hand between the extents of 吴泾 and 浦江, south to north (lon, lat).
RIVER: Floats = np.array(
    [
        (121.4870, 31.0165),
        (121.4790, 31.0300),
        (121.4715, 31.0480),
        (121.4680, 31.0650),
        (121.4672, 31.0800),
        (121.4640, 31.0950),
        (121.4583, 31.1080),
    ]
)
EAST_OF_THE_RIVER = ("310112114", "310112009")
RURAL = {"310112106": 1.0, "310112112": 1.0, "310112114": 1.0, "310112009": 0.7, "310112110": 0.8, "310112103": 0.5}


def to_metres(degrees: Floats) -> Floats:
    """Lon/lat degrees (n, 2) in the affine plane."""
    return (degrees - ORIGIN) * METRES_PER_DEGREE


def to_units(metres: Floats) -> npt.NDArray[np.int64]:
    """Nearest point of the 1e-7 degree lattice, whole numbers (n, 2), for metres of the affine plane."""
    units: npt.NDArray[np.int64] = np.round((metres / METRES_PER_DEGREE + ORIGIN) * UNITS_PER_DEGREE).astype(np.int64)
    return units


@dataclass(frozen=True)
class Raster:
    """Pixels of `PIXEL_M` over the district: row 0 in the south, (`west_m`, `south_m`) the outer corner of (0, 0)."""

    west_m: float
    south_m: float
    inside: Mask

    def corners_to_metres(self, corners: npt.NDArray[np.int64]) -> Floats:
        """Plane position of pixel corners given as (column, row)."""
        return corners * PIXEL_M + [self.west_m, self.south_m]

    def centres(self) -> tuple[Floats, Floats]:
        """Plane x and y of every pixel's centre, both of the raster's shape."""
        rows, cols = self.inside.shape
        x = self.west_m + (np.arange(cols) + 0.5) * PIXEL_M
        y = self.south_m + (np.arange(rows) + 0.5) * PIXEL_M
        return np.broadcast_to(x, (rows, cols)), np.broadcast_to(y[:, None], (rows, cols))


def rasterise(outline_m: shapely.Polygon) -> Raster:
    """Pixels well inside the outline, as one part without holes or thin spikes.

    What is left between them and the outline goes to whatever grid lies beside it.
    """
    west, south, east, north = outline_m.bounds
    west, south = west - MARGIN_PX * PIXEL_M, south - MARGIN_PX * PIXEL_M
    shape = (int((north - south) / PIXEL_M) + MARGIN_PX, int((east - west) / PIXEL_M) + MARGIN_PX)
    blank = Raster(west, south, np.zeros(shape, bool))
    x, y = blank.centres()
    core = outline_m.buffer(-0.7 * PIXEL_M)
    shapely.prepare(core)
    mask = ndimage.binary_opening(shapely.contains_xy(core, x, y), np.ones((5, 5)))
    parts, _ = ndimage.label(mask)
    mask = ndimage.binary_fill_holes(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
    return Raster(west, south, mask)


def lay_ground(raster: Raster, quarters: Labels, rng: np.random.Generator) -> Ground:
    """Bend the plane: gently along streets in town, more along creeks in the country."""
    x, y = raster.centres()
    shape = raster.inside.shape
    rural = rural_share(quarters)
    bends = []
    for _ in range(2):
        long, short = smooth_noise(shape, 900 / PIXEL_M, rng), smooth_noise(shape, 260 / PIXEL_M, rng)
        bends.append((26 + 50 * rural) * long + (5 + 17 * rural) * short)
    turn = smooth_noise(shape, 4000 / PIXEL_M, rng) * 0.35 + 0.15 * smooth_noise(shape, 1500 / PIXEL_M, rng)
    cos = 1 / np.sqrt(1 + turn * turn)
    return Ground(x + bends[0], y + bends[1], cos, turn * cos, PIXEL_M)


def rural_share(quarters: Labels) -> Floats:
    """0 in town to 1 in the country, blended over a kilometre."""
    table = np.array([RURAL.get(quarter.source_code, 0.0) for quarter in QUARTERS])
    filled = quarters[tuple(ndimage.distance_transform_edt(quarters == OUTSIDE, return_indices=True)[1])]
    share: Floats = ndimage.uniform_filter(table[filled], int(1000 / PIXEL_M))
    return share


def cut_quarters(raster: Raster, boxes: list[tuple[float, float, float, float]], rng: np.random.Generator) -> Labels:
    """Index into `QUARTERS` for each pixel, from the extents, with areas near the published ones."""
    x, y = raster.centres()
    shape = raster.inside.shape
    bent = [
        centre + 170 * smooth_noise(shape, 1800 / PIXEL_M, rng) + 45 * smooth_noise(shape, 500 / PIXEL_M, rng)
        for centre in (x, y)
    ]
    costs = np.stack([_box_cost(bent, box) for box in boxes])
    _bar_the_river(costs, x, y)
    wanted = np.array([quarter.area_km2 for quarter in QUARTERS])
    costs += _area_weights(costs[:, raster.inside][:, ::7], wanted)[:, None, None]
    labels = costs.argmin(axis=0)
    for _ in range(4):
        votes = np.stack([ndimage.uniform_filter((labels == k).astype(np.float64), 11) for k in range(len(boxes))])
        _bar_the_river(votes, x, y, worst=-1.0)
        labels = votes.argmax(axis=0)
    labels = blunt(np.where(raster.inside, labels, OUTSIDE).astype(np.int32), int(SPIKE_M / PIXEL_M))
    return connect(labels, np.zeros_like(labels))


def _box_cost(xy: list[Floats], box: tuple[float, float, float, float]) -> Floats:
    (west, south), (east, north) = to_metres(np.array([box[:2], box[2:]]))
    across = np.abs(xy[0] - (west + east) / 2) / ((east - west) / 2)
    along = np.abs(xy[1] - (south + north) / 2) / ((north - south) / 2)
    reach = np.maximum(across, along)
    cost: Floats = 0.5 * reach + 0.5 * np.sqrt(across**2 + along**2) + 6 * np.maximum(reach - 1, 0)
    return cost


def _bar_the_river(scores: Floats, x: Floats, y: Floats, worst: float = 1e6) -> None:
    river = to_metres(RIVER)
    is_east = x > np.interp(y, river[:, 1], river[:, 0])
    for index, quarter in enumerate(QUARTERS):
        belongs_east = quarter.source_code in EAST_OF_THE_RIVER
        scores[index][is_east != belongs_east] = worst


def _area_weights(costs: Floats, wanted: Floats) -> Floats:
    wanted = wanted / wanted.sum() * costs.shape[1]
    weights = np.zeros(len(wanted))
    for turn in range(300):
        got = np.bincount((costs + weights[:, None]).argmin(axis=0), minlength=len(wanted))
        weights += 0.06 * np.clip((got - wanted) / wanted, -1, 1) * 0.99**turn
    return weights


@dataclass(frozen=True)
class Cut:
    """A number for each pixel's grid, and of each grid its community and quarter (index into `QUARTERS`)."""

    grids: Labels
    communities: list[Community]
    quarters: list[int]


def cut_grids(
    ground: Ground, quarters: Labels, communities: dict[str, list[Community]], rng: np.random.Generator
) -> Cut:
    """Cut each quarter into its communities and each community into its grids."""
    homes = np.full(quarters.shape, OUTSIDE, np.int32)
    placed: list[tuple[Community, int, int]] = []
    for index, count in enumerate(grids_per_quarter(quarters, communities)):
        members = communities[QUARTERS[index].source_code]
        where = quarters == index
        villages = np.array(sorted(community.is_village for community in members))
        counts = allocate(np.where(villages, 2.2, 1.0) * (0.7 + 0.6 * rng.random(len(members))), count)
        pieces = cut_communities(ground, where, villages, counts, rng)
        homes[where] = pieces[where] + len(placed)
        named = place_names(ground, np.where(where, pieces, OUTSIDE), members, villages)
        placed.extend((community, int(n), index) for community, n in zip(named, counts, strict=True))
    homes = connect(homes, quarters)
    grids = np.full(quarters.shape, OUTSIDE, np.int32)
    owners: list[int] = []
    for home, window in enumerate(ndimage.find_objects(homes + 1)):
        where, count = homes[window] == home, placed[home][1]
        step = 1 if where.sum() < 1000 else 2
        pieces = partition(ground.crop(window), where, 0.8 + 0.4 * rng.random(count), rng, step=step)
        grids[window][where] = pieces[where] + len(owners)
        owners.extend([home] * count)
    return Cut(connect(grids, homes), [placed[o][0] for o in owners], [placed[o][2] for o in owners])


def cut_communities(
    ground: Ground, where: Mask, villages: Mask, counts: npt.NDArray[np.int64], rng: np.random.Generator
) -> Labels:
    """Pieces of a quarter: neighbourhoods small and around its centres, villages large and around those.

    `villages` and `counts` (grids to come) describe each piece.
    """
    sizes = np.where(villages, 2.6, 1.0) * counts * (0.8 + 0.4 * rng.random(len(counts)))
    area_km2 = where.sum() * (PIXEL_M / 1000) ** 2
    centres = partition(ground, where, np.ones(1 + int(area_km2 > 15) + int(area_km2 > 30)), rng, step=3)
    away = np.full(where.shape, np.inf)
    for centre in range(centres.max() + 1):
        x, y = ground.x[centres == centre].mean(), ground.y[centres == centre].mean()
        away = np.minimum(away, (ground.x - x) ** 2 + (ground.y - y) ** 2)
    away[~where] = np.inf
    reach = np.quantile(away[where], sizes[~villages].sum() / sizes.sum())
    in_town = away <= reach
    zones = (villages.astype(np.int64), np.where(in_town, 0, 1).astype(np.int32))
    return partition(ground, where, sizes, rng, step=3, zones=zones)


def place_names(ground: Ground, pieces: Labels, members: list[Community], villages: Mask) -> list[Community]:
    """The community of each piece: codes follow a curve through the quarter, so that near numbers lie near."""
    count = len(members)
    where = pieces != OUTSIDE
    centres = [np.bincount(pieces[where], axis[where]) / np.bincount(pieces[where]) for axis in (ground.x, ground.y)]
    rank = curve_rank(np.column_stack(centres))
    named: list[Community | None] = [None] * count
    for is_village in (False, True):
        slots = np.flatnonzero(villages == is_village)
        slots = slots[rank[slots].argsort(kind="stable")]
        for slot, member in zip(slots, (m for m in members if m.is_village == is_village), strict=True):
            named[slot] = member
    return [member for member in named if member is not None]


def curve_rank(points: Floats) -> npt.NDArray[np.int64]:
    """Place of each point (n, 2) along a Hilbert curve of 256 × 256 cells over their extent."""
    low = points.min(axis=0)
    cells = np.minimum(((points - low) / max(float(np.ptp(points, axis=0).max()), 1.0) * 256).astype(np.int64), 255)
    x, y = cells[:, 0].copy(), cells[:, 1].copy()
    rank = np.zeros(len(points), np.int64)
    side = 128
    while side:
        right, up = (x & side) > 0, (y & side) > 0
        rank += side * side * ((3 * right) ^ up)
        flip = right & ~up
        x, y = np.where(flip, 255 - x, x), np.where(flip, 255 - y, y)
        x, y = np.where(~up, y, x), np.where(~up, x, y)
        side //= 2
    return rank


def grids_per_quarter(quarters: Labels, communities: dict[str, list[Community]]) -> npt.NDArray[np.int64]:
    """Grids of each quarter: four fifths by its communities (people), one fifth by its area."""
    members = np.array([len(communities[quarter.source_code]) for quarter in QUARTERS])
    pixels = np.bincount(quarters[quarters != OUTSIDE], minlength=len(QUARTERS))
    return allocate(0.8 * members / members.sum() + 0.2 * pixels / pixels.sum(), GRID_COUNT, members)


def allocate(weights: Floats, total: int, least: npt.NDArray[np.int64] | int = 1) -> npt.NDArray[np.int64]:
    """Whole numbers that sum to `total`, near `weights`' shares of it and none below `least`."""
    quota = weights / weights.sum() * total
    counts: npt.NDArray[np.int64] = np.maximum(np.floor(quota).astype(np.int64), least)
    while counts.sum() != total:
        if counts.sum() < total:
            counts[(quota - counts).argmax()] += 1
        else:
            counts[np.where(counts > least, counts - quota, -np.inf).argmax()] -= 1
    return counts
