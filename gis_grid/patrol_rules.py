"""Blocks and teams of a city as one: what its folder says, stored whole or not at all."""

from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from gis_grid.blocks import load_blocks, read_blocks
from gis_grid.city import City
from gis_grid.database import By
from gis_grid.dated import Loaded
from gis_grid.layers import is_synthetic
from gis_grid.teams import load_teams, read_teams

BLOCKS = "blocks.geojson"
TEAMS = "teams.csv"


def load_patrol_rules(
    session: Session, city: City, *, now: datetime, by: By, folder: Path | None = None
) -> dict[str, Loaded]:
    """Bring blocks and teams to what a folder says (the city's own without one); what changed, by table.

    A file that the folder lacks leaves its tables alone; teams.csv comes with team_members.csv, team_grounds.csv and
    team_shifts.csv. The grid layer must be loaded before.
    """
    folder = folder or city.rules
    loaded: dict[str, Loaded] = {}
    if folder is None:
        return loaded
    blocks = folder / BLOCKS
    if blocks.is_file():
        count = load_blocks(
            session,
            read_blocks(blocks),
            city=city,
            source=blocks.name,
            is_synthetic=is_synthetic(blocks),
            by=by,
            now=now,
        )
        loaded |= {"block_layers": Loaded(opened=count)} if count else {}
    if (folder / TEAMS).is_file():
        loaded |= load_teams(session, read_teams(folder, zone=city.zone), by=by, now=now)
    return loaded
