"""The commands as a user types them, on a real database."""

import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from typing import Any

import geopandas as gpd
import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from gis_grid.cli import app
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import GridError, InvalidInput
from gis_grid.geo.layer_files import read_grids, write_grids
from gis_grid.permissions import Role
from tests.builders import load_squares, squares

GIS_GRID = Path(sys.executable).with_name("gis-grid")
Run = Callable[..., Result]


def test_help_of_every_command_has_an_example() -> None:
    found = {words: command.help or "" for words, command, _ in commands(typer.main.get_command(app))}

    assert len(found) >= 20
    assert [words for words, help_ in found.items() if "Example: `" not in help_] == []


def test_the_list_of_commands_says_what_each_says_of_itself_first() -> None:
    told = {words: (summary, command.help) for words, command, summary in commands(typer.main.get_command(app))}

    assert [words for words, (summary, help_) in told.items() if summary != help_.split("\n\n")[0]] == []


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Words, command and summary in the list of each command; a group that lists nothing fails."""
    context = typer.Context(group)
    assert group.list_commands(context)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command, group.commands[name].help


HEAVY = ("alembic", "api", "fastapi", "folium", "maps", "numba", "scipy", "sqlalchemy")


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        ("", (*HEAVY, "pandas")),
        ("grids", (*HEAVY, "pandas")),
        ("serve --help", ("folium.plugins",)),
        ("assign --help", HEAVY),
        ("grids check --help", HEAVY),
        ("locate --help", ("api", "fastapi", "folium", "maps")),
        ("managers gaps --help", ("api", "fastapi", "folium", "maps")),
        ("map grid --help", ("uvicorn",)),
    ],
)
def test_a_command_does_not_wait_for_what_only_others_need(words: str, unneeded: tuple[str, ...]) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from gis_grid.cli import app\n"
        "said = CliRunner().invoke(app, sys.argv[1].split()).output\n"
        "assert 'Usage' in said, said\n"
        "print(*sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program, words], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) & set(unneeded) == set()


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
    again, said_again = serve(data_folder, "--demo", "--workers", "2")
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


@pytest.mark.parametrize("fault", ["no PEM", "the key of another", "swapped"])
def test_a_wrong_certificate_is_said_in_one_line_before_anything_starts(tmp_path: Path, fault: str) -> None:
    cert, key = self_signed(tmp_path)
    if fault == "no PEM":
        cert.write_text("not a certificate")
    elif fault == "the key of another":
        (tmp_path / "other").mkdir()
        _, key = self_signed(tmp_path / "other")
    else:
        cert, key = key, cert

    words = ["serve", "--port", "0", "--tls-cert", str(cert), "--tls-key", str(key)]
    result = CliRunner().invoke(app, words, env={"GIS_GRID_DATA": str(tmp_path / "data")})

    assert isinstance(result.exception, InvalidInput)
    assert str(result.exception).startswith(f"--tls-cert {cert} and --tls-key {key} are no certificate with its key")
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "data").exists()


def test_the_data_folder_is_closed_to_others_with_a_database_elsewhere_too(run: Run, tmp_path: Path) -> None:
    run("managers", "gaps")

    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def file_report(address: str) -> str:
    """Id of a report that was acknowledged."""
    body = {"lon": 121.4, "lat": 31.1, "kind": "投诉", "event_type": "E0102", "text": "x"}
    request = urllib.request.Request(
        f"{address}api/v1/reports", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["id"])


def test_a_service_whose_database_server_is_killed_recovers_by_itself(
    cluster: EmbeddedPostgis, data_folder: Path
) -> None:
    program, said = serve(data_folder)
    address = said.split(" is ready at ")[1].strip()
    id_ = file_report(address)
    killed = postmaster(data_folder)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    until = time.monotonic() + 30
    while postmaster(data_folder) in {killed, None} or not is_well(address):
        assert time.monotonic() < until
        time.sleep(0.1)
    kept = get(f"{address}api/v1/reports/{id_}")

    assert kept["id"] == id_
    assert end(program, signal.SIGTERM) == 0
    assert postmaster(data_folder) is None


def postmaster(data: Path) -> int | None:
    """Process id that the database server wrote down, if it did."""
    try:
        return int((data / "pgdata" / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return None


def is_well(address: str) -> bool:
    try:
        return bool(get(f"{address}healthz")["status"] == "ok")
    except urllib.error.HTTPError:
        return False


def workers(of: int | None = None) -> set[int]:
    """The workers that are running, those of one service or of all."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of in {None, parent} and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def becomes(is_so: Callable[[], bool]) -> bool:
    return any(is_so() or time.sleep(0.1) for _ in range(600))


def test_a_killed_worker_is_replaced_and_a_killed_service_leaves_what_it_acknowledged_and_no_worker(
    cluster: EmbeddedPostgis, data_folder: Path
) -> None:
    program, said = serve(data_folder, "--workers", "2")
    address = said.split(" is ready at ")[1].strip()
    id_ = file_report(address)
    killed, left = workers(program.pid)
    os.kill(killed, signal.SIGKILL)
    kept = {get(f"{address}api/v1/reports/{id_}")["id"] for _ in range(10)}
    is_replaced = becomes(lambda: killed not in (now := workers(program.pid)) and left in now and len(now) == 2)
    orphans = workers(program.pid)
    program.kill()
    complaints = program.communicate(timeout=60)[1]
    are_gone = becomes(lambda: not orphans & workers())
    again, said_again = serve(data_folder)
    kept.add(get(f"{said_again.split(' is ready at ')[1].strip()}api/v1/reports/{id_}")["id"])

    assert "gis-grid users add NAME --role administrator" in said
    assert (kept, is_replaced) == ({id_}, True)
    assert f"worker {killed} ended" in complaints
    assert (len(orphans), are_gone) == (2, True)
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
        CliRunner().invoke(app, [verb, str(file)], env={"GIS_GRID_DATA": str(folder)})
        for verb, folder in (("backup", data_folder), ("restore", empty))
    ]
    again, said = serve(empty)
    layer = get(f"{said.split(' is ready at ')[1].strip()}healthz")["layer"]
    end(again, signal.SIGINT)

    assert [(one.exit_code, one.stderr) for one in done] == [(0, "")] * 2
    assert layer == "grids, 1002 grids"


def test_a_map_of_an_unknown_type_is_refused(run: Run, session: Session, tmp_path: Path) -> None:
    load_squares(session)

    result = run("map", "heat", "--event-type", "zz", "-o", tmp_path / "map.html")

    assert isinstance(result.exception, GridError)
    assert "'zz'" in str(result.exception)


def test_without_a_layer_gaps_are_no_all_clear(run: Run) -> None:
    result = run("managers", "gaps")

    assert isinstance(result.exception, GridError)
    assert "no grid layer is in force" in str(result.exception)


@pytest.mark.parametrize(
    ("url", "said"), [("nonsense", "postgresql://user@host"), ("postgresql://nobody@127.0.0.1:1/x", "does not answer")]
)
def test_a_database_that_cannot_be_had_is_said_in_one_line(tmp_path: Path, url: str, said: str) -> None:
    environment = os.environ | {"GIS_GRID_DATABASE_URL": url, "GIS_GRID_DATA": str(tmp_path / "data")}
    done = subprocess.run([GIS_GRID, "managers", "gaps"], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode > 0, done.stderr.count("\n"), said in done.stderr) == (True, 1, True)
