"""The program's own PostGIS: a private cluster in one folder, reached over a unix socket only.

Several programs may use one cluster at a time. Three kernel locks, which a killed process cannot leave behind, say
what is going on: `start.lock` (one program starts or stops), `users.lock` (shared by every program that uses the
server; who is alone on it stops the server) and a lock on the data folder itself, inherited by every process of the
server and so held exactly as long as one of them lives. No process id is ever believed.

As root the server runs as the system user `postgres`. It is handed its data folder open, as `/proc/self/fd/…`, and so
needs no way in through the folders above, which stay closed to it.
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psycopg2
from psycopg2 import sql
from sqlalchemy import URL

from gis_grid.errors import Conflict, Forbidden, InvalidInput, Unavailable

SUPERUSER = "postgres"
OWNER = "gis_grid_owner"
APP = "gis_grid_app"

APT_LINE = "sudo apt-get install postgresql-postgis"
OLDEST_POSTGRES = 15
OLDEST_POSTGIS = (3, 3)

_PORT = 5432  # only names the socket file: nothing listens on TCP
_SOCKET_PATH_BYTES = 107  # sun_path holds 108 with its final NUL
_WAIT_S = 60.0
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

# Statements and details stay out of the log: they carry residents' names and telephone numbers.
_SETTINGS = """\
listen_addresses = ''
port = 5432
unix_socket_directories = 'run'
unix_socket_permissions = 0700
cluster_name = 'gis_grid'
max_connections = 300
shared_buffers = 256MB
work_mem = 16MB
maintenance_work_mem = 128MB
max_wal_size = 1GB
random_page_cost = 1.1
max_parallel_workers_per_gather = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C.UTF-8'
password_encryption = scram-sha-256
logging_collector = on
log_directory = 'log'
log_filename = 'server-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_checkpoints = off
log_error_verbosity = terse
log_min_error_statement = panic
"""
_DURABLE = "fsync = on\nsynchronous_commit = on\nfull_page_writes = on\n"
_FAST_UNSAFE = """\
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
"""


class Installation(NamedTuple):
    """One PostgreSQL on this machine."""

    major: int
    bin_folder: Path
    share_folder: Path

    def can_serve(self) -> bool:
        """Whether it is recent enough and has server, PostGIS and btree_gist."""
        programs = ("postgres", "initdb", "pg_ctl")
        return (
            self.major >= OLDEST_POSTGRES
            and all((self.bin_folder / program).exists() for program in programs)
            and self._extension("postgis") >= OLDEST_POSTGIS
            and self._extension("btree_gist") > (0,)
        )

    def _extension(self, name: str) -> tuple[int, ...]:
        control = self.share_folder / "extension" / f"{name}.control"
        with contextlib.suppress(OSError):
            if found := re.search(r"^default_version\s*=\s*'([\d.]+)", control.read_text("utf-8"), re.MULTILINE):
                return tuple(int(part) for part in found[1].strip(".").split("."))
        return (0,)


def installed_postgres() -> list[Installation]:
    """Every PostgreSQL found where Debian and PGDG put it and on the PATH, the newest first."""
    programs = {*Path("/usr/lib/postgresql").glob("*/bin/pg_config"), *Path("/usr").glob("pgsql-*/bin/pg_config")}
    if on_path := shutil.which("pg_config"):
        programs.add(Path(on_path))
    found = set()
    for program in programs:
        with contextlib.suppress(OSError, subprocess.CalledProcessError, ValueError):
            answer = subprocess.check_output([program, "--version", "--bindir", "--sharedir"], text=True)
            version, bin_folder, share_folder = answer.splitlines()
            if number := re.search(r"\d+", version):
                found.add(Installation(int(number[0]), Path(bin_folder), Path(share_folder)))
    return sorted(found, reverse=True)


class EmbeddedPostgis:
    """A private PostGIS cluster in `folder`, used as a context manager or by `start` and `stop`.

    Parameters
    ----------
    folder
        Made with mode 0700 when missing. It must belong to the user who runs the program, be closed to others (an
        empty one is closed here) and not be a symbolic link.
    fast_unsafe
        Give up durability for speed: for tests only. A folder is one or the other for life.

    Notes
    -----
    Who may connect is decided by the kernel (`peer`): the user who runs the program and, as root, the user the
    server runs as. There are three roles: `postgres` (superuser), `gis_grid_owner` (owns the databases and migrates)
    and `gis_grid_app` (may connect; everything else is granted by migrations).
    """

    def __init__(self, folder: Path, *, fast_unsafe: bool = False) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.fast_unsafe = fast_unsafe
        self._pgdata = self.folder / "pgdata"
        self._users: int | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Join the running server, or make the cluster and start it; returns once it answers.

        Called again, it brings back a server that was killed meanwhile.

        Raises
        ------
        Unavailable
            PostgreSQL or PostGIS is missing (the message has the command to run), or the server does not start.
        Forbidden
            The folder belongs to somebody else, is open to others or is a symbolic link.
        Conflict
            The data is of a PostgreSQL that is not installed, or the folder is `fast_unsafe` and this is not, or
            the other way round.
        """
        _make_private(self.folder)
        try:
            with self._alone():
                if self._users is None:
                    self._users = self._lock("users.lock", fcntl.LOCK_SH)
                self._ensure_data()
                self._ensure_alias()
                self._ensure_server()
                self._ensure_roles()
        except BaseException:
            self.stop()
            raise
        return self

    def ensure_running(self) -> bool:
        """Bring back the server if it was killed since `start`; True when it was.

        For a thread that asks again and again: one connection while the server answers, and no waiting for one that
        lives but does not answer.

        Raises
        ------
        Unavailable
            The server does not start.
        """
        if self._refusal() is None:
            return False
        with self._alone():
            if self._users is None:
                return False  # stopped, by ourselves
            self._ensure_alias()  # which lies in /tmp, where things get cleaned away
            return self._launch_if_dead()

    def stop(self) -> bool:
        """Leave the cluster; True when that stopped the server, False when another program still uses it."""
        if self._users is None:
            return False
        with self._alone():
            users, self._users = self._users, None
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._halt()
            except BlockingIOError:
                return False
            finally:
                os.close(users)
        return True

    @property
    def socket_folder(self) -> Path:
        """Folder to name as host: that of the socket, or a short alias when its path is over 107 bytes."""
        folder = self._pgdata / "run"
        if len(os.fsencode(folder / f".s.PGSQL.{_PORT}")) <= _SOCKET_PATH_BYTES:
            return folder
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        # Not TMPDIR: it may be long too.
        return Path("/tmp") / f"gis-grid-{os.geteuid()}-{digest}" / "run"  # noqa: S108 -- checked by _make_private

    def url(self, database: str = "gis_grid", *, role: str = OWNER) -> str:
        """SQLAlchemy URL of a database, for one of the three roles."""
        query = {"host": str(self.socket_folder), "port": str(_PORT)}
        return URL.create("postgresql+psycopg2", username=role, database=database, query=query).render_as_string()

    def ensure_database(self, name: str = "gis_grid") -> None:
        """Make the database if it is missing, owned by `gis_grid_owner`, with postgis and btree_gist."""
        with self._alone():
            with self._cursor(SUPERUSER) as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(_sql("CREATE DATABASE {} OWNER {} TEMPLATE template0", name, OWNER))
                _close_to_the_public(cursor, name)
            with self._cursor(name) as cursor:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS postgis")
                cursor.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")

    def create_database_from(self, template: str, name: str) -> None:
        """Make the database as a copy of `template`, to which nobody may be connected."""
        # Copying files beats copying through the log only while nothing is synced.
        strategy = sql.SQL(" STRATEGY file_copy" if self.fast_unsafe else "")
        with self._cursor(SUPERUSER) as cursor:
            cursor.execute(_sql("CREATE DATABASE {} OWNER {} TEMPLATE {}", name, OWNER, template) + strategy)
            _close_to_the_public(cursor, name)

    def drop_database(self, name: str) -> None:
        """Drop the database if it is there, with whoever is connected to it."""
        with self._cursor(SUPERUSER) as cursor:
            cursor.execute(_sql("DROP DATABASE IF EXISTS {} WITH (FORCE)", name))

    @contextlib.contextmanager
    def _cursor(self, database: str) -> Iterator[psycopg2.extensions.cursor]:
        host = str(self.socket_folder)
        try:
            connection = psycopg2.connect(host=host, port=_PORT, user=SUPERUSER, dbname=database, connect_timeout=10)
            with contextlib.closing(connection):
                connection.autocommit = True
                with connection.cursor() as cursor:
                    yield cursor
        except psycopg2.OperationalError as error:
            raise Unavailable(f"database {database} of {self.folder}: {str(error).strip()}") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = self._lock("start.lock", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock(self, name: str, kind: int) -> int:
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.folder / name, flags, 0o600)
        try:
            fcntl.flock(descriptor, kind)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _try_data_lock(self) -> int | None:
        """Lock the data folder; None while a process of the server lives."""
        descriptor = _open_folder(self._pgdata)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _installation(self) -> Installation:
        """Newest one that serves, or the one that made the data."""
        usable = [found for found in installed_postgres() if found.can_serve()]
        if not usable:
            raise Unavailable(f"PostgreSQL >= 15 with PostGIS >= 3.3 is not installed; run: {APT_LINE}")
        if not self._pgdata.exists():
            return usable[0]
        try:
            made_by = int((self._pgdata / "PG_VERSION").read_text("ascii"))
        except (OSError, ValueError) as error:
            raise Conflict(f"{self._pgdata} is not the data folder of a PostgreSQL") from error
        for found in usable:
            if found.major == made_by:
                return found
        there = ", ".join(str(found.major) for found in usable)
        raise Conflict(f"{self._pgdata} was made by PostgreSQL {made_by}; installed with PostGIS: {there}")

    def _ensure_data(self) -> None:
        """Make `pgdata` beside its place and rename it: what has its name is whole."""
        installation = self._installation()
        marker = self.folder / "fast-unsafe"
        if self._pgdata.exists():
            if marker.exists() != self.fast_unsafe:
                made = "fast_unsafe, which may lose or break data," if marker.exists() else "durable"
                raise Conflict(f"the cluster in {self.folder} was made {made} and is never opened otherwise")
            return
        for leftover in self.folder.glob("pgdata.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)  # the initdb of a killed program may still be writing there
        unfinished = Path(tempfile.mkdtemp(prefix="pgdata.new-", dir=self.folder))
        server = _server_account()
        if server.pw_uid != os.geteuid():
            os.chown(unfinished, server.pw_uid, server.pw_gid)
        options = ["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions"]
        options += ["--auth-local=peer", "--auth-host=reject", *(["--no-sync"] if self.fast_unsafe else [])]
        with _opened(unfinished) as folder:
            _run(installation.bin_folder / "initdb", "-D", _fd_path(folder), "-U", SUPERUSER, *options, folder=folder)
        marker.touch() if self.fast_unsafe else marker.unlink(missing_ok=True)
        unfinished.rename(self._pgdata)
        with _opened(self.folder) as folder:
            os.fsync(folder)

    def _ensure_alias(self) -> None:
        """Point the short alias of a long socket path to it."""
        alias, target = self.socket_folder, self._pgdata / "run"
        if alias == target:
            return
        _make_private(alias.parent)
        if not (alias.is_symlink() and alias.readlink() == target):
            alias.unlink(missing_ok=True)
            alias.symlink_to(target)

    def _ensure_server(self) -> None:
        """Return once the server answers, started here if need be."""
        deadline = time.monotonic() + _WAIT_S
        while (refusal := self._refusal()) is not None:
            if self._launch_if_dead():
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"a server lives but does not answer: {refusal}")
            time.sleep(0.05)

    def _launch_if_dead(self) -> bool:
        """Start the server unless a process of it lives; True when it was started."""
        lock = self._try_data_lock()
        if lock is None:
            return False
        try:
            self._launch(lock)
        finally:
            os.close(lock)
        return True

    def _refusal(self) -> str | None:
        try:
            with self._cursor(SUPERUSER):
                return None
        except Unavailable as error:
            return str(error)

    def _launch(self, lock: int) -> None:
        """Start the server, which inherits `lock`: nobody else lives in the folder, so leftovers there are stale."""
        _shell(lock, "mkdir -p run && rm -f postmaster.pid startup.log run/.s.PGSQL.*")
        _shell(lock, "cat > postgresql.conf", text=_SETTINGS + (_FAST_UNSAFE if self.fast_unsafe else _DURABLE))
        _shell(lock, "cat > pg_hba.conf", text="local all all peer map=gis_grid\n")
        _shell(lock, "cat > pg_ident.conf", text=_identities())
        here = _fd_path(lock)
        try:
            self._pg_ctl(lock, "-l", f"{here}/startup.log", "-t", "3600", "start")
        except Unavailable as error:
            said = _shell(lock, "tail -n 5 startup.log log/*.log 2>&1 || true")
            raise Unavailable(f"the database server in {self.folder} does not start: {said.strip()}") from error

    def _pg_ctl(self, folder: int, *arguments: str) -> None:
        program = self._installation().bin_folder / "pg_ctl"
        _run(program, "-D", _fd_path(folder), "-w", *arguments, folder=folder)

    def _halt(self) -> None:
        """Stop the server and wait until the last of its processes is gone."""
        if not self._pgdata.exists():
            return
        deadline = time.monotonic() + _WAIT_S
        if self._refusal() is None:
            with _opened(self._pgdata) as folder:
                self._pg_ctl(folder, "-m", "fast", "-t", str(int(_WAIT_S)), "stop")
        while (lock := self._try_data_lock()) is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"processes of the database server still live in {self._pgdata}")
            time.sleep(0.05)
        os.close(lock)

    def _ensure_roles(self) -> None:
        with self._cursor(SUPERUSER) as cursor:
            cursor.execute("SELECT rolname FROM pg_roles")
            there = {name for (name,) in cursor.fetchall()}
            for role in {OWNER, APP} - there:
                cursor.execute(_sql("CREATE ROLE {} LOGIN", role))
            cursor.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")


def _sql(template: str, *names: str) -> sql.Composed:
    for name in names:
        if not name or "\0" in name or len(name.encode()) > 63:
            raise InvalidInput(f"database name {name!r}: expected 1 to 63 bytes")
    return sql.SQL(template).format(*map(sql.Identifier, names))


def _close_to_the_public(cursor: "psycopg2.extensions.cursor", database: str) -> None:
    cursor.execute(_sql("REVOKE ALL ON DATABASE {} FROM PUBLIC", database))
    cursor.execute(_sql("GRANT CONNECT ON DATABASE {} TO {}", database, APP))


def _server_account() -> pwd.struct_passwd:
    """Account the server runs as: our own, or `postgres` for root, as whom PostgreSQL refuses to run."""
    try:
        return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("postgres")
    except KeyError as error:
        if os.geteuid():
            raise Unavailable(f"user id {os.geteuid()} has no name in the system's user list") from error
        raise Unavailable(f"the system user postgres is missing; run: {APT_LINE}") from error


def _identities() -> str:
    accounts = {pwd.getpwuid(os.geteuid()).pw_name, _server_account().pw_name}
    roles = (SUPERUSER, OWNER, APP)
    return "".join(f'gis_grid "{account}" {role}\n' for account in sorted(accounts) for role in roles)


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = _open_folder(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fd_path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _run(program: Path, *arguments: str, folder: int, text: str = "") -> str:
    """What the program printed, run as the server's user with `folder` open, out of reach of the terminal's Ctrl-C."""
    server = _server_account()
    drops = server.pw_uid != os.geteuid()
    result = subprocess.run(
        [program, *arguments],
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
        env=_ENVIRONMENT,
        pass_fds=(folder,),
        start_new_session=True,
        umask=0o077,
        user=server.pw_uid if drops else None,
        group=server.pw_gid if drops else None,
        extra_groups=os.getgrouplist(server.pw_name, server.pw_gid) if drops else None,
    )
    if result.returncode:
        raise Unavailable(f"{program.name} failed: {(result.stderr or result.stdout).strip()}")
    return result.stdout


def _shell(folder: int, script: str, *, text: str = "") -> str:
    """Run a script inside the folder: as the server's own user, for root must not follow a link planted there."""
    return _run(Path("/bin/sh"), "-c", f'cd "$0" && {{ {script}; }}', _fd_path(folder), folder=folder, text=text)


def _make_private(folder: Path) -> None:
    """Make the folder for us alone, or see that it is so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Forbidden(f"{folder} must be a folder, not a symbolic link or a file")
    if found.st_uid != os.geteuid():
        raise Forbidden(f"{folder} belongs to user id {found.st_uid}, expected {os.geteuid()}, who runs this program")
    is_open = bool(stat.S_IMODE(found.st_mode) & 0o077)
    if is_open and not any(folder.iterdir()):
        folder.chmod(0o700)
    elif is_open:
        raise Forbidden(f"{folder} is open to other users; run: chmod 700 {folder}")
