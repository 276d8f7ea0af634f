"""Transformers between coordinate reference systems, made once."""

from functools import cache

from pyproj import Transformer


@cache
def quick_transformer(source: str, target: str) -> Transformer:
    """From one CRS into another, x and lon first, without the search for the way, which pyproj repeats in every thread.

    A search takes 40 to 250 ms.

    Raises
    ------
    pyproj.exceptions.CRSError
        A CRS is unknown.
    """
    found = Transformer.from_crs(source, target, always_xy=True)
    pipeline = found.definition  # of several that might serve, PROJ chooses one point by point and names none
    return Transformer.from_pipeline(pipeline) if pipeline.startswith("proj=") else found
