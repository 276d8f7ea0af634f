"""Seen ground out of archives of fixes: Parquet files of any size, burnt piece by piece, here or elsewhere.

A piece is some tracks with all of their fixes, wherever these stand: no step from a fix to its next is lost or made up
where a row group ends, and the pieces' tiles OR-ed together are those of all fixes burnt at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gis_grid.errors import InvalidInput
from gis_grid.geo.sight import burn_fixes
from gis_grid.geo.tiles import TILE_BYTES, SeenTiles, merge
from gis_grid.geo.track_chunks import MAX_ACCURACY_M
from gis_grid.geo.whole_files import whole_file

Table: TypeAlias = Any  # pyarrow has no types

PIECE_FIXES = 2_000_000
_TRACK, _AT, _ACCURACY = "track", "at", "accuracy_m"


class UnreadableArchive(InvalidInput):
    """A Parquet file that holds no fixes as they are expected."""


class TrackPiece(NamedTuple):
    """Some tracks, and the row groups that hold fixes of them.

    Attributes
    ----------
    tracks
        Their names.
    groups
        File and row group.
    fixes
        How many they have.
    """

    tracks: tuple[Any, ...]
    groups: tuple[tuple[Path, int], ...]
    fixes: int


def track_pieces(files: Sequence[Path]) -> list[TrackPiece]:
    """All tracks of some files as pieces of about two million fixes; only the column of tracks is read.

    Where each track stands together, each row group is read for one or two pieces. In files ordered by time every piece
    reads all of them, which is slow but right.

    Raises
    ------
    UnreadableArchive
        Not a Parquet file, or without the columns that `BurnJob` reads.
    """
    fixes: dict[Any, int] = {}
    groups_of: dict[Any, dict[tuple[Path, int], None]] = {}
    for file in files:
        with _opened(file) as archive:
            _check(file, archive.schema_arrow)
            for group in range(archive.metadata.num_row_groups):
                column = _plain(archive.read_row_group(group, columns=[_TRACK]).column(_TRACK))
                for counted in pc.value_counts(column).to_pylist():
                    track = counted["values"]
                    fixes[track] = fixes.get(track, 0) + counted["counts"]
                    groups_of.setdefault(track, {})[file, group] = None
    if None in fixes:
        raise UnreadableArchive(f"{files[0].name} …: {fixes[None]} fixes without a track")
    return list(_pieces(fixes, groups_of))


def _pieces(fixes: dict[Any, int], groups_of: dict[Any, dict[tuple[Path, int], None]]) -> Iterator[TrackPiece]:
    tracks: list[Any] = []
    groups: dict[tuple[Path, int], None] = {}
    count = 0
    for track, more in fixes.items():
        if tracks and count + more > PIECE_FIXES:
            yield TrackPiece(tuple(tracks), tuple(groups), count)
            tracks, groups, count = [], {}, 0
        tracks.append(track)
        groups.update(groups_of[track])
        count += more
    if tracks:
        yield TrackPiece(tuple(tracks), tuple(groups), count)


@dataclass(frozen=True)
class BurnJob:
    """Burning pieces of archives, by whatever process can read them.

    Attributes
    ----------
    files
        Parquet; columns `track` (text or whole numbers), `lon`, `lat` (WGS84 degrees), `at` (a timestamp with a time
        zone) and perhaps `accuracy_m`: fixes worse than 50 m do not count.
    metric_crs, time_zone, sight_m
        As for `burn_fixes`.
    """

    files: tuple[Path, ...]
    metric_crs: str
    time_zone: str
    sight_m: float

    def check(self) -> None:
        """Pass where all files can be read."""
        for file in self.files:
            with _opened(file) as archive:
                _check(file, archive.schema_arrow)

    def __call__(self, piece: TrackPiece) -> SeenTiles:
        """Ground that the tracks of a piece saw."""
        tables = []
        for file, group in piece.groups:
            with _opened(file) as archive:
                names = [name for name in (_TRACK, "lon", "lat", _AT, _ACCURACY) if name in archive.schema_arrow.names]
                table = archive.read_row_group(group, columns=names).select(names)
            table = table.filter(pc.is_in(_plain(table.column(_TRACK)), pa.array(piece.tracks)))
            table = table.set_column(0, _TRACK, _plain(table.column(_TRACK)))
            if _ACCURACY in names:
                is_good = pc.fill_null(pc.less_equal(table.column(_ACCURACY), MAX_ACCURACY_M), True)  # noqa: FBT003
                table = table.filter(is_good).drop_columns([_ACCURACY])
            _check_numbers(file, group, table)
            tables.append(table)
        fixes = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        return burn_fixes(fixes, metric_crs=self.metric_crs, time_zone=self.time_zone, sight_m=self.sight_m)


def merged(parts: Iterable[SeenTiles]) -> SeenTiles:
    """All parts as one, in the memory of about two of it."""
    none = np.empty(0, np.int64)
    kept = [SeenTiles(none, none, none, none, np.empty((0, TILE_BYTES), np.uint8))]
    for part in parts:
        kept.append(part)
        if sum(map(len, kept[1:])) > len(kept[0]):
            kept = [merge(kept)]
    return merge(kept)


def write_tiles(seen: SeenTiles, target: Path) -> None:
    """Write tiles to a Parquet file, whole or not at all: tile_row, tile_col, day, shift, bits (2048 bytes)."""
    columns = {
        "tile_row": pa.array(seen.tile_row, pa.int32()),
        "tile_col": pa.array(seen.tile_col, pa.int32()),
        "day": pa.array([date.fromordinal(day) for day in seen.day.tolist()], pa.date32()),
        "shift": pa.array(seen.shift, pa.int8()),
        "bits": pa.array([row.tobytes() for row in seen.bits], pa.binary(TILE_BYTES)),
    }
    with whole_file(target) as made:
        pq.write_table(pa.table(columns), made)


def read_tiles(source: Path) -> SeenTiles:
    """Tiles that `write_tiles` wrote."""
    table = pq.read_table(source)
    row, col, shift = (table.column(name).to_numpy().astype(np.int64) for name in ("tile_row", "tile_col", "shift"))
    day = np.array([one.toordinal() for one in table.column("day").to_pylist()], dtype=np.int64)
    packed = b"".join(table.column("bits").to_pylist())
    return SeenTiles(row, col, day, shift, np.frombuffer(packed, np.uint8).reshape(-1, TILE_BYTES))


def _opened(file: Path) -> Any:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise UnreadableArchive(f"{file}: {error}") from None


def _plain(tracks: Table) -> Table:
    """Names of tracks, whole numbers or text, whichever way they are stored."""
    kind = tracks.type.value_type if pa.types.is_dictionary(tracks.type) else tracks.type
    return pc.cast(tracks, pa.int64() if pa.types.is_integer(kind) else pa.string())


def _check(file: Path, schema: Any) -> None:
    missing = [name for name in (_TRACK, "lon", "lat", _AT) if name not in schema.names]
    if missing:
        raise UnreadableArchive(f"{file.name}: no column {', '.join(missing)} among {', '.join(schema.names)}")
    track, at = schema.field(_TRACK).type, schema.field(_AT).type
    track = track.value_type if pa.types.is_dictionary(track) else track
    if not (pa.types.is_integer(track) or pa.types.is_string(track) or pa.types.is_large_string(track)):
        raise UnreadableArchive(f"{file.name}: column track: expected text or whole numbers, got {track}")
    if not pa.types.is_timestamp(at) or at.tz is None:
        raise UnreadableArchive(f"{file.name}: column at: expected timestamps with a time zone, got {at}")
    for name in ("lon", "lat"):
        if not pa.types.is_floating(schema.field(name).type):
            raise UnreadableArchive(f"{file.name}: column {name}: expected degrees, got {schema.field(name).type}")


def _check_numbers(file: Path, group: int, table: Table) -> None:
    for name, most in (("lon", 180.0), ("lat", 90.0)):
        degrees = table.column(name).to_numpy()
        if not (np.abs(degrees) <= most).all():
            raise UnreadableArchive(
                f"{file.name}, row group {group}: {name}: expected -{most:g} to {most:g} in each row"
            )
    if table.column(_AT).null_count:
        raise UnreadableArchive(f"{file.name}, row group {group}: at: a time is missing")
