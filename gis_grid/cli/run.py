"""`gis-grid serve`, `backup` and `restore`."""

import signal
import ssl
import sys
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gis_grid.accounts import has_accounts
from gis_grid.backup import Manifest, backup, restore
from gis_grid.cli.options import City, err, out, settings
from gis_grid.cli.serving import Door, listen, serve_here, serve_in_workers
from gis_grid.days_over import keeping_days_over
from gis_grid.demo import fill_with_demo
from gis_grid.demo_accounts import add_demo_accounts
from gis_grid.errors import InvalidInput
from gis_grid.exchange_sending import sending
from gis_grid.installation import Installation, by_system, open_database, open_installation, utc_now
from gis_grid.layers import load_layer_file
from gis_grid.patrol_rules import load_patrol_rules
from gis_grid.permissions import EVERYWHERE
from gis_grid.settings import Settings
from gis_grid.sweeping import keep_sweeping
from gis_grid.territory import layer_in_force


def serve(
    *,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Add synthetic accounts, people, and reports, cases and patrols of 30 days."),
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its key, PEM.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=8, help="Processes that answer; each takes up to 30 connections to the database.")
    ] = 1,
    city: City = None,
) -> None:
    """Run the service; the address is printed once it answers, Ctrl-C ends it.

    Without any account, reports can be sent and the public view seen; `gis-grid users add` adds accounts.
    Browsers give a location only over https or on localhost: for phones, pass a certificate or put a proxy in front.

    Example: `gis-grid serve --demo --port 8000`
    """
    if (tls_cert is None) != (tls_key is None):
        raise InvalidInput("--tls-cert and --tls-key go together: give both or neither")
    if tls_cert is not None and tls_key is not None:
        _check_pair(tls_cert, tls_key)
    door = Door(listen(host, port), tls_cert, tls_key)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it puts into the background ignore it
    try:
        with open_installation(settings(city)) as installation:
            _prepare(installation, demo=demo)
            with keep_sweeping(installation), keeping_days_over(installation), sending(installation):
                if workers > 1:
                    serve_in_workers(installation, door, workers)
                else:
                    serve_here(installation, door)
    except KeyboardInterrupt:
        err.print("stopped")


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # Unwinds through the context managers, so that the embedded database is left in order.
    sys.exit(0)


def _check_pair(cert: Path, key: Path) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(
            f"--tls-cert {cert} and --tls-key {key} are no certificate with its key, both PEM: {error}"
        ) from error


def _prepare(installation: Installation, *, demo: bool) -> None:
    city, now = installation.city, utc_now()
    with _spinner() as progress:
        with installation.sessions.begin() as session:
            if layer_in_force(session, now) is None and city.grids is not None:
                progress.add_task(f"Loading {city.grids.name} …", total=None)
                load_layer_file(session, city.grids, city=city, by=by_system(), now=now)
                load_patrol_rules(session, city, by=by_system(), now=now)
        if demo:
            _fill(installation, progress, now)
    with installation.sessions() as session:
        if not has_accounts(session):
            print("No account yet; add an administrator: gis-grid users add NAME --role administrator")  # noqa: T201


def _fill(installation: Installation, progress: Progress, now: datetime) -> None:
    task = progress.add_task("Making 30 days of synthetic reports, cases and patrols …", total=None)
    with installation.sessions.begin() as session:
        made = fill_with_demo(
            session, installation.city, snap_m=installation.settings.snap_m, photos=installation.photos, now=now
        )
        accounts = add_demo_accounts(session, passwords=installation.passwords, by=by_system(), now=now)
    progress.remove_task(task)
    if made:
        progress.console.print(f"Demo (synthetic): {made}")
    if accounts:
        print("Demo accounts (synthetic; these passwords are shown this once):")  # noqa: T201
    for account in accounts:
        scope = "everywhere" if account.scope == EVERYWHERE else f"in {account.scope.code}"
        print(f"  {account.login:14} {account.password}  {account.role} {scope}")  # noqa: T201


def _spinner() -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def backup_all(
    file: Annotated[Path, typer.Argument(help="The file to write, for example minhang.tar.")], *, city: City = None
) -> None:
    """Write database and photos into one file, while the service may go on working.

    The passwords of accounts are in it as hashes only.

    Example: `gis-grid backup minhang-2026-11-23.tar`
    """
    with open_installation(settings(city)) as installation, _spinner() as progress:
        progress.add_task("Backing up …", total=None)
        manifest = backup(
            installation.owner_url,
            photos_folder=installation.photos,
            to=file,
            city=installation.city.name,
            now=utc_now(),
        )
    out.print(f"{file}: {_counts(manifest)}", markup=False, soft_wrap=True)


def restore_all(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A file that backup has written.")],
) -> None:
    """Restore a backup into an empty database and photo folder; nothing is left of one that fails.

    Example: `GIS_GRID_DATA=/srv/gis-grid gis-grid restore minhang-2026-11-23.tar`
    """
    read = Settings()
    read.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_database(read) as (_, owner_url), _spinner() as progress:
        progress.add_task("Restoring …", total=None)
        manifest = restore(file, database_url=owner_url, photos_folder=read.data / "photos")
    out.print(f"restored {_counts(manifest)} into {read.data}", markup=False, soft_wrap=True)


def _counts(manifest: Manifest) -> str:
    return f"{manifest.city}, {sum(manifest.rows.values())} rows, {manifest.photo_count} photos of {manifest.made_at}"
