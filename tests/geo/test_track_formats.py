import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gis_grid.geo.tracks import UnreadableTracks, read_fixes

TIMES = ["2026-03-01T08:00:00+08:00", "2026-03-01T08:00:10+08:00"]


def geojson(tmp_path: Path, *features: Any) -> Path:
    path = tmp_path / "t.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8")
    return path


def line(**properties: Any) -> dict[str, Any]:
    shape = {"type": "LineString", "coordinates": [[121.4, 31.1], [121.401, 31.1]]}
    return {"type": "Feature", "geometry": shape, "properties": properties}


def test_points_with_a_time_are_fixes(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [121.4, 31.1]}
    path = geojson(tmp_path, {"geometry": point, "properties": {"time": TIMES[0], "track": 7, "accuracy": 4.5}})

    fixes = read_fixes(path).fixes

    assert fixes.loc[0, ["track", "lon", "lat", "accuracy_m"]].tolist() == ["7", 121.4, 31.1, 4.5]
    assert fixes["at"][0] == pd.Timestamp("2026-03-01T00:00Z")


def test_a_line_with_times_is_a_track_of_its_own(tmp_path: Path) -> None:
    fixes = read_fixes(geojson(tmp_path, line(coordTimes=TIMES), line(coordTimes=TIMES, track="x"))).fixes

    assert fixes["track"].tolist() == ["t/1", "t/1", "x", "x"]
    assert fixes["lon"].tolist() == [121.4, 121.401] * 2


@pytest.mark.parametrize("feature", [line(), line(coordTimes=TIMES[:1]), {"geometry": None}, 5, {}])
def test_another_feature_is_refused(tmp_path: Path, feature: Any) -> None:
    with pytest.raises(UnreadableTracks, match="GeoJSON"):
        read_fixes(geojson(tmp_path, feature))


def test_a_file_cut_off_is_refused(tmp_path: Path) -> None:
    for name in ("t.geojson", "t.parquet"):
        (tmp_path / name).write_bytes(b'{"features": [')
        with pytest.raises(UnreadableTracks, match=name):
            read_fixes(tmp_path / name)


def test_parquet_gives_the_fixes_that_csv_gives(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": ["a", "a"], "lat": [31.1, 31.1], "lon": [121.4, None], "time": TIMES})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.assign(time=pd.to_datetime(frame["time"])).to_parquet(tmp_path / "t.parquet")

    by_csv, by_parquet = read_fixes(tmp_path / "t.csv"), read_fixes(tmp_path / "t.parquet")

    pd.testing.assert_frame_equal(by_csv.fixes, by_parquet.fixes)
    assert by_parquet.rejected["row"].tolist() == [2]
