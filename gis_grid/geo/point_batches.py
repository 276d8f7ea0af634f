"""What every kind of point file has in common: batches of coordinates, their columns, and a target written whole."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from gis_grid.errors import InvalidInput

Floats: TypeAlias = npt.NDArray[np.float64]
Objects: TypeAlias = npt.NDArray[np.object_]
Rows = TypeVar("Rows")

RESULT_COLUMNS = {
    "grid_code": "grid_code",
    "method": "method",
    "distance_m": "distance_m",
    "refusal_reason": "reason",  # real files have a column `reason` of their own
}
"""Columns added to a file, and the column of the placements each comes from."""

BATCH_ROWS = 65_536
SPAN_ROWS = 1_000_000
NO_COORDINATES = "no coordinates"

_LON_NAMES = frozenset({"lon", "long", "lng", "longitude", "x", "经度", "东经"})
_LAT_NAMES = frozenset({"lat", "latitude", "y", "纬度", "北纬"})
_NOT_NUMBERS = "the coordinates are not two numbers"


class UnreadablePoints(InvalidInput):
    """A file of points that cannot be read, or not be written back in the same form."""


class UnclearColumns(InvalidInput):
    """A file whose columns do not tell which are longitude and latitude, or that has result columns already."""


@dataclass(frozen=True)
class PointBatch(Generic[Rows]):
    """Some rows of a file, in its order.

    Attributes
    ----------
    lon, lat
        Degrees as given, shape (n,); nan where they could not be read.
    reasons
        Why not, shape (n,), str or None.
    rows
        What the sink of the same file needs to write these rows back.
    done
        How much of `PointFile.size` is read with this batch.
    mark
        Where to go on after this batch, for `PointFile.batches`; None where the file lets one not, or at its end.
    """

    lon: Floats
    lat: Floats
    reasons: Objects
    rows: Rows
    done: int
    mark: int | None = None


class Span(NamedTuple):
    """Some rows of a file that can be worked on apart from all others.

    Attributes
    ----------
    start, end
        Marks for `PointFile.batches`; the end is None at the file's.
    done
        How much of `PointFile.size` is read with this span.
    """

    start: int
    end: int | None
    done: int


class PointSink(Protocol):
    """A new file that placed batches go to."""

    def write(self, batch: PointBatch[Any], placements: pd.DataFrame) -> None:
        """Append the rows of a batch with `RESULT_COLUMNS` of their placements."""


class PointFile(Protocol):
    """A file of points, read in batches and written again in the same form."""

    size: int
    """Bytes or rows of the whole file."""

    part_rows: int
    """About how many rows one part of the result has; a part that is finished survives a kill."""

    def batches(self, mark: int = 0, end: int | None = None) -> Iterator[PointBatch[Any]]:
        """All rows between two marks, in order; from the beginning at least one batch, if an empty one."""

    def spans(self, mark: int = 0) -> Iterator[Span]:
        """All rows after a mark as spans of about a million rows, where the file can be cut; at least one."""

    def sink(self, path: Path, *, is_first: bool = True) -> AbstractContextManager[PointSink]:
        """Open a new file for placed rows, the first part of the result or a later one."""

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the parts of a result to one new file."""


def categorical(column: pd.Series) -> pd.Categorical:
    """Texts of a column of placements as positions of the distinct ones, -1 for none."""
    return column.array if isinstance(column.dtype, pd.CategoricalDtype) else pd.Categorical(column)


def coordinate_columns(names: Sequence[str], lon: str | None, lat: str | None) -> tuple[int, int]:
    """Positions of the longitude and latitude columns.

    Parameters
    ----------
    names
        All column names, in order.
    lon, lat
        The names asked for; None: the only one that is usual for it (lon, lng, longitude, x, 经度, …).

    Raises
    ------
    UnclearColumns
        None or several fit; the message names them.
    """
    return _column(names, lon, _LON_NAMES, "longitude"), _column(names, lat, _LAT_NAMES, "latitude")


def refuse_result_columns(names: Sequence[str]) -> None:
    """Let a file without result columns pass.

    Raises
    ------
    UnclearColumns
        A column has the name of a result: the two could not be told apart.
    """
    if taken := [name for name in names if name.strip().casefold() in RESULT_COLUMNS]:
        raise UnclearColumns(f"the file has {', '.join(taken)} already: rename or drop it first")


def numbers_of_texts(pairs: Sequence[tuple[str, str] | str]) -> tuple[Floats, Floats, Objects]:
    """Coordinates of pairs of texts.

    Parameters
    ----------
    pairs
        (lon, lat) as written, or a reason why there is no pair.

    Returns
    -------
    lon, lat, reasons
        Shape (n,); nan with a reason where the pair is not two numbers.
    """
    lon, lat = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    reasons = np.full(len(pairs), None, dtype=object)
    for row, pair in enumerate(pairs):
        try:
            if isinstance(pair, str):
                reasons[row] = pair
            elif "_" in pair[0] or "_" in pair[1]:  # Python's own notation for 1_000
                reasons[row] = _NOT_NUMBERS
            else:
                lon[row], lat[row] = float(pair[0]), float(pair[1])
        except ValueError:
            lon[row] = np.nan
            reasons[row] = _NOT_NUMBERS if (pair[0].strip() and pair[1].strip()) else NO_COORDINATES
    return lon, lat, reasons


def _column(names: Sequence[str], asked: str | None, usual: frozenset[str], what: str) -> int:
    fits = [i for i, name in enumerate(names) if (name.strip().casefold() in usual if asked is None else name == asked)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UnclearColumns(f"{what}: could be {' or '.join(names[i] for i in fits)}; name the column")
    expected = f"column {asked!r}" if asked is not None else f"a column like {', '.join(sorted(usual))}"
    raise UnclearColumns(f"{what}: expected {expected}, the file has {', '.join(names)}")
