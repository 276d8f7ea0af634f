"""CSV files of points whose records stay the bytes they are; placements are appended to them."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import pandas as pd

from gis_grid.geo.csv_scanning import (
    BROKEN,
    FIELD_LIMIT,
    GOOD,
    LONG,
    MORE,
    OPEN,
    SHORT,
    Bytes,
    Floats,
    Ints,
    extend,
    scan,
)
from gis_grid.geo.csv_tails import Tails
from gis_grid.geo.parts import join_bytes
from gis_grid.geo.point_batches import (
    NO_COORDINATES,
    RESULT_COLUMNS,
    PointBatch,
    Span,
    UnreadablePoints,
    coordinate_columns,
    numbers_of_texts,
    refuse_result_columns,
)

MAX_RECORD_BYTES = 16 * 1024 * 1024
BLOCK_BYTES = 8 * 1024 * 1024
SPAN_BYTES = 64 * 1024 * 1024

BATCH_ROWS = 131_072

_BOM = b"\xef\xbb\xbf"


class Records(NamedTuple):
    """Records as they stand in the file.

    Attributes
    ----------
    data
        Their bytes, one after the other.
    ends, bodies
        Where each ends, with its line end and without, shape (n,).
    counts
        How many fields each has, shape (n,); a blank line has none and is kept, but is no row.
    """

    data: Bytes
    ends: Ints
    bodies: Ints
    counts: Ints

    def raw(self, number: int) -> bytes:
        """Bytes of one record."""
        return self.data[self.ends[number - 1] if number else 0 : self.ends[number]].tobytes()


class _Scanned(NamedTuple):
    """Records and what `scan` tells of them, and where in the file they start."""

    records: Records
    fields: Ints
    numbers: Floats
    states: Bytes
    at: int


class CsvPoints:
    """A CSV file: comma, semicolon or tab, any ASCII-compatible encoding, optionally gzipped.

    Parameters
    ----------
    source
        A name that ends in `.gz` is gzipped.
    lon, lat
        Names of the coordinate columns; None: found by their usual names.

    Notes
    -----
    Bytes are parsed as Latin-1, one character a byte: in UTF-8, GBK and GB18030 no byte of another character is a
    comma, a quote or a line end.
    """

    part_rows = 2_000_000

    def __init__(self, source: Path, lon: str | None, lat: str | None) -> None:
        self.source = source
        self.size = source.stat().st_size
        self.delimiter = self._find_delimiter()
        self._head, header = self._read_head()
        names = [name.encode("latin-1") for name in header]
        self.encoding = _encoding_of(b"".join(names))
        self.width = len(names)
        columns = [name.decode(self.encoding) for name in names]
        refuse_result_columns(columns)
        self.lon, self.lat = coordinate_columns(columns, lon, lat)

    def batches(self, mark: int = 0, end: int | None = None) -> Iterator[PointBatch[Records]]:
        """All records after the header, or between two marks, in order."""
        with self._opened() as (file, raw_file):
            for records, fields, numbers, states, at in self._scanned(file, mark, end, (self.lon, self.lat)):
                is_row = records.counts > 0
                lon, lat = np.where(states[is_row] == GOOD, numbers[is_row].T, np.nan)
                reasons = np.full(len(lon), None, dtype=object)
                odd = np.flatnonzero(states[is_row] != GOOD)
                if len(odd):
                    which = np.flatnonzero(is_row)[odd]
                    pairs = [self._pair(records, int(n), fields[n], int(states[n]), at) for n in which]
                    lon[odd], lat[odd], reasons[odd] = numbers_of_texts(pairs)
                after = at + len(records.data)
                done = raw_file.tell() if _is_gzip(self.source) else after
                yield PointBatch(lon, lat, reasons, records, done, after)
            if end is None:  # what was read last need not have filled a batch
                nothing = np.empty(0)
                none = Records(np.empty(0, np.uint8), *(np.empty(0, np.int64),) * 3)
                yield PointBatch(nothing, nothing, np.empty(0, dtype=object), none, self.size, None)

    def spans(self, mark: int = 0) -> Iterator[Span]:
        """Records, as many as make `SPAN_BYTES`; a gzipped file is one span."""
        start = mark
        if not _is_gzip(self.source):
            with self._opened() as (file, _):
                for records, *_, at in self._scanned(file, mark, None, (-1, -1)):
                    after = at + len(records.data)
                    if after - start >= SPAN_BYTES and after < self.size:
                        yield Span(start, after, after)
                        start = after
        yield Span(start, None, self.size)

    def _scanned(self, file: IO[bytes], mark: int, end: int | None, columns: tuple[int, int]) -> Iterator[_Scanned]:
        """Records from a mark to another."""
        at = mark or sum(len(raw) for raw in self._head)
        file.seek(at)  # of a gzipped file, that reads all before
        pending, is_last = np.empty(0, np.uint8), False
        while True:
            ends, bodies, counts = (np.empty(BATCH_ROWS, np.int64) for _ in range(3))
            fields, numbers = np.empty((BATCH_ROWS, 4), np.int64), np.empty((BATCH_ROWS, 2))
            states = np.empty(BATCH_ROWS, np.uint8)
            tables = (ends, bodies, counts, fields, numbers, states)
            count, why = scan(pending, is_last, ord(self.delimiter), self.width, columns, *tables)
            if count:
                size = int(ends[count - 1])
                records = Records(pending[:size], ends[:count], bodies[:count], counts[:count])
                yield _Scanned(records, fields[:count], numbers[:count], states[:count], at)
                pending, at = pending[size:], at + size
                continue
            if why != MORE or len(pending) > FIELD_LIMIT:
                self._refuse(pending[: 2 * MAX_RECORD_BYTES].tobytes(), at, why)
            if is_last:
                return
            left = BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - at - len(pending))
            more = file.read(left)
            is_last = len(more) < left or (end is not None and at + len(pending) + left == end)
            pending = np.concatenate([pending, np.frombuffer(more, np.uint8)])

    def _refuse(self, raw: bytes, at: int, why: int) -> None:
        """Say what is wrong with the record at the start of some bytes, if anything is."""
        self._fields(raw, at)
        if why == OPEN:
            raise UnreadablePoints(f"{self.source.name}: the last record opens a quote that is never closed")
        if why == BROKEN or len(raw) > MAX_RECORD_BYTES:
            line = self._lines_before(at) + 1
            raise UnreadablePoints(f"{self.source.name}, line {line}: a record of more than {MAX_RECORD_BYTES} bytes")

    def _fields(self, raw: bytes, at: int) -> list[str]:
        """Fields of the record at the start of some bytes, `at` in the file, as Python's csv module reads them."""
        reader = csv.reader(_texts(raw), delimiter=self.delimiter)
        try:
            return next(reader, [])
        except csv.Error as error:
            line = self._lines_before(at) + reader.line_num
            raise UnreadablePoints(f"{self.source.name}, line {line}: {error}") from None

    def _lines_before(self, at: int) -> int:
        with self._opened() as (file, _):
            return sum(block.count(b"\n") for block in _blocks_of(file, at))

    @contextmanager
    def sink(self, path: Path, *, is_first: bool = True) -> Iterator["CsvSink"]:
        """Open a new CSV file; the first part of a result begins with the header and the result columns."""
        head = self._head if is_first else []
        with path.open("xb") as raw_file:
            if not _is_gzip(path):
                yield CsvSink(raw_file, self, head)
                return
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw_file, mtime=0) as file:
                yield CsvSink(cast("IO[bytes]", file), self, head)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """Write the parts of a result to one new file; gzipped ones make one gzipped file as they are."""
        join_bytes(parts, path)

    def _pair(self, records: Records, number: int, fields: Ints, state: int, at: int) -> tuple[str, str] | str:
        """Texts of a record's coordinates, or why there are none."""
        if state == LONG:
            return f"the record has {records.counts[number]} fields and the header {self.width}"
        if state == SHORT:
            return NO_COORDINATES
        before = int(records.ends[number - 1]) if number else 0
        count = int(records.counts[number])
        if max(self.lon, self.lat) < count <= self.width and fields[0] >= 0:
            lon, lat = (records.data[start:stop].tobytes() for start, stop in (fields[:2], fields[2:]))
            if b'"' not in lon + lat and records.ends[number] - before <= FIELD_LIMIT:
                return lon.decode("latin-1"), lat.decode("latin-1")
        texts = self._fields(records.raw(number), at + before)
        if len(texts) > self.width:
            return f"the record has {len(texts)} fields and the header {self.width}"
        return (texts[self.lon], texts[self.lat]) if max(self.lon, self.lat) < len(texts) else NO_COORDINATES

    def _find_delimiter(self) -> str:
        with self._opened() as (file, _):
            first = file.readline(MAX_RECORD_BYTES)
        if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first:
            raise UnreadablePoints(f"{self.source.name}: UTF-16 or binary; save it as CSV in UTF-8")
        return max(",;\t", key=first.decode("latin-1").count)  # a tie, even of none, is a comma

    def _read_head(self) -> tuple[list[bytes], list[str]]:
        """Records up to the header, and the header's fields."""
        head: list[bytes] = []
        with self._opened() as (file, _):
            lines: list[bytes] = []
            reader = csv.reader(_remembered(file, lines), delimiter=self.delimiter)
            try:
                for fields in reader:
                    head.append(b"".join(lines))
                    lines.clear()
                    if fields:
                        if _has_open_quote(head[-1], self.delimiter):
                            raise UnreadablePoints(f"{self.source.name}: the header opens a quote that is never closed")
                        return head, fields
            except csv.Error as error:
                raise UnreadablePoints(f"{self.source.name}, line {reader.line_num}: {error}") from None
        raise UnreadablePoints(f"{self.source.name}: no header line")

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """The file to read lines from, and the one on disk whose position tells the progress."""
        with self.source.open("rb") as raw_file:
            try:
                yield (
                    (cast("IO[bytes]", gzip.GzipFile(fileobj=raw_file)) if _is_gzip(self.source) else raw_file),
                    raw_file,
                )
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise UnreadablePoints(f"{self.source.name}: damaged gzip: {error}") from None


class CsvSink:
    """A CSV file that records are copied to, byte for byte, with their placements at the end."""

    def __init__(self, file: IO[bytes], points: CsvPoints, head: list[bytes]) -> None:
        self._file = file
        self._points = points
        self._tails = Tails(points.delimiter, points.encoding)
        file.writelines(head[:-1])
        for header in head[-1:]:
            body = header.rstrip(b"\r\n")
            names = points.delimiter.join(("", *RESULT_COLUMNS)).encode(points.encoding)
            file.write(body + names + header[len(body) :])

    def write(self, batch: PointBatch[Records], placements: pd.DataFrame) -> None:
        """Append the records; `distance_m` has millimetres, what there is not is empty."""
        records, points = batch.rows, self._points
        tails = self._tails.of(placements)
        missing = np.maximum(points.width - records.counts, 0)[records.counts > 0].sum()
        out = np.empty(len(records.data) + int(missing) + tails.size, np.uint8)
        where = (records.data, records.ends, records.bodies, records.counts)
        size = extend(where, points.width, ord(points.delimiter), tails, out)
        self._file.write(out[:size].data)


def _texts(raw: bytes) -> Iterator[str]:
    """Lines as Latin-1 text."""
    return (line.decode("latin-1") for line in io.BytesIO(raw))


def _remembered(file: IO[bytes], lines: list[bytes]) -> Iterator[str]:
    """Lines of the header as Latin-1 text, remembered in `lines` as they were."""
    while line := file.readline(MAX_RECORD_BYTES):
        if len(line) == MAX_RECORD_BYTES:
            raise csv.Error(f"a line of more than {MAX_RECORD_BYTES} bytes")
        is_first = file.tell() == len(line)
        lines.append(line)
        yield (line.removeprefix(_BOM) if is_first else line).decode("latin-1")


def _blocks_of(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The first bytes of a file."""
    while size and (block := file.read(min(size, BLOCK_BYTES))):
        size -= len(block)
        yield block


def _has_open_quote(raw: bytes, delimiter: str) -> bool:
    try:
        list(csv.reader([raw.removeprefix(_BOM).decode("latin-1")], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _encoding_of(header: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            header.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def _is_gzip(path: Path) -> bool:
    return path.suffix.casefold() == ".gz"
