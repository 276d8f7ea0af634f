"""Files of points, read batch by batch and written back in the same form with the placements added.

What came in goes out untouched: CSV records keep their bytes, Parquet and GeoPackage columns their types. Only
`RESULT_COLUMNS` are added, at the end of each row.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pyogrio

from gis_grid.geo.arrow_points import GeoPackagePoints, ParquetPoints
from gis_grid.geo.point_batches import PointFile, UnclearColumns, UnreadablePoints

if TYPE_CHECKING:
    from gis_grid.geo.csv_points import CsvPoints

Form = type["CsvPoints"] | type[ParquetPoints] | type[GeoPackagePoints]


def open_points(source: Path, target: Path, *, lon: str | None = None, lat: str | None = None) -> PointFile:
    """File of points at `source`, to be written to `target` in the same form.

    Parameters
    ----------
    source, target
        `.csv` or `.csv.gz`, `.parquet` or `.geoparquet`, `.gpkg`.
    lon, lat
        Names of the coordinate columns; without them the point geometry, else the columns of the usual names.

    Raises
    ------
    UnreadablePoints
        Missing, damaged, of an unknown form, or of another form than the target.
    UnclearColumns
        No or several candidates for a coordinate, or a result column that is there already.
    """
    form = _form_of(source)
    if form is not _form_of(target):
        raise UnreadablePoints(f"{source.name} to {target.name}: rows go out in the form they came in")
    if not source.is_file():
        raise UnreadablePoints(f"{source}: no such file")
    if (lon is None) != (lat is None):
        raise UnclearColumns("name both coordinate columns or none")
    try:
        return form(source, lon, lat)
    except pyogrio.errors.DataSourceError as error:
        raise UnreadablePoints(f"{source.name}: {error}") from None


def _form_of(path: Path) -> Form:
    # Compiled kernels take a second to import, which a command that only shows its help need not wait for.
    from gis_grid.geo.csv_points import CsvPoints  # noqa: PLC0415

    forms: dict[str, Form] = {
        ".csv": CsvPoints,
        ".csv.gz": CsvPoints,
        ".parquet": ParquetPoints,
        ".geoparquet": ParquetPoints,
        ".gpkg": GeoPackagePoints,
    }
    name = path.name.casefold()
    for suffix, form in forms.items():
        if name.endswith(suffix):
            return form
    raise UnreadablePoints(f"{path.name}: expected a name ending in {', '.join(forms)}")
