"""Transformers that are made once give what PROJ gives when asked anew."""

import numpy as np
import pytest
from pyproj import Transformer

from gis_grid.geo.transformers import quick_transformer

PLACES = [("EPSG:4549", 121.4, 31.1), ("EPSG:26986", -71.1, 42.3), ("EPSG:27700", -0.5, 51.5)]  # the last one searches


@pytest.mark.parametrize(("crs", "lon", "lat"), PLACES)
def test_the_quick_transformation_gives_the_very_same_coordinates(crs: str, lon: float, lat: float) -> None:
    rng = np.random.default_rng(1)
    lons, lats = lon + rng.uniform(-0.3, 0.3, 10_000), lat + rng.uniform(-0.3, 0.3, 10_000)

    there, back = quick_transformer("EPSG:4326", crs), quick_transformer(crs, "EPSG:4326")

    plane = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lons, lats)
    assert np.array_equal(there.transform(lons, lats), plane)
    assert np.array_equal(
        back.transform(*plane), Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*plane)
    )
