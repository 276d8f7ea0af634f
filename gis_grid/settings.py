"""What an administrator can set, read once at an edge and passed on."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings from the environment, each with the prefix `GIS_GRID_`.

    Attributes
    ----------
    data
        Folder of the embedded database, the photos and the staff token.
    city
        A `city.toml`; Minhang without one.
    database_url
        A PostgreSQL >= 15 with PostGIS >= 3.3 to use instead of the embedded one; what the service connects with.
    owner_database_url
        The same database as its owner, for migrations; `database_url` without it.
    snap_m
        How far outside every grid a point may lie and still go to the nearest one, in metres.
    """

    model_config = SettingsConfigDict(env_prefix="GIS_GRID_")

    data: Path = Path(".gis-grid")
    city: Path | None = None
    database_url: str | None = None
    owner_database_url: str | None = None
    snap_m: float = 50.0
