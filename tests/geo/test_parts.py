import fcntl
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gis_grid.geo.parquet_joining import join_parquet
from gis_grid.geo.parts import AlreadyWriting, join_bytes, parts_of


def write_part(parts, content, **note):
    with parts.part(note) as path:
        path.write_bytes(content)


def fail_in_the_second_part(target, error):
    with parts_of(target, {"of": 1}, join_bytes) as parts:
        write_part(parts, b"a\n", mark=7)
        with parts.part({"mark": 9}) as path:
            path.write_bytes(b"half")
            raise error


def test_parts_become_the_file_and_nothing_else_is_left(tmp_path):
    with parts_of(tmp_path / "out.csv", {"of": 1}, join_bytes) as parts:
        write_part(parts, b"a\n")
        write_part(parts, b"b\n")

    assert (tmp_path / "out.csv").read_bytes() == b"a\nb\n"
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.parametrize(("again", "kept"), [({"of": 1}, [{"mark": 7}]), ({"of": 2}, [])])
def test_after_an_interrupt_finished_parts_of_the_same_work_are_kept(tmp_path, again, kept):
    with pytest.raises(KeyboardInterrupt):
        fail_in_the_second_part(tmp_path / "out.csv", KeyboardInterrupt())

    assert not (tmp_path / "out.csv").exists()
    with parts_of(tmp_path / "out.csv", again, join_bytes) as parts:
        assert [{"mark": note["mark"]} for note in parts.notes] == kept
        write_part(parts, b"b\n", mark=8)
    assert (tmp_path / "out.csv").read_bytes() == b"a\n" * len(kept) + b"b\n"


def test_after_an_error_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match="no use"):
        fail_in_the_second_part(tmp_path / "out.csv", ValueError("no use"))

    assert os.listdir(tmp_path) == []


def test_a_second_writer_of_the_same_file_is_refused(tmp_path):
    folder = tmp_path / ".out.csv.parts"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AlreadyWriting), parts_of(tmp_path / "out.csv", {}, join_bytes):
            pass

    assert folder.is_dir()


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "write_page_index": True}, {"version": "1.0"}])
def test_joined_parquet_files_are_read_as_their_tables_one_after_the_other(tmp_path, count, options):
    paths = [tmp_path / f"{i}.parquet" for i in range(count)]
    for i, path in enumerate(paths):
        columns = {
            "a": np.arange(1000) + i,
            "text": pa.array([f"s{j}" for j in range(1000)]).dictionary_encode(),
            "truth": pa.array([True, None] * 500),
            "nested": pa.array([[j, -j] for j in range(1000)]),
        }
        table = pa.table(columns).replace_schema_metadata({"k": "v"})
        pq.write_table(table, path, row_group_size=300, **options)
    join_parquet(paths, tmp_path / "joined.parquet")
    joined = pq.read_table(tmp_path / "joined.parquet")

    assert joined.equals(pa.concat_tables([pq.read_table(path) for path in paths]))
    assert joined.schema.metadata[b"k"] == b"v"
    assert pq.read_metadata(tmp_path / "joined.parquet").num_row_groups == 4 * count
    few = pq.read_table(tmp_path / "joined.parquet", filters=[("a", "==", 999 + count - 1)])
    assert few.num_rows == 1


def test_a_parquet_file_without_rows_is_joined(tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "0.parquet")
    join_parquet([tmp_path / "0.parquet"], tmp_path / "joined.parquet")

    assert pq.read_table(tmp_path / "joined.parquet").num_rows == 0
