"""The maps of blind spots and of what no patrol saw, drawn from what is stored."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import folium
import geopandas as gpd
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.pages.drawing import GRID_URL, basemap_of, reference_of, synthetic_note
from gis_grid.blindspots import BlindSpot
from gis_grid.city import City
from gis_grid.geo.blindspots import exclusions_in_force, seen_shares, unseen_ground
from gis_grid.geo.tiles import Ground, SeenTiles
from gis_grid.patrols import has_synthetic_tracks
from gis_grid.seen import Window
from gis_grid.seen_shares import PlaceLevel, excluded_frame, seen_shares_at
from gis_grid.spot_cases import open_spot_cases
from gis_grid.territory import (
    Grid,
    Level,
    areas_frame,
    grids_below,
    grids_frame,
    the_area,
    the_layer,
)
from maps.blind_spots import blind_spots_map

SHIFTS = {0: "白天 day", 1: "夜间 night"}


def draw_blind_spots(
    session: Session,
    city: City,
    window: Window,
    spots: Sequence[BlindSpot],
    *,
    now: datetime,
    area: str | None = None,
    grid_url: str | None = GRID_URL,
    spot_url: Callable[[BlindSpot], str] | None = None,
) -> folium.Map:
    """The blind spots of a window, of the whole district or of an area, over what share of each grid was seen.

    Parameters
    ----------
    spots
        What was found in the window.
    spot_url
        The address of a blind spot's page.
    """
    layer = the_layer(session, now)
    ids = None if area is None else _grids_of(session, area, now)
    grids = grids_frame(session, layer, ids=ids)
    areas = areas_frame(session, layer, Level.TOWN, Level.COMMUNITY)
    if area is not None:
        areas = areas[areas["code"].isin({*grids["town_code"], *grids["community_code"]})].reset_index(drop=True)
    shares = seen_shares_at(session, PlaceLevel.GRID, window, city=city, at=now)
    told = f"{window.first} – {window.last}" + (f" · {SHIFTS[window.shift]}" if window.shift is not None else "")
    filed = open_spot_cases(session, spots)
    frame = spots_frame(spots, url=spot_url, cases={number: row.case.name for number, row in filed.items()})
    return blind_spots_map(
        grids,
        shares.reindex(grids["grid_code"]).set_axis(grids.index),
        frame,
        areas=areas,
        title=f"{city.name}巡查盲区 Blind spots",
        as_of=now.astimezone(city.zone),
        window=f"{told} · {area}" if area else told,
        excluded=excluded_frame(session, as_of=window.last),
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note(
            {
                "网格 grids": layer.is_synthetic,
                "巡查 patrols": has_synthetic_tracks(session),
                "网格长 managers": any(tenure.is_synthetic for spot in spots for tenure in spot.managers),
            }
        ),
        grid_url=grid_url,
    )


def _grids_of(session: Session, area: str, now: datetime) -> sa.Select[int]:
    """Ids of the grids of an area, or of the one grid with this code."""
    layer = the_layer(session, now)
    grid = session.scalar(sa.select(Grid.id).where(Grid.layer_id == layer.id, Grid.code == area))
    if grid is not None:
        return sa.select(Grid.id).where(Grid.id == grid)
    return grids_below(the_area(session, area, at=now))


def spots_frame(
    spots: Sequence[BlindSpot], *, url: Callable[[BlindSpot], str] | None = None, cases: Mapping[int, str] | None = None
) -> gpd.GeoDataFrame:
    """Blind spots as a map or a table takes them: of who answers post and duty phone.

    Parameters
    ----------
    cases
        The serial number of the open case of each, by position.
    """
    rows = [
        {
            "kind": spot.kind.value,
            "what": spot.what,
            "code": spot.code,
            "area_m2": spot.area_m2,
            "since": spot.since,
            "badness": spot.badness,
            "why": spot.why,
            "why_zh": spot.why_zh,
            "who": "; ".join(f"{tenure.post} {tenure.duty_phone}" for tenure in spot.managers) or None,
            "case": (cases or {}).get(number),
            "url": url(spot) if url else None,
        }
        for number, spot in enumerate(spots)
    ]
    columns = ["kind", "what", "code", "area_m2", "since", "badness", "why", "why_zh", "who", "case", "url"]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    places = gpd.GeoSeries([spot.place for spot in spots], crs="EPSG:4326")
    return gpd.GeoDataFrame(frame.astype({"area_m2": float, "badness": float}), geometry=places)


def draw_unseen(
    session: Session,
    city: City,
    seen: Ground | SeenTiles,
    *,
    window: str,
    made_up: dict[str, bool],
    now: datetime,
    excluded: gpd.GeoDataFrame | None = None,
    grid_url: str | None = GRID_URL,
) -> folium.Map:
    """Seen share of each grid and the ground left unseen, of tracks that are not stored; `excluded` ground apart."""
    layer = the_layer(session, now)
    grids = grids_frame(session, layer)
    as_of = now.astimezone(city.zone)
    kept = exclusions_in_force(excluded, as_of=as_of.date()) if excluded is not None else None
    unseen = unseen_ground(
        grids,
        seen,
        metric_crs=city.metric_crs,
        excluded=kept,
        as_of=as_of.date(),
        min_area_m2=2000.0,
        simplify_m=10.0,
    )
    return blind_spots_map(
        grids,
        seen_shares(grids, seen, metric_crs=city.metric_crs, excluded=kept, as_of=as_of.date()),
        unseen.rename(columns={"grid_code": "code"}).assign(kind="unseen"),
        kinds=["unseen"],
        areas=areas_frame(session, layer, Level.TOWN, Level.COMMUNITY),
        title=f"{city.name}巡查盲区 Blind spots",
        as_of=as_of,
        window=window,
        excluded=kept,
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note({"网格 grids": layer.is_synthetic} | made_up),
        grid_url=grid_url,
    )
