"""Where the ground of a new layer's grids comes from: the overlay of two layers."""

from enum import StrEnum

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from gis_grid.geo.metres import area_and_width_m

LEAST_M2 = 1.0
"""Common ground below this is the noise of two surveys of one edge."""
WHOLE = 0.999
"""Share from which a grid counts as wholly inside another one."""


class Descent(StrEnum):
    """What became of an old grid's ground in a new grid."""

    SAME = "same"  # all of the old grid, and nothing else
    SPLIT = "split"  # wholly from the old grid, of which other parts went elsewhere
    MERGE = "merge"  # all of the old grid, with others
    TRANSFER = "transfer"  # a part moved


def trace_ground(old: gpd.GeoDataFrame, new: gpd.GeoDataFrame) -> pd.DataFrame:
    """Common ground of each old and each new grid.

    Parameters
    ----------
    old, new
        EPSG:4326; columns grid_code and geometry, valid polygons.

    Returns
    -------
    lineage
        Ascending by new_code, then old_code: `old_code`, `new_code`, `area_m2` (at least 1), `share_of_old`,
        `share_of_new` (0–1), `descent` (a value of `Descent`).
    """
    before, after = old.geometry.to_numpy(), new.geometry.to_numpy()
    rows, columns = shapely.STRtree(before).query(after, predicate="intersects")
    common = shapely.intersection(before[columns], after[rows])
    area_m2 = area_and_width_m(common)[0]
    is_common = area_m2 >= LEAST_M2
    rows, columns, common, area_m2 = rows[is_common], columns[is_common], common[is_common], area_m2[is_common]
    # In degrees, where the parts of a grid add up to it exactly; over one grid a degree is the same length everywhere.
    share_of_old = np.minimum(shapely.area(common) / shapely.area(before)[columns], 1.0)
    share_of_new = np.minimum(shapely.area(common) / shapely.area(after)[rows], 1.0)
    is_all_old, is_all_new = share_of_old >= WHOLE, share_of_new >= WHOLE
    descent = np.select(
        [is_all_old & is_all_new, is_all_new, is_all_old],
        [Descent.SAME, Descent.SPLIT, Descent.MERGE],
        Descent.TRANSFER,
    )
    lineage = pd.DataFrame(
        {
            "old_code": old["grid_code"].to_numpy()[columns],
            "new_code": new["grid_code"].to_numpy()[rows],
            "area_m2": area_m2,
            "share_of_old": share_of_old,
            "share_of_new": share_of_new,
            "descent": [str(each) for each in descent],
        }
    )
    return lineage.sort_values(["new_code", "old_code"], ignore_index=True)
