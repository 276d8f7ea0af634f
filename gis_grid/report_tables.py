"""Tables to read reports from, which give the rows that could not be read back as they came, with the reason."""

import csv
import gzip
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from gis_grid.errors import InvalidInput

REASON = "reject_reason"
MAX_LINE_BYTES = 16 * 1024 * 1024
BATCH_ROWS = 10_000
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile)
PARQUET_BROKEN = (OSError, pa.ArrowException)


class UnreadableTable(InvalidInput):
    """A file that is no CSV or Parquet table with a heading."""


class Row(NamedTuple):
    """One record of a table.

    Attributes
    ----------
    cells
        Texts below the headings, without a former `reject_reason`; "" where there is nothing.
    original
        What the table needs to give the row back.
    fault
        Why the row is none, None where it is one.
    """

    cells: list[str]
    original: Any
    fault: str | None


Rejected: TypeAlias = tuple[Row, str]
Reject: TypeAlias = Callable[[Sequence[Rejected]], None]


class Table(Protocol):
    """A file with a heading and rows.

    Attributes
    ----------
    heading
        Names of the columns, without a former `reject_reason`.
    suffix
        What a file of its rejected rows ends in.
    """

    heading: list[str]
    suffix: str

    def rows(self) -> Iterator[Row]:
        """Every row, in order; memory stays bounded."""

    def rejects(self, draft: Path) -> AbstractContextManager[Reject]:
        """A function that appends rejected rows to a file of the same form with one more column."""


def open_table(path: Path) -> "CsvTable | ParquetTable":
    """The table in a file ending in .csv, .csv.gz, .zip (one CSV file in it) or .parquet.

    Raises
    ------
    UnreadableTable
        Another suffix, or no heading.
    """
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz", ".zip")):
        return CsvTable(path)
    if name.endswith(".parquet"):
        return ParquetTable(path)
    raise UnreadableTable(f"{path}: expected a file ending in .csv, .csv.gz, .zip or .parquet")


class CsvTable:
    """A CSV file in UTF-8 with commas; its records keep their bytes."""

    suffix = ".csv"

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(self._records(), None)
        if first is None:
            raise UnreadableTable(f"{path}: empty, expected a heading")
        cells, self._heading_bytes, fault = first
        if fault is not None:
            raise UnreadableTable(f"{path}: the heading cannot be read: {fault}")
        if not _is_utf8(self._heading_bytes):
            raise UnreadableTable(f"{path}: the heading is not UTF-8; save the file as UTF-8")
        self._has_reasons = cells[-1] == REASON
        self._width = len(cells)
        self.heading = cells[:-1] if self._has_reasons else cells

    def rows(self) -> Iterator[Row]:
        """Every record below the heading but blank lines."""
        records = self._records()
        next(records)
        for cells, record, fault in records:
            yield Row(cells[:-1] if self._has_reasons else cells, record, fault or self._fault(cells, record))

    def _fault(self, cells: list[str], record: bytes) -> str | None:
        if len(cells) != self._width:
            return f"{len(cells)} cells under {self._width} headings"
        return None if _is_utf8(record) else "not UTF-8"

    @contextmanager
    def rejects(self, draft: Path) -> Iterator[Reject]:
        """See `Table.rejects`; every byte of a record stays but those of a former reason."""
        with draft.open("wb") as file:
            file.write(self._with_last(self._heading_bytes, REASON))

            def reject(rows: Sequence[Rejected]) -> None:
                file.writelines(self._with_last(row.original, _quoted(reason)) for row, reason in rows)

            yield reject

    def _with_last(self, record: bytes, cell: str) -> bytes:
        body = record.rstrip(b"\r\n")
        end = record[len(body) :] or b"\n"
        if self._has_reasons:
            body = _without_last_cell(body)
        return body + b"," + cell.encode() + end

    def _records(self) -> Iterator[tuple[list[str], bytes, str | None]]:
        """Each record parsed and as the bytes of its lines, and why it could not be parsed."""
        taken: list[bytes] = []
        try:
            with ExitStack() as stack:
                records = csv.reader(_lines(_opened(self.path, stack), taken))
                while True:
                    cells, fault = _next_record(records)
                    if not taken:
                        break
                    if cells or fault:
                        yield cells, b"".join(taken), fault
                    taken.clear()
        except BROKEN as error:
            raise UnreadableTable(f"{self.path}: cannot be read: {error}") from error


def _next_record(records: Iterator[list[str]]) -> tuple[list[str], str | None]:
    try:
        return next(records, []), None
    except csv.Error as error:
        # The parser starts anew with the next line.
        return [], str(error).partition(" - ")[0]


def _opened(path: Path, stack: ExitStack) -> BinaryIO | IO[bytes] | gzip.GzipFile:
    if path.suffix.lower() == ".gz":
        return stack.enter_context(gzip.open(path, "rb"))
    if path.suffix.lower() != ".zip":
        return stack.enter_context(path.open("rb"))
    archive = stack.enter_context(zipfile.ZipFile(path))
    names = [name for name in archive.namelist() if name.lower().endswith(".csv") and not name.startswith("__MACOSX")]
    if len(names) != 1:
        raise UnreadableTable(f"{path}: expected one .csv file in it, found {len(names)}")
    return stack.enter_context(archive.open(names[0]))


def _lines(file: BinaryIO | IO[bytes] | gzip.GzipFile, taken: list[bytes]) -> Iterator[str]:
    """Lines as text; each is put into `taken` as bytes when the parser takes it, so that records and bytes agree."""
    is_first = True
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise OSError(f"a line of more than {MAX_LINE_BYTES} bytes")
        taken.append(line)
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if is_first else text
        is_first = False


def _is_utf8(record: bytes) -> bool:
    try:
        record.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _quoted(text: str) -> str:
    escaped = " ".join(text.split()).replace('"', '""')
    return f'"{escaped}"'


def _without_last_cell(body: bytes) -> bytes:
    # Behind a comma inside a quoted cell stands an odd number of quotes, behind the one before the cell an even one.
    comma = body.rfind(b",")
    while comma > 0 and body.count(b'"', comma) % 2:
        comma = body.rfind(b",", 0, comma)
    return body[:comma] if comma >= 0 else body


class ParquetTable:
    """A Parquet file; its columns keep their types."""

    suffix = ".parquet"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            schema = pq.read_schema(path)
        except PARQUET_BROKEN as error:
            raise UnreadableTable(f"{path}: cannot be read: {error}") from error
        self.heading = [name for name in schema.names if name != REASON]
        self._schema = pa.schema([schema.field(name) for name in self.heading], metadata=schema.metadata)

    def rows(self) -> Iterator[Row]:
        """Every row of the file."""
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=self.heading):
                    columns = [[_text(value) for value in column.to_pylist()] for column in batch.columns]
                    for i, cells in enumerate(zip(*columns, strict=True)):
                        yield Row(list(cells), batch.slice(i, 1), None)
        except PARQUET_BROKEN as error:
            raise UnreadableTable(f"{self.path}: cannot be read: {error}") from error

    @contextmanager
    def rejects(self, draft: Path) -> Iterator[Reject]:
        """See `Table.rejects`."""
        with pq.ParquetWriter(draft, self._schema.append(pa.field(REASON, pa.string()))) as writer:

            def reject(rows: Sequence[Rejected]) -> None:
                if rows:
                    whole = pa.Table.from_batches([row.original for row, _ in rows])
                    table = whole.append_column(REASON, pa.array([reason for _, reason in rows], pa.string()))
                    writer.write_table(table.cast(writer.schema))

            yield reject


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date) else str(value)
