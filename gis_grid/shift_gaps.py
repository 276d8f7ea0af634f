"""When a grid or block has nobody out, by the role of the teams: 时间、空间无缝衔接, counted."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from gis_grid.blocks import Block, BlockLayer
from gis_grid.shift_weeks import WEEK_MIN, Gap, Week, WeekShift, gaps_of, week_of
from gis_grid.teams import GroundKind, Team, TeamGround, TeamKind, TeamShift
from gis_grid.territory import Area, Grid, the_layer

GROUND_OF = {TeamKind.COMMUNITY: "estates", TeamKind.STREET: "streets"}
"""The kind of ground each kind of team is for."""


@dataclass(frozen=True)
class ShiftGap:
    """Minutes of each week in which a grid or block has no team of a kind out."""

    place: GroundKind
    code: str
    kind: TeamKind
    gap: Gap

    @property
    def ground(self) -> str:
        """What is left without anybody: estates or streets."""
        return GROUND_OF[self.kind]


def shift_gaps(session: Session, *, at: datetime, codes: Iterable[str] | None = None) -> list[ShiftGap]:
    """Every gap of every grid and block in force at a time, by code, kind of team and minute of the week.

    A team that covers an area covers all grids below it, one that covers a grid its blocks too. Teams of the blocks
    cover a grid in the minutes in which every block over it has somebody.

    Parameters
    ----------
    codes
        Only these grids and blocks; all without it.
    """
    wanted = set(codes) if codes is not None else None
    weeks = _weeks(session, at)
    places = _places(session, at)
    found = []
    for kind in TeamKind:
        covered = _covered(session, at, kind, weeks, places)
        for (place, code), week in covered.items():
            if wanted is None or code in wanted:
                found += [ShiftGap(place, code, kind, gap) for gap in gaps_of(week)]
    return sorted(found, key=lambda one: (one.code, one.kind, one.gap.start))


def _weeks(session: Session, at: datetime) -> dict[str, Week]:
    """The week of each team."""
    shifts: dict[str, list[WeekShift]] = defaultdict(list)
    query = sa.select(TeamShift.team_code, TeamShift.weekday, TeamShift.starts, TeamShift.ends)
    for team, weekday, starts, ends in session.execute(query.where(TeamShift.valid.contains(at))):
        shifts[team].append(WeekShift(weekday, starts, ends))
    return {team: week_of(of_team) for team, of_team in shifts.items()}


@dataclass(frozen=True)
class _Places:
    """Grids with the codes of all that lies above them, and blocks by their parent."""

    above: Mapping[str, tuple[str, ...]]
    blocks: Mapping[str, list[str]]

    def parents(self, code: str) -> Iterator[str]:
        """What a grid's blocks may be parts of: itself or its community."""
        yield code
        yield from self.above[code][:1]

    def grids_below(self, parent: str) -> list[str]:
        """The parent itself where it is a grid, else its grids."""
        return [parent] if parent in self.above else [code for code, above in self.above.items() if parent in above]


def _places(session: Session, at: datetime) -> _Places:
    community, town, district = aliased(Area), aliased(Area), aliased(Area)
    grids = (
        sa.select(Grid.code, community.code, town.code, district.code)
        .join(community, Grid.community_id == community.id)
        .join(town, community.parent_id == town.id)
        .join(district, town.parent_id == district.id)
        .where(Grid.layer_id == the_layer(session, at).id)
    )
    blocks: dict[str, list[str]] = defaultdict(list)
    in_force = sa.select(BlockLayer.parent_code, Block.code).join(Block.layer).where(BlockLayer.in_force.contains(at))
    for parent, code in session.execute(in_force):
        blocks[parent].append(code)
    return _Places({code: tuple(above) for code, *above in session.execute(grids)}, blocks)


def _covered(
    session: Session, at: datetime, kind: TeamKind, weeks: Mapping[str, Week], places: _Places
) -> dict[tuple[GroundKind, str], Week]:
    """In which minutes each grid and block has a team of this kind out."""
    of_kind = sa.select(Team.code).where(Team.kind == kind.value, Team.valid.contains(at))
    query = sa.select(TeamGround.code, TeamGround.team_code).where(
        TeamGround.valid.contains(at), TeamGround.team_code.in_(of_kind)
    )
    nobody = np.zeros(WEEK_MIN, dtype=bool)
    of_code: dict[str, Week] = {}
    for code, team in session.execute(query):
        of_code[code] = of_code.get(code, nobody) | weeks.get(team, nobody)
    grids = {
        code: np.logical_or.reduce([of_code.get(one, nobody) for one in (code, *above)])
        for code, above in places.above.items()
    }
    blocks = {
        block: of_code.get(block, nobody)
        | np.logical_and.reduce([grids[grid] for grid in places.grids_below(parent)] or [nobody])
        for parent, members in places.blocks.items()
        for block in members
    }
    whole = {
        parent: np.logical_and.reduce([blocks[one] for one in members]) for parent, members in places.blocks.items()
    }
    grids = {
        code: np.logical_or.reduce([week, *(whole[parent] for parent in places.parents(code) if parent in whole)])
        for code, week in grids.items()
    }
    return {(GroundKind.GRID, code): week for code, week in grids.items()} | {
        (GroundKind.BLOCK, code): week for code, week in blocks.items()
    }
