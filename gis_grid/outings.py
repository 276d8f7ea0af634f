"""Where to go next: the unseen ground of an area in the order of a short outing.

OR-Tools solves it as one routing problem: each stop has a prize (the unseen ground around it), the way has a limit, and
stops that do not fit are left out. Ways are straight lines: the district's streets are not known here.
"""

from dataclasses import dataclass
from datetime import datetime

import geopandas as gpd
import gpxpy.gpx
import numpy as np
import pandas as pd
from ortools.constraint_solver import pywrapcp, routing_enums_pb2
from sqlalchemy.orm import Session

from gis_grid.blocks import blocks_frame
from gis_grid.city import City
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.geo.blindspots import unseen_ground
from gis_grid.geo.datum import LonLat
from gis_grid.geo.tiles import CELL_M2, Floats, Ground, masks_of, to_metric
from gis_grid.seen import Window, seen_in_window
from gis_grid.seen_shares import excluded_frame
from gis_grid.teams import GroundKind, TeamGround
from gis_grid.territory import grids_below, grids_frame, the_area, the_grid, the_layer

SPACING_M = 80.0  # stops stand this far apart: from one, 50 m of sight reach into its square's corners
MOST_STOPS = 150
LEAST_CELLS = 20


@dataclass(frozen=True)
class Outing:
    """Stops in the order to walk them, WGS84, with the unseen ground around each.

    Attributes
    ----------
    length_m
        Of the straight ways from stop to stop.
    unseen_m2
        Unseen ground around all stops, of `left_m2` in the area before.
    """

    stops: tuple[LonLat, ...]
    gains_m2: tuple[float, ...]
    length_m: float
    left_m2: float

    @property
    def unseen_m2(self) -> float:
        """Unseen ground around the stops."""
        return sum(self.gains_m2)

    def gpx(self, name: str) -> str:
        """The outing as a GPX route."""
        route = gpxpy.gpx.GPXRoute(name=name, description=f"{self.length_m:.0f} m, {self.unseen_m2:.0f} m² unseen")
        for number, (stop, gain) in enumerate(zip(self.stops, self.gains_m2, strict=True), start=1):
            route.points.append(
                gpxpy.gpx.GPXRoutePoint(stop.lat, stop.lon, name=str(number), description=f"{gain:.0f} m² unseen")
            )
        gpx = gpxpy.gpx.GPX()
        gpx.creator = "GIS Grid"
        gpx.routes.append(route)
        return gpx.to_xml()


def suggest_outing(
    session: Session, city: City, code: str, window: Window, *, now: datetime, most_m: float, seconds: float = 3.0
) -> Outing:
    """A short way through the ground of a team, grid or area that nobody saw in a window.

    Parameters
    ----------
    code
        A team's, a grid's or an area's.
    most_m
        How long it may be, metres of straight ways.
    seconds
        How long to look for a better one.

    Raises
    ------
    NotFound
        No such team, grid or area; or nothing in it is unseen.
    """
    if not 100 <= most_m <= 100_000:
        raise InvalidInput(f"length {most_m:g} m: expected 100 m to 100 km")
    grids = _ground_of(session, code, now)
    excluded = excluded_frame(session, as_of=window.last)
    seen = seen_in_window(session, first=window.first, last=window.last, shift=window.shift)
    places, gains = _stops(grids, seen, excluded, window, city)
    left = float(gains.sum())
    if not len(places):
        raise NotFound(f"nothing of {code} is unseen from {window.first} to {window.last}")
    best = np.argsort(-gains, kind="stable")[:MOST_STOPS]
    places, gains = places[best], gains[best]
    order = order_stops(places, gains, most_m=most_m, seconds=seconds)
    x, y = places[order].T
    lon, lat = to_metric("EPSG:4326", city.metric_crs).transform(x, y, direction="INVERSE")
    return Outing(
        stops=tuple(LonLat(float(x), float(y)) for x, y in zip(lon, lat, strict=True)),
        gains_m2=tuple(gains[order].tolist()),
        length_m=float(np.hypot(*np.diff(places[order], axis=0).T).sum()),
        left_m2=left,
    )


def _ground_of(session: Session, code: str, now: datetime) -> gpd.GeoDataFrame:
    """The grids of a team, of an area, or the one grid."""
    query = TeamGround.__table__.select().where(TeamGround.team_code == code, TeamGround.valid.contains(now))
    rows = session.execute(query).all()
    if not rows:
        return _grids(session, code, now)
    codes = {_parent_of(session, row.code, now) if row.ground == GroundKind.BLOCK else row.code for row in rows}
    parts = [_grids(session, one, now) for one in sorted(codes)]
    together = pd.concat(parts).drop_duplicates("grid_code")
    return gpd.GeoDataFrame(together, crs="EPSG:4326")


def _parent_of(session: Session, block_code: str, now: datetime) -> str:
    blocks = blocks_frame(session, at=now).set_index("block_code")
    if block_code not in blocks.index:
        raise NotFound(f"block {block_code} is not in force at {now.isoformat()}")
    return str(blocks.loc[block_code, "parent_code"])


def _grids(session: Session, code: str, now: datetime) -> gpd.GeoDataFrame:
    frame = grids_frame(session, the_layer(session, now))
    if (frame["grid_code"] == code).any():
        return frame[frame["grid_code"] == the_grid(session, code, at=now).code]
    return grids_frame(session, the_layer(session, now), ids=grids_below(the_area(session, code, at=now)))


def _stops(
    grids: gpd.GeoDataFrame, seen: Ground, excluded: gpd.GeoDataFrame, window: Window, city: City
) -> tuple[Floats, Floats]:
    """Places to go to, metres (n, 2), in the middle of the unseen cells of each square, and their unseen m²."""
    patches = unseen_ground(
        grids,
        seen,
        metric_crs=city.metric_crs,
        excluded=excluded if len(excluded) else None,
        as_of=window.last,
        min_area_m2=LEAST_CELLS * CELL_M2,
    )
    if patches.empty:
        return np.zeros((0, 2)), np.zeros(0)
    mask = masks_of(patches.geometry.make_valid(), city.metric_crs)
    rows = zip(mask.tile_row, mask.tile_col, mask.bits, strict=True)
    cells = np.concatenate([_centres(row, col, bits) for row, col, bits in rows])
    square = np.floor(cells / SPACING_M).astype(np.int64)
    _, which, count = np.unique(square, axis=0, return_inverse=True, return_counts=True)
    sums = [np.bincount(which.ravel(), weights=cells[:, axis]) / count for axis in (0, 1)]
    enough = count >= LEAST_CELLS
    return np.column_stack(sums)[enough], np.asarray(count[enough] * CELL_M2, dtype=np.float64)


def _centres(tile_row: int, tile_col: int, bits: np.ndarray) -> Floats:
    row, col = np.divmod(np.flatnonzero(np.unpackbits(bits)), 128)
    centres: Floats = np.column_stack([(tile_col * 128 + col + 0.5) * 5.0, (tile_row * 128 + row + 0.5) * 5.0])
    return centres


def order_stops(places: Floats, gains: Floats, *, most_m: float, seconds: float) -> list[int]:
    """Which stops to take, and in which order, to see the most within a length; begins and ends anywhere.

    Parameters
    ----------
    places
        Metres, shape (n, 2).
    gains
        What each stop is worth, shape (n,), over 0.
    """
    if len(places) == 1:
        return [0]
    n = len(places)
    # A last node that is no place, and no way from anywhere, lets the way begin and end where it likes.
    far = np.zeros((n + 1, n + 1), dtype=np.int64)
    far[:n, :n] = np.round(np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)))
    index = pywrapcp.RoutingIndexManager(n + 1, 1, n)
    routing = pywrapcp.RoutingModel(index)
    way = routing.RegisterTransitMatrix(far.tolist())
    routing.SetArcCostEvaluatorOfAllVehicles(way)
    routing.AddDimension(way, 0, int(most_m), True, "metres")  # noqa: FBT003 - OR-Tools takes it by place
    # What is left unseen weighs more than any way that the limit allows.
    weight = max(1.0, most_m / float(gains.min()))
    for node in range(n):
        routing.AddDisjunction([index.NodeToIndex(node)], int(gains[node] * weight))
    search = pywrapcp.DefaultRoutingSearchParameters()
    search.first_solution_strategy = routing_enums_pb2.FirstSolutionStrategy.PATH_CHEAPEST_ARC
    search.local_search_metaheuristic = routing_enums_pb2.LocalSearchMetaheuristic.GUIDED_LOCAL_SEARCH
    search.time_limit.FromMilliseconds(int(seconds * 1000))
    found = routing.SolveWithParameters(search)
    order, at = [], routing.Start(0)
    while not routing.IsEnd(at):
        if index.IndexToNode(at) < n:
            order.append(index.IndexToNode(at))
        at = found.Value(routing.NextVar(at))
    return order
