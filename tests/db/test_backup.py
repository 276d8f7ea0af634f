"""One file that holds a city: made while it works, restored whole or not at all."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gis_grid import backup as backups
from gis_grid.backup import Manifest, NotABackup, Part, backup, check, restore
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import Conflict, InvalidInput, Unavailable
from tests.builders import NOW, load_squares

SCHEMA = """
create table alembic_version (version_num text primary key);
insert into alembic_version values ('0001');
create table reports (id int primary key, point geometry(Point, 4326) not null, text text);
create index reports_point on reports using gist (point);
create table shifts (during tstzrange, exclude using gist (during with &&));
create view report_count as select count(*) from reports;
create sequence serials start 7;
grant usage on schema public to gis_grid_app;
grant select, insert on reports to gis_grid_app;
insert into reports select i, st_setsrid(st_point(121.4 + i / 1000.0, 31.1), 4326), '窨井盖 ' || i
from generate_series(1, 3) i;
"""


@pytest.fixture(scope="module")
def databases(cluster: EmbeddedPostgis) -> Iterator[EmbeddedPostgis]:
    """The cluster, with an `empty` and a `filled` database to copy."""
    for name in ("empty", "filled"):
        cluster.ensure_database(name)
    engine = sa.create_engine(cluster.url("filled"))
    with engine.begin() as connection:
        connection.execute(sa.text(SCHEMA))
    engine.dispose()
    yield cluster
    for name in ("empty", "filled"):
        cluster.drop_database(name)


@pytest.fixture
def source(databases: EmbeddedPostgis) -> Iterator[str]:
    databases.create_database_from("filled", "source")
    yield databases.url("source")
    databases.drop_database("source")


@pytest.fixture
def target(databases: EmbeddedPostgis) -> Iterator[str]:
    databases.create_database_from("empty", "target")
    yield databases.url("target")
    databases.drop_database("target")


def store_photos(folder: Path) -> Path:
    for name in ("ab/abcd.jpg", "ab/abff.png", "cd/cdef.webp", "cd/.new-half"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return store_photos(tmp_path / "photos")


@pytest.fixture(scope="module")
def original(databases: EmbeddedPostgis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    photos = store_photos(folder / "photos")
    backup(databases.url("filled"), photos_folder=photos, to=folder / "city.tar", city="闵行区", now=NOW)
    return folder / "city.tar"


@pytest.fixture
def made(original: Path, tmp_path: Path) -> Path:
    """A backup of `filled` and the photos, to be spoilt."""
    return Path(shutil.copy(original, tmp_path))


def ask(url: str, statement: str) -> list[sa.Row]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = list(connection.execute(sa.text(statement)))
    engine.dispose()
    return rows


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def is_untouched(target: str, tmp_path: Path) -> bool:
    objects = "select relname from pg_class where relname in ('reports', 'alembic_version', 'serials')"
    return not ask(target, objects) and not list(tmp_path.glob("restored*")) and not list(tmp_path.glob(".gis-grid*"))


def rewrite(file: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Write the tar anew with changed parts."""
    with tarfile.open(file) as tar:
        parts = {member.name: tar.extractfile(member).read() for member in tar}
    change(parts)
    with tarfile.open(file, "w") as tar:
        for name, content in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_a_restored_city_has_the_same_rows_and_photos(
    made: Path, source: str, target: str, photos: Path, tmp_path: Path
) -> None:
    restore(made, database_url=target, photos_folder=tmp_path / "restored")

    for statement in (
        "select id, st_astext(point), text from reports order by id",
        "select version_num from alembic_version",
        "select * from report_count",
        "select nextval('serials')",
    ):
        assert ask(target, statement) == ask(source, statement) != []
    kept = {name: content for name, content in tree(photos).items() if ".new-" not in name}
    assert tree(tmp_path / "restored") == kept
    assert len(kept) == 3
    assert not list(tmp_path.glob(".gis-grid*"))


def test_restored_tables_belong_to_the_owner_and_keep_their_grants(made: Path, target: str, tmp_path: Path) -> None:
    restore(made, database_url=target, photos_folder=tmp_path / "restored")
    owners = ask(
        target,
        "select distinct tableowner from pg_tables where schemaname = 'public' and tablename <> 'spatial_ref_sys'",
    )
    rights = ask(
        target.replace("gis_grid_owner", "gis_grid_app"),
        "select array_agg(has_table_privilege('reports', p)) from unnest(array['select', 'insert', 'delete']) p",
    )

    assert owners == [("gis_grid_owner",)]
    assert rights == [([True, True, False],)]


def test_a_migrated_city_is_restored_ready_to_serve(
    cluster: EmbeddedPostgis, database: str, session: Session, target: str, tmp_path: Path
) -> None:
    load_squares(session)
    backup(cluster.url(database), photos_folder=tmp_path / "none", to=tmp_path / "city.tar", city="", now=NOW)
    restore(tmp_path / "city.tar", database_url=target, photos_folder=tmp_path / "restored")

    as_app = target.replace("gis_grid_owner", "gis_grid_app")
    for statement in (
        "select version_num from alembic_version",
        "select code, st_asbinary(geom)::text from grids order by code",
    ):
        assert ask(as_app, statement) == ask(cluster.url(database), statement) != []


def test_a_manifest_says_what_is_inside(made: Path) -> None:
    manifest = check(made)

    assert (manifest.city, manifest.made_at, manifest.photo_count) == ("闵行区", "2026-03-02T04:00:00+00:00", 3)
    assert manifest.rows == {"public.alembic_version": 1, "public.reports": 3, "public.shifts": 0}
    photo = b"ab/abcd.jpg" * 1000
    assert manifest.parts["photos/ab/abcd.jpg"] == Part(len(photo), hashlib.sha256(photo).hexdigest())


def test_a_backup_is_for_its_owner_only(original: Path) -> None:
    assert original.stat().st_mode & 0o077 == 0


def test_rows_added_while_the_dump_runs_are_not_counted(
    source: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = backups._run_tool

    def add_then_run(*arguments: object) -> str:
        engine = sa.create_engine(source)
        with engine.begin() as connection:
            connection.execute(sa.text("insert into alembic_version values ('during')"))
        engine.dispose()
        return run(*arguments)

    monkeypatch.setattr(backups, "_run_tool", add_then_run)
    manifest = backup(source, photos_folder=photos, to=tmp_path / "city.tar", city="", now=NOW)

    assert manifest.rows["public.alembic_version"] == 1
    assert len(ask(source, "select from alembic_version")) == 2


def test_a_photo_stored_while_the_dump_runs_is_in_the_backup(
    source: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = backups._run_tool

    def run_then_store(*arguments: object) -> str:
        said = run(*arguments)
        (photos / "ab" / "late.jpg").write_bytes(b"late")
        return said

    monkeypatch.setattr(backups, "_run_tool", run_then_store)
    manifest = backup(source, photos_folder=photos, to=tmp_path / "city.tar", city="", now=NOW)

    assert "photos/ab/late.jpg" in manifest.parts


def test_a_city_without_photos_can_be_backed_up_and_restored(source: str, target: str, tmp_path: Path) -> None:
    backup(source, photos_folder=tmp_path / "none", to=tmp_path / "city.tar", city="", now=NOW)
    restore(tmp_path / "city.tar", database_url=target, photos_folder=tmp_path / "restored")

    assert tree(tmp_path / "restored") == {}
    assert ask(target, "select count(*) from reports") == [(3,)]


def test_a_backup_is_never_written_over(made: Path, source: str, photos: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(Conflict, match="exists already"):
        backup(source, photos_folder=photos, to=made, city="", now=NOW)

    assert made.read_bytes() == before


def test_a_failed_backup_leaves_nothing(cluster: EmbeddedPostgis, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        backup(cluster.url("missing"), photos_folder=photos, to=tmp_path / "city.tar", city="", now=NOW)

    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_off_backup_is_refused_and_leaves_nothing(made: Path, target: str, tmp_path: Path, share: float) -> None:
    with tarfile.open(made) as tar:
        end = tar.getmember("manifest.json").offset_data + tar.getmember("manifest.json").size
    with made.open("r+b") as file:
        file.truncate(int(end * share))

    with pytest.raises(NotABackup):
        restore(made, database_url=target, photos_folder=tmp_path / "restored")
    assert is_untouched(target, tmp_path)


@pytest.mark.parametrize("name", ["database.dump", "photos/ab/abcd.jpg", "manifest.json"])
def test_one_changed_bit_is_refused_and_leaves_nothing(made: Path, target: str, tmp_path: Path, name: str) -> None:
    with tarfile.open(made) as tar:
        member = tar.getmember(name)
    at = (
        made.read_bytes().index(b'"sha256": "', member.offset_data) + 11
        if name == "manifest.json"
        else (member.offset_data + member.size // 2)
    )
    with made.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))

    with pytest.raises(NotABackup):
        restore(made, database_url=target, photos_folder=tmp_path / "restored")
    assert is_untouched(target, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "photos/../../outside.jpg",
        "/outside.jpg",
        "photos//a.jpg",
        "photos/./a.jpg",
        "photos/.hidden",
        "photos",
        "elsewhere/a.jpg",
    ],
)
def test_a_part_that_points_elsewhere_is_refused(made: Path, target: str, tmp_path: Path, name: str) -> None:
    def plant(parts: dict[str, bytes]) -> None:
        manifest = json.loads(parts.pop("manifest.json"))
        manifest["parts"][name] = {"size_bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
        parts[name] = b"x"
        parts["manifest.json"] = json.dumps(manifest).encode()

    rewrite(made, plant)

    with pytest.raises(NotABackup, match="does not belong"):
        restore(made, database_url=target, photos_folder=tmp_path / "restored")
    assert is_untouched(target, tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_plain_files_are_taken_from_a_backup(made: Path, target: str, tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("photos/ab")
    link.type, link.linkname = kind, "/etc"
    with tarfile.open(made, "a") as tar:
        tar.addfile(link)

    with pytest.raises(NotABackup, match="does not belong"):
        restore(made, database_url=target, photos_folder=tmp_path / "restored")
    assert is_untouched(target, tmp_path)


@pytest.mark.parametrize("name", ["database.dump", "photos/cd/cdef.webp"])
def test_a_missing_part_is_named(made: Path, name: str) -> None:
    rewrite(made, lambda parts: parts.pop(name) and None)

    with pytest.raises(NotABackup, match=f"{name} is missing"):
        check(made)


def test_a_part_the_manifest_does_not_know_is_named(made: Path) -> None:
    def plant(parts: dict[str, bytes]) -> None:
        manifest = parts.pop("manifest.json")
        parts["photos/extra.jpg"] = b"x"
        parts["manifest.json"] = manifest

    rewrite(made, plant)

    with pytest.raises(NotABackup, match=r"photos/extra\.jpg is missing, altered or not in the manifest"):
        check(made)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"format": 1}', b'{"format": 2}', b"null"])
def test_a_manifest_that_is_none_is_refused(made: Path, text: bytes) -> None:
    rewrite(made, lambda parts: parts.update({"manifest.json": text}))

    with pytest.raises(NotABackup):
        check(made)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"city\.tar: there is no such file"):
        check(tmp_path / "city.tar")


def test_a_database_that_is_not_empty_is_refused(made: Path, source: str, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="database source is not empty"):
        restore(made, database_url=source, photos_folder=tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_photo_folder_that_is_not_empty_is_refused(made: Path, target: str, tmp_path: Path, photos: Path) -> None:
    before = tree(photos)
    with pytest.raises(Conflict, match="photos is not empty"):
        restore(made, database_url=target, photos_folder=photos)

    assert tree(photos) == before
    assert is_untouched(target, tmp_path)


def test_a_dump_the_server_refuses_leaves_nothing(made: Path, target: str, tmp_path: Path) -> None:
    def spoil(parts: dict[str, bytes]) -> None:
        manifest = Manifest.from_json(parts["manifest.json"])
        parts["database.dump"] = dump = parts["database.dump"][:-200]
        part = Part(len(dump), hashlib.sha256(dump).hexdigest())
        parts["manifest.json"] = replace(manifest, parts={**manifest.parts, "database.dump": part}).to_json()

    rewrite(made, spoil)

    with pytest.raises(Unavailable, match="pg_restore failed"):
        restore(made, database_url=target, photos_folder=tmp_path / "restored")
    assert is_untouched(target, tmp_path)
