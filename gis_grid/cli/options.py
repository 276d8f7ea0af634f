"""Options that several commands share, and the installation they open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gis_grid.installation import Installation
    from gis_grid.settings import Settings

City = Annotated[Path | None, typer.Option("--city", envvar="GIS_GRID_CITY", help="A city.toml; Minhang without one.")]
At = Annotated[str | None, typer.Option("--at", help="An ISO 8601 time; now without it.")]

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
