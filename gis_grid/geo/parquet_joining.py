"""Parquet files of one schema joined into one, without decoding a page.

The pages are copied as they are; only the footer is written anew, with all row groups and each offset moved to where
its bytes are now. Footers are structs in Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), told apart by field numbers
(https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift); a field we don't know is kept.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

Struct: TypeAlias = dict[int, tuple[int, Any]]
"""Type and value of each field by its number."""

_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # the footer's length and the magic
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_LONG_LIST = 15

_NUM_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS, _GROUP_OFFSET, _ORDINAL = 1, 5, 7
_CHUNK_META, _CHUNK_OFFSETS, _META_OFFSETS = 3, (2, 4, 6), (9, 10, 11, 14)


def join_parquet(parts: Sequence[Path], path: Path) -> None:
    """Write the row groups of `parts`, in order, to a new file.

    Parameters
    ----------
    parts
        At least one file; all with the schema and metadata of the first.
    """
    with path.open("xb") as out:
        out.write(_MAGIC)
        joined: Struct = {}
        for part in parts:
            with part.open("rb") as file:
                footer, end = _read_footer(file)
                file.seek(len(_MAGIC))
                moved = out.tell() - len(_MAGIC)
                _copy(file, out, end - len(_MAGIC))
            _move(footer, moved)
            joined = _appended(joined, footer) if joined else footer
        written = io.BytesIO()
        _write_struct(written, joined)
        out.write(written.getvalue() + written.tell().to_bytes(4, "little") + _MAGIC)


def _read_footer(file: IO[bytes]) -> tuple[Struct, int]:
    """Footer of a file, and where it begins."""
    end = file.seek(-_TAIL_BYTES, os.SEEK_END)
    size = int.from_bytes(file.read(4), "little")
    file.seek(end - size)
    return _read_struct(io.BytesIO(file.read(size))), end - size


def _copy(file: IO[bytes], out: IO[bytes], size: int) -> None:
    out.flush()
    left = size
    while left:
        done = os.sendfile(out.fileno(), file.fileno(), file.tell() + size - left, left)
        if not done:
            raise OSError(f"{file.name}: cut off")
        left -= done
    out.seek(0, os.SEEK_END)


def _move(footer: Struct, by: int) -> None:
    """Add to all offsets of a footer."""
    for group in footer[_ROW_GROUPS][1][1]:
        _shift(group, (_GROUP_OFFSET,), by)
        for chunk in group[_COLUMNS][1][1]:
            _shift(chunk, _CHUNK_OFFSETS, by)
            if _CHUNK_META in chunk:
                _shift(chunk[_CHUNK_META][1], _META_OFFSETS, by)


def _shift(struct: Struct, fields: Sequence[int], by: int) -> None:
    for field in fields:
        if field in struct and struct[field][1] > 0:  # 0 stands for none
            struct[field] = struct[field][0], struct[field][1] + by


def _appended(joined: Struct, footer: Struct) -> Struct:
    kind, (item, groups) = joined[_ROW_GROUPS]
    groups = [*groups, *footer[_ROW_GROUPS][1][1]]
    for ordinal, group in enumerate(groups):
        if _ORDINAL in group:
            group[_ORDINAL] = group[_ORDINAL][0], min(ordinal, 2**15 - 1)  # its type holds no more
    rows = joined[_NUM_ROWS][0], joined[_NUM_ROWS][1] + footer[_NUM_ROWS][1]
    return {**joined, _NUM_ROWS: rows, _ROW_GROUPS: (kind, (item, groups))}


def _read_varint(file: IO[bytes]) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value


def _read_zigzag(file: IO[bytes]) -> int:
    value = _read_varint(file)
    return (value >> 1) ^ -(value & 1)


def _read_struct(file: IO[bytes]) -> Struct:
    struct: Struct = {}
    field = 0
    while head := file.read(1)[0]:
        field = field + (head >> 4) if head >> 4 else _read_zigzag(file)
        kind = head & 0x0F
        struct[field] = kind, (kind == _TRUE if kind in {_TRUE, _FALSE} else _read_value(file, kind))
    return struct


def _read_value(file: IO[bytes], kind: int) -> Any:
    if kind in _INTEGERS:
        return _read_zigzag(file)
    if kind in {_LIST, _SET}:
        head = file.read(1)[0]
        size = head >> 4 if head >> 4 != _LONG_LIST else _read_varint(file)
        return head & 0x0F, [_read_value(file, head & 0x0F) for _ in range(size)]
    if kind == _STRUCT:
        return _read_struct(file)
    if kind == _BINARY:
        return file.read(_read_varint(file))
    return file.read(8 if kind == _DOUBLE else 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> bytes:
    return _varint(2 * value if value >= 0 else -2 * value - 1)


def _write_struct(out: IO[bytes], struct: Struct) -> None:
    before = 0
    for field, (kind, value) in sorted(struct.items()):
        step = field - before
        out.write(bytes([step << 4 | kind]) if step < 16 else bytes([kind]) + _zigzag(field))
        before = field
        if kind not in {_TRUE, _FALSE}:
            _write_value(out, kind, value)
    out.write(b"\0")


def _write_value(out: IO[bytes], kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        out.write(_zigzag(value))
    elif kind == _STRUCT:
        _write_struct(out, value)
    elif kind in {_LIST, _SET}:
        item, items = value
        out.write(
            bytes([len(items) << 4 | item]) if len(items) < _LONG_LIST else bytes([0xF0 | item]) + _varint(len(items))
        )
        for each in items:
            _write_value(out, item, each)
    else:
        out.write((_varint(len(value)) if kind == _BINARY else b"") + value)
