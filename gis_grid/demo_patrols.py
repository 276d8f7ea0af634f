"""Synthetic teams for a try: in each town a community team and two street teams, beside the examples we ship."""

from datetime import datetime, time
from pathlib import Path

import geopandas as gpd
from sqlalchemy.orm import Session

from gis_grid.city import City
from gis_grid.database import By
from gis_grid.dated import Stretch
from gis_grid.teams import Teams, load_teams, read_teams

LATE_TOWNS = 2  # whose night patrol comes ten minutes after the day's has left: something for `shifts gaps` to find


def add_demo_teams(
    session: Session, city: City, grids: gpd.GeoDataFrame, *, since: datetime, by: By, now: datetime
) -> int:
    """Store teams for every town, with hours round the clock but for a planted gap; how many teams there are now."""
    shipped = _shipped(city.rules, city) if city.rules else None
    known = {stretch.key[0] for _, stretch in shipped.teams} if shipped else set()
    teams, grounds, shifts = [], [], []
    towns = grids.drop_duplicates("town_code")[["town_code", "town"]]
    for number, (code, town) in enumerate(towns.itertuples(index=False)):
        late = time(22, 10) if number < LATE_TOWNS else time(22)
        plan = (
            (f"demo-community-{code}", "社区网格巡管队", "community", [(time(0), time(0), "day", "reporting")]),
            (f"street-day-{code}", "城管巡逻队(白天)", "street", [(time(6), time(22), "day", "appearance")]),
            (f"street-night-{code}", "治安巡逻队(夜间)", "street", [(late, time(6), "night", "security")]),
        )
        for team, name, kind, hours in plan:
            if team in known:
                continue
            teams.append(Stretch((team,), (f"{town}{name}(示例)", f"{code} {kind} patrol", kind, None, True), since))
            grounds.append(Stretch((team, "area", code), (True,), since))
            shifts += [
                Stretch((team, "daily", starts), (ends, shift, duty, "", True), since)
                for starts, ends, shift, duty in hours
            ]
    together = Teams(
        teams=[*(shipped.teams if shipped else ()), *((0, one) for one in teams)],
        members=shipped.members if shipped else (),
        grounds=[*(shipped.grounds if shipped else ()), *((0, one) for one in grounds)],
        shifts=[*(shipped.shifts if shipped else ()), *((0, one) for one in shifts)],
    )
    load_teams(session, together, by=by, now=now)
    return len(together.teams)


def _shipped(folder: Path, city: City) -> Teams | None:
    return read_teams(folder, zone=city.zone) if (folder / "teams.csv").is_file() else None
