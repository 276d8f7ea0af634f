import time

import pytest
import sqlalchemy as sa

from gis_grid.database import database_address
from gis_grid.errors import InvalidInput


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_an_address_is_taken_with_or_without_the_driver(scheme: str) -> None:
    address = database_address(f"{scheme}://ling@db.example:5433/city")

    assert (address.drivername, address.host, address.port, address.database) == (
        "postgresql+psycopg2",
        "db.example",
        5433,
        "city",
    )


@pytest.mark.parametrize("url", ["nonsense", "", "mysql://x/y", "sqlite:///x.db", "postgresql+asyncpg://x/y"])
def test_an_address_of_no_postgresql_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidInput, match="postgresql://user@host"):
        database_address(url)


def test_a_connection_whose_server_has_ended_is_not_handed_out(engine: sa.Engine) -> None:
    # In a transaction the server would go on answering with the activity that it saw first.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as one, engine.connect() as other:
        ended = other.scalar(sa.text("select pg_backend_pid()"))
        other.close()
        one.execute(sa.text("select pg_terminate_backend(:pid)"), {"pid": ended})
        while one.scalar(sa.text("select exists (select from pg_stat_activity where pid = :pid)"), {"pid": ended}):
            time.sleep(0.01)

        with engine.connect() as again:
            assert again.scalar(sa.text("select pg_backend_pid()")) != ended
