"""Maps drawn from the database: which frames go onto which map. Shared by the pages and by `gis-grid map`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import folium
import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from geoalchemy2.shape import to_shape
from sqlalchemy.orm import Session

from api.pages.case_words import next_words
from api.pages.figures import count_reports, event_types
from api.pages.rendering import day_span
from gis_grid.case_queues import CaseFilter, Lights, find_cases, light_of
from gis_grid.cases import Case
from gis_grid.city import City
from gis_grid.errors import InvalidInput
from gis_grid.geo.density import heat_surface, implausible_piles, on_piles
from gis_grid.geo.layer_files import read_layer
from gis_grid.geo.privacy import LEAST_SHOWN, PUBLIC_CELL_M, public_squares
from gis_grid.layer_changes import LayerChange
from gis_grid.openness import BusySquare, busy_squares
from gis_grid.patrols import tracks_in
from gis_grid.reports import ReportFilter, count_by_grid, find_reports, points_of
from gis_grid.tenures import Tenure, managers
from gis_grid.territory import (
    Area,
    Grid,
    GridLayer,
    Level,
    areas_frame,
    grids_below,
    grids_frame,
    neighbours,
    shape_of,
    the_layer,
)
from maps.busy_squares import busy_squares_map
from maps.district import district_map
from maps.grid import grid_map
from maps.heat import heat_map
from maps.layer_change import layer_change_map
from maps.styles import Basemap

GRID_URL = "/grids/{grid_code}"
SHOWN_DAYS = 30
SHOWN_REPORTS = 1000
GRID_ALONE = "只公开所在网格 Its grid alone is public"
SUPPRESSED = (
    f"按{PUBLIC_CELL_M:g}米方格, 少于{LEAST_SHOWN}件的不计 "
    f"By squares of {PUBLIC_CELL_M:g} m, those with fewer than {LEAST_SHOWN} left out"
)


def draw_district(
    session: Session,
    city: City,
    layer: GridLayer,
    *,
    now: datetime,
    with_counts: bool,
    lights: Mapping[str, Lights] | None = None,
    grid_url: str | None = GRID_URL,
) -> folium.Map:
    """The whole district; grids coloured by their open cases' `lights`, by the reports of 30 days, or towns by tint."""
    return _territory(
        session,
        city,
        layer,
        grids=grids_frame(session, layer),
        areas=areas_frame(session, layer, Level.TOWN, Level.COMMUNITY),
        title=f"{city.name}网格 Grids",
        now=now,
        with_counts=with_counts,
        lights=lights,
        grid_url=grid_url,
    )


def draw_layer_change(
    session: Session, grids: gpd.GeoDataFrame, changed: LayerChange, *, city: City, name: str
) -> folium.Map:
    """A new layer's grids over those in force, coloured by the reports that come into them from another grid."""
    old = grids_frame(session, the_layer(session, changed.effective_at))
    return layer_change_map(
        old,
        grids,
        changed.moves.dropna(subset="new_code").groupby("new_code")["reports"].sum(),
        title=f"{city.name} {name}",
        as_of=changed.effective_at.astimezone(city.zone),
    )


def draw_area(
    session: Session,
    city: City,
    area: Area,
    *,
    now: datetime,
    lights: Mapping[str, Lights] | None = None,
    grid_url: str | None = GRID_URL,
) -> folium.Map:
    """A town or a community with its grids, coloured by their open cases' `lights`, else by the reports of 30 days."""
    layer = session.get_one(GridLayer, area.layer_id)
    grids = grids_frame(session, layer, ids=grids_below(area))
    areas = areas_frame(session, layer, Level.TOWN, Level.COMMUNITY)
    if area.level != Level.DISTRICT:
        areas = areas[areas["code"].isin({area.code, *grids["community_code"]})]
    return _territory(
        session,
        city,
        layer,
        grids=grids,
        areas=areas.reset_index(drop=True),
        title=area.name,
        now=now,
        with_counts=lights is None,
        lights=lights,
        grid_url=grid_url,
    )


def _territory(
    session: Session,
    city: City,
    layer: GridLayer,
    *,
    grids: gpd.GeoDataFrame,
    areas: gpd.GeoDataFrame,
    title: str,
    now: datetime,
    with_counts: bool,
    lights: Mapping[str, Lights] | None,
    grid_url: str | None,
) -> folium.Map:
    recent = ReportFilter(since=now - timedelta(days=SHOWN_DAYS))
    held = managers(session, at=now, grid_codes=grids["grid_code"])
    parts = {
        "网格 grids": layer.is_synthetic,
        "网格长 managers": any(tenure.is_synthetic for tenure in held.values()),
        "上报 reports": with_counts and count_reports(session, recent).has_synthetic,
        "案件 cases": bool(lights) and has_synthetic_cases(session),
    }
    return district_map(
        grids,
        areas,
        title=title,
        as_of=now.astimezone(city.zone),
        counts=pd.Series(count_by_grid(session, recent), dtype="int64") if with_counts else None,
        counts_name=f"近{SHOWN_DAYS}天上报 Reports in {SHOWN_DAYS} days",
        lights=None
        if lights is None
        else pd.DataFrame.from_dict(dict(lights), orient="index", columns=list(Lights._fields)),
        managers=_managers_frame(held.values()),
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note(parts),
        grid_url=grid_url,
    )


def draw_grid(
    session: Session, city: City, grid: Grid, *, now: datetime, is_public: bool, grid_url: str | None = GRID_URL
) -> folium.Map:
    """One grid and its neighbours; for staff its open cases, reports and patrols, for the public its busy squares."""
    around = sa.select(Grid.id).where(Grid.layer_id == grid.layer_id, Grid.code.in_(list(neighbours(session, grid))))
    own = sa.select(Grid.id).where(Grid.id == grid.id)
    parts = {"网格 grids": grid.layer.is_synthetic}
    if is_public:
        shown = _public_marks(session, city, grid, parts, now=now)
    else:
        shown = _staff_marks(session, city, grid, parts, now=now)
    return grid_map(
        grids_frame(session, grid.layer, ids=own),
        grids_frame(session, grid.layer, ids=around),
        title=f"{grid.community.name} {grid.code}",
        as_of=now.astimezone(city.zone),
        **shown,
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note(parts),
        grid_url=grid_url,
    )


def _staff_marks(session: Session, city: City, grid: Grid, parts: dict[str, bool], *, now: datetime) -> dict[str, Any]:
    """What a grid's map shows to its staff; `parts` is told what of it is made up."""
    reports = _reports_frame(session, grid.code, now=now)
    tracks = _ways_in(session, grid, now=now)
    cases = find_cases(session, CaseFilter(grid=grid.code), now=now, limit=SHOWN_REPORTS)
    parts["上报 reports"] = bool(reports["is_synthetic"].any())
    parts["巡查 patrols"] = tracks is not None and bool(tracks["is_synthetic"].any())
    parts["案件 cases"] = any(case.is_synthetic for case in cases)
    return {
        "reports": reports.drop(columns="is_synthetic"),
        "event_types": {kind.code: f"{kind.name} {kind.name_en}" for kind in event_types(session)},
        "tracks": tracks,
        "cases": _cases_frame(session, city, cases, now=now),
    }


def _public_marks(session: Session, city: City, grid: Grid, parts: dict[str, bool], *, now: datetime) -> dict[str, Any]:
    """What a grid's map shows to everybody: no report, case or patrol by itself."""
    recent = ReportFilter(since=now - timedelta(days=SHOWN_DAYS))
    squares = _squares_frame(busy_squares(session, recent), city)
    squares = squares[squares.intersects(shape_of(grid))].reset_index(drop=True)
    parts["上报 reports"] = len(squares) > 0 and count_reports(session, recent).has_synthetic
    return {"squares": squares, "note": SUPPRESSED}


def _squares_frame(found: Sequence[BusySquare], city: City) -> gpd.GeoDataFrame:
    lon, lat = [square.lon for square in found], [square.lat for square in found]
    return gpd.GeoDataFrame(
        {"reports": [square.reports for square in found]},
        geometry=public_squares(lon, lat, metric_crs=city.metric_crs),
        crs="EPSG:4326",
    )


def _ways_in(session: Session, grid: Grid, *, now: datetime) -> gpd.GeoDataFrame | None:
    """Where patrols walked in a grid in the last week, and not where they left it; None where nobody walked."""
    tracks = tracks_in(session, grid, since=now - timedelta(days=7), until=now)
    return tracks.assign(label=tracks["team"]).clip(shape_of(grid)) if len(tracks) else None


def draw_case(session: Session, city: City, case: Case, *, now: datetime, is_public: bool) -> folium.Map:
    """Where one case lies in its grid; the public sees the grid alone."""
    grid = case.grid
    around = sa.select(Grid.id).where(Grid.layer_id == grid.layer_id, Grid.code.in_(list(neighbours(session, grid))))
    parts = {"网格 grids": grid.layer.is_synthetic, "案件 cases": case.is_synthetic}
    return grid_map(
        grids_frame(session, grid.layer, ids=sa.select(Grid.id).where(Grid.id == grid.id)),
        grids_frame(session, grid.layer, ids=around),
        title=f"{grid.community.name} {grid.code}",
        as_of=now.astimezone(city.zone),
        cases=None if is_public else _cases_frame(session, city, [case], now=now),
        note=GRID_ALONE if is_public else None,
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note(parts),
        grid_url=GRID_URL,
    )


def _cases_frame(session: Session, city: City, cases: Sequence[Case], *, now: datetime) -> gpd.GeoDataFrame:
    """Cases as a map shows them to staff."""
    names = {kind.code: f"{kind.name} {kind.name_en}" for kind in event_types(session)} if cases else {}
    rows = [
        {
            "serial": case.serial or "未立案 not filed yet",
            "light": getattr(light_of(case, now), "value", "waiting"),
            "type": ("演练 Drill · " if case.is_drill else "") + names.get(case.event_type, case.event_type),
            "next": next_words(case.read_state()),
            "due": f"{case.due_at.astimezone(city.zone):%Y-%m-%d %H:%M}" if case.red_at else None,
            "url": f"/cases/{case.name}",
        }
        for case in cases
    ]
    points = [to_shape(case.report.geom) for case in cases]
    return gpd.GeoDataFrame(
        rows, columns=["serial", "light", "type", "next", "due", "url"], geometry=points, crs="EPSG:4326"
    )


def has_synthetic_cases(session: Session) -> bool:
    """Whether any open case is made up."""
    query = sa.select(sa.exists().where(Case.closed_at.is_(None), Case.is_synthetic))
    return bool(session.scalar(query))


def _reports_frame(session: Session, grid_code: str, *, now: datetime) -> gpd.GeoDataFrame:
    """Reports of a grid as a map shows them to staff."""
    which = ReportFilter(grid=grid_code, since=now - timedelta(days=SHOWN_DAYS))
    found = find_reports(session, which, limit=SHOWN_REPORTS)
    points = [to_shape(report.geom) for report in found]
    rows = [
        {
            "event_type": report.event_type,
            "kind": f"演练 Drill · {report.kind}" if report.is_drill else report.kind,
            "method": report.method,
            "is_synthetic": report.is_synthetic,
            "received_at": report.received_at,
            "text": report.text,
        }
        for report in found
    ]
    columns = ["event_type", "kind", "method", "is_synthetic", "received_at", "text"]
    return gpd.GeoDataFrame(rows, columns=columns, geometry=points, crs="EPSG:4326")


def draw_heat(
    session: Session,
    city: City,
    *,
    first: date,
    last: date,
    event_type: str | None,
    is_public: bool,
    now: datetime,
    grid_url: str | None = GRID_URL,
) -> folium.Map:
    """How thickly the reports of whole days lie, of one type or class or of all; implausible piles apart.

    For the public it is drawn from the squares that hold enough of them: each with its reports at its middle.
    """
    layer = the_layer(session, now)
    areas = areas_frame(session, layer, Level.TOWN, Level.COMMUNITY)
    since, until = day_span(first, last, city)
    which = ReportFilter(since=since, until=until, event_type=event_type)
    lon, lat = (_points_of_squares(session, which) if is_public else points_of(session, which)).T
    piles = implausible_piles(lon, lat)
    is_kept = ~on_piles(lon, lat, piles)
    west, south, east, north = areas.total_bounds
    surface = heat_surface(lon[is_kept], lat[is_kept], bounds=(west, south, east, north))
    names = {kind.code: f"{kind.name} {kind.name_en}" for kind in event_types(session)}
    of_type = names.get(event_type, event_type) if event_type else "全部类型 all types"
    parts = {"网格 grids": layer.is_synthetic, "上报 reports": count_reports(session, which).has_synthetic}
    return heat_map(
        surface,
        areas=areas,
        title=f"{city.name}上报热力 Report density",
        as_of=now.astimezone(city.zone),
        window=f"{first} – {last} · {of_type} · {len(lon):,} 件 reports",
        note=SUPPRESSED if is_public else None,
        grids=grids_frame(session, layer),
        piles=piles,
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note(parts),
        grid_url=grid_url,
    )


def _points_of_squares(session: Session, which: ReportFilter) -> npt.NDArray[np.float64]:
    """The middle of each busy square, once for each of its reports, shape (n, 2)."""
    found = np.array(busy_squares(session, which), dtype=np.float64).reshape(-1, 3)
    return np.repeat(found[:, :2], found[:, 2].astype(np.int64), axis=0)


def draw_busy_squares(session: Session, city: City, *, now: datetime) -> folium.Map:
    """Where reports of 30 days pile up, for everybody: squares of 100 m with at least five."""
    layer = the_layer(session, now)
    which = ReportFilter(since=now - timedelta(days=SHOWN_DAYS))
    reports = count_reports(session, which)
    return busy_squares_map(
        _squares_frame(busy_squares(session, which), city),
        areas=areas_frame(session, layer, Level.TOWN, Level.COMMUNITY),
        title=f"{city.name}上报较多的地方 Busy squares",
        as_of=now.astimezone(city.zone),
        window=f"近{SHOWN_DAYS}天 {SHOWN_DAYS} days",
        least=LEAST_SHOWN,
        side_m=PUBLIC_CELL_M,
        reference=reference_of(city),
        basemap=basemap_of(city),
        synthetic_note=synthetic_note({"网格 grids": layer.is_synthetic, "上报 reports": reports.has_synthetic}),
    )


def synthetic_note(parts: dict[str, bool]) -> str | None:
    """What on a map is made up, in words; None where nothing is."""
    named = "、".join(name for name, is_synthetic in parts.items() if is_synthetic)
    return f"合成数据 Synthetic: {named}" if named else None


def _managers_frame(held: Iterable[Tenure]) -> pd.DataFrame:
    rows = [(tenure.code, tenure.post, tenure.unit, tenure.duty_phone) for tenure in held]
    return pd.DataFrame(rows, columns=["grid_code", "post", "unit", "duty_phone"])


def basemap_of(city: City) -> Basemap | None:
    """The city's basemap as maps take it.

    Raises
    ------
    InvalidInput
        It is drawn in BD-09, which maps do not shift to.
    """
    if city.basemap is None:
        return None
    if city.basemap.datum == "bd09":
        raise InvalidInput("basemap.datum: maps are drawn on wgs84, cgcs2000 and gcj02 tiles, not on bd09 ones")
    # CGCS2000 and WGS84 differ by less than a pixel.
    is_shifted = city.basemap.datum == "gcj02"
    return Basemap(city.basemap.url, city.basemap.attribution, "gcj02" if is_shifted else "wgs84")


def reference_of(city: City) -> gpd.GeoDataFrame | None:
    """The city's own reference layer, columns kind and name; None where it has none."""
    return _read_reference(city.reference_layer) if city.reference_layer else None


def _read_reference(path: Path) -> gpd.GeoDataFrame:
    frame = read_layer(path)[0].to_crs("EPSG:4326")
    return frame.assign(**{column: None for column in ("kind", "name") if column not in frame})
