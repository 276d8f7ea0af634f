"""Synthetic people, reports and patrols for a try: made from a fixed seed, and marked synthetic where stored."""

import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid.city import City
from gis_grid.database import By
from gis_grid.dated import BEGINNING
from gis_grid.demo_cases import make_cases
from gis_grid.demo_patrols import add_demo_teams
from gis_grid.event_types import EventType
from gis_grid.geo.datum import LonLat
from gis_grid.geo.placing import metres_per_degree
from gis_grid.intake import Intake
from gis_grid.patrol_rules import load_patrol_rules
from gis_grid.permissions import Role
from gis_grid.reports import Kind, NewReport, Report, Source, file_reports
from gis_grid.tenures import NewTenure, appoint, grids_without_manager
from gis_grid.territory import grids_frame, the_layer
from gis_grid.track_intake import store_fixes
from gis_grid.units import NewHolder, appoint_holders, vacant_posts

SEED = 310112
DAYS = 30
IN_OFFICE = timedelta(days=400)  # so long have people held their posts, and teams had their ground
REPORTS_A_DAY = 110
OUTINGS_A_SHIFT = 28
PATROLLERS_A_TEAM = 2
FIXES_AN_OUTING = 240
FIX_EVERY_S = 20
STREET_M = 150.0
BY = By(who="demo", channel="demo", request_id="demo")
NAMESPACE = uuid.UUID("3101120e-0000-5000-8000-000000001002")

SURNAMES = "王李张刘陈杨黄赵周吴徐孙马朱胡郭何林高罗"
GIVEN = "伟芳娜敏静强磊军洋勇艳杰涛明超霞平刚英华"
KINDS = (
    (Kind.COMPLAINT, 0.4),
    (Kind.HELP, 0.18),
    (Kind.PATROL, 0.25),
    (Kind.TIP, 0.07),
    (Kind.SUGGESTION, 0.05),
    (Kind.QUESTION, 0.05),
)
SOURCES = (
    (Source.HOTLINE_962000, 0.4),
    (Source.PATROL, 0.25),
    (Source.RESIDENT, 0.2),
    (Source.HOTLINE_12345, 0.1),
    (Source.WECHAT, 0.05),
)

Rng = np.random.Generator


def fill_with_demo(session: Session, city: City, *, snap_m: float, photos: Path, now: datetime) -> str:
    """Fill a city with a tenure a grid, and 30 days of reports, cases and patrols up to `now`; what was made, in words.

    Nothing happens where there is demo data already.
    """
    if session.scalar(sa.select(Report.id).where(Report.is_synthetic).limit(1)) is not None:
        return ""
    layer = the_layer(session, now)
    grids = grids_frame(session, layer)
    rng = np.random.default_rng(SEED)
    appointed = appoint(session, _tenures(session, grids, rng, now), by=BY, now=now, is_synthetic=True)
    held = appoint_holders(session, _holders(session, rng, now), by=BY, now=now, is_synthetic=True)
    load_patrol_rules(session, city, by=BY, now=now)  # the teams have blocks
    teams = add_demo_teams(session, city, grids, since=now - IN_OFFICE, by=BY, now=now)
    filed = _file(session, city, grids, rng, snap_m=snap_m, now=now)
    cases = make_cases(session, city, photos=photos, now=now)
    fixes = _fixes(grids, city, rng, now)
    store_fixes(session, fixes, city=city, source="demo", is_synthetic=True, now=now)
    walked = fixes["track"].nunique()
    made = f"{appointed} grid managers, {held} holders of posts, {teams} teams, {filed} reports, {cases} cases"
    return f"{made}, {walked} patrols"


def _tenures(session: Session, grids: gpd.GeoDataFrame, rng: Rng, now: datetime) -> Iterator[NewTenure]:
    vacant = set(grids_without_manager(session, at=now))
    posts = ("{community}主任", "{community}党支部书记", "{community}主任", "{town}综治办主任", "{town}城管中队队长")
    for number, row in enumerate(grids.itertuples(), start=1):
        if row.grid_code not in vacant:
            continue
        yield NewTenure(
            grid_code=row.grid_code,
            name=_name(rng),
            post=str(rng.choice(posts)).format(community=row.community, town=row.town),
            unit=f"{row.town}城市综合管理大联动分中心",
            # No such numbers exist: area code 000, mobile prefix 100.
            duty_phone=f"000-0000{number:04d}",
            own_phone=f"1000000{number:04d}",
            since=now - IN_OFFICE,
            until=None,
        )


def _holders(session: Session, rng: Rng, now: datetime) -> Iterator[NewHolder]:
    for number, post in enumerate(vacant_posts(session, at=now), start=1):
        yield NewHolder(
            unit_code=post.unit_code,
            title=post.title,
            name=_name(rng),
            own_phone=f"1000001{number:04d}",
            since=max(now - IN_OFFICE, post.valid.lower or BEGINNING),
            until=None,
        )


def _name(rng: Rng) -> str:
    return f"{rng.choice(list(SURNAMES))}{''.join(rng.choice(list(GIVEN), 2))}(示例)"


def _file(session: Session, city: City, grids: gpd.GeoDataFrame, rng: Rng, *, snap_m: float, now: datetime) -> int:
    types = list(
        session.scalars(sa.select(EventType.code).where(EventType.parent_code.is_not(None)).order_by(EventType.code))
    )
    names = dict(session.execute(sa.select(EventType.code, EventType.name)).all())
    weights = rng.dirichlet(np.full(len(types), 0.6))
    total = DAYS * REPORTS_A_DAY
    points = _report_points(grids, rng, total)
    received = _report_times(rng, total, now)
    intake = Intake(metric_crs=city.metric_crs, bounds=None)
    new = [_report(intake, i, points[i], received[i], rng.choice(types, p=weights), names, rng) for i in range(total)]
    of_senders: dict[str, list[NewReport]] = defaultdict(list)
    for report, sender in zip(new, _senders(new, grids), strict=True):
        of_senders[sender].append(report)
    for sender, reports in of_senders.items():
        file_reports(session, reports, snap_m=snap_m, by=replace(BY, who=sender), now=now)
    return len(new)


def _senders(reports: list[NewReport], grids: gpd.GeoDataFrame) -> list[str]:
    """Who sent each: what patrols report, a patroller of the nearest town by day."""
    towns = grids["town_code"].to_numpy()
    nearest = towns[shapely.STRtree(grids.geometry).nearest(shapely.points([one.point for one in reports]))]
    return [
        _patroller(town, "day", number, first=min(towns)) if report.source is Source.PATROL else BY.who
        for number, (report, town) in enumerate(zip(reports, nearest, strict=True))
    ]


def _patroller(town: str, shift: str, number: int, *, first: str) -> str:
    """One of a town's patrollers, whose handhelds another system sends for, or whom one can sign in as: the first's."""
    who = f"{town}-{shift}-{number % PATROLLERS_A_TEAM}"
    return f"user:{Role.PATROLLER}" if who == f"{first}-day-0" else f"key:demo/{who}"


def _report(  # noqa: PLR0917 - what one made-up report is made of
    intake: Intake, i: int, point: LonLat, at: datetime, type_: str, names: dict[str, str], rng: Rng
) -> NewReport:
    kind, source = (rng.choice([key for key, _ in odds], p=[share for _, share in odds]) for odds in (KINDS, SOURCES))
    return intake.report(
        id_=uuid.uuid5(NAMESPACE, str(i)),
        lon=point.lon,
        lat=point.lat,
        accuracy_m=round(float(rng.lognormal(2.3, 0.6)), 1),
        kind=Kind(kind),
        event_type=type_,
        text=f"(合成数据)有人反映此处{names[type_]}。/ (synthetic) reported here.",
        source=Source(source),
        observed_at=at,
        received_at=at,
        is_synthetic=True,
    )


def _report_points(grids: gpd.GeoDataFrame, rng: Rng, total: int) -> list[LonLat]:
    """Most near a few hundred busy spots, the rest anywhere, one in a hundred outside the district."""
    # Small grids are where people live: a spot a grid, each drawn alike, follows the population.
    spots = shapely.get_coordinates(grids.geometry.representative_point().values)
    busy = spots[rng.choice(len(spots), 400)]
    near = busy[rng.choice(400, total, p=rng.dirichlet(np.full(400, 0.5)))] + rng.normal(0, 0.0012, (total, 2))
    west, south, east, north = grids.total_bounds
    anywhere = rng.uniform((west - 0.005, south - 0.005), (east + 0.005, north + 0.005), (total, 2))
    chosen = np.where(rng.random((total, 1)) < 0.985, near, anywhere)
    return [LonLat(float(lon), float(lat)) for lon, lat in np.round(chosen, 6)]


def _report_times(rng: Rng, total: int, now: datetime) -> list[datetime]:
    """Spread over the last 30 days with more by day than by night (hours in UTC+8)."""
    hours = np.array([1, 1, 1, 1, 1, 2, 4, 7, 9, 9, 8, 7, 6, 7, 8, 8, 8, 8, 7, 6, 5, 4, 3, 2], dtype=float)
    midnight = now.replace(hour=16, minute=0, second=0, microsecond=0) - timedelta(days=DAYS + 1)
    hour = rng.choice(24, total, p=hours / hours.sum())
    seconds = rng.integers(0, DAYS, total) * 86400 + hour * 3600 + rng.integers(0, 3600, total)
    times = [midnight + timedelta(seconds=int(second)) for second in np.sort(seconds)]
    return [min(at, now) for at in times]


def _fixes(grids: gpd.GeoDataFrame, city: City, rng: Rng, now: datetime) -> pd.DataFrame:
    """Walks along a lattice of streets around a home in each team's town, by day and by night."""
    homes = shapely.get_coordinates(grids.geometry.representative_point().values)
    towns = grids["town_code"].to_numpy()
    last_midnight = datetime.combine(now.astimezone(city.zone).date(), datetime.min.time(), city.zone)
    parts = []
    for day in range(1, DAYS + 1):
        for shift, start_h in (("day", 9), ("night", 22)):
            count = OUTINGS_A_SHIFT if shift == "day" else OUTINGS_A_SHIFT // 2
            for outing in range(count):
                home = int(rng.integers(len(homes)))
                start = last_midnight - timedelta(days=day) + timedelta(hours=start_h, minutes=int(rng.integers(0, 25)))
                track = f"demo-{day:02d}-{shift}-{outing:02d}"
                walker = _patroller(towns[home], shift, outing, first=min(towns))
                fixes = _walk(homes[home], start, rng)
                parts.append(fixes.assign(track=track, team=f"street-{shift}-{towns[home]}", walker=walker))
    return pd.concat(parts, ignore_index=True)


def _walk(home: Any, start: datetime, rng: Rng) -> pd.DataFrame:
    mx, my = (float(value) for value in metres_per_degree(home[1]))
    step_m = 1.2 * FIX_EVERY_S
    turns = int(np.ceil(FIXES_AN_OUTING * step_m / STREET_M))
    # A patroller turns at street corners and seldom turns back.
    heading = np.cumsum(rng.choice([0, 1, -1], turns, p=[0.5, 0.25, 0.25])) * (np.pi / 2) + rng.integers(4) * np.pi / 2
    heading = heading + rng.uniform(-0.15, 0.15)
    corners = np.vstack([[0.0, 0.0], np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]) * STREET_M, axis=0)])
    along = np.arange(FIXES_AN_OUTING) * step_m / STREET_M
    xy = np.column_stack([np.interp(along, np.arange(turns + 1), corners[:, axis]) for axis in (0, 1)])
    xy += rng.normal(0, 3.0, xy.shape)
    at = pd.date_range(start, periods=FIXES_AN_OUTING, freq=f"{FIX_EVERY_S}s").tz_convert("UTC")
    return pd.DataFrame({"lon": home[0] + xy[:, 0] / mx, "lat": home[1] + xy[:, 1] / my, "at": at})
