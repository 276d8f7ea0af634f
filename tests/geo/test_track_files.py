from pathlib import Path

import pandas as pd
import pytest

from gis_grid.errors import InvalidInput
from gis_grid.geo.datum import wgs84_to_gcj02
from gis_grid.geo.tracks import NaiveTimes, UnreadableTracks, read_fixes

GEOLIFE = Path(__file__).parents[3] / "shared" / "data" / "geolife_minhang_tracks.csv"
AT = "2025-03-01T08:30:00+08:00"


def csv_file(folder, *rows, heading="lon,lat,at,track", name="patrol.csv"):
    path = folder / name
    path.write_bytes("\n".join([heading, *rows]).encode())
    return path


def gpx_file(folder, body):
    path = folder / "patrol.gpx"
    path.write_text(
        f'<?xml version="1.0"?><gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1">{body}</gpx>',
        encoding="utf-8",
    )
    return path


def point(lon, lat, at=AT):
    return f'<trkpt lon="{lon}" lat="{lat}">' + (f"<time>{at}</time>" if at else "") + "</trkpt>"


def test_a_csv_row_becomes_a_fix_in_utc(tmp_path):
    path = csv_file(tmp_path, f"121.4,31.1,{AT},a,6.5", f"121.5,31.2,{AT},b,", heading="lon,lat,at,track,accuracy_m")

    fixes, rejected = read_fixes(path)

    assert list(fixes.columns) == ["track", "lon", "lat", "at", "accuracy_m"]
    assert fixes.iloc[0].tolist() == ["a", 121.4, 31.1, pd.Timestamp("2025-03-01T00:30:00Z"), 6.5]
    assert str(fixes["at"].dtype) == "datetime64[ns, UTC]"
    assert fixes["accuracy_m"].isna().tolist() == [False, True]
    assert rejected.empty


@pytest.mark.parametrize(
    "heading",
    ["LON,Lat,Time,user", "longitude,latitude,timestamp,traj", "lng,lat,recorded_at,track_id", "经度,纬度,时间,track"],
)
def test_usual_headings_are_found(tmp_path, heading):
    fixes, _ = read_fixes(csv_file(tmp_path, f"121.4,31.1,{AT},a", heading=heading))

    assert fixes[["track", "lon", "lat"]].to_numpy().tolist() == [["a", 121.4, 31.1]]


def test_other_headings_can_be_named(tmp_path):
    path = csv_file(tmp_path, "31.1,121.4,2025-03-01,08:30,7,3", heading="y,x,d,t,team,n")

    columns = {"lon": "x", "lat": "y", "at": ("d", "t"), "track": ("team", "n")}
    fixes, _ = read_fixes(path, columns=columns, time_zone="Asia/Shanghai")

    assert fixes.iloc[0].tolist() == ["7 3", 121.4, 31.1, pd.Timestamp("2025-03-01T00:30:00Z")]


def test_a_file_without_a_track_column_is_one_track(tmp_path):
    fixes, _ = read_fixes(csv_file(tmp_path, f"121.4,31.1,{AT}", f"121.4,31.1,{AT}", heading="lon,lat,at"))

    assert fixes["track"].tolist() == ["patrol", "patrol"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"x,31.1,{AT},a", "lon 'x': expected a number"),
        (f"121.4,,{AT},a", "lat '': expected a number"),
        (f"nan,31.1,{AT},a", "expected a number"),
        (f"1e400,31.1,{AT},a", "finite"),
        (f"12\0,31.1,{AT},a", "expected a number"),
        (f"31.1,121.4,{AT},a", "turned round"),
        (f"190,31.1,{AT},a", "190"),
        ("121.4,31.1,,a", "time ''"),
        ("121.4,31.1,soon,a", "time 'soon'"),
        ("121.4,31.1,2025-03-01,a", "time '2025-03-01'"),
        ("121.4,31.1,2025-02-30T08:30:00Z,a", "2025-02-30"),
        ("121.4,31.1,2025-03-01T08:30:00+16:00,a", "offset of at most 14 hours"),
        ("121.4,31.1,2025-03-01T08:30:00-99:99,a", "offset of at most 14 hours"),
        ("121.4,31.1,0001-01-01T00:00:00Z,a", "1970 to 2100"),
        ("121.4,31.1,1969-12-31T23:59:59Z,a", "1970 to 2100"),
        ("121.4,31.1,9999-12-31T23:59:59Z,a", "1970 to 2100"),
        (f"121.4,31.1,{AT},", "no track"),
        (f"121.4,31.1,{AT}", "3 values under 4 headings"),
        (f"121.4,31.1,{AT},a,b", "5 values under 4 headings"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_read(tmp_path, row, reason):
    fixes, rejected = read_fixes(csv_file(tmp_path, f"121.4,31.1,{AT},a", row, f"121.5,31.1,{AT},a"))

    assert fixes["lon"].tolist() == [121.4, 121.5]
    assert rejected["row"].tolist() == [2]
    assert reason in rejected["reason"].iloc[0]
    assert rejected["text"].iloc[0] == row


def test_a_negative_accuracy_is_refused(tmp_path):
    path = csv_file(tmp_path, f"121.4,31.1,{AT},a,-1", heading="lon,lat,at,track,accuracy")

    assert "0 or more" in read_fixes(path).rejected["reason"].iloc[0]


def test_naive_times_are_refused_unless_their_zone_is_named(tmp_path):
    path = csv_file(tmp_path, "121.4,31.1,2025-03-01 08:30:00,a", f"121.4,31.1,{AT},a")

    with pytest.raises(NaiveTimes, match="2025-03-01 08:30:00"):
        read_fixes(path)
    fixes, _ = read_fixes(path, time_zone="Asia/Shanghai")
    assert fixes["at"].tolist() == [pd.Timestamp("2025-03-01T00:30:00Z")] * 2


def test_times_the_clocks_show_twice_or_never_are_named(tmp_path):
    path = csv_file(tmp_path, "-71,42.3,2025-11-02T01:30:00,a", "-71,42.3,2025-03-09T02:30:00,a")

    fixes, rejected = read_fixes(path, time_zone="America/New_York")

    assert fixes.empty
    assert rejected["reason"].str.contains("twice or never").tolist() == [True, True]


@pytest.mark.parametrize("datum", ["gcj02", "bd09"])
def test_the_declared_datum_is_turned_into_wgs84(tmp_path, datum):
    there = wgs84_to_gcj02(121.38, 31.11)
    path = csv_file(tmp_path, f"{float(there[0]):.9f},{float(there[1]):.9f},{AT},a")

    fixes, _ = read_fixes(path, datum=datum)

    shift = abs(fixes["lon"].iloc[0] - 121.38)
    assert shift < 1e-7 if datum == "gcj02" else 0.003 < shift < 0.01


def test_blank_lines_and_a_byte_order_mark_are_nothing(tmp_path):
    path = csv_file(tmp_path, f"121.4,31.1,{AT},a", "", heading="\ufefflon,lat,at,track")

    fixes, rejected = read_fixes(path)

    assert (len(fixes), len(rejected)) == (1, 0)


def test_a_heading_alone_has_no_fixes(tmp_path):
    fixes, rejected = read_fixes(csv_file(tmp_path))

    assert (len(fixes), len(rejected)) == (0, 0)
    assert str(fixes["at"].dtype) == "datetime64[ns, UTC]"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"lon,lat\n1,2", "no column for at"),
        ("经度,纬度,时间\n1,2,3".encode("gb18030"), "UTF-8"),
    ],
)
def test_an_unreadable_csv_is_refused(tmp_path, content, says):
    path = tmp_path / "patrol.csv"
    path.write_bytes(content)

    with pytest.raises(UnreadableTracks, match=says):
        read_fixes(path)


def test_unknown_columns_datums_zones_and_endings_are_refused(tmp_path):
    path = csv_file(tmp_path, "121.4,31.1,2025-03-01 08:30:00,a")

    with pytest.raises(UnreadableTracks, match="speed"):
        read_fixes(path, columns={"speed": "v"})
    with pytest.raises(UnreadableTracks, match="v"):
        read_fixes(path, columns={"lon": "v"})
    with pytest.raises(InvalidInput, match="gcj02"):
        read_fixes(path, datum="mars")
    with pytest.raises(InvalidInput, match="Asia/Shanghai"):
        read_fixes(path, time_zone="Mars/Olympus")
    with pytest.raises(UnreadableTracks, match=r"\.gpx"):
        read_fixes(path.rename(tmp_path / "patrol.kml"))


def test_each_gpx_segment_is_a_track_of_its_own(tmp_path):
    segment = f"<trkseg>{point(121.4, 31.1)}{point(121.5, 31.2)}</trkseg>"
    path = gpx_file(tmp_path, f'<wpt lon="1" lat="2"/><trk>{segment}{segment}</trk><trk>{segment}</trk>')

    fixes, rejected = read_fixes(path)

    assert fixes["track"].tolist() == [f"patrol/{k}" for k in ("1/1", "1/1", "1/2", "1/2", "2/1", "2/1")]
    assert fixes.iloc[0].tolist()[1:] == [121.4, 31.1, pd.Timestamp("2025-03-01T00:30:00Z")]
    assert rejected.empty


def test_a_gpx_point_without_a_time_is_named(tmp_path):
    fixes, rejected = read_fixes(gpx_file(tmp_path, f"<trk><trkseg>{point(1, 2)}{point(1, 2, None)}</trkseg></trk>"))

    assert len(fixes) == 1
    assert rejected["row"].tolist() == [2]
    assert "time" in rejected["reason"].iloc[0]


@pytest.mark.parametrize(
    "body",
    [
        "",
        '<rte><rtept lon="1" lat="2"/></rte>',
        "<trk><trkseg>",
        f"<trk><trkseg>{point(1, 2, '2025-03-01T00:00:00+99:00')}</trkseg></trk>",
        '<trk><trkseg><trkpt lon="x" lat="1"/></trkseg></trk>',
    ],
)
def test_a_gpx_without_usable_track_points_is_refused(tmp_path, body):
    with pytest.raises(UnreadableTracks, match=r"patrol\.gpx"):
        read_fixes(gpx_file(tmp_path, body))


@pytest.mark.skipif(not GEOLIFE.exists(), reason="../shared/data is absent")
def test_geolifes_outings_in_minhang_are_read_whole():
    fixes, rejected = read_fixes(GEOLIFE, time_zone="UTC")

    assert (len(fixes), fixes["track"].nunique(), len(rejected)) == (4922, 22, 0)
