"""Cells of a mask as polygons: one a patch of side-joined cells of one owner, traced exactly.

The lattice is swept once, northwards. Where a border between owners turns or meets another lies a node; it knows the
nodes west and south of it that a border comes from, and the patches around it, which are joined as the sweep meets
them. Then each border is walked with its patch on the left: a ring that turns left is a patch's outline, one that
turns right a hole in it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from gis_grid.geo.tiles import CELL_M, CELL_M2, TILE_CELLS, Floats, GroundMask, Ints, kernel, to_metric

NOBODY = -1
NONE = -1
EAST, NORTH, WEST, SOUTH = range(4)  # a quarter turn to the left each

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Nodes:
    """Where borders turn or meet, by row and column.

    Attributes
    ----------
    xy
        Shape (n, 2), column and row of the lattice point.
    links
        Shape (n, 4), the next node to the east, north, west and south along a border, or `NONE`.
    left
        Shape (n, 4), the patch on the left of who leaves that way: north-east, north-west, south-west, south-east.
    """

    xy: Int32s
    links: Int32s
    left: Int32s


def polygonise(mask: GroundMask, *, rank: Ints, min_area_m2: float = 0.0) -> tuple[npt.NDArray[np.object_], Ints]:
    """Polygons of the cells of a mask, exactly.

    Parameters
    ----------
    mask
        Cells by polygon.
    rank
        Shape (n_polygons,): where two polygons claim a cell, the lower rank has it.
    min_area_m2
        Smaller patches are left out.

    Returns
    -------
    shapes
        Valid polygons in metres, one a patch of side-joined cells of one owner; together a valid coverage.
    owner
        The polygon each patch is of, a position as in `mask.polygon`.
    """
    if not mask.bits.any():
        return np.zeros(0, dtype=object), np.zeros(0, np.int64)
    nodes, owner_of = _nodes(mask, rank)
    at, first, patch, area = _rings(nodes.xy, nodes.links, nodes.left)
    cells = np.bincount(patch, weights=area, minlength=len(owner_of))  # a hole's area is negative
    is_kept = cells[patch] * CELL_M2 >= min_area_m2
    order = np.flatnonzero(is_kept)[np.lexsort([area[is_kept] < 0, patch[is_kept]])]  # the outline, then its holes
    rings = _closed(nodes.xy, at, first[order], first[order + 1])
    held, begins = np.unique(patch[order], return_index=True)
    shapes: npt.NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, rings[0], (rings[1], np.r_[begins, len(order)])
    )
    return shapes, owner_of[held].astype(np.int64)


def _nodes(mask: GroundMask, rank: Ints) -> tuple[_Nodes, Int32s]:
    """All nodes of a mask, and the owner of each patch they name."""
    col0, row0 = int(mask.tile_col.min()), int(mask.tile_row.min())
    width = (int(mask.tile_col.max()) - col0 + 1) * TILE_CELLS
    order = np.lexsort([-rank[mask.polygon], mask.tile_row])  # the lowest rank paints last
    rows = mask.tile_row[order]
    below = np.full((2, width), NOBODY, np.int32)
    risen = np.full(width + 1, NONE, np.int32)
    patches = np.zeros((2, 0), np.int32)  # what each was joined with, and whose it is
    pieces, count = [], 0
    # One empty band past the last closes what still stands open.
    for band in range(row0, int(mask.tile_row.max()) + 2):
        members = order[np.searchsorted(rows, band) : np.searchsorted(rows, band, side="right")]
        painted = _paint(mask, members, col0, width)
        piece, patches = _sweep(painted, below, risen, patches, count)
        piece[:, :2] += np.array([col0, band], np.int32) * TILE_CELLS
        count += len(piece)
        pieces.append(piece)
    found = np.concatenate(pieces)
    roots = _roots(patches[0])
    links = np.full((count, 4), NONE, np.int32)
    links[:, [WEST, SOUTH]] = found[:, 2:4]
    for there, back in ((WEST, EAST), (SOUTH, NORTH)):
        linked = np.flatnonzero(links[:, there] != NONE)
        links[links[linked, there], back] = linked
    left = found[:, 4:]
    return _Nodes(found[:, :2], links, np.where(left == NOBODY, NOBODY, roots[left])), patches[1]


def _paint(mask: GroundMask, members: Ints, col0: int, width: int) -> Int32s:
    """Return who owns each cell of one row of tiles, shape (128, width); NOBODY elsewhere."""
    owners = np.full((TILE_CELLS, width), NOBODY, np.int32)
    for member in members:
        at = (int(mask.tile_col[member]) - col0) * TILE_CELLS
        cells = np.unpackbits(mask.bits[member]).reshape(TILE_CELLS, TILE_CELLS).view(bool)
        owners[:, at : at + TILE_CELLS][cells] = mask.polygon[member]
    return owners


@kernel
def _root(patches: Int32s, patch: int) -> int:
    while patches[patch] != patch:
        patches[patch] = patches[patches[patch]]
        patch = patches[patch]
    return patch


@kernel
def _roots(patches: Int32s) -> Int32s:
    """Return the lowest number that each patch goes by."""
    for patch in range(len(patches)):
        patches[patch] = _root(patches, patch)
    return patches


@kernel
def _sweep(owners: Int32s, below: Int32s, risen: Int32s, patches: Int32s, count: int) -> tuple[Int32s, Int32s]:
    """Return the nodes of a band, sweeping its rows northwards, and all patches known.

    A node is (column, row, node to the west, to the south, patches to the north-east, north-west, south-west,
    south-east); `count` nodes came before. `below` is the row of cells before the band, owners and patches, `risen`
    the node in which the open upright border of each column began; both are updated.
    """
    rows, width = owners.shape
    nodes = np.empty((rows * (width + 1), 8), np.int32)
    joined = np.empty((2, patches.shape[1] + rows * width), np.int32)
    joined[:, : patches.shape[1]] = patches
    known, n = patches.shape[1], 0
    around = np.full((4, width + 2), NOBODY, np.int32)  # owners and patches south, then north, with a rim
    around[:2, 1:-1] = below
    for r in range(rows):
        around[2, 1:-1] = owners[r]
        known = _name_row(around, joined, known)
        south, of_south, north, of_north = around
        run = NONE
        for c in range(width + 1):
            nw, ne, sw, se = north[c], north[c + 1], south[c], south[c + 1]
            if (nw == ne and sw == se) or (nw == sw and ne == se):
                continue
            node = nodes[n]
            node[0], node[1] = c, r
            node[2] = run if nw != sw else NONE
            node[3] = risen[c] if sw != se else NONE
            node[4], node[5], node[6], node[7] = of_north[c + 1], of_north[c], of_south[c], of_south[c + 1]
            run = risen[c] = count + n
            n += 1
        around[:2] = around[2:]
    below[:] = around[:2, 1:-1]
    return nodes[:n].copy(), joined[:, :known].copy()


@kernel
def _name_row(around: Int32s, patches: Int32s, known: int) -> int:
    """Name the patch of each cell of the northern row, joining those that meet; how many patches are known then."""
    south, of_south, north, of_north = around
    for c in range(1, len(north) - 1):
        own = north[c]
        of_north[c] = of_north[c - 1] if own == north[c - 1] else NOBODY
        if own == NOBODY:
            continue
        if own == south[c] and of_north[c] == NOBODY:
            of_north[c] = of_south[c]
        elif own == south[c] and own != south[c - 1]:  # else joined a column ago
            one, other = _root(patches[0], of_north[c]), _root(patches[0], of_south[c])
            patches[0, max(one, other)] = min(one, other)
        if of_north[c] == NOBODY:
            patches[0, known], patches[1, known] = known, own
            of_north[c] = known
            known += 1
    return known


@kernel
def _rings(xy: Int32s, links: Int32s, left: Int32s) -> tuple[Int32s, Ints, Int32s, Floats]:
    """Return all rings with a patch on their left: their nodes, where each begins and the last ends, patch, area.

    A border is followed to the leftmost one that goes on, so that what meets in a corner stays apart; but where a patch
    meets itself in a corner, it is followed to the right: there a hole touches the outline, and the outline does not
    touch itself. Areas are in cells, those of holes negative.
    """
    n = len(xy)
    at = np.empty(4 * n, np.int32)
    first = np.zeros(n + 1, np.int64)
    patch = np.empty(n, np.int32)
    area = np.empty(n, np.float64)
    is_walked = np.zeros((n, 4), np.bool_)
    count, rings = 0, 0
    for start in range(n):
        for way in range(4):
            own = left[start, way]
            if links[start, way] == NONE or own == NOBODY or is_walked[start, way]:
                continue
            node, ahead, twice = start, way, 0
            while not is_walked[node, ahead]:
                is_walked[node, ahead] = True
                at[count] = node
                count += 1
                to = links[node, ahead]
                twice += np.int64(xy[node, 0]) * xy[to, 1] - np.int64(xy[to, 0]) * xy[node, 1]
                node = to
                to_left, to_right = (ahead + 1) % 4, (ahead + 3) % 4
                if links[node, to_left] != NONE and left[node, to_right] != own:
                    ahead = to_left
                elif links[node, to_left] != NONE or links[node, ahead] == NONE:
                    ahead = to_right
            patch[rings], area[rings] = own, twice / 2
            rings += 1
            first[rings] = count
    return at[:count].copy(), first[: rings + 1].copy(), patch[:rings].copy(), area[:rings].copy()


def _closed(xy: Int32s, at: Int32s, first: Ints, end: Ints) -> tuple[Floats, Ints]:
    """Coordinates of rings in metres, each closed, and where each begins and the last ends."""
    length = end - first + 1
    begins = np.r_[0, np.cumsum(length)]
    within = np.arange(begins[-1]) - np.repeat(begins[:-1], length)
    is_last = within == np.repeat(length - 1, length)
    node = at[np.repeat(first, length) + np.where(is_last, 0, within)]
    return xy[node].astype(np.float64) * CELL_M, begins


def to_degrees(shapes: npt.NDArray[np.object_], metric_crs: str) -> npt.NDArray[np.object_]:
    """Polygons in metres as WGS84 degrees, 6 decimals."""
    transformer = to_metric("EPSG:4326", metric_crs)

    def back(xy: Floats) -> Floats:
        return np.round(np.column_stack(transformer.transform(xy[:, 0], xy[:, 1], direction="INVERSE")), 6)

    turned: npt.NDArray[np.object_] = shapely.transform(shapes, back)
    return turned
