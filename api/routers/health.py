"""Is everything there that the service needs."""

import os
from contextlib import suppress

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from api.deps import Anyone, Now, TheInstallation
from gis_grid.errors import Unavailable
from gis_grid.territory import layer_in_force
from maps.assets import vendor_files

router = APIRouter(tags=["health"])


@router.get("/healthz")
def health(_: Anyone, installation: TheInstallation, now: Now) -> JSONResponse:
    """200 when database, grid layer, browser assets and photo folder are there, else 503 with what is not."""
    found: dict[str, bool | str] = {"database": False, "layer": False, "assets": False, "photos": False}
    with suppress(SQLAlchemyError), installation.sessions() as session:
        found["database"] = session.scalar(sa.select(1)) == 1
        layer = layer_in_force(session, now)
        found["layer"] = f"{layer.name}, {layer.grid_count} grids" if layer else False
    with suppress(Unavailable):
        found["assets"] = bool(vendor_files())
    folder = installation.photos if installation.photos.exists() else installation.settings.data
    found["photos"] = os.access(folder, os.W_OK)
    is_well = all(found.values())
    return JSONResponse({"status": "ok" if is_well else "unwell", **found}, 200 if is_well else 503)
