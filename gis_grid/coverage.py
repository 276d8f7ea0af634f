"""How much of the ground that somebody answers for was seen in a period: of areas, posts, units and patrollers.

What is seen of an area, whoever saw it, is kept for good; what one patroller saw, for as long as
their raw fixes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.orm import Session

from gis_grid.accounts import Account
from gis_grid.city import City
from gis_grid.counted_steps import AND_POST, By
from gis_grid.geo.tiles import CELL_M2, TILE_BYTES, Ground, GroundMask, count_cells, ground_of
from gis_grid.indicators import Counted
from gis_grid.periods import Period
from gis_grid.seen import SeenTile, Window, ground_of_rows, seen_in_window, sent
from gis_grid.seen_shares import ExcludedGround, GroundMaskRow, PlaceLevel, places_at, seen_shares_at
from gis_grid.teams import GroundKind, Team, TeamGround, TeamMember
from gis_grid.tenures import GRID_MANAGER, Tenure
from gis_grid.territory import layer_in_force
from gis_grid.walked_ground import teams_of_walkers, walked_ground

LEVELS = {
    By.CITY: PlaceLevel.DISTRICT,
    By.TOWN: PlaceLevel.TOWN,
    By.COMMUNITY: PlaceLevel.COMMUNITY,
    By.GRID: PlaceLevel.GRID,
}
KINDS = {PlaceLevel.BLOCK: GroundKind.BLOCK, PlaceLevel.GRID: GroundKind.GRID}
Place = tuple[GroundKind, str]
Mask = tuple[str, int]  # kind and place_id of `ground_masks`


def count_covered(session: Session, period: Period, by: By, *, city: City, now: datetime) -> dict[str, Counted]:
    """Square metres to be patrolled and those that were, by key; excluded ground in neither.

    Nothing is told of a period in which nobody recorded a patrol, nor of one without a grid layer.
    """
    at = min(period.until, now)
    if at <= period.since:
        return {}
    window = Window(period.first, min(period.last, at.astimezone(city.zone).date()))
    if layer_in_force(session, at) is None or not _has_patrols(session, window):
        return {}
    found: dict[str, Counted] = {}
    match by:
        case By.CITY | By.TOWN | By.COMMUNITY | By.GRID:
            found = _of_areas(session, LEVELS[by], window, city=city, at=at)
        case By.POST:
            found = _of_posts(session, window, city=city, at=at)
        case By.UNIT:
            found = _of_units(session, window, city=city, at=at)
        case By.PATROLLER:
            found = _of_patrollers(session, window, city=city, at=at)
    return {"city" if by is By.CITY else key: counted for key, counted in found.items() if counted.due}


def _has_patrols(session: Session, window: Window) -> bool:
    days = SeenTile.day.between(window.first, window.last)
    return session.scalar(sa.select(sa.exists().where(days))) is True


def _of_areas(session: Session, level: PlaceLevel, window: Window, *, city: City, at: datetime) -> dict[str, Counted]:
    shares = seen_shares_at(session, level, window, city=city, at=at)
    columns = zip(shares.index, shares["ground_m2"], shares["seen_m2"], strict=True)
    return {code: Counted(round(ground), round(seen)) for code, ground, seen in columns}


def _of_posts(session: Session, window: Window, *, city: City, at: datetime) -> dict[str, Counted]:
    """The grids of each manager's post at a time, together."""
    held = sa.select(Tenure.unit, Tenure.post, Tenure.code).where(
        Tenure.role == GRID_MANAGER, Tenure.ground == GroundKind.GRID, Tenure.valid.contains(at)
    )
    grids = _of_areas(session, PlaceLevel.GRID, window, city=city, at=at)
    of_posts: dict[str, list[Counted]] = defaultdict(list)
    for unit, post, code in session.execute(held):
        of_posts[AND_POST.join((unit, post))].append(grids.get(code, Counted()))
    return {post: _sum(each) for post, each in of_posts.items()}


def _sum(each: Iterable[Counted]) -> Counted:
    return Counted(*(sum(column) for column in zip(Counted(), *each, strict=True)))


def _of_units(session: Session, window: Window, *, city: City, at: datetime) -> dict[str, Counted]:
    """The ground of each unit's teams, together, and what anybody saw of it."""
    query = (
        sa.select(Team.unit_code, TeamGround.ground, TeamGround.code)
        .join(TeamGround, TeamGround.team_code == Team.code)
        .where(Team.unit_code.is_not(None), Team.valid.contains(at), TeamGround.valid.contains(at))
    )
    places: dict[str, set[Place]] = defaultdict(set)
    for unit, kind, code in session.execute(query):
        places[str(unit)].add((GroundKind(kind), code))
    if not places:
        return {}
    grounds = _Grounds(session, places.values(), window, city=city, at=at)
    seen = seen_in_window(session, first=window.first, last=window.last)
    return {unit: grounds.covered(of, seen) for unit, of in places.items()}


def _of_patrollers(session: Session, window: Window, *, city: City, at: datetime) -> dict[str, Counted]:
    """Where each patroller is posted, and what they saw of it themselves: nothing for who never walked."""
    of_teams: dict[str, set[Place]] = defaultdict(set)
    query = sa.select(TeamGround.team_code, TeamGround.ground, TeamGround.code).where(TeamGround.valid.contains(at))
    for team, kind, code in session.execute(query):
        of_teams[team].add((GroundKind(kind), code))
    posted = _posted(session, of_teams, at=at)
    named = teams_of_walkers(session, window, city=city)
    places = {who: set().union(*(of_teams.get(team, set()) for team in teams)) for who, teams in named.items()} | posted
    grounds = _Grounds(session, places.values(), window, city=city, at=at)
    nothing = ground_of_rows([])
    found = {who: grounds.covered(of, nothing) for who, of in places.items()}
    for who, walked in walked_ground(session, window, city=city):
        found[who] = grounds.covered(places[who], walked)
    return found


def _posted(session: Session, of_teams: Mapping[str, set[Place]], *, at: datetime) -> dict[str, set[Place]]:
    """Where the members of teams are posted whose accounts are known: there, or wherever the team is."""
    query = (
        sa.select(Account.login, TeamMember.team_code, TeamMember.ground, TeamMember.code)
        .join(TeamMember, TeamMember.person_id == Account.person_id)
        .where(TeamMember.valid.contains(at))
    )
    posted: dict[str, set[Place]] = defaultdict(set)
    for login, team, kind, code in session.execute(query):
        posted[f"user:{login}"] |= {(GroundKind(kind), code)} if kind and code else of_teams.get(team, set())
    return dict(posted)


class _Grounds:
    """Places together as cells, without what is excluded; each set of places is made once."""

    def __init__(
        self, session: Session, asked: Iterable[set[Place]], window: Window, *, city: City, at: datetime
    ) -> None:
        self._masks = _masks_by_place(session, city, at=at)
        wanted = {mask for places in asked for place in places for mask in self._masks.get(place, ())}
        self._tiles = _tiles_of(session, wanted)
        self._excluded = _excluded(session, window)
        self._made: dict[frozenset[Place], GroundMask] = {}

    def covered(self, places: set[Place], seen: Ground) -> Counted:
        """Square metres of places, and how many of them were seen."""
        key = frozenset(places)
        if key not in self._made:
            self._made[key] = self._mask(key)
        mask = self._made[key]
        return Counted(round(count_cells(mask.bits) * CELL_M2), round(count_cells(mask.found(seen)) * CELL_M2))

    def _mask(self, places: frozenset[Place]) -> GroundMask:
        masks = {mask for place in places for mask in self._masks.get(place, ())}
        parts = [self._tiles[mask] for mask in masks if mask in self._tiles]
        if not parts:
            return _as_mask(ground_of_rows([]))
        row, col, bits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        together = ground_of(GroundMask(np.zeros(len(row), np.int64), row, col, bits, 1))
        return _as_mask(together).without(self._excluded)


def _as_mask(ground: Ground) -> GroundMask:
    return GroundMask(np.zeros(len(ground.bits), np.int64), ground.tile_row, ground.tile_col, ground.bits, 1)


def _masks_by_place(session: Session, city: City, *, at: datetime) -> dict[Place, list[Mask]]:
    """Which masks make up each block, grid and area in force at a time."""
    masks: dict[Place, list[Mask]] = defaultdict(list)
    for level in PlaceLevel:
        stored = "block" if level is PlaceLevel.BLOCK else "grid"
        kind = KINDS.get(level, GroundKind.AREA)
        places = places_at(session, level, city, at=at)
        for id_, code in zip(places["id"].tolist(), places["code"], strict=True):
            masks[kind, code].append((stored, id_))
    return masks


def _tiles_of(session: Session, masks: Iterable[Mask]) -> dict[Mask, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Tile rows, tile columns and bits of masks."""
    ids: dict[str, list[int]] = defaultdict(list)
    for kind, id_ in masks:
        ids[kind].append(id_)
    row = GroundMaskRow
    asked = sa.or_(sa.false(), *(sa.and_(row.kind == kind, row.place_id.in_(one)) for kind, one in ids.items()))
    found: dict[Mask, list[tuple[int, int, bytes]]] = defaultdict(list)
    for kind, id_, tile_row, tile_col, bits in session.execute(
        sa.select(row.kind, row.place_id, row.tile_row, row.tile_col, sent(row.bits)).where(asked)
    ):
        found[kind, id_].append((tile_row, tile_col, bytes(bits)[4:]))
    return {mask: _columns(rows) for mask, rows in found.items()}


def _columns(rows: list[tuple[int, int, bytes]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    bits = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.uint8).reshape(-1, TILE_BYTES)
    return np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int64), bits


def _excluded(session: Session, window: Window) -> Ground:
    """Ground that nobody was to patrol on the window's last day."""
    row, ground = GroundMaskRow, ExcludedGround
    tile = (row.tile_row, row.tile_col)
    query = (
        sa.select(*tile, sent(sa.cast(sa.func.bit_or(row.bits), BIT(16384, varying=True))))
        .join(ground, ground.id == row.place_id)
        .where(row.kind == "excluded", ground.since <= window.last)
        .where(sa.or_(ground.until.is_(None), ground.until >= window.last))
    )
    return ground_of_rows(session.execute(query.group_by(*tile).order_by(*tile)).all())
