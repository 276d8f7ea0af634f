"""Reading fixes of patrols from CSV, GPX, GeoJSON and Parquet files, each bad row named."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import gpxpy
import gpxpy.gpx
import numpy as np
import numpy.typing as npt
import pandas as pd

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import Datum, refusal_reasons, to_wgs84

NAMES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "lon": (("lon",), ("lng",), ("longitude",), ("long",), ("经度",)),
    "lat": (("lat",), ("latitude",), ("纬度",)),
    "at": (("at",), ("recorded_at",), ("timestamp",), ("datetime",), ("date", "time"), ("time",), ("时间",)),
    "track": (("track",), ("track_id",), ("user", "traj"), ("traj",), ("user",)),
    "accuracy_m": (("accuracy_m",), ("accuracy",)),
}
"""Headings each column of a fixes frame is looked for under, first found first, case aside; two make one value."""
NEEDED = ("lon", "lat", "at")
YEARS = (pd.Timestamp("1970-01-01", tz="UTC"), pd.Timestamp("2101-01-01", tz="UTC"))
_WALL = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)? ?"
_INSTANT = _WALL + r"(?P<offset>Z|[+-]\d{2}(?::?\d{2})?)?$"
_INSTANT_UNNAMED = _INSTANT.replace("?P<offset>", "?:")
MAX_OFFSET_H = 14
MAX_SHOWN = 60


class UnreadableTracks(InvalidInput):
    """A file that is no CSV, GPX, GeoJSON or Parquet with fixes in it."""


class NaiveTimes(InvalidInput):
    """Times without an offset, and no time zone to read them in."""


class TrackFile(NamedTuple):
    """What a file held.

    Attributes
    ----------
    fixes
        `track` (str), `lon`, `lat` (WGS84 degrees), `at` (UTC, datetime64[ns, UTC]) and, if the file has it,
        `accuracy_m` (nan where empty); rows in the file's order, RangeIndex.
    rejected
        `row` (1 is the first after the heading, or the first point of a GPX file), `reason`, `text` (the row as read);
        as many as could not become a fix.
    """

    fixes: pd.DataFrame
    rejected: pd.DataFrame


def read_fixes(
    path: str | Path,
    *,
    datum: Datum | str = Datum.WGS84,
    columns: Mapping[str, str | tuple[str, ...]] | None = None,
    time_zone: str | None = None,
) -> TrackFile:
    """Fixes of a file, and the rows that could not become one.

    Parameters
    ----------
    path
        Ends in ``.csv`` (UTF-8, with a heading; blank lines are skipped), ``.gpx`` (each ``trkseg`` is a track of its
        own; routes and waypoints were not walked and are not read), ``.geojson`` or ``.json`` (points with a time, or
        lines with a list of times under ``coordTimes``), or ``.parquet`` (columns as those of a CSV file).
    datum
        What the file's coordinates are measured on.
    columns
        For CSV, Parquet and points of GeoJSON: heading of `lon`, `lat`, `at`, `track`, `accuracy_m` where it is not
        among `NAMES`; several headings are joined, the date and the time of day for instance. A file without any
        track column is one track.
    time_zone
        IANA name of the zone that times without an offset are in.

    Raises
    ------
    UnreadableTracks
        Not such a file, or a column is missing.
    NaiveTimes
        A time has no offset and `time_zone` is not given.
    """
    path = Path(path)
    try:
        datum = Datum(datum)
    except ValueError:
        raise InvalidInput(f"datum {datum!r}: expected one of {', '.join(Datum)}") from None
    if path.suffix.lower() == ".csv":
        table = _read_csv(path, columns or {})
    elif path.suffix.lower() == ".gpx":
        table = _read_gpx(path)
    elif path.suffix.lower() in {".geojson", ".json"}:
        table = _of_frame(_geojson_frame(path), columns or {}, path)
    elif path.suffix.lower() == ".parquet":
        table = _of_frame(_parquet_frame(path), columns or {}, path)
    else:
        raise UnreadableTracks(f"{path.name}: expected a file ending in .csv, .gpx, .geojson, .json or .parquet")
    return _checked(table, datum, time_zone, path.name)


def _read_csv(path: Path, columns: Mapping[str, str | tuple[str, ...]]) -> pd.DataFrame:
    """Return a frame of text: lon, lat, at, track, perhaps accuracy_m, then row, text, reason (None: none yet)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableTracks(f"{path.name}: not a CSV file in UTF-8: {error}") from error
    if not lines:
        raise UnreadableTracks(f"{path.name}: empty, expected a heading")
    heading, rows = lines[0], lines[1:]
    found = _find_columns(heading, columns, path.name)
    fits = [len(row) == len(heading) for row in rows]
    blank = [""] * len(heading)
    even = [row if fit else blank for row, fit in zip(rows, fits, strict=True)]
    table = pd.DataFrame(
        {name: [" ".join(row[k].strip() for k in where) for row in even] for name, where in found.items()}, dtype=object
    )
    if "track" not in table:
        table["track"] = path.stem
    table["row"] = np.arange(1, len(rows) + 1)
    table["text"] = [",".join(row) for row in rows]
    misfit = [
        None if fit else f"{len(row)} values under {len(heading)} headings" for row, fit in zip(rows, fits, strict=True)
    ]
    table["reason"] = pd.Series(misfit, dtype=object)
    return table


def _find_columns(
    heading: list[str], columns: Mapping[str, str | tuple[str, ...]], file: str
) -> dict[str, tuple[int, ...]]:
    """Return the positions under which each column stands."""
    position = {name.strip().lower(): k for k, name in reversed(list(enumerate(heading)))}
    unknown = set(columns) - set(NAMES)
    if unknown:
        raise UnreadableTracks(f"columns {', '.join(sorted(unknown))}: expected some of {', '.join(NAMES)}")
    found = {}
    for column, usual in NAMES.items():
        wanted = columns.get(column)
        choices = usual if wanted is None else ((wanted,) if isinstance(wanted, str) else tuple(wanted),)
        fitting = [names for names in choices if all(name.strip().lower() in position for name in names)]
        if fitting:
            found[column] = tuple(position[name.strip().lower()] for name in fitting[0])
        elif column in NEEDED or wanted is not None:
            sought = " or ".join("+".join(names) for names in choices)
            raise UnreadableTracks(f"{file}: no column for {column} (looked for {sought}) among {', '.join(heading)}")
    return found


def _read_gpx(path: Path) -> pd.DataFrame:
    """Return a frame as `_read_csv` does, with numbers for lon and lat."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            points = _gpx_points(gpxpy.parse(file), path.stem)
    except (gpxpy.gpx.GPXException, UnicodeDecodeError, ValueError) as error:
        raise UnreadableTracks(f"{path.name}: not a GPX file: {error}") from error
    if not points:
        raise UnreadableTracks(f"{path.name}: no track points, expected at least one trkpt")
    table = pd.DataFrame(points)
    table["row"] = np.arange(1, len(table) + 1)
    table["text"] = [f"{point['lon']},{point['lat']},{point['at']}" for point in points]
    table["reason"] = pd.Series([None] * len(table), dtype=object)
    return table


def _of_frame(frame: pd.DataFrame, columns: Mapping[str, str | tuple[str, ...]], path: Path) -> pd.DataFrame:
    """Return a frame as `_read_csv` does, out of columns of any kind."""
    if frame.empty:
        raise UnreadableTracks(f"{path.name}: no fixes in it")
    found = _find_columns([str(name) for name in frame.columns], columns, path.name)
    words = frame.apply(lambda column: column.map(_word))
    table = pd.DataFrame({name: words.iloc[:, list(where)].agg(" ".join, axis=1) for name, where in found.items()})
    if "track" not in table:
        table["track"] = path.stem
    table["row"] = np.arange(1, len(table) + 1)
    table["text"] = words.agg(",".join, axis=1)
    table["reason"] = pd.Series([None] * len(table), dtype=object)
    return table.astype(object)


def _word(value: object) -> str:
    """A cell as a CSV file would hold it."""
    if value is None or bool(pd.isna(value)):  # type: ignore[call-overload]
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _parquet_frame(path: Path) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are these
        raise UnreadableTracks(f"{path.name}: not a Parquet file: {error}") from error
    return frame.reset_index(drop=True)


def _geojson_frame(path: Path) -> pd.DataFrame:
    """Return a row a point: lon, lat, and the properties; of lines also `at`, each line a track of its own."""
    try:
        features = json.loads(path.read_text(encoding="utf-8-sig"))["features"]
        rows = [row for number, feature in enumerate(features, start=1) for row in _feature_rows(feature, number, path)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnreadableTracks(f"{path.name}: not a GeoJSON collection of points or timed lines: {error!r}") from error
    return pd.DataFrame(rows)


def _feature_rows(feature: Any, number: int, path: Path) -> list[dict[str, Any]]:
    shape, told = feature["geometry"], feature.get("properties") or {}
    if shape["type"] == "Point":
        return [{"lon": shape["coordinates"][0], "lat": shape["coordinates"][1], **told}]
    times = told.get("coordTimes") or (told.get("coordinateProperties") or {}).get("times")
    if shape["type"] != "LineString" or not isinstance(times, list) or len(times) != len(shape["coordinates"]):
        raise ValueError(f"feature {number} is neither a point nor a line with a time for each vertex")
    track = told.get("track") or f"{path.stem}/{number}"
    return [
        {"lon": place[0], "lat": place[1], "at": at, "track": track}
        for place, at in zip(shape["coordinates"], times, strict=True)
    ]


def _gpx_points(gpx: gpxpy.gpx.GPX, stem: str) -> list[dict[str, Any]]:
    return [
        {
            "lon": point.longitude,
            "lat": point.latitude,
            "at": point.time.isoformat() if point.time else "",
            "track": f"{stem}/{t}/{s}",
        }
        for t, track in enumerate(gpx.tracks, start=1)
        for s, segment in enumerate(track.segments, start=1)
        for point in segment.points
    ]


def _checked(table: pd.DataFrame, datum: Datum, time_zone: str | None, file: str) -> TrackFile:
    refusals = _Refusals(table["reason"].to_list())
    lon, lat = (_numbers(table[name], name, refusals) for name in ("lon", "lat"))
    for row, why in enumerate(refusal_reasons(lon, lat)):
        if why is not None:
            refusals.add(row, why)
    at = _instants(table["at"].astype(str).str.strip(), refusals, time_zone=time_zone, file=file)
    refusals.add_all(table["track"].astype(str).str.strip() == "", table["track"], "no track")
    fixes = {"track": table["track"], "lon": lon, "lat": lat, "at": at}
    if "accuracy_m" in table:
        fixes["accuracy_m"] = _accuracies(table["accuracy_m"], refusals)
    good = np.array([why is None for why in refusals.reasons], dtype=bool)
    frame = pd.DataFrame(fixes)[good].reset_index(drop=True)
    frame["lon"], frame["lat"] = to_wgs84(frame["lon"].to_numpy(), frame["lat"].to_numpy(), datum)
    rejected = table.loc[~good, ["row"]].assign(
        reason=[why for why in refusals.reasons if why is not None], text=table["text"][~good]
    )
    return TrackFile(frame, rejected.reset_index(drop=True))


class _Refusals:
    """Why each row is refused, the first reason found; None where it is not."""

    def __init__(self, reasons: list[str | None]) -> None:
        self.reasons = reasons

    def add(self, row: int, reason: str) -> None:
        if self.reasons[row] is None:
            self.reasons[row] = reason

    def add_all(self, wrong: npt.ArrayLike, values: Iterable[object], reason: str) -> None:
        """Refuse the rows where `wrong`, their value put into the reason's braces."""
        values = list(values)
        for row in np.flatnonzero(wrong):
            self.add(int(row), reason.format(repr(values[row])[:MAX_SHOWN]))


def _numbers(given: pd.Series, name: str, refusals: _Refusals) -> npt.NDArray[np.float64]:
    numbers = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64)
    refusals.add_all(np.isnan(numbers), given, name + " {}: expected a number")
    return numbers


def _accuracies(given: pd.Series, refusals: _Refusals) -> npt.NDArray[np.float64]:
    numbers = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64)
    wrong = (given != "").to_numpy() & ~((numbers >= 0) & np.isfinite(numbers))
    refusals.add_all(wrong, given, "accuracy {}: expected metres, 0 or more")
    return numbers


def _instants(text: pd.Series, refusals: _Refusals, *, time_zone: str | None, file: str) -> pd.Series:
    """Return UTC instants in nanoseconds, NaT where refused."""
    offset = text.str.extract(_INSTANT)["offset"]
    has_clock = text.str.contains(_INSTANT_UNNAMED)
    hours = pd.to_numeric(offset.str.slice(1, 3), errors="coerce")
    refusals.add_all(hours > MAX_OFFSET_H, text, f"time {{}}: expected an offset of at most {MAX_OFFSET_H} hours")
    at = _parsed(text.where(has_clock & offset.notna(), None))
    naive = _parsed(text.where(has_clock & offset.isna(), None)).dt.tz_localize(None)
    if naive.notna().any():
        if time_zone is None:
            first = text[naive.first_valid_index()]
            raise NaiveTimes(f"{file}: time {first!r} has no offset from UTC: add one, or name the file's time zone")
        at = at.fillna(_local_to_utc(naive, time_zone))
        refusals.add_all(at.isna() & naive.notna(), text, f"time {{}}: twice or never on the clocks of {time_zone}")
    refusals.add_all(at.isna(), text, "time {}: expected one such as 2025-03-01T08:30:00+08:00")
    fits = (at >= YEARS[0]) & (at < YEARS[1])
    refusals.add_all(~fits, text, "time {}: expected a year from 1970 to 2100")
    instants: pd.Series = at.where(fits).dt.as_unit("ns")
    return instants


def _parsed(text: pd.Series) -> pd.Series:
    """Return times in UTC, those without an offset read as if in UTC.

    Microseconds reach beyond the years that nanoseconds do, so that a wild year can be refused by name.
    """
    parsed: pd.Series = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True).dt.as_unit("us")
    return parsed


def _local_to_utc(naive: pd.Series, time_zone: str) -> pd.Series:
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(f"time zone {time_zone!r}: expected an IANA name such as Asia/Shanghai") from error
    local = naive.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    instants: pd.Series = local.dt.tz_convert("UTC")
    return instants
