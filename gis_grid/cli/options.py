"""Options that several commands share, and the installation they open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy.orm import Session

from gis_grid.installation import Installation, open_installation
from gis_grid.settings import Settings

City = Annotated[Path | None, typer.Option("--city", envvar="GIS_GRID_CITY", help="A city.toml; Minhang without one.")]
At = Annotated[str | None, typer.Option("--at", help="An ISO 8601 time; now without it.")]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def settings(city: Path | None) -> Settings:
    """The environment's settings, with the city of the command line."""
    read = Settings()
    return read.model_copy(update={"city": city}) if city else read


@contextmanager
def open_city(city: Path | None) -> Iterator[tuple[Installation, Session]]:
    """The installation and a session that is committed when the command has done its work."""
    with open_installation(settings(city)) as installation, installation.sessions.begin() as session:
        yield installation, session
