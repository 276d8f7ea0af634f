"""Layers that are hard to place points in, and the points that are hard to place in them."""

from itertools import pairwise

import numpy as np
import shapely

LON, LAT, SIDE = 121.37, 31.11, 0.02


def cells(count, seed=1):
    """An exact coverage of convex cells with corners at no round number."""
    rng = np.random.default_rng(seed)
    seeds = shapely.MultiPoint(rng.uniform((LON, LAT), (LON + SIDE, LAT + SIDE), (count, 2)))
    return shapely.get_parts(shapely.voronoi_polygons(seeds))


def with_holes_and_islands(count=300, seed=2):
    """Cells with a hole in each third one: empty, filled by an island, or by an island that has a hole itself."""
    layer, islands = [], []
    for i, cell in enumerate(cells(count, seed)):
        hole, core = (shapely.transform(cell, _shrink(cell, by)) for by in (0.5, 0.2))
        layer.append(cell if i % 3 else cell.difference(hole))
        if i % 9 == 3:
            islands.append(hole)
        if i % 9 == 6:
            islands.append(hole.difference(core))
    return np.array(layer + islands, dtype=object)


def bricks(rows=20, columns=25):
    """A leaning wall: each brick's corner lies somewhere on the long edge of the next row's."""
    rng = np.random.default_rng(3)
    layer = []
    for row in range(rows):
        joints = np.sort(np.concatenate([[0, 1], rng.random(columns)]))
        for west, east in pairwise(joints):
            corners = np.array([(west, row), (east, row), (east, row + 1), (west, row + 1)]) / (1, rows)
            lean = corners @ np.array([[0.9, 0.1], [-0.07, 0.8]])
            layer.append(shapely.Polygon(lean * SIDE + (LON, LAT)))
    return np.array(layer, dtype=object)


def overlaps(count=200):
    """Stars, some of them ten times as large as others, all over each other."""
    rng = np.random.default_rng(4)
    layer = []
    for _ in range(count):
        angles = np.sort(rng.random(12)) * 2 * np.pi
        radii = rng.uniform(0.2, 1, 12) * SIDE * rng.choice([0.02, 0.05, 0.2])
        middle = rng.uniform((LON, LAT), (LON + SIDE, LAT + SIDE))
        layer.append(shapely.Polygon(middle + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]))
    return np.array([star for star in layer if star.is_valid], dtype=object)


def in_parts(count=400):
    """Cells dealt out to a quarter as many owners, so that most are of several parts, touching or apart."""
    parts, rng = cells(count, 5), np.random.default_rng(5)
    owners = rng.integers(0, count // 4, count)
    return np.array([shapely.union_all(parts[owners == i]) for i in np.unique(owners)], dtype=object)


LAYERS = {
    "cells": lambda: cells(400),
    "holes and islands": with_holes_and_islands,
    "bricks": bricks,
    "overlaps": overlaps,
    "parts": in_parts,
}


def awkward_points(polygons, frame, *, on_edges=2, anywhere=20_000, seed=6):
    """Vertices, edge midpoints, random points on edges, corners of cells, their neighbours one ulp off, and others."""
    rng = np.random.default_rng(seed)
    rings = shapely.get_rings(shapely.get_parts(polygons))
    vertices, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = ring[1:] == ring[:-1]
    starts, ends = vertices[:-1][is_edge], vertices[1:][is_edge]
    middles = (starts + ends) / 2
    along = np.concatenate([starts + rng.random((len(starts), 1)) * (ends - starts) for _ in range(on_edges)])
    columns, rows = rng.integers(0, frame.columns * 8, 3000) / 8, rng.integers(0, frame.rows * 8, 3000) / 8
    corners = np.column_stack([frame.x0 + columns / frame.per_x, frame.y0 + rows / frame.per_y])
    exact = np.unique(np.concatenate([vertices, middles, along, corners]), axis=0)
    steps = [(dx, dy) for dx in (-np.inf, np.nan, np.inf) for dy in (-np.inf, np.nan, np.inf)]
    near = [np.column_stack([_step(exact[:, 0], dx), _step(exact[:, 1], dy)]) for dx, dy in steps]
    west, south, east, north = shapely.total_bounds(polygons)
    margin = 0.1 * (east - west)
    others = rng.uniform((west - margin, south - margin), (east + margin, north + margin), (anywhere, 2))
    points = np.concatenate([*near, others])
    return np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])


def lowest_touching(polygons, lon, lat):
    """The rule as GEOS has it: position of the lowest polygon that intersects each point, -1 for none."""
    points, found = shapely.STRtree(polygons).query(shapely.points(lon, lat), predicate="intersects")
    lowest = np.full(len(lon), len(polygons))
    np.minimum.at(lowest, points, found)
    return np.where(lowest == len(polygons), -1, lowest)


def _step(values, towards):
    return values if np.isnan(towards) else np.nextafter(values, towards)


def _shrink(cell, by):
    middle = np.array(cell.centroid.coords[0])
    return lambda xy: middle + (xy - middle) * by
