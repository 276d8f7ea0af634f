"""One file that holds a city: its database and its photos, written whole or not at all.

The file is a tar of `database.dump` (pg_dump's custom format), `photos/…` and, at the end, `manifest.json` with the
size and SHA-256 of every part; a file that was cut off has no manifest. Backing up needs no pause: the dump is one
snapshot, and photos are stored and synced before the row that names them is committed and are never rewritten, so
that whatever is in the folder *after* the dump includes every photo a dumped row names.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

import psycopg2
from psycopg2 import sql

from gis_grid.database import database_address
from gis_grid.embedded import APP, APT_LINE, installed_postgres
from gis_grid.errors import Conflict, InvalidInput, Unavailable
from gis_grid.geo.whole_files import sync

FORMAT = 1
DUMP = "database.dump"
MANIFEST = "manifest.json"
EXTENSIONS = ("postgis", "btree_gist")

_PHOTO = re.compile(r"photos(/[^/\0]+)+")
_BLOCK_BYTES = 1 << 20


class NotABackup(InvalidInput):
    """The file is no backup, or not a whole and unaltered one."""


@dataclass(frozen=True)
class Part:
    """One file in a backup."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    Attributes
    ----------
    made_at
        When the backup was begun, ISO 8601 in UTC.
    rows
        Number of rows in the dump for each `schema.table`.
    parts
        The dump and the photos, by their name in the tar.
    """

    city: str
    made_at: str
    program_version: str
    rows: dict[str, int]
    parts: dict[str, Part]
    format: int = field(default=FORMAT)

    @property
    def photo_count(self) -> int:
        """How many photos are in it."""
        return len(self.parts) - 1

    def to_json(self) -> bytes:
        """The text stored in the file."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The manifest in a backup; KeyError, TypeError or ValueError when it is none."""
        read = json.loads(text)
        if read["format"] != FORMAT:
            raise NotABackup(f"backup of format {read['format']}; this program reads format {FORMAT}")
        return cls(**{**read, "parts": {name: Part(**part) for name, part in read["parts"].items()}})


def backup(database_url: str, *, photos_folder: Path, to: Path, city: str, now: datetime) -> Manifest:
    """What was written to the new file `to`, while the service may go on working.

    Parameters
    ----------
    database_url
        SQLAlchemy URL, of the owner of the tables.
    photos_folder
        Folder of the original photos; a missing one is empty. Names that begin with a dot are files still being
        written and stay out.
    city
        Name of the city, for whoever finds the file.

    Raises
    ------
    Conflict
        `to` exists already.
    InvalidInput
        The folder for `to` is missing.
    Unavailable
        pg_dump is missing or failed, or the database cannot be reached.
    """
    if to.exists():
        raise Conflict(f"{to} exists already; a backup is never written over")
    if not to.parent.is_dir():
        raise InvalidInput(f"{to.parent} is not a folder")
    made_at = now.isoformat()
    with _disk_errors(to), tempfile.TemporaryDirectory(prefix=".gis-grid-backup-", dir=to.parent) as scratch:
        dump, draft = Path(scratch, DUMP), Path(scratch, "draft.tar")
        rows = _dump(database_url, dump)
        parts: dict[str, Part] = {}
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
            parts[DUMP] = _add(tar, DUMP, dump)
            for name, path in _photos(photos_folder):
                parts[name] = _add(tar, name, path)
            manifest = Manifest(city, made_at, metadata.version("gis-grid"), rows, parts)
            _add_manifest(tar, manifest, draft.with_name(MANIFEST))
        draft.chmod(0o600)
        sync(draft)
        draft.replace(to)
        sync(to.parent)
    return manifest


def restore(from_: Path, *, database_url: str, photos_folder: Path) -> Manifest:
    """What was restored into an empty database and an empty or missing photo folder.

    Every sum is checked before anything is touched. The photos then appear at once, by a rename, and the rows at
    once, in one transaction, in this order: no row is ever there without its photo. Whatever fails is undone; only a
    restore that was killed in between leaves photos, and the next one names their folder.

    Parameters
    ----------
    database_url
        SQLAlchemy URL of the role that shall own the tables: `gis_grid_owner` on the embedded cluster.

    Raises
    ------
    NotABackup
        The file is cut off, altered or something else.
    Conflict
        The database or the folder is not empty.
    Unavailable
        pg_restore is missing or failed, or the database cannot be reached.
    """
    manifest = check(from_)
    _refuse_photos(photos_folder)
    _prepare_database(database_url)
    photos_folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    prefix = ".gis-grid-restore-"
    with _disk_errors(photos_folder), tempfile.TemporaryDirectory(prefix=prefix, dir=photos_folder.parent) as scratch:
        _unpack(from_, manifest, Path(scratch))
        photos = Path(scratch, "photos")
        photos.mkdir(mode=0o700, exist_ok=True)
        had_folder = photos_folder.exists()
        photos.replace(photos_folder)
        try:
            sync(photos_folder.parent)
            _load(database_url, Path(scratch, DUMP))
        except BaseException:
            shutil.rmtree(photos_folder)
            if had_folder:
                photos_folder.mkdir(mode=0o700)
            raise
    return manifest


def check(file: Path) -> Manifest:
    """The manifest of a backup whose every part is there, alone and unaltered.

    Raises
    ------
    NotABackup
        With the name of the part that is wrong.
    """
    found: dict[str, Part] = {}
    manifest: Manifest | None = None
    for name, content in _members(file):
        if manifest is not None or name in found:
            raise NotABackup(f"{file}: {name} is there twice or after the manifest")
        if name == MANIFEST:
            text = io.BytesIO()
            _copy(content, text)
            manifest = _read_manifest(file, text.getvalue())
        else:
            found[name] = _copy(content, None)
    if manifest is None:
        raise NotABackup(f"{file}: no manifest; the file is cut off or no backup")
    for name in sorted({*found, *manifest.parts, DUMP}):
        if found.get(name) is None or found.get(name) != manifest.parts.get(name):
            raise NotABackup(f"{file}: {name} is missing, altered or not in the manifest")
    return manifest


def _members(file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each part; nothing but plain files with harmless names is let through."""
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                if not (member.isreg() and not member.issparse() and _is_harmless(member.name)):
                    raise NotABackup(f"{file}: {member.name!r} does not belong in a backup")
                if content := tar.extractfile(member):
                    yield member.name, content
    except FileNotFoundError as error:
        raise InvalidInput(f"{file}: there is no such file") from error
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise NotABackup(f"{file}: not a readable backup ({error})") from error


def _is_harmless(name: str) -> bool:
    if name in (DUMP, MANIFEST):
        return True
    parts = PurePosixPath(name).parts
    return bool(_PHOTO.fullmatch(name)) and "/".join(parts) == name and not any(p.startswith(".") for p in parts)


def _read_manifest(file: Path, text: bytes) -> Manifest:
    try:
        return Manifest.from_json(text)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NotABackup(f"{file}: the manifest cannot be read ({error!r})") from error


def _unpack(file: Path, manifest: Manifest, folder: Path) -> None:
    """Write every part, synced, below the folder; it is compared again, should the file have changed meanwhile."""
    for name, content in _members(file):
        if name == MANIFEST:
            continue
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            if _copy(content, out) != manifest.parts.get(name):
                raise NotABackup(f"{file}: {name} changed while it was read")
            out.flush()
            os.fsync(out.fileno())
    for path in folder.rglob("*/"):
        sync(path)


def _copy(content: IO[bytes], out: IO[bytes] | None) -> Part:
    """Size and sum of what was read to the end, and written to `out` if there is one."""
    digest, size_bytes = hashlib.sha256(), 0
    while block := _read_block(content):
        digest.update(block)
        size_bytes += len(block)
        if out:
            out.write(block)
    return Part(size_bytes, digest.hexdigest())


def _read_block(content: IO[bytes]) -> bytes:
    try:
        return content.read(_BLOCK_BYTES)
    except (tarfile.TarError, OSError) as error:
        raise NotABackup(f"the backup cannot be read to its end ({error})") from error


class _Summing:
    """A file that sums what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.size_bytes = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        self.digest.update(block)
        self.size_bytes += len(block)
        return block


def _add(tar: tarfile.TarFile, name: str, path: Path) -> Part:
    with path.open("rb") as file:
        member = tarfile.TarInfo(name)
        member.size = os.fstat(file.fileno()).st_size
        member.mode = 0o600
        summing = _Summing(file)
        tar.addfile(member, summing)
    return Part(summing.size_bytes, summing.digest.hexdigest())


def _add_manifest(tar: tarfile.TarFile, manifest: Manifest, draft: Path) -> None:
    draft.write_bytes(manifest.to_json())
    _add(tar, MANIFEST, draft)


def _photos(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = f"photos/{path.relative_to(folder).as_posix()}"
        if path.is_file() and not path.is_symlink() and _is_harmless(name):
            yield name, path


def _refuse_photos(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Conflict(f"{folder} must be a folder, empty or not there yet")
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty; a restore needs an empty photo folder")


def _connect_options(database_url: str) -> dict[str, Any]:
    url = database_address(database_url)
    return {**url.translate_connect_args(username="user", database="dbname"), **url.query}


@contextlib.contextmanager
def _connection(database_url: str) -> Iterator[Any]:
    try:
        connection = psycopg2.connect(**_connect_options(database_url))
    except psycopg2.OperationalError as error:
        raise Unavailable(f"the database cannot be reached: {str(error).strip()}") from error
    with contextlib.closing(connection):
        yield connection


_TABLES = """
SELECT n.nspname, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  AND (c.relkind = 'r' OR NOT %(only_plain)s)
ORDER BY 1, 2
"""


def _tables(cursor: Any, *, only_plain: bool) -> list[tuple[str, str]]:
    """Schema and name of the plain tables, or of everything that is like one, without what extensions brought."""
    cursor.execute(_TABLES, {"only_plain": only_plain})
    return list(cursor.fetchall())


def _dump(database_url: str, to: Path) -> dict[str, int]:
    """Row counts of the tables, dumped as of the same moment."""
    rows = {}
    with _connection(database_url) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        # PostGIS's own list of systems is the superuser's, and there wherever PostGIS is.
        options = ["--format=custom", "--no-owner", "--exclude-table-data=*.spatial_ref_sys"]
        options += [f"--snapshot={snapshot}", f"--file={to}"]
        _run_tool("pg_dump", connection, database_url, options)
        for schema, table in _tables(cursor, only_plain=True):
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
            (rows[f"{schema}.{table}"],) = cursor.fetchone()
    return rows


def _prepare_database(database_url: str) -> None:
    """See that the database is empty, and add what a dump takes for granted: extensions and the application's role."""
    with _connection(database_url) as connection, connection.cursor() as cursor:
        if tables := _tables(cursor, only_plain=False):
            name = connection.info.dbname
            raise Conflict(f"database {name} is not empty: it has {'.'.join(tables[0])}; a restore needs an empty one")
        try:
            cursor.execute("SELECT extname FROM pg_extension")
            there = {name for (name,) in cursor.fetchall()}
            for extension in [name for name in EXTENSIONS if name not in there]:
                cursor.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (APP,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE ROLE {role} NOLOGIN").format(role=sql.Identifier(APP)))
                cursor.execute(sql.SQL("GRANT {role} TO CURRENT_USER").format(role=sql.Identifier(APP)))
        except psycopg2.Error as error:
            raise Unavailable(f"the database cannot be prepared for a restore: {str(error).strip()}") from error
        connection.commit()


def _load(database_url: str, dump: Path) -> None:
    with _connection(database_url) as connection:
        contents = _run_tool("pg_restore", connection, None, ["--list", str(dump)])
        # Extensions and their comments belong to the superuser; they are there already.
        ours = [line for line in contents.splitlines() if not re.search(r" EXTENSION - | COMMENT - EXTENSION ", line)]
        listing = dump.with_suffix(".list")
        listing.write_text("\n".join(ours) + "\n", encoding="utf-8")
        options = ["--single-transaction", "--no-owner", f"--use-list={listing}", str(dump)]
        _run_tool("pg_restore", connection, database_url, options)


def _run_tool(tool: str, connection: Any, database_url: str | None, options: list[str]) -> str:
    """What pg_dump or pg_restore printed; the password goes by the environment, where `ps` does not show it."""
    program = _tool(tool, connection.info.server_version // 10_000)
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    arguments: list[str] = []
    if database_url is not None:
        named = _connect_options(database_url)
        if password := named.pop("password", None):
            environment["PGPASSWORD"] = password
        arguments = ["--no-password", "--dbname", psycopg2.extensions.make_dsn(**named)]
    result = subprocess.run(
        [program, *arguments, *options], capture_output=True, text=True, errors="replace", env=environment, check=False
    )
    if result.returncode:
        raise Unavailable(f"{tool} failed: {result.stderr.strip()}")
    return result.stdout


def _tool(name: str, server_major: int) -> Path:
    """The program of the server's own version, else of the oldest newer one: older ones refuse."""
    for found in sorted(installed_postgres()):
        if found.major >= server_major and (found.bin_folder / name).exists():
            return found.bin_folder / name
    raise Unavailable(f"{name} of PostgreSQL {server_major} or newer is not installed; for 15 run: {APT_LINE}")


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{target} could not be written: {error}") from error
