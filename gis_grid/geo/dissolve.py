"""Towns, communities and the district of a layer, dissolved from its grids."""

from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

LEVELS = ("district", "town", "community")
_COLUMNS = ("level", "code", "name", "parent_code")


def derive_areas(grids: gpd.GeoDataFrame, *, city_name: str, adcode: str) -> gpd.GeoDataFrame:
    """Areas frame of a layer: the district, its towns, their communities.

    A level is dissolved by its code column (`town_code`, `community_code`), along the shared edges, so that areas tile
    as exactly as the grids do; its name is the column `town` or `community`, else the code. A level without a code
    column repeats the one above: each area there is one area here, with its code and name. So a layer without towns and
    communities has one area a level, named after the city.

    Parameters
    ----------
    grids
        Grid frame, EPSG:4326, every geometry a valid polygon; a grid without a code at a level is in none of its areas.
    city_name, adcode
        Name and code of the district.

    Returns
    -------
    areas
        EPSG:4326: `level`, `code`, `name`, `parent_code` (None for the district), geometry; sorted by level, then code.
    """
    code = pd.Series(adcode, index=grids.index, dtype=object)
    name = pd.Series(city_name, index=grids.index, dtype=object)
    rows = _dissolved("district", grids, code, name, parent=None)
    for level in LEVELS[1:]:
        parent = code
        if f"{level}_code" in grids.columns:
            code = grids[f"{level}_code"]
            name = grids[level] if level in grids.columns else code
        rows += _dissolved(level, grids, code, name, parent=parent)
    columns = {column: pd.Series([row[column] for row in rows], dtype=object) for column in _COLUMNS}
    return gpd.GeoDataFrame(columns, geometry=[row["geometry"] for row in rows], crs=grids.crs)


def _dissolved(level: str, grids: gpd.GeoDataFrame, code: Any, name: Any, *, parent: Any) -> list[dict[str, Any]]:
    shapes = grids.geometry.to_numpy()
    members = pd.Series(code.to_numpy(), dtype=object).groupby(code.to_numpy()).indices
    return [
        {
            "level": level,
            "code": one,
            "name": name.iloc[of[0]],
            "parent_code": None if parent is None else parent.iloc[of[0]],
            "geometry": _union(shapes[of]),
        }
        for one, of in sorted(members.items())
    ]


def _union(polygons: Any) -> Any:
    """Union along shared edges; where a layer with accepted faults is no coverage, the union of its ground."""
    is_exact = bool(shapely.coverage_is_valid(polygons))
    return shapely.coverage_union_all(polygons) if is_exact else shapely.union_all(shapely.make_valid(polygons))
