"""Run migrations on the connection that `gis_grid.migrating` hands over."""

import sqlalchemy as sa
from alembic import context

from gis_grid.installation import Base

LOCK = 310112


def run() -> None:
    """Migrate in one transaction; a second program waits for it and then finds nothing to do."""
    connection: sa.Connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        context.run_migrations()


run()
