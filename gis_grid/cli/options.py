"""Options that several commands share, and the installation they open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gis_grid.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gis_grid.clusters import Cluster
    from gis_grid.installation import Installation
    from gis_grid.settings import Settings

City = Annotated[Path | None, typer.Option("--city", envvar="GIS_GRID_CITY", help="A city.toml; Minhang without one.")]
At = Annotated[str | None, typer.Option("--at", help="An ISO 8601 time; now without it.")]

Dask = Annotated[
    str | None,
    typer.Option(
        "--dask", metavar="ADDRESS", help="A Dask scheduler, such as tcp://10.0.0.5:8786, whose workers do it."
    ),
]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def settings(city: Path | None) -> "Settings":
    """The environment's settings, with the city of the command line."""
    from gis_grid.settings import Settings  # noqa: PLC0415 - see open_city

    read = Settings()
    return read.model_copy(update={"city": city}) if city else read


@contextmanager
def open_city(city: Path | None) -> Iterator[tuple["Installation", "Session"]]:
    """The installation and a session that is committed when the command has done its work."""
    # Commands that only read files need no database, and not to wait for it.
    from gis_grid.installation import open_installation  # noqa: PLC0415

    with open_installation(settings(city)) as installation, installation.sessions.begin() as session:
        yield installation, session


@contextmanager
def cluster_of(address: str | None) -> Iterator["Cluster | None"]:
    """The cluster at an address; None where none is asked for."""
    if address is None:
        yield None
        return
    try:
        from gis_grid.clusters import cluster_at  # noqa: PLC0415 - an extra that the default installation lacks
    except ImportError as error:
        raise Unavailable(
            f"--dask needs the extra [distributed] (pip install 'gis-grid[distributed]'): {error}"
        ) from None
    with cluster_at(address) as cluster:
        yield cluster
