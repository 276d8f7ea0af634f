"""A new layer: what it would change, shown beforehand, and its activation, which keeps what was there before."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.csv
import shapely
import sqlalchemy as sa
from geoalchemy2.shape import to_shape
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.orm import Mapped, Session, mapped_column

from gis_grid.blocks import blocks_frame
from gis_grid.case_side_steps import Relocate
from gis_grid.cases import Case, lock_cases, log_step
from gis_grid.city import City
from gis_grid.database import Base, By, Change, change, sql
from gis_grid.dated import one_of
from gis_grid.errors import Conflict, NotFound
from gis_grid.geo.datum import LonLat
from gis_grid.geo.lineage import Descent, trace_ground
from gis_grid.geo.metres import area_and_width_m
from gis_grid.geo.placing import GridIndex, Method
from gis_grid.locating import Located, locate
from gis_grid.reports import Report
from gis_grid.rules import load_rules
from gis_grid.tenures import GRID_MANAGER, Tenure
from gis_grid.territory import Grid, GridLayer, grids_frame, ground_of, the_layer

AT_ONCE = 2000
NEW_LAYER = "a new grid layer"
LEAST_M2 = 1.0
MOST = 0.5
"""Share of a grid's ground that counts as most of it."""


class GridLineage(Base):
    """Common ground of a grid and a grid of the layer before."""

    __tablename__ = "grid_lineage"

    old_grid_id: Mapped[int] = mapped_column(sa.ForeignKey(Grid.id, ondelete="CASCADE"), primary_key=True)
    new_grid_id: Mapped[int] = mapped_column(sa.ForeignKey(Grid.id, ondelete="CASCADE"), primary_key=True, index=True)
    area_m2: Mapped[float]
    share_of_old: Mapped[float]
    share_of_new: Mapped[float]
    descent: Mapped[str]

    __table_args__ = (sa.CheckConstraint(one_of("descent", Descent), name="descent"),)


@dataclass(frozen=True)
class LayerChange:
    """What a new layer would change.

    Attributes
    ----------
    effective_at
        From when it is in force.
    reports
        How many stored reports were compared: all but those of drills, which move uncounted.
    replaced
        How many of these were observed since, and so will be placed anew.
    moves
        Reports that lie in another grid, by `old_code` and `new_code` (None for no grid): `reports`, and `replaced`,
        those of them that will be placed anew.
    lineage
        As `geo.lineage.trace_ground`.
    cases
        Open cases that come into another grid: `case`, `old_code`, `new_code`, `is_drill`. Who has them and who
        answered for the ground when they were filed stays; a hand-over is a step of its own.
    tenures
        Who answers for each new grid, and what became of tenures that end: `grid_code`, `fate` (kept, moved, vacant,
        ended), `from_code`, `post`.
    blocks
        Grids and communities whose blocks would tile them no longer: `parent_level`, `parent_code`, `without_m2` (of
        their ground in no block), `beyond_m2` (of the blocks outside them; all of it where there is no such parent).
    """

    effective_at: datetime
    reports: int
    replaced: int
    moves: pd.DataFrame
    lineage: pd.DataFrame
    cases: pd.DataFrame
    tenures: pd.DataFrame
    blocks: pd.DataFrame


class CannotBeActivated(Conflict):
    """The layer is in force, or its time has not come, or it lies before the layer it would follow."""


def preview_layer(session: Session, new: gpd.GeoDataFrame, *, effective_at: datetime, snap_m: float) -> LayerChange:
    """What a layer would change if it were activated; nothing is stored.

    Parameters
    ----------
    new
        EPSG:4326; columns grid_code and geometry.
    effective_at
        From when it is to be in force.

    Raises
    ------
    NotFound
        No layer is in force at that time.
    """
    old = grids_frame(session, the_layer(session, effective_at))
    index = GridIndex(new)
    reports = _reports_frame(session)
    lineage = trace_ground(old, new)
    codes = set(new["grid_code"])
    target = _placed_anew(reports, index, codes, snap_m=snap_m)
    is_replaced = (reports["at"] >= pd.Timestamp(effective_at)).to_numpy()
    is_moved = (reports["code"].fillna("") != target.fillna("")).to_numpy()
    moved = pd.DataFrame(
        {"old_code": reports["code"][is_moved], "new_code": target[is_moved], "replaced": is_replaced[is_moved]}
    )
    moves = moved.groupby(["old_code", "new_code"], dropna=False)["replaced"].agg(reports="size", replaced="sum")
    return LayerChange(
        effective_at=effective_at,
        reports=len(reports),
        replaced=int(is_replaced.sum()),
        moves=moves.reset_index().sort_values("reports", ascending=False, ignore_index=True),
        lineage=lineage,
        cases=_cases_frame(session, index, snap_m=snap_m),
        tenures=_tenures_frame(session, codes, lineage, at=effective_at),
        blocks=_untiled(blocks_frame(session, at=effective_at), new),
    )


def _untiled(blocks: gpd.GeoDataFrame, new: gpd.GeoDataFrame) -> pd.DataFrame:
    """Parents whose blocks leave out, or reach beyond, a square metre or more of what the new grids make of them."""
    rows = []
    for (level, parent), part in blocks.groupby(["parent_level", "parent_code"]):
        codes = new["grid_code"].astype(str)
        own = new[codes == parent] if level == "grid" else new[codes.str.startswith(str(parent))]
        whole, covered = (shapely.union_all(shapes.geometry.to_numpy()) for shapes in (own, part))
        without, beyond = _area_m2(shapely.difference(whole, covered)), _area_m2(shapely.difference(covered, whole))
        if max(without, beyond) >= LEAST_M2:
            rows.append((str(level), str(parent), without, beyond))
    return pd.DataFrame(rows, columns=["parent_level", "parent_code", "without_m2", "beyond_m2"])


def _area_m2(ground: shapely.Geometry) -> float:
    parts = [part for part in shapely.get_parts(ground) if part.geom_type == "Polygon"]
    return float(area_and_width_m(np.array(parts, dtype=object))[0].sum()) if parts else 0.0


def _reports_frame(session: Session) -> pd.DataFrame:
    """All reports that count: lon, lat, at (when the layer of their placement was asked for), code and method now."""
    # A million rows as Python objects would take longer than placing them.
    text = io.BytesIO()
    cursor: Any = session.connection().connection.cursor()
    with cursor:
        cursor.copy_expert(sql("reports_to_place").text, text)
    text.seek(0)
    types = {"code": "string", "method": "string", "lon": "double", "lat": "double", "at": "double"}
    options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    frame: pd.DataFrame = pyarrow.csv.read_csv(text, convert_options=options).to_pandas()
    frame["at"] = pd.to_datetime(frame["at"], unit="s", utc=True)
    return frame


def _placed_anew(reports: pd.DataFrame, index: GridIndex, codes: set[str], *, snap_m: float) -> pd.Series:
    """The new grid of each report; one placed by hand stays in the grid of that code where there is one."""
    placed = index.place_points(reports["lon"].to_numpy(), reports["lat"].to_numpy(), snap_m=snap_m)["grid_code"]
    stays = (reports["method"] == Method.MANUAL.value) & reports["code"].isin(codes)
    return placed.where(~stays.to_numpy(), reports["code"].to_numpy())


def _cases_frame(session: Session, index: GridIndex, *, snap_m: float) -> pd.DataFrame:
    query = (
        sa.select(
            Case.id,
            Case.serial,
            Case.grid_code,
            sa.func.ST_X(Report.geom),
            sa.func.ST_Y(Report.geom),
            Case.drill_id.is_not(None),
        )
        .join(Report, Report.id == Case.report_id)
        .where(Case.closed_at.is_(None))
        .order_by(Case.id)
    )
    rows = session.execute(query).all()
    lon, lat = np.array([row[3] for row in rows], dtype=float), np.array([row[4] for row in rows], dtype=float)
    target = index.place_points(lon, lat, snap_m=snap_m)["grid_code"]
    moved = [
        (serial or str(id_), old, code, is_drill)
        for (id_, serial, old, _, _, is_drill), code in zip(rows, target, strict=True)
        if code not in {None, old}
    ]
    return pd.DataFrame(moved, columns=["case", "old_code", "new_code", "is_drill"])


def _tenures_frame(session: Session, codes: set[str], lineage: pd.DataFrame, *, at: datetime) -> pd.DataFrame:
    held = _held(session, at=at)
    rows: list[tuple[str, str, str | None, str | None]] = []
    for code, heir_of in sorted(_heirs(codes, lineage).items()):
        tenure = held.get(heir_of) if heir_of else None
        if tenure is None:
            rows.append((code, "vacant", heir_of, None))
        else:
            rows.append((code, "kept" if heir_of == code else "moved", heir_of, tenure.post))
    inherited = {row[2] for row in rows if row[1] in {"kept", "moved"}}
    rows += [(code, "ended", None, tenure.post) for code, tenure in sorted(held.items()) if code not in inherited]
    return pd.DataFrame(rows, columns=["grid_code", "fate", "from_code", "post"], dtype=object)


def _held(session: Session, *, at: datetime) -> dict[str, Tenure]:
    query = sa.select(Tenure).where(Tenure.role == GRID_MANAGER, Tenure.ground == "grid", Tenure.valid.contains(at))
    return {tenure.code: tenure for tenure in session.scalars(query)}


def _heirs(codes: set[str], lineage: pd.DataFrame) -> dict[str, str | None]:
    """The old grid whose manager answers for each new grid; None where it is vacant.

    The old grid of the same code, if most of its ground is in the new one; else the one that makes up most of the new.
    """
    most_of_own = lineage[(lineage["old_code"] == lineage["new_code"]) & (lineage["share_of_old"] >= MOST)]
    makes_up_most = lineage[lineage["share_of_new"] >= MOST].sort_values("share_of_new")
    largest = dict(zip(makes_up_most["new_code"], makes_up_most["old_code"], strict=True))
    return dict.fromkeys(codes) | largest | {code: code for code in most_of_own["new_code"]}


def activate_layer(
    session: Session, layer_id: int, *, city: City, snap_m: float, photos: Path, by: By, now: datetime
) -> LayerChange:
    """End the layer in force and start a stored one, at the time it was loaded for; what that changed.

    Reports observed since are placed anew, their old placements kept in the history; open cases come into the grid
    that holds their place now, with the step in their log; tenures go on by the rule of `_heirs`. All of it in the
    caller's transaction.

    Raises
    ------
    NotFound
        No such layer.
    CannotBeActivated
        See there.
    """
    layer = session.get(GridLayer, layer_id, with_for_update=True)
    if layer is None:
        raise NotFound(f"there is no grid layer {layer_id}")
    before = _superseded(session, layer, now=now)
    since = layer.effective_at
    new = grids_frame(session, layer)
    changed = preview_layer(session, new, effective_at=since, snap_m=snap_m)
    before.in_force = Range(before.in_force.lower if before.in_force else None, since)
    session.flush()
    layer.in_force = Range(since, None)
    session.flush()
    ids = dict(zip(new["grid_code"], new["grid_id"].tolist(), strict=True))
    _store_lineage(session, before, ids, changed.lineage)
    _place_reports(session, ids, since=since, snap_m=snap_m, by=by, now=now)
    _relocate_cases(session, layer, city=city, snap_m=snap_m, photos=photos, by=by, now=now)
    _move_tenures(session, changed.tenures, since=since, by=by, now=now)
    after = {"in_force": since.isoformat(), "supersedes": before.id, "reports_placed_anew": changed.replaced}
    session.execute(sa.insert(Change), [change("grid_layer", str(layer.id), by=by, at=now, after=after)])
    load_rules(session, city, now=now, by=by)
    return changed


def _superseded(session: Session, layer: GridLayer, *, now: datetime) -> GridLayer:
    """The layer that a new one ends."""
    if layer.in_force is not None:
        raise CannotBeActivated(f"layer {layer.id} ({layer.name}) is or was in force already")
    if layer.effective_at > now:
        raise CannotBeActivated(
            f"layer {layer.id} ({layer.name}) takes effect at {layer.effective_at.isoformat()}; activate it then"
        )
    query = sa.select(GridLayer).where(sa.func.upper_inf(GridLayer.in_force)).with_for_update()
    before = session.scalar(query)
    if before is None or before.in_force is None or before.in_force.lower is None:
        raise CannotBeActivated("no layer is in force that this one could follow")
    if layer.effective_at <= before.in_force.lower:
        raise CannotBeActivated(
            f"layer {layer.id} would take effect at {layer.effective_at.isoformat()}, not after layer {before.id}, "
            f"which has been in force since {before.in_force.lower.isoformat()}"
        )
    return before


def _store_lineage(session: Session, before: GridLayer, ids: dict[str, int], lineage: pd.DataFrame) -> None:
    old = dict(session.execute(sa.select(Grid.code, Grid.id).where(Grid.layer_id == before.id)).all())
    rows = lineage.assign(old_grid_id=lineage["old_code"].map(old), new_grid_id=lineage["new_code"].map(ids))
    columns = ["old_grid_id", "new_grid_id", "area_m2", "share_of_old", "share_of_new", "descent"]
    if len(rows):
        session.execute(sa.insert(GridLineage), cast("list[dict[str, Any]]", rows[columns].to_dict("records")))


def _place_reports(
    session: Session, ids: dict[str, int], *, since: datetime, snap_m: float, by: By, now: datetime
) -> None:
    at = sa.func.coalesce(Report.observed_at, Report.received_at)
    for part in _parts(session.scalars(sa.select(Report.id).where(at >= since).order_by(Report.id)).all()):
        query = sa.select(Report).where(Report.id.in_(part)).order_by(Report.id).with_for_update(of=Report)
        reports = session.scalars(query).all()
        points = [to_shape(report.geom) for report in reports]
        located = locate(
            session,
            [LonLat(point.x, point.y) for point in points],
            at=[report.observed_at or report.received_at for report in reports],
            accuracy_m=[report.accuracy_m for report in reports],
            snap_m=snap_m,
        )
        past = [
            report.place(_kept_by_hand(report, place, ids), reason=NEW_LAYER, by=by, at=now)
            for report, place in zip(reports, located, strict=True)
        ]
        session.add_all(past)
        session.flush()
        for row in (*reports, *past):  # a year of reports need not be held at once
            session.expunge(row)


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def _kept_by_hand(report: Report, placed: Located, ids: dict[str, int]) -> Located:
    """The placement of a report; one placed by hand stays in the grid of that code where there is one."""
    code = report.grid.code if report.grid and report.method == Method.MANUAL.value else None
    if code not in ids:
        return placed
    return Located(placed.layer_id, ids[code], code, Method.MANUAL, None, placed.shares)


def _relocate_cases(
    session: Session, layer: GridLayer, *, city: City, snap_m: float, photos: Path, by: By, now: datetime
) -> None:
    names = session.scalars(
        sa.select(sa.cast(Case.id, sa.Text)).where(Case.closed_at.is_(None)).order_by(Case.id)
    ).all()
    for part in _parts(names):
        cases = lock_cases(session, part)
        points = [to_shape(case.report.geom) for case in cases]
        located = locate(
            session,
            [LonLat(point.x, point.y) for point in points],
            at=[now] * len(cases),
            accuracy_m=[None] * len(cases),
            snap_m=snap_m,
        )
        for case, place in zip(cases, located, strict=True):
            if place.grid_id is None or (grid := session.get(Grid, place.grid_id)) is None:
                continue
            ground, old = ground_of(grid), case.ground
            case.grid_id, case.grid, case.district_code = grid.id, grid, ground[-1]
            if ground[:3] != old[:3]:
                step = Relocate(
                    action="relocate",
                    layer=layer.id,
                    from_grid_code=old[0],
                    grid_code=ground[0],
                    community_code=ground[1],
                    town_code=ground[2],
                )
                log_step(session, [case], step, city=city, photos=photos, by=by, now=now)
        session.flush()


def _move_tenures(session: Session, fates: pd.DataFrame, *, since: datetime, by: By, now: datetime) -> None:
    held = _held(session, at=since)
    rows = fates.to_dict("records")
    kept = {row["grid_code"] for row in rows if row["fate"] == "kept"}
    moved = [
        _passed_on(session, row["grid_code"], held[row["from_code"]], since=since)
        for row in rows
        if row["fate"] == "moved"
    ]
    for code, tenure in held.items():
        if code not in kept:
            tenure.valid = Range(tenure.valid.lower, since)
    session.flush()
    if moved:
        session.execute(sa.insert(Tenure), moved)
    notes = [
        change("tenure", row["grid_code"], by=by, at=now, after={"fate": row["fate"], "from": row["from_code"]})
        for row in rows
        if row["fate"] != "kept"
    ]
    if notes:
        session.execute(sa.insert(Change), notes)


def _passed_on(session: Session, code: str, tenure: Tenure, *, since: datetime) -> dict[str, Any]:
    """A tenure over another grid from a time on, until it ends or somebody named for that grid takes over."""
    begin = sa.func.min(sa.func.lower(Tenure.valid))
    later = sa.select(begin).where(
        Tenure.role == GRID_MANAGER, Tenure.ground == "grid", Tenure.code == code, sa.func.lower(Tenure.valid) > since
    )
    ends = [at for at in (tenure.valid.upper, session.scalar(later)) if at is not None]
    return {
        "role": GRID_MANAGER,
        "ground": "grid",
        "code": code,
        "person_id": tenure.person_id,
        "post": tenure.post,
        "unit": tenure.unit,
        "duty_phone": tenure.duty_phone,
        "valid": Range(since, min(ends, default=None)),
        "is_synthetic": tenure.is_synthetic,
    }
