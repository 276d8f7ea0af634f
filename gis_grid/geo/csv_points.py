"""CSV files of points whose records stay the bytes they are; placements are appended to them."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import numpy as np
import pandas as pd

from gis_grid.geo.parts import join_bytes
from gis_grid.geo.point_batches import (
    BATCH_ROWS,
    NO_COORDINATES,
    RESULT_COLUMNS,
    PointBatch,
    Span,
    UnreadablePoints,
    coordinate_columns,
    numbers_of_texts,
    refuse_result_columns,
)

MAX_LINE_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


Record: TypeAlias = tuple[bytes, int]
"""A record's bytes and how many fields it has; a blank line has none and is kept, but is no row.

A plain tuple: the garbage collector would go through a million objects of any other kind again and again.
"""


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

    def batches(self, mark: int = 0, end: int | None = None) -> Iterator[PointBatch[list[Record]]]:  # noqa: ARG002 - one span
        """All records after the header, or after a mark, in order."""
        with self._opened() as (file, raw_file):
            file.seek(mark)  # of a gzipped file, that reads all before
            after_head = islice(self._records(file), 0 if mark else len(self._head), None)
            read = mark or sum(len(raw) for raw, _ in self._head)
            while True:
                records: list[Record] = []
                pairs: list[tuple[str, str] | str] = []
                for raw, fields in islice(after_head, BATCH_ROWS):
                    records.append((raw, len(fields)))
                    if fields:
                        pairs.append(self._pair(fields))
                is_last = len(records) < BATCH_ROWS
                read += sum(len(raw) for raw, _ in records)
                done = self.size if is_last else raw_file.tell()
                yield PointBatch(*numbers_of_texts(pairs), records, done, read)
                if is_last:
                    return

    def spans(self, mark: int = 0) -> Iterator[Span]:
        """All rows."""
        yield Span(mark, None, self.size)

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

    def _pair(self, fields: list[str]) -> tuple[str, str] | str:
        if len(fields) > self.width:
            return f"the record has {len(fields)} fields and the header {self.width}"
        if max(self.lon, self.lat) >= len(fields):
            return NO_COORDINATES
        return fields[self.lon], fields[self.lat]

    def _find_delimiter(self) -> str:
        with self._opened() as (file, _):
            first = file.readline(MAX_LINE_BYTES)
        if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first:
            raise UnreadablePoints(f"{self.source.name}: UTF-16 or binary; save it as CSV in UTF-8")
        return max(",;\t", key=first.decode("latin-1").count)  # a tie, even of none, is a comma

    def _read_head(self) -> tuple[list[Record], list[str]]:
        """Records up to the header, and the header's fields."""
        head: list[Record] = []
        with self._opened() as (file, _):
            for raw, fields in self._records(file):
                head.append((raw, len(fields)))
                if fields:
                    return head, fields
        raise UnreadablePoints(f"{self.source.name}: no header line")

    def _records(self, file: IO[bytes]) -> Iterator[tuple[bytes, list[str]]]:
        lines: list[bytes] = []
        reader = csv.reader(_texts(file, lines), delimiter=self.delimiter)
        raw = b""
        try:
            for fields in reader:
                raw = b"".join(lines)
                lines.clear()
                yield raw, fields
        except csv.Error as error:
            raise UnreadablePoints(f"{self.source.name}, line {reader.line_num}: {error}") from None
        if _has_open_quote(raw, self.delimiter):
            raise UnreadablePoints(f"{self.source.name}: the last record opens a quote that is never closed")

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

    def __init__(self, file: IO[bytes], points: CsvPoints, head: list[Record]) -> None:
        self._file = file
        self._delimiter = points.delimiter
        self._encoding = points.encoding
        self._width = points.width
        file.writelines(raw for raw, _ in head[:-1])
        for header in head[-1:]:
            file.write(self._extended(*header, self._delimiter.join(RESULT_COLUMNS)))

    def write(self, batch: PointBatch[list[Record]], placements: pd.DataFrame) -> None:
        """Append the records; `distance_m` has millimetres, what there is not is empty."""
        results = zip(*(_listed(placements[column]) for column in RESULT_COLUMNS.values()), strict=True)
        lines = [
            self._extended(raw, field_count, self._cells(*next(results))) if field_count else raw
            for raw, field_count in batch.rows
        ]
        self._file.write(b"".join(lines))

    def _cells(self, code: str | None, method: str, distance_m: float, reason: str | None) -> str:
        distance = f"{distance_m:.3f}" if distance_m == distance_m else ""  # noqa: PLR0124 - nan is not itself
        return self._delimiter.join((self._quoted(code), method, distance, self._quoted(reason)))

    def _quoted(self, text: str | None) -> str:
        if text is None:
            return ""
        needs_quotes = any(mark in text for mark in (self._delimiter, '"', "\n", "\r"))
        return '"' + text.replace('"', '""') + '"' if needs_quotes else text

    def _extended(self, raw: bytes, field_count: int, cells: str) -> bytes:
        body = raw.rstrip(b"\r\n")
        missing = self._delimiter * (1 + max(0, self._width - field_count))  # short records are filled up
        return body + (missing + cells).encode(self._encoding) + raw[len(body) :]


def _listed(column: pd.Series) -> list[Any]:
    """Values of a column; what there is not of a text is None."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        texts = np.array([*column.cat.categories, None], dtype=object)
        return list(texts[column.cat.codes.to_numpy()])  # -1 is the last
    return column.tolist()


def _texts(file: IO[bytes], lines: list[bytes]) -> Iterator[str]:
    """Lines as Latin-1 text for the parser, remembered in `lines` as they were."""
    is_first = True
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise csv.Error(f"a line of more than {MAX_LINE_BYTES} bytes")
        lines.append(line)
        yield (line.removeprefix(_BOM) if is_first else line).decode("latin-1")
        is_first = False


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
