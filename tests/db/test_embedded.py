"""The private PostGIS cluster: shared, killed, confused and attacked."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
import sqlalchemy as sa

from gis_grid.embedded import EmbeddedPostgis, Installation, installed_postgres
from gis_grid.errors import Conflict, Forbidden, InvalidInput, Unavailable

pytestmark = pytest.mark.usefixtures("cluster")  # which skips, or fails in CI, without PostGIS

REPOSITORY = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("cluster_program.py")
is_root = os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="only root can act as another user")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A cluster folder whose server, whatever became of it, is gone after the test."""
    yield tmp_path / "data"
    if (tmp_path / "data" / "pgdata").is_dir():
        is_fast = (tmp_path / "data" / "fast-unsafe").exists()
        EmbeddedPostgis(tmp_path / "data", fast_unsafe=is_fast).start().stop()


class Program:
    """`cluster_program.py`, running in a session of its own."""

    def __init__(self, folder: Path, python: str = sys.executable, **options: object) -> None:
        path = os.pathsep.join([str(REPOSITORY), *(p for p in sys.path if p.endswith("site-packages"))])
        self.process = subprocess.Popen(
            [python, "-B", PROGRAM, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            **options,
        )

    def tell(self, order: str) -> None:
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def ask(self, order: str) -> str:
        self.tell(order)
        return self.process.stdout.readline().strip()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def program(folder: Path) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(**options: object) -> Program:
        programs.append(Program(options.pop("folder", folder), **options))
        return programs[-1]

    yield start
    for one in programs:
        one.kill()


def words(server: EmbeddedPostgis) -> list[str]:
    engine = sa.create_engine(server.url())
    with engine.connect() as connection:
        found = list(connection.scalars(sa.text("select word from words order by word")))
    engine.dispose()
    return found


def postmaster(folder: Path) -> int:
    return int((folder / "pgdata" / "postmaster.pid").read_text().split()[0])


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill_server(folder: Path, *, children: bool = True) -> int:
    """Kill -9 the postmaster, with all its processes or alone."""
    head = postmaster(folder)
    family = [int(child) for child in Path(f"/proc/{head}/task/{head}/children").read_text().split()]
    killed = [head, *family] if children else [head]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    while any(map(lives, killed)):
        time.sleep(0.01)
    return head


@pytest.fixture
def stranger() -> Iterator[int]:
    """Pid of a living process of the server's user that has nothing to do with any server."""
    account = pwd.getpwnam("postgres") if is_root else pwd.getpwuid(os.geteuid())
    process = subprocess.Popen(["sleep", "600"], user=account.pw_uid if is_root else None)
    yield process.pid
    assert process.poll() is None
    process.kill()
    process.wait()


def test_what_was_written_is_there_after_a_stop_and_a_start(folder: Path, program: Callable[..., Program]) -> None:
    one = program()
    one.ask("start")
    one.ask("add kept")

    assert one.ask("stop") == "stopped"
    with EmbeddedPostgis(folder) as server:
        assert words(server) == ["kept"]


def test_a_cluster_is_durable_utf8_and_checksummed(folder: Path) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "lc_collate": "C.UTF-8",
        "listen_addresses": "",
        "TimeZone": "UTC",
    }
    with EmbeddedPostgis(folder) as server, server._cursor("postgres") as cursor:
        cursor.execute("select name, setting from pg_settings where name = any(%s)", (list(expected),))
        found = dict(cursor.fetchall())

    assert found == expected


def test_a_database_has_its_extensions_and_its_owner(cluster: EmbeddedPostgis) -> None:
    cluster.ensure_database("fresh")
    cluster.ensure_database("fresh")
    with cluster._cursor("fresh") as cursor:
        cursor.execute("select array_agg(extname order by extname)::text[] from pg_extension")
        (extensions,) = cursor.fetchone()
        cursor.execute("select pg_get_userbyid(datdba) from pg_database where datname = 'fresh'")
        (owner,) = cursor.fetchone()
    cluster.drop_database("fresh")

    assert extensions == ["btree_gist", "plpgsql", "postgis"]
    assert owner == "gis_grid_owner"


def test_a_copied_database_is_closed_to_the_public_too(cluster: EmbeddedPostgis) -> None:
    cluster.ensure_database("original")
    cluster.create_database_from("original", "copied")
    with cluster._cursor("postgres") as cursor:
        cursor.execute(
            "select has_database_privilege('public', 'copied', 'connect'),"
            " has_database_privilege('gis_grid_app', 'copied', 'connect'),"
            " has_database_privilege('gis_grid_app', 'copied', 'temporary')"
        )
        rights = cursor.fetchone()
    cluster.drop_database("copied")
    cluster.drop_database("original")

    assert rights == (False, True, False)


@pytest.mark.parametrize("name", ["", "a\0b", "区" * 22])
def test_a_name_that_no_database_can_have_is_refused(cluster: EmbeddedPostgis, name: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 63 bytes"):
        cluster.drop_database(name)


@pytest.mark.parametrize("statement", ["create table t (a int)", "create temp table t (a int)", "create schema s"])
def test_the_application_role_can_create_nothing(cluster: EmbeddedPostgis, statement: str) -> None:
    cluster.ensure_database("guarded")
    engine = sa.create_engine(cluster.url("guarded", role="gis_grid_app"))
    with engine.connect() as connection, pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        connection.execute(sa.text(statement))
    engine.dispose()
    cluster.drop_database("guarded")


def test_neither_program_role_has_any_power_over_the_cluster(cluster: EmbeddedPostgis) -> None:
    with cluster._cursor("postgres") as cursor:
        cursor.execute(
            "select rolname, rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls, rolpassword"
            " from pg_roles where rolname like 'gis\\_grid\\_%' order by rolname"
        )
        found = cursor.fetchall()

    assert [row[:2] for row in found] == [("gis_grid_app", False), ("gis_grid_owner", False)]


def test_the_server_listens_on_no_tcp_port(cluster: EmbeddedPostgis) -> None:
    sockets = set()
    for descriptor in Path(f"/proc/{postmaster(cluster.folder)}/fd").iterdir():
        name = os.readlink(descriptor)
        if name.startswith("socket:["):
            sockets.add(name[8:-1])
    tcp = {line.split()[9] for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()}
    unix = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()}

    assert sockets & unix
    assert not sockets & tcp


@needs_root
@pytest.mark.parametrize("role", ["postgres", "gis_grid_owner", "gis_grid_app"])
def test_another_user_of_the_system_is_refused_even_with_the_socket_open_to_all(folder: Path, role: str) -> None:
    nobody = pwd.getpwnam("nobody")
    psql = next(found for found in installed_postgres() if found.can_serve()).bin_folder / "psql"
    with EmbeddedPostgis(folder, fast_unsafe=True) as server:
        server.ensure_database()
        (server.socket_folder / ".s.PGSQL.5432").chmod(0o777)
        server.socket_folder.chmod(0o755)
        opened = os.open(server.socket_folder, os.O_RDONLY)
        command = [psql, "-h", f"/proc/self/fd/{opened}", "-U", role, "-d", "gis_grid", "-c", "select 1"]
        options = {"capture_output": True, "text": True, "cwd": "/", "pass_fds": (opened,)}
        ours = subprocess.run(command, check=False, **options)
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        theirs = subprocess.run(command, check=False, **options)
        os.close(opened)

    assert (ours.returncode, theirs.returncode) == (0, 2)
    assert f'Peer authentication failed for user "{role}"' in theirs.stderr


def test_a_committed_row_outlives_a_killed_program(folder: Path, program: Callable[..., Program]) -> None:
    one = program()
    one.ask("start")
    one.ask("add acknowledged")
    server_was = postmaster(folder)
    one.kill()

    with EmbeddedPostgis(folder) as server:
        assert postmaster(folder) == server_was
        assert words(server) == ["acknowledged"]
    assert not lives(server_was)


@pytest.mark.parametrize("children", [True, False])
def test_committed_rows_outlive_a_killed_server(folder: Path, program: Callable[..., Program], children: bool) -> None:
    one = program()
    one.ask("start")
    acknowledged = [f"w{i}" for i in range(9) if one.ask(f"add w{i}") == "added"]
    kill_server(folder, children=children)
    one.kill()

    with EmbeddedPostgis(folder) as server:
        assert words(server) == acknowledged == [f"w{i}" for i in range(9)]


def test_starting_again_brings_back_a_killed_server(folder: Path, program: Callable[..., Program]) -> None:
    one = program()
    one.ask("start")
    one.ask("add before")
    killed = kill_server(folder)

    assert one.ask("start") == "started"
    assert one.ask("add after") == "added"
    assert postmaster(folder) != killed


def test_ensuring_brings_back_a_killed_server_once(folder: Path, program: Callable[..., Program]) -> None:
    one = program()
    one.ask("start")
    one.ask("add before")
    assert one.ask("ensure") == "left alone"
    kill_server(folder)

    assert one.ask("ensure") == "brought back"
    assert one.ask("ensure") == "left alone"
    assert one.ask("add after") == "added"


def test_two_programs_that_ensure_at_once_start_one_server(folder: Path, program: Callable[..., Program]) -> None:
    first, second = program(), program()
    first.ask("start")
    second.ask("start")
    kill_server(folder)
    first.tell("ensure")
    second.tell("ensure")

    said = sorted([first.process.stdout.readline(), second.process.stdout.readline()])
    assert said == ["brought back\n", "left alone\n"]
    assert (first.ask("add one"), second.ask("add two")) == ("added", "added")


def test_ensuring_after_a_stop_starts_nothing(folder: Path, program: Callable[..., Program]) -> None:
    one = program()
    one.ask("start")
    one.ask("stop")

    assert one.ask("ensure") == "left alone"
    assert not (folder / "pgdata" / "postmaster.pid").exists()


def test_stopping_after_the_server_was_killed_is_a_stop(folder: Path, program: Callable[..., Program]) -> None:
    one = program()
    one.ask("start")
    kill_server(folder)

    assert one.ask("stop") == "stopped"


def test_the_last_of_two_programs_stops_the_server(folder: Path, program: Callable[..., Program]) -> None:
    first, second = program(), program()
    first.tell("start")
    second.tell("start")  # at the same time
    assert [first.process.stdout.readline(), second.process.stdout.readline()] == ["started\n", "started\n"]
    server_was = postmaster(folder)

    assert first.ask("stop") == "in use"
    assert second.ask("add still") == "added"
    assert second.ask("stop") == "stopped"
    assert not lives(server_was)


def test_a_killed_program_does_not_count_as_a_user(folder: Path, program: Callable[..., Program]) -> None:
    first, second = program(), program()
    first.ask("start")
    second.ask("start")
    second.kill()

    assert first.ask("stop") == "stopped"


def test_a_recycled_process_id_is_not_mistaken_for_the_server(
    folder: Path, program: Callable[..., Program], stranger: int
) -> None:
    one = program()
    one.ask("start")
    one.ask("add kept")
    kill_server(folder)
    one.kill()
    names = [folder / "pgdata" / "postmaster.pid", folder / "pgdata" / "run" / ".s.PGSQL.5432.lock"]
    for name in names:  # the stale socket lock as well
        _, rest = name.read_text().split("\n", 1)
        name.write_text(f"{stranger}\n{rest}")

    with EmbeddedPostgis(folder) as server:
        assert words(server) == ["kept"]
        assert postmaster(folder) != stranger


def test_stopping_never_signals_a_recycled_process_id(
    folder: Path, program: Callable[..., Program], stranger: int
) -> None:
    one = program()
    one.ask("start")
    kill_server(folder)
    (folder / "pgdata" / "postmaster.pid").write_text(f"{stranger}\n")

    assert one.ask("stop") == "stopped"
    time.sleep(0.1)
    assert lives(stranger)


def test_a_half_made_cluster_is_made_anew(folder: Path, program: Callable[..., Program]) -> None:
    one = program()
    one.tell("start")
    while not list(folder.glob("pgdata.new-*/PG_VERSION")):
        time.sleep(0.002)
    one.kill()
    assert not (folder / "pgdata").exists()

    with EmbeddedPostgis(folder) as server:
        server.ensure_database()
    assert not list(folder.glob("pgdata.new-*"))


def test_a_folder_of_something_else_is_not_taken_for_a_cluster(folder: Path) -> None:
    (folder / "pgdata").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "pgdata" / "thesis.txt").touch()

    with pytest.raises(Conflict, match="not the data folder of a PostgreSQL"):
        EmbeddedPostgis(folder).start()
    assert (folder / "pgdata" / "thesis.txt").exists()
    shutil.rmtree(folder)


def test_data_of_another_major_version_is_refused(folder: Path) -> None:
    EmbeddedPostgis(folder, fast_unsafe=True).start().stop()
    version = folder / "pgdata" / "PG_VERSION"
    was = version.read_text()
    version.write_text("11\n")

    with pytest.raises(Conflict, match="made by PostgreSQL 11; installed with PostGIS: 1"):
        EmbeddedPostgis(folder, fast_unsafe=True).start()
    version.write_text(was)


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Forbidden, match="not a symbolic link"):
        EmbeddedPostgis(tmp_path / "data").start()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o750)

    with pytest.raises(Forbidden, match="chmod 700"):
        EmbeddedPostgis(tmp_path).start()


@needs_root
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(0o700)
    os.chown(tmp_path / "data", pwd.getpwnam("nobody").pw_uid, -1)

    with pytest.raises(Forbidden, match="belongs to user id"):
        EmbeddedPostgis(tmp_path / "data").start()


def test_an_empty_folder_of_ours_is_closed_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    with EmbeddedPostgis(folder, fast_unsafe=True):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_too_deep_for_a_socket_works(tmp_path: Path) -> None:
    deep = tmp_path / ("深" * 40) / "data"
    with EmbeddedPostgis(deep, fast_unsafe=True) as server:
        server.ensure_database()
        engine = sa.create_engine(server.url())
        with engine.connect() as connection:
            assert connection.scalar(sa.text("select current_user")) == "gis_grid_owner"
        engine.dispose()
        assert len(os.fsencode(server.socket_folder)) < 90
    shutil.rmtree(server.socket_folder.parent)


def test_a_planted_alias_folder_is_refused(tmp_path: Path) -> None:
    server = EmbeddedPostgis(tmp_path / ("深" * 40) / "data", fast_unsafe=True)
    alias = server.socket_folder.parent
    alias.symlink_to(tmp_path)

    with pytest.raises(Forbidden, match="not a symbolic link"):
        server.start()
    alias.unlink()


def test_ctrl_c_in_the_terminal_leaves_the_server_to_the_program(folder: Path, program: Callable[..., Program]) -> None:
    one = program(stderr=subprocess.DEVNULL)
    one.ask("start")
    server_was = postmaster(folder)
    one.kill(signal.SIGINT)
    time.sleep(0.2)

    assert lives(server_was)
    with EmbeddedPostgis(folder):
        assert postmaster(folder) == server_was


@pytest.mark.parametrize("made_fast", [True, False])
def test_a_fast_unsafe_folder_and_a_durable_one_are_never_confused(folder: Path, made_fast: bool) -> None:
    EmbeddedPostgis(folder, fast_unsafe=made_fast).start().stop()

    with pytest.raises(Conflict, match="never opened otherwise"):
        EmbeddedPostgis(folder, fast_unsafe=not made_fast).start()


def test_without_postgis_the_one_command_to_run_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Installation(15, folder, folder)
    monkeypatch.setattr("gis_grid.embedded.installed_postgres", lambda: [bare])

    with pytest.raises(Unavailable, match="run: sudo apt-get install postgresql-postgis"):
        EmbeddedPostgis(folder).start()
    assert not (folder / "pgdata").exists()


@pytest.mark.parametrize(
    ("major", "postgis", "can_serve"),
    [(15, "3.3.2", True), (17, "3.10.0", True), (15, "3.2.9", False), (14, "3.3.2", False)],
)
def test_postgresql_15_with_postgis_3_3_is_the_oldest_that_serves(
    tmp_path: Path, major: int, postgis: str, can_serve: bool
) -> None:
    for name in ("postgres", "initdb", "pg_ctl"):
        (tmp_path / name).touch()
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension" / "postgis.control").write_text(f"default_version = '{postgis}'\n")
    (tmp_path / "extension" / "btree_gist.control").write_text("default_version = '1.7'\n")

    assert Installation(major, tmp_path, tmp_path).can_serve() is can_serve


def test_the_log_keeps_no_word_of_a_failed_statement(folder: Path) -> None:
    with EmbeddedPostgis(folder, fast_unsafe=True) as server, server._cursor("postgres") as cursor:
        cursor.execute("create table contacts (phone text primary key)")
        for _ in range(2):
            try:
                cursor.execute("insert into contacts values ('13800000000')")
            except psycopg2.errors.UniqueViolation:
                refused = True
    logs = "".join(path.read_text() for path in (folder / "pgdata" / "log").iterdir())

    assert refused
    assert "duplicate key" in logs
    assert "13800000000" not in logs


@needs_root
def test_an_ordinary_user_runs_a_cluster(program: Callable[..., Program]) -> None:
    nobody = pwd.getpwnam("nobody")
    home = Path(tempfile.mkdtemp(prefix="gg-"))
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    options = {**account, "folder": home / "data", "python": python_for(account)}
    one = program(**options)
    assert one.ask("start") == "started"
    assert one.ask("add kept") == "added"
    assert Path(f"/proc/{postmaster(home / 'data')}").stat().st_uid == nobody.pw_uid
    kill_server(home / "data")
    one.kill()

    two = program(**options)
    assert two.ask("start") == "started"
    assert two.ask("stop") == "stopped"
    shutil.rmtree(home)


def python_for(account: dict[str, object]) -> str:
    """A Python of our version that this user can run; the tests' own may lie in root's home."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            subprocess.run([python, "-c", "import json"], check=True, cwd="/", capture_output=True, **account)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("this user can run no Python of our version")
