"""An installation: one city's database, photos and secrets, opened and made ready."""

import hashlib
import logging
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column, sessionmaker

from gis_grid import (  # noqa: F401 - their tables are in Base.metadata
    accountability,
    exchange,
    hotline,
    joint_operations,
    layer_changes,
    openness,
    patrols,
    photos,
    rate_limits,
    rewards,
    rules,
    seen_shares,
    sign_in,
    supervision,
    teams,
    tenures,
    track_keeping,
    walked_ground,
)
from gis_grid.city import City, load_city
from gis_grid.database import Base, By, connect, sessions
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.errors import Conflict, Forbidden, GridError
from gis_grid.event_types import load_event_types
from gis_grid.migrating import migrate
from gis_grid.passwords import Passwords
from gis_grid.settings import Settings

CLAIMING = 1  # advisory lock: two first starts at once
WATCH_S = 2.0

log = logging.getLogger(__name__)


class CityRow(Base):
    """The one city of this database."""

    __tablename__ = "cities"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    adcode: Mapped[str]
    name: Mapped[str]
    time_zone: Mapped[str]
    metric_crs: Mapped[str]

    __table_args__ = (sa.CheckConstraint("id = 1", name="one"),)


@dataclass(frozen=True)
class Installation:
    """What the service and the commands work with.

    Attributes
    ----------
    secret
        Key for tokens that are computed, not stored.
    passwords
        How passwords are hashed.
    """

    settings: Settings
    city: City
    engine: sa.Engine
    owner_url: str
    sessions: sessionmaker[Session]
    secret: bytes
    passwords: Passwords = field(default_factory=Passwords)

    @property
    def url(self) -> str:
        """Address of the database, as the service connects to it."""
        return self.engine.url.render_as_string(hide_password=False)

    @property
    def photos(self) -> Path:
        """Folder of the original photos."""
        return self.settings.data / "photos"

    def upload_token(self, report_id: object) -> str:
        """What lets a reporter add photos to their own report."""
        return hashlib.blake2b(str(report_id).encode(), key=self.secret, digest_size=24).hexdigest()

    def form_token(self, session_secret: str) -> str:
        """What forms of a browser's session carry, and no other site can know."""
        said = f"form {session_secret}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(said, key=self.secret, digest_size=24).hexdigest()


@contextmanager
def open_installation(settings: Settings) -> Iterator[Installation]:
    """The installation, its database running, migrated and of the right city.

    Without `database_url` the embedded PostGIS is started, brought back when it is killed, and stopped at the end
    unless another program uses it.

    Raises
    ------
    Conflict
        The database belongs to another city.
    """
    city = load_city(settings.city)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_database(settings) as (url, owner_url):
        owner = connect(owner_url, role=None, pool_size=1)
        migrate(owner)
        owner.dispose()
        with join_installation(settings, city, url=url, owner_url=owner_url) as installation:
            with installation.sessions.begin() as session:
                _claim(session, city)
                load_event_types(session, city.event_types)
                rules.load_rules(session, city, now=utc_now(), by=by_system())
            yield installation


@contextmanager
def join_installation(settings: Settings, city: City, *, url: str, owner_url: str) -> Iterator[Installation]:
    """The installation on a database that runs and is ready: another process has opened it, and keeps it open."""
    engine = connect(url)
    factory = sessions(engine, tells_webhook=settings.webhook is not None)
    secret = _kept(settings.data / "secret")
    try:
        yield Installation(settings, city, engine, owner_url, factory, secret.encode())
    finally:
        engine.dispose()


@contextmanager
def open_database(settings: Settings) -> Iterator[tuple[str, str]]:
    """Address of the running database for the service, and for its owner; it may be empty still."""
    if settings.database_url:
        yield settings.database_url, settings.owner_database_url or settings.database_url
        return
    with EmbeddedPostgis(settings.data) as server:
        server.ensure_database("gis_grid")
        with _watched(server):
            yield server.url("gis_grid", role="gis_grid_app"), server.url("gis_grid", role="gis_grid_owner")


@contextmanager
def _watched(server: EmbeddedPostgis) -> Iterator[None]:
    """A thread sees to it, all the while, that the server runs."""
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, is_over), name="database watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _watch(server: EmbeddedPostgis, is_over: threading.Event) -> None:
    fault = ""
    while not is_over.wait(WATCH_S):
        try:
            if server.ensure_running():
                log.warning("the database server of %s was gone and has been started again", server.folder)
            fault = ""
        except (GridError, OSError) as error:  # a full disk, say: it may pass
            if str(error) != fault:
                log.error("%s", error)  # noqa: TRY400 - the message says it all
            fault = str(error)


def _claim(session: Session, city: City) -> None:
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIMING)))
    row = session.get(CityRow, 1)
    if row is None:
        session.add(
            CityRow(id=1, adcode=city.adcode, name=city.name, time_zone=city.time_zone, metric_crs=city.metric_crs)
        )
        session.flush()
    elif (row.adcode, row.metric_crs) != (city.adcode, city.metric_crs):
        raise Conflict(
            f"this database is {row.name} ({row.adcode}, {row.metric_crs}), not {city.name} "
            f"({city.adcode}, {city.metric_crs}); one database is one city"
        )


def _kept(path: Path) -> str:
    """A secret that is made once and lies in a file only its owner can read."""
    if not path.exists():
        _publish(path, secrets.token_urlsafe(32))
    mode = path.lstat().st_mode & 0o777
    if mode & 0o077 or path.is_symlink():
        raise Forbidden(f"{path} can be read by others (mode {mode:o}); run chmod 600 {path}")
    return path.read_text(encoding="ascii").strip()


def _publish(path: Path, token: str) -> None:
    # A link appears whole or not at all, and fails when another program was first.
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    Path(draft).unlink()


def utc_now() -> datetime:
    """The clock, read only at the edges."""
    return datetime.now(UTC)


def by_system() -> By:
    """The program itself, at its first start."""
    return By(who="gis-grid", channel="start")
