"""Finding the records of a CSV file and the numbers in them, and writing the records again with something appended.

Records end where Python's csv module ends them: quotes are doubled inside quotes, a quote within an unquoted field is a
character, what follows a closing quote belongs to the field, and a carriage return may stand before a line feed only.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gis_grid.geo.compiled import copy_bytes, kernel
from gis_grid.geo.exact import two_product

Bytes: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

GOOD, LOOK, LONG, SHORT = 0, 1, 2, 3
"""A record's numbers were read; have to be looked at with more care; it has too many fields; it ends before them."""
MORE, BROKEN, OPEN = 0, 1, 2
"""Why the scan stopped: no further whole record, a stray carriage return, a quote open at the end of the file."""
FIELD_LIMIT = 131_072
"""Python's own; a longer field is left to it."""

_QUOTE, _CR, _LF = np.uint8(34), np.uint8(13), np.uint8(10)
_SPACE, _PLUS, _MINUS, _DOT, _ZERO, _NINE = 32, 43, 45, 46, 48, 57
_MAX_DIGITS = 19  # below 2⁶⁴
_POWERS = 10.0 ** np.arange(23)
"""All powers of ten that are doubles."""
_DOUBT = 2.0**-93


@kernel
def number_of(data: Bytes, start: int, end: int) -> tuple[float, bool]:
    """Double nearest to a plain decimal number, and whether it is sure: digits with a sign and a point, nothing else.

    Notes
    -----
    m / 10ᵏ with m < 2⁶⁴ and k ≤ 22: the quotient q of doubles is off by a little over an ulp at most. What is missing,
    (m - 10ᵏ q) / 10ᵏ, is a sum of three doubles, known within 2⁻¹⁰² of q. Where q plus a little less and q plus a
    little more (2⁻⁹³) round alike, that is the double nearest to the number; else nothing is said.
    """
    while start < end and data[start] == _SPACE:
        start += 1
    while start < end and data[end - 1] == _SPACE:
        end -= 1
    is_negative = False
    if start < end and (data[start] == _MINUS or data[start] == _PLUS):
        is_negative = data[start] == _MINUS
        start += 1
    whole, digits, after, is_past = np.uint64(0), 0, 0, False
    n_written = 0
    for i in range(start, end):
        byte = data[i]
        if _ZERO <= byte <= _NINE:
            n_written += 1
            whole = np.uint64(whole * np.uint64(10) + np.uint64(byte - _ZERO))
            digits += 1 if (digits or byte != _ZERO) else 0
            after += 1 if is_past else 0
        elif byte == _DOT and not is_past:
            is_past = True
        else:
            return np.nan, False
    if not n_written or digits > _MAX_DIGITS or after > 22:
        return np.nan, False
    power = _POWERS[after]
    high = np.float64(whole)
    low = np.float64(np.int64(whole - np.uint64(high)))  # wraps round to what it is, below 0 too
    quotient = high / power
    product, error = two_product(quotient, power)
    missing = (((high - product) - error) + low) / power
    doubt = quotient * _DOUBT
    less, more = quotient + (missing - doubt), quotient + (missing + doubt)
    return (-less if is_negative else less), less == more


@kernel
def scan(
    data: Bytes,
    is_last: bool,
    delimiter: int,
    width: int,
    columns: tuple[int, int],
    ends: Ints,
    bodies: Ints,
    counts: Ints,
    fields: Ints,
    numbers: Floats,
    states: Bytes,
) -> tuple[int, int]:
    """Count of whole records from the start of `data`, as many as there is room for, and why there are no more.

    Parameters
    ----------
    data
        Bytes from the start of a record on.
    is_last
        Whether the file ends with them.
    width, columns
        Fields of the header, and which two of them are numbers (-1 for none).
    ends, bodies
        Where each record ends, with its line end and without, shape (n,).
    counts
        Its fields; 0 for a blank line.
    fields
        Start and end of the two columns' content, shape (n, 4).
    numbers, states
        Shape (n, 2), and `GOOD` to `SHORT`, shape (n,).
    """
    size, n, at = len(data), 0, 0
    delim = np.uint8(delimiter)
    first, second = columns
    while n < len(ends) and at < size:
        count, is_odd = 0, False
        fields[n, 0] = fields[n, 2] = -1
        is_blank = data[at] == _LF or data[at] == _CR
        while not is_blank:
            start, has_double = at, False
            begin = end = at
            if at < size and data[at] == _QUOTE:
                at += 1
                begin = at
                while True:
                    while at < size and data[at] != _QUOTE:
                        at += 1
                    if at >= size:
                        return n, OPEN if is_last else MORE
                    if at + 1 < size and data[at + 1] == _QUOTE:
                        has_double = True
                        at += 2
                        continue
                    if at + 1 >= size and not is_last:
                        return n, MORE
                    break
                end = at
                at += 1
                if at < size and data[at] != delim and data[at] != _LF and data[at] != _CR:
                    has_double = True
                    while at < size and data[at] != delim and data[at] != _LF and data[at] != _CR:
                        at += 1
                    end = at
            else:
                while at < size:
                    byte = data[at]
                    if byte == delim or byte == _LF or byte == _CR:  # noqa: PLR1714, SIM109 - numba compiles no set
                        break
                    at += 1
                end = at
            if at - start > FIELD_LIMIT:
                is_odd = True
            if count == first:
                fields[n, 0], fields[n, 1] = begin, end
                is_odd = is_odd or has_double
            if count == second:
                fields[n, 2], fields[n, 3] = begin, end
                is_odd = is_odd or has_double
            count += 1
            if at >= size or data[at] != delim:
                break
            at += 1
            if at >= size and not is_last:
                return n, MORE
        if at >= size and not is_last:
            return n, MORE
        bodies[n] = at
        while at < size and data[at] == _CR:
            at += 1
        if at < size:
            if data[at] != _LF:
                return n, BROKEN
            at += 1
        elif not is_last:
            return n, MORE
        ends[n], counts[n] = at, count
        states[n] = GOOD
        if is_odd:
            states[n] = LOOK
        elif count > width:
            states[n] = LONG
        elif max(first, second) >= count:
            states[n] = SHORT
        elif first >= 0:
            one, is_sure = number_of(data, fields[n, 0], fields[n, 1])
            two, is_sure_too = number_of(data, fields[n, 2], fields[n, 3])
            numbers[n, 0], numbers[n, 1] = one, two
            if not (is_sure and is_sure_too):
                states[n] = LOOK
        n += 1
    return n, MORE


@kernel
def extend(records: Any, width: int, delimiter: int, tails: Any, out: Bytes) -> int:
    """Write records with a tail each before their line end, short ones filled up with delimiters; return the bytes.

    Parameters
    ----------
    records
        As `csv_points.Records`.
    tails
        As `csv_tails.RowTails`: one for each record that is no blank line.
    out
        Room enough.
    """
    data, ends, bodies, counts = records
    tail_of, known, known_starts, others, other_starts = tails
    at, written, row = 0, 0, 0
    for n in range(len(ends)):
        body, end = bodies[n], ends[n]
        written = _copied(data, at, body, out, written)
        if counts[n]:
            for _ in range(width - counts[n]):
                out[written] = np.uint8(delimiter)
                written += 1
            which = tail_of[row]
            row += 1
            if which >= 0:
                written = _copied(known, known_starts[which], known_starts[which + 1], out, written)
            else:
                written = _copied(others, other_starts[-1 - which], other_starts[-which], out, written)
        written = _copied(data, body, end, out, written)
        at = end
    return written


@kernel
def _copied(data: Bytes, start: int, end: int, out: Bytes, to: int) -> int:
    copy_bytes(out, to, data, start, end - start)
    return to + end - start
