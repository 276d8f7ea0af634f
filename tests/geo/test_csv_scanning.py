"""The scanner of CSV files against Python's own csv module and float."""

import csv
import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gis_grid.geo import csv_points
from gis_grid.geo.csv_points import CsvPoints
from gis_grid.geo.csv_scanning import number_of
from gis_grid.geo.point_batches import UnreadablePoints

PIECES = [
    "1", "121.37512345678912", " 31.1 ", "-2", "x", "", "1e5", "nan", "1_0", '"', '""', '"2"', '"a,b"', '"q""q"', '"7"7',
    '"l\nl"', '5" pipe', ",", ",", ",", ";", "\n", "\n", "\r\n", "\r\r\n", "\r", "\x00", "\xa01", "\x85", "0" * 30, ".",
]  # fmt: skip


def read_by_python(raw):
    """Bytes, longitude and latitude as text and field count of each record, blank ones too; by the csv module."""
    lines = []

    def texts():
        for line in io.BytesIO(raw):
            lines.append(line)
            yield line.decode("latin-1")

    found = []
    for fields in csv.reader(texts()):
        found.append((b"".join(lines), fields))
        lines.clear()
    return found


def number(text):
    return np.nan if "_" in text else float(text)


def pair_of(fields):
    try:
        return (number(fields[1]), number(fields[2])) if 2 < len(fields) <= 4 else (np.nan, np.nan)
    except ValueError:
        return np.nan, np.nan


@settings(max_examples=150, deadline=None)
@given(body=st.lists(st.sampled_from(PIECES), max_size=40).map("".join), block=st.sampled_from([1, 3, 7, 10**6]))
@example(body="1,2,3\r4,5,6\n", block=7)
@example(body='1,2,3\n"4,5,6', block=3)
@example(body='1,"2"\r\n,3,4\n', block=1)
def test_records_and_numbers_are_those_of_python(tmp_path_factory, body, block):
    raw = b"id,lon,lat,note\n" + body.encode("latin-1")
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    path.write_bytes(raw)
    try:
        expected = read_by_python(raw)[1:]
    except csv.Error as error:
        expected = str(error)
    is_open = not isinstance(expected, str) and ends_in_quotes(raw.decode("latin-1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_points, "BLOCK_BYTES", block)
        if isinstance(expected, str) or is_open:
            with pytest.raises(UnreadablePoints, match="never closed" if is_open else "line .*new-line"):
                list(CsvPoints(path, None, None).batches())
            return
        batches = list(CsvPoints(path, None, None).batches())

    records = [batch.rows for batch in batches]
    found = [part.raw(n) for part in records for n in range(len(part.ends))]
    assert found == [raw for raw, _ in expected]
    assert np.concatenate([part.counts for part in records]).tolist() == [len(fields) for _, fields in expected]
    bare = [
        part.data[part.ends[n - 1] if n else 0 : part.bodies[n]].tobytes()
        for part in records
        for n in range(len(part.ends))
    ]
    assert bare == [whole.rstrip(b"\r\n") for whole in found]
    pairs = np.array([pair_of(fields) for _, fields in expected if fields]).reshape(-1, 2)
    lon, lat = (np.concatenate([getattr(batch, axis) for batch in batches]) for axis in ("lon", "lat"))
    is_number = ~np.isnan(pairs).any(axis=1)
    assert [lon[is_number].tolist(), lat[is_number].tolist()] == pairs[is_number].T.tolist()
    assert (np.isnan(lon) | np.isnan(lat))[~is_number].all()


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.floats(-180, 180).map(repr),
        st.decimals(-180, 180, allow_nan=False, places=16).map(str),
        st.from_regex(r"[+-]?[0-9]{0,19}\.?[0-9]{0,19}", fullmatch=True),
        # halfway between two doubles, and just beside
        st.integers(2**52, 2**53 - 1).flatmap(lambda m: st.sampled_from([f"{2 * m + 1}", f"{2 * m + 1}.0001"])),
    )
)
@example("18446744073709551615")
@example("-0.0")
@example(".")
def test_a_number_that_is_sure_is_python_s(text):
    found, is_sure = number_of(np.frombuffer(text.encode() + b" ", np.uint8), 0, len(text))

    if is_sure:
        assert (found, np.signbit(found)) == (float(text), np.signbit(float(text)))


def test_ordinary_coordinates_are_sure():
    texts = [repr(x) for x in np.random.default_rng(1).uniform(-180, 180, 2000).tolist()]

    assert sum(number_of(np.frombuffer(text.encode(), np.uint8), 0, len(text))[1] for text in texts) == 2000


@pytest.mark.parametrize("mark", [0, 16])
def test_a_stray_carriage_return_is_named_with_its_line(tmp_path, mark):
    (tmp_path / "in.csv").write_bytes(b'lon,lat\n1,2\n3,"4\n"\n5,6\r7,8\n')

    with pytest.raises(UnreadablePoints, match=r"in\.csv, line 5: new-line"):
        list(CsvPoints(tmp_path / "in.csv", None, None).batches(mark and len(b"lon,lat\n1,2\n")))


def test_spans_are_all_records_once_and_none_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_points, "SPAN_BYTES", 30)
    monkeypatch.setattr(csv_points, "BLOCK_BYTES", 11)
    rows = [f'{i},{i},"a\n{i}"\n' for i in range(50)]
    (tmp_path / "in.csv").write_text("lon,lat,note\n" + "".join(rows))
    points = CsvPoints(tmp_path / "in.csv", None, None)
    spans = list(points.spans())
    read = [[x for batch in points.batches(span.start, span.end) for x in batch.lon.tolist()] for span in spans]

    assert [x for part in read for x in part] == list(range(50))
    assert len(spans) > 10
    assert [span.done for span in spans] == [span.start for span in spans[1:]] + [points.size]


def ends_in_quotes(text):
    """Whether a quote is open at the end of a file."""
    state = "start"
    for byte in text:
        if state in {"start", "closing"} and byte == '"':
            state = "quoted"
        elif state == "quoted":
            state = "closing" if byte == '"' else "quoted"
        else:
            state = "start" if byte in ",\r\n" else "bare"
    return state == "quoted"
