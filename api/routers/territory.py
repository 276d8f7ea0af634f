"""Grids and areas."""

import json
from datetime import datetime
from typing import Annotated

import shapely.geometry
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session, defer, joinedload

from api.deps import Anyone, Code, InSession, Instant, Json, Now
from api.shapes import manager_json, place_names
from gis_grid.permissions import Caller
from gis_grid.reports import ReportFilter, count_by_grid
from gis_grid.tenures import manager_of, managers
from gis_grid.territory import (
    Area,
    Grid,
    GridLayer,
    Level,
    grids_below,
    grids_frame,
    ground_of,
    neighbours,
    shape_of,
    the_area,
    the_grid,
    the_layer,
)

router = APIRouter(prefix="/api/v1", tags=["territory"])
At = Annotated[Instant | None, Query(description="ask the layer in force then; now without it")]


@router.get("/grids", response_class=Response)
def list_grids(
    request: Request,
    _: Anyone,
    session: InSession,
    now: Now,
    at: At = None,
    area: Annotated[Code | None, Query(description="code of a town, community or the district")] = None,
    geometry: Annotated[bool, Query(description="false for the properties alone")] = True,
) -> Response:
    """The grids of a layer, or of one area of it, as GeoJSON in ascending code order."""
    layer = the_layer(session, at or now)
    tag = f'"{layer.id}-{area or ""}-{geometry:d}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    ids = grids_below(the_area(session, area, at=at or now)) if area else None
    frame = grids_frame(session, layer, ids=ids).drop(columns="grid_id")
    features = [
        {
            "type": "Feature",
            "id": row.grid_code,
            "geometry": shapely.geometry.mapping(row.geometry) if geometry else None,
            "properties": {key: getattr(row, key) for key in frame.columns if key != "geometry"},
        }
        for row in frame.itertuples()
    ]
    body = {"type": "FeatureCollection", "layer": _layer_json(layer), "features": features}
    return Response(json.dumps(body, ensure_ascii=False), media_type="application/geo+json", headers={"ETag": tag})


def _layer_json(layer: GridLayer) -> Json:
    return {
        "id": layer.id,
        "name": layer.name,
        "grid_count": layer.grid_count,
        "is_synthetic": layer.is_synthetic,
        "since": layer.in_force.lower.isoformat() if layer.in_force and layer.in_force.lower else None,
    }


@router.get("/grids/{code}")
def get_grid(code: Code, caller: Anyone, session: InSession, now: Now, at: At = None) -> Json:
    """One grid as a GeoJSON feature: where it is, who answers for it, what touches it, how many reports it has."""
    at = at or now
    grid = the_grid(session, code, at=at)
    return {
        "type": "Feature",
        "id": grid.code,
        "geometry": shapely.geometry.mapping(shape_of(grid)),
        "properties": {
            **place_names(grid),
            "area_m2": grid.area_m2,
            "layer": _layer_json(grid.layer),
            "manager": manager_json(manager_of(session, code, at=at), caller, ground_of(grid)),
            "neighbours": list(neighbours(session, grid)),
            "report_count": count_by_grid(session, ReportFilter(grid=code)).get(code, 0),
        },
    }


@router.get("/areas/{code}")
def get_area(
    code: Code, caller: Anyone, session: InSession, now: Now, at: At = None, level: Level | None = None
) -> Json:
    """A district, town or community as a GeoJSON feature, with what it consists of."""
    at = at or now
    area = the_area(session, code, at=at, level=level)
    return {
        "type": "Feature",
        "id": area.code,
        "geometry": shapely.geometry.mapping(shape_of(area)),
        "properties": {
            "level": area.level,
            "code": area.code,
            "name": area.name,
            "parent_code": area.parent.code if area.parent else None,
            "area_m2": area.area_m2,
            "children": _children(session, area),
            "grids": _grids_of(session, area, caller=caller, at=at),
        },
    }


def _children(session: Session, area: Area) -> list[Json]:
    query = sa.select(Area.level, Area.code, Area.name).where(Area.parent_id == area.id).order_by(Area.code)
    return [dict(row) for row in session.execute(query).mappings()]


def _grids_of(session: Session, area: Area, *, caller: Caller, at: datetime) -> list[Json]:
    communities = joinedload(Grid.community).joinedload(Area.parent).joinedload(Area.parent)
    query = sa.select(Grid).where(Grid.id.in_(grids_below(area))).order_by(Grid.code)
    # Not the outlines, which are most of a layer.
    grids = session.scalars(query.options(communities.defer(Area.geom), defer(Grid.geom))).all()
    in_office = managers(session, at=at, grid_codes=[grid.code for grid in grids])
    counts = count_by_grid(session, ReportFilter(area=area.code))
    return [
        {
            "grid_code": grid.code,
            "manager": manager_json(in_office.get(grid.code), caller, ground_of(grid)),
            "report_count": counts.get(grid.code, 0),
        }
        for grid in grids
    ]
