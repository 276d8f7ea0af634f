import csv
import gzip
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from gis_grid.bulk_filing import FiledMeanwhile, file_in_bulk
from gis_grid.city import load_city
from gis_grid.database import Change, sessions
from gis_grid.errors import InvalidInput, NotFound
from gis_grid.geo.datum import Datum, DatumMismatch, wgs84_to_gcj02
from gis_grid.installation import Installation
from gis_grid.intake import Intake
from gis_grid.report_fields import UnusableMapping, read_values
from gis_grid.report_files import UnreadableRows, load_report_file
from gis_grid.report_tables import CsvTable, UnreadableTable
from gis_grid.reports import Kind, Report, Reporter, Source, file_reports, the_report
from tests.builders import BY, NOW
from tests.db.report_rows import COLUMNS, GOOD, HEADING, fields, load, row, stored, write_csv


def test_a_row_becomes_a_placed_report(installation: Installation, session: Session, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row(who="李雷", tel="1000001"))

    load(installation, path)

    (report,) = stored(session)
    assert report.grid is not None
    assert (report.grid.code, report.method, report.distance_m) == ("310112001001001", "inside", 0)
    assert (report.sent_lon, report.sent_lat, report.text) == (121.4005, 31.1022, "垃圾, rubbish")
    assert (report.kind, report.event_type, report.source) == ("投诉", "E0102", "12345")
    assert report.received_at == datetime(2011, 7, 1, 0, 0, tzinfo=UTC)
    assert report.reporter is not None
    assert (report.reporter.name, report.reporter.phone) == ("李雷", "1000001")


def test_bulk_and_single_filing_store_the_very_same(installation: Installation, session: Session) -> None:
    intake = Intake(metric_crs=installation.city.metric_crs, bounds=None)
    tricky = "tab\t, new\nline, \\N, \\., \"quoted\", 'single', 中文 😀\r\n\\"
    new = [
        intake.report(
            id_=uuid.UUID(int=i + 1),
            lon=121.4 + 0.0007 * i,
            lat=31.1003,
            kind=Kind.TIP,
            event_type="E0102",
            text=f"{tricky}{i}",
            source=Source.VISIT,
            accuracy_m=30.0 if i % 2 else None,
            observed_at=NOW - timedelta(days=i) if i % 3 else None,
            received_at=NOW - timedelta(hours=i),
            reporter_name=tricky if i == 1 else None,
        )
        for i in range(9)
    ]
    tables = (Report, Reporter, Change)

    def rows() -> list[list[Any]]:
        return [sorted(map(repr, session.execute(sa.select(*_but_id(table))).all())) for table in tables]

    file_reports(session, new, snap_m=50.0, by=BY, now=NOW)
    single = rows()
    session.rollback()
    file_in_bulk(session, new, snap_m=50.0, by=BY, now=NOW)

    assert rows() == single
    assert [len(part) for part in single] == [9, 1, 10]  # the tenth change is the layer


def test_of_two_loads_of_one_report_at_once_the_later_fails_whole(installation: Installation) -> None:
    intake = Intake(metric_crs=installation.city.metric_crs, bounds=None)
    place = {"lon": 121.4005, "lat": 31.1003, "kind": Kind.TIP, "event_type": "E0102", "source": Source.VISIT}
    ours, theirs = (
        [intake.report(id_=uuid.UUID(int=number), text="", **place) for number in numbers] for numbers in ([1], [2, 1])
    )

    def load_theirs() -> None:
        with installation.sessions.begin() as session:
            file_in_bulk(session, theirs, snap_m=50.0, by=BY, now=NOW)

    waits = sa.text("select exists (select from pg_stat_activity where wait_event_type = 'Lock')")
    with installation.sessions() as session, ThreadPoolExecutor(1) as pool:
        file_in_bulk(session, ours, snap_m=50.0, by=BY, now=NOW)
        later = pool.submit(load_theirs)
        with installation.engine.connect() as watch:
            while not watch.scalar(waits) and not later.done():
                watch.rollback()
        session.commit()
        with pytest.raises(FiledMeanwhile):
            later.result(timeout=30)

    with installation.sessions() as session:
        assert [report.id.int for report in stored(session)] == [1]


def _but_id(table: Any) -> list[Any]:
    columns = [column for column in table.__table__.columns if table is not Change or column.name != "id"]
    return [
        sa.func.encode(sa.func.ST_AsEWKB(column), "hex") if column.name.endswith("geom") else column
        for column in columns
    ]


def test_loading_again_stores_nothing_twice(installation: Installation, session: Session, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row(no="1"), row(no="2"), row(no=str(uuid.UUID(int=7))))
    first = load(installation, path)

    again = load(installation, path)

    assert (first.stored.total(), first.repeated) == (3, 0)
    assert (again.stored.total(), again.repeated) == (0, 3)
    assert the_report(session, uuid.UUID(int=7)).text == GOOD["note"]


def test_rows_without_a_number_are_told_apart_by_all_their_cells(installation: Installation, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row(no="", note="one"), row(no="", note="two"))
    first = load(installation, path)

    again = load(installation, path)

    assert (first.stored.total(), again.repeated) == (2, 2)


def test_the_same_number_from_another_source_is_another_report(installation: Installation, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row())
    load(installation, path)

    assert load(installation, path, fields(source_name="elsewhere")).stored.total() == 1


def test_a_number_with_other_content_is_rejected(installation: Installation, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row(note="one"), row(note="two"))

    loaded = load(installation, path, rejects=tmp_path / "bad.csv")

    assert (loaded.stored.total(), loaded.rejected) == (1, 1)
    assert "other content" in (tmp_path / "bad.csv").read_text(encoding="utf-8")


BAD_CELLS = [
    ({"x": ""}, "lon: empty"),
    ({"x": "east"}, "lon: 'east' is not a number"),
    ({"x": "1_21.4"}, "lon: '1_21.4' is not a number"),
    ({"x": "NaN"}, "lon: 'NaN' is not a number"),
    ({"x": "1e400"}, "finite"),
    ({"x": "31.1022", "y": "121.4005"}, "turned round"),
    ({"kind": "吐槽"}, "kind: '吐槽' is not one of 求助"),
    ({"type": "E9999"}, "event_type: 'E9999' is no code and no name"),
    ({"type": ""}, "event_type: empty"),
    ({"note": " "}, "text: empty"),
    ({"note": "x" * 4001}, "text: 4001 characters, at most 4000"),
    ({"note": "a\0b"}, "text: holds a NUL"),
    ({"opened": "yesterday"}, "received_at: 'yesterday' is not an ISO 8601 time"),
    ({"opened": ""}, "observed_at, received_at: empty"),
    ({"opened": "0001-01-01"}, "1970"),
    ({"opened": "9999-12-31T23:59:59-16:00"}, "1970"),
    ({"opened": "2026-03-09"}, "more than a day ahead"),
    ({"acc": "0"}, "accuracy_m: '0' is not a number of metres above 0"),
    ({"acc": "wide"}, "accuracy_m: 'wide'"),
    ({"via": "pigeon"}, "source: 'pigeon' is not one of"),
    ({"tel": "1" * 41}, "reporter_phone: 41 characters"),
]


def test_each_bad_cell_is_named_and_the_good_row_is_stored(installation: Installation, tmp_path: Path) -> None:
    bad = [row(no=str(i), **change) for i, (change, _) in enumerate(BAD_CELLS)]
    path = write_csv(tmp_path / "calls.csv", row(no="good"), *bad)

    loaded = load(installation, path, rejects=tmp_path / "bad.csv")

    with (tmp_path / "bad.csv").open(encoding="utf-8", newline="") as file:
        said = {each["no"]: each["reject_reason"] for each in csv.DictReader(file)}
    assert (loaded.stored.total(), loaded.rejected) == (1, len(BAD_CELLS))
    assert [reason for i, (_, reason) in enumerate(BAD_CELLS) if reason not in said[str(i)]] == []


def test_everything_wrong_with_a_row_is_said_at_once(installation: Installation, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row(x="", kind="?", acc="-1"))

    load(installation, path, rejects=tmp_path / "bad.csv")

    said = (tmp_path / "bad.csv").read_text(encoding="utf-8")
    assert all(part in said for part in ("lon: empty", "kind: '?'", "accuracy_m: '-1'"))


def test_without_a_rejects_file_a_bad_row_refuses_the_whole_file(
    installation: Installation, session: Session, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "calls.csv", row(no="1"), row(no="2", x="east"))

    with pytest.raises(UnreadableRows, match="lon: 'east'"):
        load(installation, path)

    assert stored(session) == []


ODD = (
    b"\xef\xbb\xbfno,x,y,kind,type,note,opened,acc,via,who,tel\r\n"
    b"1,121.4005,31.1022,\xe6\x8a\x95\xe8\xaf\x89,E0102,ok,2011-07-01,,,,\r\n"
    b"\r\n"
    b'2, 121.4 ,north ,\xe6\x8a\x95\xe8\xaf\x89,"E0102","two\nlines, ""so""",2011-07-01,,,,\n'
    b"3,121.4005,31.1022,\xff\xfe,E0102,not utf-8,2011-07-01,,,,\r\n"
    b"4,too,few\n"
    b'5,121.4005,"","",E0102,last,2011-07-01,,,,'
)


def test_rejected_records_keep_their_bytes(installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    path.write_bytes(ODD)

    load(installation, path, rejects=tmp_path / "bad.csv")

    heading, good, _, two, its_end, *rest = ODD.splitlines(keepends=True)
    bad = (tmp_path / "bad.csv").read_bytes()
    at = 0
    for record in [heading, two + its_end, *rest]:
        body = record.rstrip(b"\r\n")
        assert bad.startswith(body + b",", at), record
        at = bad.index(b"\n", at + len(body)) + 1
    assert at == len(bad)
    assert good not in bad


def test_corrected_rejects_load_with_the_same_mapping(
    installation: Installation, session: Session, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "calls.csv", row(no="1"), row(no="2", x="east"), row(no="3", y=""))
    bad, still_bad = tmp_path / "bad.csv", tmp_path / "still.csv"
    load(installation, path, rejects=bad)
    bad.write_text(bad.read_text(encoding="utf-8").replace("east", "121.4005"), encoding="utf-8")

    second = load(installation, bad, rejects=still_bad)
    again = load(installation, bad, rejects=still_bad)

    assert (second.stored.total(), second.rejected) == (1, 1)
    assert (again.repeated, again.rejected) == (1, 1)
    assert len(stored(session)) == 2
    heading, _, _, third = path.read_text(encoding="utf-8").splitlines()
    assert still_bad.read_text(encoding="utf-8") == f'{heading},reject_reason\n{third},"lat: empty"\n'


cells = st.text(st.sampled_from("a,\"\n\r '=é"), max_size=6)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_taking_a_reason_off_again_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str
) -> None:
    folder = tmp_path_factory.mktemp("rejects")
    path, once, twice = (folder / name for name in ("a.csv", "b.csv", "c.csv"))
    with path.open("w", encoding="utf-8", newline="") as file:
        # Minimal quoting would leave a bare "\r" outside quotes, which is no CSV.
        csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("p", "q"), *rows])

    for source, target in ((path, once), (once, twice)):
        table = CsvTable(source)
        with table.rejects(target) as reject:
            reject([(row, 'why, "so"') for row in table.rows()])

    assert [row.cells for row in CsvTable(once).rows()] == [row.cells for row in CsvTable(path).rows()]
    assert twice.read_bytes() == once.read_bytes()


def test_an_empty_rejects_file_says_that_there_are_none(installation: Installation, tmp_path: Path) -> None:
    load(installation, write_csv(tmp_path / "calls.csv", row()), rejects=tmp_path / "bad.csv")

    assert (tmp_path / "bad.csv").read_text(encoding="utf-8") == ",".join([*HEADING, "reject_reason"]) + "\n"


def test_the_rejects_file_may_not_be_the_file_itself(installation: Installation, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row(x="east"))
    before = path.read_bytes()

    with pytest.raises(InvalidInput, match="is the file that is loaded"):
        load(installation, path, rejects=path)

    assert path.read_bytes() == before


def test_a_failing_load_leaves_no_report_and_no_rejects_file(
    installation: Installation, session: Session, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "calls.csv", row(no="1"), row(no="2", x="east"))

    def tell(what: str, _done: int, _total: int | None) -> None:
        if what == "Storing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(installation, path, rejects=tmp_path / "bad.csv", tell=tell)

    assert stored(session) == []
    assert [file.name for file in tmp_path.glob("*.csv*")] == ["calls.csv"]
    assert list(tmp_path.glob(".*csv")) == []


def test_gzip_zip_and_parquet_load_alike(installation: Installation, session: Session, tmp_path: Path) -> None:
    plain = write_csv(tmp_path / "calls.csv", row(no="1"), row(no="2", x="east"))
    with gzip.open(tmp_path / "calls.csv.gz", "wb") as file:
        file.write(plain.read_bytes())
    with zipfile.ZipFile(tmp_path / "calls.zip", "w") as archive:
        archive.write(plain, "inner/calls.csv")

    counts = [
        load(installation, tmp_path / name, rejects=tmp_path / "bad.csv") for name in ("calls.csv.gz", "calls.zip")
    ]

    assert [(each.stored.total(), each.repeated, each.rejected) for each in counts] == [(1, 0, 1), (0, 1, 1)]
    assert len(stored(session)) == 1


def test_parquet_rejects_keep_their_types_and_load_again(installation: Installation, tmp_path: Path) -> None:
    table = pa.table(
        {
            "no": pa.array([1, 2], pa.int64()),
            "x": pa.array([121.4005, None], pa.float64()),
            "y": pa.array([31.1022, 31.1022], pa.float64()),
            "note": ["one", "two"],
            "opened": pa.array([NOW, NOW], pa.timestamp("us", tz="UTC")),
        }
    )
    pq.write_table(table, tmp_path / "calls.parquet")
    columns = {name: COLUMNS[name] for name in ("id", "lon", "lat", "text", "received_at")}
    mapping = fields(columns=columns, constants={"kind": "咨询", "event_type": "E0102"})

    load(installation, tmp_path / "calls.parquet", mapping, rejects=tmp_path / "bad.parquet")
    bad = pq.read_table(tmp_path / "bad.parquet")
    fixed = bad.set_column(1, "x", pa.array([121.4005], pa.float64()))
    pq.write_table(fixed, tmp_path / "fixed.parquet")
    second = load(installation, tmp_path / "fixed.parquet", mapping)

    assert bad.schema.types[:-1] == table.schema.types
    assert bad.to_pylist()[0]["no"] == 2
    assert bad.to_pylist()[0]["reject_reason"] == "lon: empty"
    assert second.stored.total() == 1


def test_event_types_are_found_by_code_name_and_table(
    installation: Installation, session: Session, tmp_path: Path
) -> None:
    path = write_csv(
        tmp_path / "calls.csv",
        row(no="1", type="E0102", note="1"),
        row(no="2", type="暴露垃圾", note="2"),
        row(no="3", type="Exposed rubbish", note="3"),
        row(no="4", type="TRASH", note="4"),
    )
    (tmp_path / "types.csv").write_text("from,to\nTRASH,E0102\n", encoding="utf-8")

    load(installation, path, fields(values={"event_type": read_values(tmp_path / "types.csv")}))

    assert [report.event_type for report in stored(session)] == ["E0102"] * 4


def test_a_local_time_is_read_in_the_zone_given(installation: Installation, session: Session, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row(no="1", note="1"), row(no="2", note="2", opened="2011-07-02T00:00Z"))

    load(installation, path, fields(zone=ZoneInfo("America/New_York")))

    at = [report.received_at for report in stored(session)]
    assert at == [datetime(2011, 7, 1, 12, tzinfo=UTC), datetime(2011, 7, 2, tzinfo=UTC)]


def test_points_outside_every_grid_wait_in_the_queue(
    installation: Installation, session: Session, tmp_path: Path
) -> None:
    loaded = load(installation, write_csv(tmp_path / "calls.csv", row(x="121.5")))

    (report,) = stored(session)
    assert (dict(loaded.stored), report.grid_id, report.method) == ({"outside": 1}, None, "outside")


def scattered(count: int) -> list[dict[str, str]]:
    """Points evenly over the nine squares, as GCJ-02 has them."""
    rng = np.random.default_rng(1)
    lon, lat = wgs84_to_gcj02(rng.uniform(121.4003, 121.4028, count), rng.uniform(31.1003, 31.1024, count))
    return [row(no=str(i), x=repr(float(lon[i])), y=repr(float(lat[i]))) for i in range(count)]


def test_a_batch_on_another_datum_is_refused_and_named(
    installation: Installation, session: Session, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "calls.csv", *scattered(100))

    with pytest.raises(DatumMismatch, match="look like gcj02"):
        load(installation, path)

    assert stored(session) == []


def test_a_declared_datum_is_converted_and_force_overrides(installation: Installation, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", *scattered(100))

    forced = load(installation, path, is_forced=True)
    declared = load(installation, path, fields(datum=Datum.GCJ02, source_name="declared"))

    assert forced.stored["inside"] == 0
    assert declared.stored["inside"] == 100


def test_few_points_cannot_tell_their_datum(installation: Installation, tmp_path: Path) -> None:
    loaded = load(installation, write_csv(tmp_path / "calls.csv", *scattered(99)))

    assert "cannot tell" in str(loaded.datum)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"columns": {"lon": "x"}}, "lat is missing; kind is missing; event_type is missing; text is missing"),
        ({"constants": {"lon": "1"}}, "lon is given twice"),
        ({"columns": COLUMNS | {"colour": "x"}}, "colour is not a field"),
        ({"values": {"lon": {}}}, "lon cannot have a table"),
    ],
)
def test_an_unusable_mapping_says_everything_that_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnusableMapping, match=said):
        fields(**changes)


def test_a_column_that_is_not_there_is_named(installation: Installation, tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")

    with pytest.raises(UnusableMapping, match=r"column 'x' for lon is not there.*the columns are a, b"):
        load(installation, path)


def test_files_that_are_no_table_are_refused(installation: Installation, tmp_path: Path) -> None:
    for name, content in [
        ("empty.csv", b""),
        ("bad.csv.gz", b"no gzip"),
        ("bad.zip", b"no zip"),
        ("bad.parquet", b"no parquet"),
        ("latin.csv", b"stra\xdfe,x\n"),
        ("notes.txt", b"x"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableTable, match=name):
            load(installation, tmp_path / name)
    with pytest.raises(UnreadableTable, match=r"missing\.csv"):
        load(installation, tmp_path / "missing.csv")


def test_without_a_layer_in_force_nothing_is_loaded(engine: sa.Engine, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "calls.csv", row())

    with sessions(engine)() as session, pytest.raises(NotFound, match="gis-grid grids load"):
        load_report_file(session, path, fields(), city=load_city(), snap_m=50.0, by=BY, now=NOW)
