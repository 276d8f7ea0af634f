"""The commands as a user types them, on a real database."""

import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from typing import Any

import geopandas as gpd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from gis_grid.cli import app
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import GridError
from gis_grid.geo.layer_files import read_grids, write_grids
from gis_grid.permissions import Role
from tests.builders import load_squares, squares

GIS_GRID = Path(sys.executable).with_name("gis-grid")
Run = Callable[..., Result]


@pytest.fixture
def run(cluster: EmbeddedPostgis, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GIS_GRID_DATABASE_URL", cluster.url(database, role="gis_grid_app"))
    monkeypatch.setenv("GIS_GRID_OWNER_DATABASE_URL", cluster.url(database))
    monkeypatch.setenv("GIS_GRID_DATA", str(tmp_path / "data"))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_help_of_every_command_has_an_example() -> None:
    def commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
        for info in group.registered_commands:
            yield (*words, info.name), info.callback.__doc__ or ""
        for below in group.registered_groups:
            yield from commands(below.typer_instance, (*words, below.name))

    found = dict(commands(app, ()))
    assert len(found) >= 15
    assert [words for words, help_ in found.items() if "Example: `" not in help_] == []


def test_a_grid_file_is_loaded_exported_and_the_same_bit_for_bit(run: Run, tmp_path: Path) -> None:
    source, city = tmp_path / "squares.gpkg", tmp_path / "city.toml"
    write_grids(squares(), source)
    city.write_text(
        'name = "方区"\nadcode = "310112"\ntime_zone = "Asia/Shanghai"\nmetric_crs = "EPSG:4549"\ncode_pattern = "\\\\d{15}"\n'
    )

    loaded = run("grids", "load", source, "--city", city)
    results = [
        run("grids", "export", tmp_path / f"out{suffix}", "--city", city)
        for suffix in (".geojson", ".gpkg", ".parquet", ".zip")
    ]

    assert loaded.exit_code == 0, loaded.output
    assert "in force" in loaded.output
    assert [result.exit_code for result in results] == [0] * 4
    for suffix in (".geojson", ".gpkg", ".parquet", ".zip"):
        again = read_grids(tmp_path / f"out{suffix}")
        assert (again.geometry.normalize().to_wkb() == squares().geometry.normalize().to_wkb()).all()


def test_a_faulty_layer_is_refused_unless_its_faults_are_accepted(run: Run, session: Session, tmp_path: Path) -> None:
    path, city = tmp_path / "gap.geojson", tmp_path / "city.toml"
    write_grids(gpd.GeoDataFrame(squares().drop(index=4)), path)
    city.write_text(
        'name = "方区"\nadcode = "310112"\ntime_zone = "Asia/Shanghai"\nmetric_crs = "EPSG:4549"\ncode_pattern = "\\\\d{15}"\n'
    )

    refused = run("grids", "load", path, "--city", city)
    accepted = run("grids", "load", path, "--city", city, "--accept-faults")

    assert isinstance(refused.exception, GridError)
    assert "hole" in str(refused.exception)
    assert accepted.exit_code == 0, accepted.output


def test_locate_says_whose_grid_it_is(run: Run, session: Session) -> None:
    load_squares(session)

    answer = json.loads(run("locate", 121.4005, 31.1022, "--accuracy", 10, "--json").output)

    assert (answer["grid_code"], answer["method"], answer["manager"]) == ("310112001001001", "inside", None)


def test_locate_takes_western_longitudes(run: Run, session: Session) -> None:
    load_squares(session)

    answer = json.loads(run("locate", "-71.06", "42.36", "--json").output)

    assert (answer["grid_code"], answer["method"]) == (None, "outside")


def test_managers_are_loaded_and_gaps_listed(run: Run, session: Session, tmp_path: Path) -> None:
    load_squares(session)
    path = tmp_path / "managers.csv"
    path.write_text(
        "grid_code,name,post,unit,duty_phone,own_phone,since,until\n310112001001001,王芳,书记,居委会,000-1,,2026-01-01,\n",
        encoding="utf-8",
    )

    loaded, gaps = run("managers", "load", path), run("managers", "gaps", "--at", "2026-02-01")

    assert (loaded.exit_code, "1 tenures" in loaded.output) == (0, True)
    assert (gaps.exit_code, "8 grids without a manager" in gaps.output) == (1, True)
    assert "310112001001001" not in gaps.output


@pytest.mark.parametrize("kind", [("district",), ("heat",), ("blind-spots",), ("grid", "310112001001001")])
def test_a_map_is_one_file_that_names_no_other_machine(
    run: Run, session: Session, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    load_squares(session)
    path = tmp_path / "map.html"

    result = run("map", *kind, "-o", path)

    assert result.exit_code == 0, (result.output, result.exception)
    text = path.read_text(encoding="utf-8")
    assert 'src="http' not in text
    assert "闵行区" in text or "310112001001001" in text


@pytest.fixture
def data_folder() -> Iterator[Path]:
    # Not pytest's own folder: its parents are closed to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="gg-serve-"))
    yield folder / "data"
    rmtree(folder)


def serve(data: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIS_GRID_")}
    program = subprocess.Popen(
        [GIS_GRID, "serve", "--port", "0", *words],
        env=environment | {"GIS_GRID_DATA": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    lines: list[str] = []
    for line in program.stdout:
        lines.append(line)
        if " is ready at " in line:
            return program, "".join(lines)
    raise AssertionError(("".join(lines), program.stderr.read() if program.stderr else ""))


def end(program: subprocess.Popen[str], how: signal.Signals) -> int:
    os.killpg(program.pid, how)
    program.communicate(timeout=60)
    return program.returncode


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return json.load(answer)


def sign_in(address: str, login: str, password: str) -> str:
    body = json.dumps({"login": login, "password": password}).encode()
    request = urllib.request.Request(f"{address}api/v1/sign-in", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["token"])


def test_serve_demo_answers_when_it_says_so_and_keeps_its_data(cluster: EmbeddedPostgis, data_folder: Path) -> None:
    program, said = serve(data_folder, "--demo")
    address = said.split(" is ready at ")[1].strip()
    login, password = next(line.split()[:2] for line in said.splitlines() if line.startswith("  dispatcher"))
    token = sign_in(address, login, password)
    health, reports = get(f"{address}healthz"), get(f"{address}api/v1/reports?limit=1000")
    ended = end(program, signal.SIGINT)
    again, said_again = serve(data_folder, "--demo")
    reports_again = get(f"{said_again.split(' is ready at ')[1].strip()}api/v1/reports?limit=1000")
    ended_again = end(again, signal.SIGTERM)

    assert health["layer"] == "grids, 1002 grids"
    assert {feature["properties"]["is_synthetic"] for feature in reports["features"]} == {True}
    assert (token.startswith("ggt_"), password in said_again) == (True, False)
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  ")] == [role.value for role in Role]
    assert (data_folder / "secret").stat().st_mode & 0o777 == 0o600
    assert (ended, ended_again) == (0, 0)
    assert [f["id"] for f in reports_again["features"]] == [f["id"] for f in reports["features"]]
    assert not list(data_folder.glob("pgdata/postmaster.pid"))


def test_serve_with_a_certificate_answers_over_https_only(
    cluster: EmbeddedPostgis, data_folder: Path, tmp_path: Path
) -> None:
    cert, key = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=str(cert))

    program, said = serve(data_folder, "--tls-cert", str(cert), "--tls-key", str(key))
    address = said.split(" is ready at ")[1].strip()
    with urllib.request.urlopen(f"{address}healthz", timeout=30, context=trusting) as answer:
        status = answer.status
    with pytest.raises(OSError, match=r".+"):
        urllib.request.urlopen(address.replace("https://", "http://"), timeout=30)
    end(program, signal.SIGINT)

    assert (address.split(":")[0], status) == ("https", 200)


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(cert.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_serve_killed_outright_leaves_what_it_acknowledged(cluster: EmbeddedPostgis, data_folder: Path) -> None:
    program, said = serve(data_folder)
    address = said.split(" is ready at ")[1].strip()
    body = {"lon": 121.4, "lat": 31.1, "kind": "投诉", "event_type": "E0102", "text": "x"}
    request = urllib.request.Request(
        f"{address}api/v1/reports", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        id_ = json.load(answer)["id"]
    end(program, signal.SIGKILL)

    again, said_again = serve(data_folder)
    kept = get(f"{said_again.split(' is ready at ')[1].strip()}api/v1/reports/{id_}")

    assert "gis-grid users add NAME --role administrator" in said
    assert kept["id"] == id_
    assert end(again, signal.SIGINT) == 0


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [GIS_GRID, "serve", "--port", port], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
        )

    assert (done.returncode, done.stderr.count("\n"), port in done.stderr) == (2, 1, True)


def test_a_backup_is_restored_into_an_empty_folder(cluster: EmbeddedPostgis, data_folder: Path, tmp_path: Path) -> None:
    end(serve(data_folder)[0], signal.SIGINT)
    file, empty = tmp_path / "city.tar", data_folder.parent / "empty"

    done = [
        subprocess.run(
            [GIS_GRID, verb, file],
            env=os.environ | {"GIS_GRID_DATA": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        for verb, folder in (("backup", data_folder), ("restore", empty))
    ]
    again, said = serve(empty)
    layer = get(f"{said.split(' is ready at ')[1].strip()}healthz")["layer"]
    end(again, signal.SIGINT)

    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 2
    assert layer == "grids, 1002 grids"
