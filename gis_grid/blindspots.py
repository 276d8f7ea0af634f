"""Blind spots (盲区) of four kinds, never mixed: where, how large, since when, how bad, why, and who answers.

- *geometric*: ground in no grid or in no block of a parent that has blocks; seams with no owner or a joint one;
- *unseen*: no patrol came within sight in the window;
- *silent*: far fewer reports than area, people and neighbours would lead one to expect;
- *unmanned*: no grid manager, a vacant or understaffed block, minutes of the week with nobody out.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from sqlalchemy.orm import Session

from gis_grid.blocks import blocks_frame
from gis_grid.city import City
from gis_grid.errors import InvalidInput
from gis_grid.geo.blindspots import seen_shares, unseen_by_shift, unseen_ground
from gis_grid.geo.datum import LonLat
from gis_grid.geo.layer_files import read_ground, read_layer
from gis_grid.geo.metres import area_and_width_m
from gis_grid.geo.privacy import LEAST_SHOWN
from gis_grid.geo.seams import edge_seams, unowned_ground
from gis_grid.geo.silence import FALSE_DISCOVERY, silent_grids
from gis_grid.geo.surfaces import NEVER, seen_surface
from gis_grid.geo.tiles import Ground, masks_of
from gis_grid.reports import ReportFilter, count_by_grid, points_of
from gis_grid.seen import Window, seen_in_window, seen_tiles_in
from gis_grid.seen_shares import excluded_frame
from gis_grid.shift_gaps import shift_gaps
from gis_grid.teams import block_staff
from gis_grid.tenures import Tenure, grids_without_manager, managers, managers_left
from gis_grid.territory import grids_frame, the_layer

LEAST_UNSEEN_M2 = 2000.0
NEAR_M = 150.0
LOOK_BACK_DAYS = 60
DATED_SPOTS = 100
SILENT_DAYS = 365
GROUNDS_ZH = {"streets": "街面", "estates": "小区"}
UNSEEN_BY = {None: "unseen", 0: "unseen_by_day", 1: "unseen_by_night"}


class BlindKind(StrEnum):
    """The four kinds."""

    GEOMETRIC = "geometric"
    UNSEEN = "unseen"
    SILENT = "silent"
    UNMANNED = "unmanned"


@dataclass(frozen=True)
class BlindSpot:
    """One blind spot.

    Attributes
    ----------
    what
        What of its kind it is: `no_grid`, `no_block`, `joint_seam`, `unowned_seam`; `unseen`, `unseen_by_night`,
        `unseen_by_day`; `silent`; `no_manager`, `vacant_block`, `short_block`, `shift_gap`.
    code
        The grid or block it is of, or the lowest of several; None for ground of none.
    place
        EPSG:4326.
    since
        Since when it is so, a day; None where that is not known, or longer ago than was looked.
    badness
        Within its kind, larger is worse; `why` says of what it is made.
    why, why_zh
        In English and in Chinese.
    answers
        Codes of the grids whose managers answer for it.
    """

    kind: BlindKind
    what: str
    code: str | None
    place: shapely.Geometry
    area_m2: float
    since: date | None
    badness: float
    why: str
    why_zh: str
    answers: tuple[str, ...] = ()
    managers: tuple[Tenure, ...] = field(default=(), compare=False)

    @property
    def point(self) -> LonLat:
        """A point in it."""
        inside = self.place.representative_point()
        return LonLat(float(inside.x), float(inside.y))

    def is_of(self, area: str | None) -> bool:
        """Whether it lies in a grid, community, town or district; codes of what is smaller begin with the larger's."""
        return area is None or any(code.startswith(area) for code in (self.code or "", *self.answers))


def find_blind_spots(
    session: Session,
    city: City,
    window: Window,
    *,
    now: datetime,
    kinds: Iterable[BlindKind] = tuple(BlindKind),
    seams: Path | None = None,
    people: pd.Series | None = None,
    area: str | None = None,
) -> list[BlindSpot]:
    """The blind spots of some kinds, each kind worst first.

    Parameters
    ----------
    window
        Days and shift that ground must have been seen in; reports are counted over the year before its last day.
    seams
        A file of polygons or lines with `name` and perhaps `owner`: roads, rivers, green belts. Without it, the edges
        between towns are taken.
    people
        People of each grid by code; without it, area and neighbours alone tell what to expect.
    area
        Only those of this grid, community, town or district, by its code.
    """
    scene = _Scene.at(session, city, window, now, people, area)
    finders: dict[BlindKind, Callable[[], Iterable[BlindSpot]]] = {
        BlindKind.GEOMETRIC: lambda: _geometric(scene, seams),
        BlindKind.UNSEEN: lambda: _unseen(scene),
        BlindKind.SILENT: lambda: _silent(scene),
        BlindKind.UNMANNED: lambda: _unmanned(scene),
    }
    found: list[BlindSpot] = []
    for kind in BlindKind:
        if kind in set(kinds):
            spots = (spot for spot in finders[kind]() if spot.is_of(area))
            found += sorted(spots, key=lambda spot: (-spot.badness, spot.code or "", spot.what))
    held = managers(session, at=now)
    return [
        replace(spot, managers=tuple(held[code] for code in spot.answers if code in held)) if spot.answers else spot
        for spot in found
    ]


@dataclass(frozen=True)
class _Scene:
    """What every kind looks at."""

    session: Session
    city: City
    window: Window
    now: datetime
    grids: gpd.GeoDataFrame
    excluded: gpd.GeoDataFrame
    people: pd.Series | None
    area: str | None

    @classmethod
    def at(  # noqa: PLR0917 - what is asked, in its order
        cls, session: Session, city: City, window: Window, now: datetime, people: pd.Series | None, area: str | None
    ) -> "_Scene":
        grids = grids_frame(session, the_layer(session, now))
        if people is not None:
            missing = sorted(set(grids["grid_code"]) - set(people.index))
            if missing:
                raise InvalidInput(f"people: no number for {len(missing)} grids, {missing[0]} the first")
            people = people.reindex(grids["grid_code"])
        return cls(session, city, window, now, grids, excluded_frame(session, as_of=window.last), people, area)

    @property
    def asked_grids(self) -> gpd.GeoDataFrame:
        """The grids of the area asked for."""
        return self.grids if self.area is None else self.grids[self.grids["grid_code"].str.startswith(self.area)]

    @property
    def shapes(self) -> dict[str, shapely.Geometry]:
        """The grids by code."""
        return dict(zip(self.grids["grid_code"], self.grids.geometry, strict=True))

    def seen(self, shift: int | None) -> Ground:
        """What was seen in the window, in one shift or in either."""
        return seen_in_window(self.session, first=self.window.first, last=self.window.last, shift=shift)

    def told(self, shift: int | None) -> str:
        """The window in words."""
        words = {0: " by day", 1: " by night", None: ""}[shift]
        return f"from {self.window.first} to {self.window.last}{words}"

    def told_zh(self, shift: int | None) -> str:
        """The window in Chinese words."""
        return f"{self.window.first} 至 {self.window.last}{({0: '白天', 1: '夜间', None: ''})[shift]}"


# --- geometric ---------------------------------------------------------------------------------------------------


def _geometric(scene: _Scene, seams: Path | None) -> Iterator[BlindSpot]:
    yield from _in_no_grid(scene)
    yield from _in_no_block(scene)
    yield from _seams_of_file(scene, seams) if seams is not None else _joint_seams(scene)


def _in_no_grid(scene: _Scene) -> Iterator[BlindSpot]:
    if scene.city.outline is None:
        return
    for piece, area in unowned_ground(read_ground(scene.city.outline), scene.grids.geometry):
        near = scene.grids.iloc[shapely.STRtree(scene.grids.geometry.to_numpy()).nearest(piece)]
        why = f"{area:,.0f} m² of the district lie in no grid; {near['grid_code']} is nearest"
        why_zh = f"区内 {area:,.0f} m² 不在任何网格; 最近的是 {near['grid_code']}"
        answers = (str(near["grid_code"]),)
        yield BlindSpot(BlindKind.GEOMETRIC, "no_grid", None, piece, area, None, area, why, why_zh, answers)


def _in_no_block(scene: _Scene) -> Iterator[BlindSpot]:
    blocks = blocks_frame(scene.session, at=scene.now)
    for (level, parent), part in blocks.groupby(["parent_level", "parent_code"]):
        column = "grid_code" if level == "grid" else "community_code"
        own = scene.grids[scene.grids[column] == parent]
        if own.empty:
            continue
        whole = shapely.union_all(own.geometry.to_numpy())
        for piece, area in unowned_ground(whole, part.geometry):
            grid = own.iloc[int(np.argmax(shapely.area(shapely.intersection(own.geometry.to_numpy(), piece))))]
            why = f"{area:,.0f} m² of {parent} lie in none of its {len(part)} blocks"
            why_zh = f"{parent} 有 {area:,.0f} m² 不在其 {len(part)} 个责任块内"
            answers = (str(grid["grid_code"]),)
            spot = BlindSpot(
                BlindKind.GEOMETRIC, "no_block", str(parent), piece, area, None, area, why, why_zh, answers
            )
            yield spot


def _joint_seams(scene: _Scene) -> Iterator[BlindSpot]:
    """Edges between towns: two managers each may take them for the other's. The less of one is seen, the worse."""
    strips = edge_seams(scene.grids, by="town_code", metric_crs=scene.city.metric_crs)
    if strips.empty:
        return
    unseen_m2 = _unseen_m2(scene, strips)
    for row, unseen in zip(strips.itertuples(), unseen_m2, strict=True):
        pair = (str(row.first), str(row.second))
        area = float(area_and_width_m(shapely.get_parts(row.geometry))[0].sum())
        why = (
            f"the edge of {pair[0]} and {pair[1]}, {row.length_m:,.0f} m, is of two towns; "
            f"{unseen:,.0f} m² within 10 m of it were not seen {scene.told(scene.window.shift)}"
        )
        why_zh = (
            f"{pair[0]} 与 {pair[1]} 的交界 {row.length_m:,.0f} m 分属两个街镇; "
            f"两侧 10 m 内 {scene.told_zh(scene.window.shift)} 有 {unseen:,.0f} m² 未见"
        )
        spot = BlindSpot(
            *(BlindKind.GEOMETRIC, "joint_seam", pair[0], row.geometry, area, None, float(unseen)), why, why_zh, pair
        )
        yield spot


def _unseen_m2(scene: _Scene, strips: gpd.GeoDataFrame) -> Any:
    shares = seen_shares(
        strips,
        scene.seen(scene.window.shift),
        metric_crs=scene.city.metric_crs,
        excluded=scene.excluded if len(scene.excluded) else None,
        as_of=scene.window.last,
    )
    return (shares["ground_m2"] - shares["seen_m2"]).to_numpy()


def _seams_of_file(scene: _Scene, path: Path) -> Iterator[BlindSpot]:
    frame = read_layer(path)[0].to_crs(scene.city.metric_crs)
    if "name" not in frame.columns:
        raise InvalidInput(f"{path}: seams need a column name, and may have owner")
    lines = shapely.get_dimensions(frame.geometry.to_numpy()) == 1
    wide = np.where(lines, shapely.buffer(frame.geometry.to_numpy(), 10.0, cap_style="flat"), frame.geometry.to_numpy())
    strips = frame.set_geometry(gpd.GeoSeries(wide, crs=frame.crs, index=frame.index)).to_crs("EPSG:4326")
    tree, codes = shapely.STRtree(scene.grids.geometry.to_numpy()), scene.grids["grid_code"].to_numpy()
    for row, unseen in zip(strips.to_dict("records"), _unseen_m2(scene, strips), strict=True):
        owner = row.get("owner")
        owner = owner if isinstance(owner, str) and owner.strip() else None
        if owner is not None and "/" not in owner:
            continue
        shape = row[strips.geometry.name]
        crossed = tuple(sorted(codes[tree.query(shape, predicate="intersects")].tolist()))
        area = float(area_and_width_m(shapely.get_parts(shape))[0].sum())
        what = "unowned_seam" if owner is None else "joint_seam"
        held = "belongs to nobody" if owner is None else f"belongs jointly to {owner}"
        why = f"{row['name']} {held}; {unseen:,.0f} m² of it were not seen {scene.told(scene.window.shift)}"
        held_zh = "无人负责" if owner is None else f"由 {owner} 共管"
        why_zh = f"{row['name']} {held_zh}; {scene.told_zh(scene.window.shift)} 有 {unseen:,.0f} m² 未见"
        code = crossed[0] if crossed else None
        yield BlindSpot(BlindKind.GEOMETRIC, what, code, shape, area, None, float(unseen) + 1.0, why, why_zh, crossed)


# --- unseen ------------------------------------------------------------------------------------------------------


def _unseen(scene: _Scene) -> Sequence[BlindSpot]:
    """Ground that nobody saw; without a shift asked, also ground that one shift saw and the other did not."""
    how: dict[str, Any] = {
        "metric_crs": scene.city.metric_crs,
        "excluded": scene.excluded if len(scene.excluded) else None,
        "as_of": scene.window.last,
        "min_area_m2": LEAST_UNSEEN_M2,
        "simplify_m": 10.0,
    }
    shift = scene.window.shift
    if shift is None:
        patches = unseen_by_shift(scene.asked_grids, scene.seen(0), scene.seen(1), **how)
    else:
        patches = unseen_ground(scene.asked_grids, scene.seen(shift), **how).assign(shift=shift)
    ranked = sorted(_patches(scene, patches), key=lambda spot: -spot.badness)
    return [*_dated(scene, ranked[:DATED_SPOTS]), *ranked[DATED_SPOTS:]]


def _patches(scene: _Scene, patches: gpd.GeoDataFrame) -> list[BlindSpot]:
    """Patches of unseen ground with what makes them bad: area, people and reports nearby."""
    reports = _reports_near(scene, patches)
    density = _density(scene)
    is_told_apart = scene.window.shift is None
    few, few_zh = f"fewer than {LEAST_SHOWN}", f"少于 {LEAST_SHOWN}"
    spots = []
    for row, near in zip(patches.itertuples(), reports, strict=True):
        code, shift = str(row.grid_code), None if row.shift < 0 else int(row.shift)
        badness = float(row.area_m2) * density.get(code, 1.0) * (1 + near)
        is_seen_else = is_told_apart and shift is not None
        why = (
            f"{row.area_m2:,.0f} m² were not seen {scene.told(shift)}"
            f"{', though the other shift saw it' if is_seen_else else ''}; {near or few} reports nearby in a year"
        )
        why_zh = (
            f"{scene.told_zh(shift)} 有 {row.area_m2:,.0f} m² 未见{', 另一班次见过' if is_seen_else else ''}; "
            f"一年内附近上报 {near or few_zh} 件"
        )
        place = (row.geometry, float(row.area_m2), None, badness)
        spots.append(BlindSpot(BlindKind.UNSEEN, UNSEEN_BY[shift], code, *place, why, why_zh, (code,)))
    return spots


def _density(scene: _Scene) -> dict[str, float]:
    """People a square metre of each grid, relative to the mean; nothing without numbers of people."""
    if scene.people is None:
        return {}
    density = scene.people.to_numpy() / scene.grids["area_m2"].to_numpy()
    return dict(zip(scene.grids["grid_code"], density / density.mean(), strict=True))


def _reports_near(scene: _Scene, patches: gpd.GeoDataFrame) -> Any:
    """Reports of the last year within `NEAR_M` of each patch; fewer than five are 0, for everybody sees blind spots."""
    if patches.empty:
        return []
    since = scene.now - timedelta(days=SILENT_DAYS)
    lonlat = points_of(scene.session, ReportFilter(since=since, until=scene.now))
    points = gpd.GeoSeries(shapely.points(lonlat), crs="EPSG:4326").to_crs(scene.city.metric_crs).to_numpy()
    shapes = patches.geometry.to_crs(scene.city.metric_crs).to_numpy()
    patch, _ = shapely.STRtree(points).query(shapes, predicate="dwithin", distance=NEAR_M)
    near = np.bincount(patch, minlength=len(shapes))
    return np.where(near < LEAST_SHOWN, 0, near).tolist()


def _dated(scene: _Scene, spots: Sequence[BlindSpot]) -> list[BlindSpot]:
    """Spots with the day after which nothing of them was seen, looked for over `LOOK_BACK_DAYS` before the window."""
    dated = []
    for shift, what in UNSEEN_BY.items():
        of_kind = [spot for spot in spots if spot.what == what]
        last_days = _last_seen(scene, [spot.place for spot in of_kind], shift) if of_kind else []
        dated += [
            replace(spot, since=None if day == NEVER else date.fromordinal(day) + timedelta(days=1))
            for spot, day in zip(of_kind, last_days, strict=True)
        ]
    return dated


def _last_seen(scene: _Scene, shapes: Sequence[shapely.Geometry], shift: int | None) -> list[int]:
    mask = masks_of(gpd.GeoSeries(list(shapes), crs="EPSG:4326").make_valid(), scene.city.metric_crs)
    # Smoothed outlines reach over cells that were seen: those are not of the spot.
    mask = mask.without(scene.seen(shift))
    tiles = set(zip(mask.tile_row.tolist(), mask.tile_col.tolist(), strict=True))
    before = scene.window.first - timedelta(days=1)
    window = Window(before - timedelta(days=LOOK_BACK_DAYS), before, shift)
    surface = seen_surface(seen_tiles_in(scene.session, window, tiles))
    where = {
        (int(row), int(col)): k for k, (row, col) in enumerate(zip(surface.tile_row, surface.tile_col, strict=True))
    }
    last = [NEVER] * len(shapes)
    for owner, row, col, bits in zip(mask.polygon, mask.tile_row, mask.tile_col, mask.bits, strict=True):
        at = where.get((int(row), int(col)))
        if at is not None:
            cells = np.unpackbits(bits).astype(bool)
            last[owner] = max(last[owner], int(surface.last[at][cells].max(initial=NEVER)))
    return last


# --- silent ------------------------------------------------------------------------------------------------------


def _silent(scene: _Scene) -> Iterator[BlindSpot]:
    since = scene.now - timedelta(days=SILENT_DAYS)
    counts = count_by_grid(scene.session, ReportFilter(since=since, until=scene.now))
    told = [counts.get(code, 0) for code in scene.grids["grid_code"]]
    people = None if scene.people is None else scene.people.to_numpy()
    table = silent_grids(scene.grids, told, people=people, false_discovery=FALSE_DISCOVERY)
    pairs = zip(table["expected"].tolist(), table["reports"].tolist(), strict=True)
    for row, grid, (expected, reports) in zip(table.itertuples(), scene.grids.itertuples(), pairs, strict=True):
        if not row.is_silent:
            continue
        code = str(grid.grid_code)
        why = (
            f"{row.reports} reports in a year, {row.expected:.1f} expected of its area"
            f"{', people' if people is not None else ''} and neighbours; chance {row.p:.1g}, "
            f"false-discovery rate {row.q:.2f}"
        )
        by_people = "、人口" if people is not None else ""
        why_zh = (
            f"一年内上报 {row.reports} 件, 按面积{by_people}和邻近网格应有 {expected:.1f} 件; "
            f"偶然如此的概率 {row.p:.1g}, 错误发现率 {row.q:.2f}"
        )
        place = (grid.geometry, float(grid.area_m2), since.date(), float(expected) - int(reports))
        yield BlindSpot(BlindKind.SILENT, "silent", code, *place, why, why_zh, (code,))


# --- unmanned ----------------------------------------------------------------------------------------------------


def _unmanned(scene: _Scene) -> Iterator[BlindSpot]:
    shapes, areas = scene.shapes, dict(zip(scene.grids["grid_code"], scene.grids["area_m2"], strict=True))
    left = managers_left(scene.session, at=scene.now)
    for code in grids_without_manager(scene.session, at=scene.now):
        since = left[code].astimezone(scene.city.zone).date() if code in left else None
        why = f"nobody answers for this grid{f' since {since}' if since else ', and nobody ever has'}"
        why_zh = f"{f'{since} 起' if since else '从来'}没有网格长"
        place = (shapes[code], float(areas[code]), since, 1e6)
        yield BlindSpot(BlindKind.UNMANNED, "no_manager", code, *place, why, why_zh, (code,))
    blocks = blocks_frame(scene.session, at=scene.now).set_index("block_code", drop=False)
    owners = _grids_of(scene.grids, blocks)
    for staff in block_staff(scene.session, at=scene.now):
        if not staff.is_short:
            continue
        block = blocks.loc[staff.block_code]
        what = "short_block" if staff.people else "vacant_block"
        why = f"{staff.people} people are posted here, {staff.least_people} should be"
        lack = 1e5 * (staff.least_people - staff.people) / staff.least_people
        why_zh = f"在岗 {staff.people} 人, 应有 {staff.least_people} 人"
        place = (block.geometry, float(block["area_m2"]), None, lack)
        spot = BlindSpot(BlindKind.UNMANNED, what, staff.block_code, *place, why, why_zh, owners[staff.block_code])
        yield spot
    for code, (minutes, why, why_zh) in _gaps_by_place(scene).items():
        shape = shapes[code] if code in shapes else blocks.loc[code].geometry
        area = float(areas[code] if code in areas else blocks.loc[code]["area_m2"])
        answers = (code,) if code in shapes else owners[code]
        yield BlindSpot(BlindKind.UNMANNED, "shift_gap", code, shape, area, None, float(minutes), why, why_zh, answers)


def _grids_of(grids: gpd.GeoDataFrame, blocks: gpd.GeoDataFrame) -> dict[str, tuple[str, ...]]:
    """The grid that holds a point of each block."""
    if blocks.empty:
        return {}
    points = blocks.geometry.representative_point().to_numpy()
    block, grid = shapely.STRtree(grids.geometry.to_numpy()).query(points, predicate="intersects")
    found: dict[str, tuple[str, ...]] = dict.fromkeys(blocks["block_code"], ())
    for k, at in zip(block, grid, strict=True):
        found[blocks["block_code"].iloc[k]] = (str(grids["grid_code"].iloc[at]),)
    return found


def _gaps_by_place(scene: _Scene) -> dict[str, tuple[int, str, str]]:
    """Minutes of the week that each place is without somebody, and the gaps in words; places without any are left out.

    Where no team has ever been stored there is nothing to judge by.
    """
    gaps = shift_gaps(scene.session, at=scene.now)
    minutes, words, words_zh = Counter[str](), defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for one in gaps:
        minutes[one.code] += one.gap.minutes
        words[one.code].append(f"{one.ground}: {one.gap}")
        words_zh[one.code].append(f"{GROUNDS_ZH.get(str(one.ground), one.ground)} {one.gap}")
    return {
        code: (
            minutes[code],
            f"nobody is out for {'; '.join(told[:4])}{' …' if told[4:] else ''}",
            f"每周 {minutes[code]:,} 分钟无人: {'; '.join(words_zh[code][:4])}{' …' if told[4:] else ''}",
        )
        for code, told in words.items()
    }
