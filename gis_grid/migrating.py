"""Bring a database to the newest form of the tables."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from gis_grid.errors import Unavailable


def migrations_folder() -> Path:
    """Where the migrations lie: in the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise Unavailable("the migrations are missing from this installation; install gis-grid again")


def migrate(engine: sa.Engine, revision: str = "head") -> None:
    """Upgrade the database, as its owner; nothing happens where it is already there."""
    with engine.connect() as connection:
        command.upgrade(_config(connection), revision)


def migrate_down(engine: sa.Engine, revision: str) -> None:
    """Downgrade the database to an earlier form."""
    with engine.connect() as connection:
        command.downgrade(_config(connection), revision)


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
