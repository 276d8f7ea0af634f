"""What is appended to records of a CSV file: the bytes of each placement, made once for all that are alike."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gis_grid.geo.csv_scanning import Bytes, Ints
from gis_grid.geo.point_batches import RESULT_COLUMNS, categorical

_UNKNOWN = -1


class RowTails(NamedTuple):
    """Tails of some rows, as `extend` takes them.

    Attributes
    ----------
    of
        Position in `known` of each row's tail, or -1 - position in `others`, shape (n,).
    known, known_starts, others, other_starts
        Bytes of all tails one after the other, and where each starts, with the end of the last.
    """

    of: Ints
    known: Bytes
    known_starts: Ints
    others: Bytes
    other_starts: Ints

    @property
    def size(self) -> int:
        """Bytes that the rows' tails have together."""
        known = self.of[self.of >= 0]
        return int((self.known_starts[known + 1] - self.known_starts[known]).sum()) + len(self.others)


class Tails:
    """Tails of records; those of points in a grid, on its edge or outside all are kept from batch to batch.

    Parameters
    ----------
    delimiter, encoding
        Of the file.
    """

    def __init__(self, delimiter: str, encoding: str) -> None:
        self._delimiter = delimiter
        self._encoding = encoding
        self._kinds: tuple[Any, Any] | None = None
        self._number_of: Ints = np.empty(0, np.int64)
        self._known: list[bytes] = []
        self._joined: tuple[Bytes, Ints] = _joined([])

    def of(self, placements: pd.DataFrame) -> RowTails:
        """Tails of placed rows."""
        names = ("grid_code", "method", "refusal_reason")
        codes, methods, reasons = (categorical(placements[RESULT_COLUMNS[name]]) for name in names)
        distances_m = placements[RESULT_COLUMNS["distance_m"]].to_numpy(dtype=np.float64)
        self._know(codes.categories, methods.categories)
        n_methods = len(methods.categories) + 1
        is_far = np.isnan(distances_m)
        key = 2 * ((codes.codes.astype(np.int64) + 1) * n_methods + methods.codes + 1) + is_far
        is_common = (is_far | (distances_m == 0)) & (reasons.codes < 0)
        tail_of = np.empty(len(key), np.int64)
        tail_of[is_common] = self._number_of[key[is_common]]
        texts = [
            np.array([*kind.categories, None], dtype=object) for kind in (codes, methods, reasons)
        ]  # -1 is the last

        def bytes_of(row: int) -> bytes:
            code, method, reason = (
                text[kind.codes[row]] for text, kind in zip(texts, (codes, methods, reasons), strict=True)
            )
            return self._bytes(code, method, float(distances_m[row]), reason)

        new = np.flatnonzero(is_common)[tail_of[is_common] == _UNKNOWN]
        for row in new.tolist():
            if self._number_of[key[row]] == _UNKNOWN:
                self._number_of[key[row]] = len(self._known)
                self._known.append(bytes_of(row))
        if len(new):
            tail_of[new] = self._number_of[key[new]]
            self._joined = _joined(self._known)
        others = np.flatnonzero(~is_common)
        tail_of[others] = -1 - np.arange(len(others))
        return RowTails(tail_of, *self._joined, *_joined([bytes_of(row) for row in others.tolist()]))

    def _know(self, codes: pd.Index, methods: pd.Index) -> None:
        """Forget all tails unless they are of these codes and methods."""
        if self._kinds is None or not (self._kinds[0] is codes and self._kinds[1].equals(methods)):
            self._kinds = codes, methods
            self._number_of = np.full(2 * (len(codes) + 1) * (len(methods) + 1), _UNKNOWN)
            self._known, self._joined = [], _joined([])

    def _bytes(self, code: str | None, method: str | None, distance_m: float, reason: str | None) -> bytes:
        distance = f"{distance_m:.3f}" if distance_m == distance_m else ""  # noqa: PLR0124 - nan is not itself
        cells = ("", self._quoted(code), method or "", distance, self._quoted(reason))
        return self._delimiter.join(cells).encode(self._encoding)

    def _quoted(self, text: str | None) -> str:
        if text is None:
            return ""
        needs_quotes = any(mark in text for mark in (self._delimiter, '"', "\n", "\r"))
        return '"' + text.replace('"', '""') + '"' if needs_quotes else text


def _joined(tails: list[bytes]) -> tuple[Bytes, Ints]:
    """Bytes one after the other, and where each starts, with the end of the last."""
    starts = np.zeros(len(tails) + 1, np.int64)
    np.cumsum([len(tail) for tail in tails], out=starts[1:])
    return np.frombuffer(bytearray(b"".join(tails)), np.uint8), starts
