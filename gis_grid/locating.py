"""Placing in the database: which grid, by the rule of `gis_grid.geo.placing`, in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.database import sql
from gis_grid.geo.datum import LonLat
from gis_grid.geo.placing import Method, metres_per_degree
from gis_grid.territory import Grid

CERTAIN_SHARE = 0.8
MIN_ACCURACY_M, MAX_ACCURACY_M = 0.01, 10_000.0


@dataclass(frozen=True)
class Located:
    """Where a point was placed.

    Attributes
    ----------
    layer_id, grid_id
        None without a layer in force, or outside every grid.
    distance_m
        0 inside and on edges, None outside.
    shares
        Share (0–1) of the accuracy circle in each grid it reaches; None when no accuracy was given.
    """

    layer_id: int | None
    grid_id: int | None
    grid_code: str | None
    method: Method
    distance_m: float | None
    shares: dict[str, float] | None = field(default=None)

    @property
    def is_uncertain(self) -> bool:
        """True when under 0.8 of the accuracy circle lies in the chosen grid (for a point outside: in none)."""
        if self.shares is None:
            return False
        chosen = 1 - sum(self.shares.values()) if self.grid_code is None else self.shares.get(self.grid_code, 0.0)
        return chosen < CERTAIN_SHARE


def locate(
    session: Session,
    points: Sequence[LonLat],
    *,
    at: Sequence[datetime],
    accuracy_m: Sequence[float | None],
    snap_m: float,
) -> list[Located]:
    """Where each point lies in the layer in force at its time, in the order given.

    Parameters
    ----------
    points
        WGS84 degrees.
    accuracy_m
        Radius of each point's accuracy circle in metres, None where unknown.
    snap_m
        How far outside every grid a point still goes to the nearest one, in metres.
    """
    lon, lat = np.array([point.lon for point in points]), np.array([point.lat for point in points])
    mx, my = metres_per_degree(lat)
    arrays = {"lon": lon.tolist(), "lat": lat.tolist(), "mx": mx.tolist(), "my": my.tolist(), "at": list(at)}
    rows = session.execute(sql("place_points"), {**arrays, "snap_m": snap_m}).all()
    ids = {row.grid_id for row in rows if row.grid_id is not None}
    codes = dict(session.execute(sa.select(Grid.id, Grid.code).where(Grid.id.in_(ids))).all()) if ids else {}
    shares = _shares(session, arrays, [row.layer_id for row in rows], accuracy_m)
    return [
        Located(
            layer_id=row.layer_id,
            grid_id=row.grid_id,
            grid_code=codes.get(row.grid_id),
            method=Method(row.method),
            distance_m=row.distance_m,
            shares=shares.get(i),
        )
        for i, row in enumerate(rows)
    ]


def _shares(
    session: Session,
    arrays: Mapping[str, Sequence[Any]],
    layer_ids: Sequence[int | None],
    accuracy_m: Sequence[float | None],
) -> dict[int, dict[str, float]]:
    """Shares of the accuracy circles by position; a point without accuracy or layer has none."""
    known = [i for i, radius in enumerate(accuracy_m) if radius is not None and layer_ids[i] is not None]
    if not known:
        return {}
    columns = {name: arrays[name] for name in ("lon", "lat", "mx", "my")}
    columns |= {"layer_id": layer_ids, "accuracy_m": accuracy_m}
    parameters = {name: [values[i] for i in known] for name, values in columns.items()}
    shares: dict[int, dict[str, float]] = {i: {} for i in known}
    for row in session.execute(sql("circle_shares"), parameters):
        shares[known[row.ord - 1]][row.code] = row.share
    return shares
