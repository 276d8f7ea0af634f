import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from geoalchemy2 import alembic_helpers

from gis_grid import spot_cases  # noqa: F401 - its table is in Base.metadata
from gis_grid.database import Base, connect
from gis_grid.embedded import EmbeddedPostgis
from gis_grid.migrating import migrate, migrate_down


def test_the_models_and_the_migrations_draw_the_same_tables(cluster: EmbeddedPostgis, database: str) -> None:
    owner = connect(cluster.url(database), role=None)
    with owner.connect() as connection:
        options = {"include_object": alembic_helpers.include_object, "compare_server_default": True}
        drift = compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)
    owner.dispose()

    assert drift == []


def test_migrating_down_and_up_again_ends_where_it_began(cluster: EmbeddedPostgis, database: str) -> None:
    owner = connect(cluster.url(database), role=None)
    before = _tables(owner)

    migrate_down(owner, "base")
    bare = _tables(owner)
    migrate(owner)
    after = _tables(owner)
    owner.dispose()

    assert bare <= {"spatial_ref_sys", "alembic_version"}
    assert after == before


def _tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def test_the_application_may_not_change_or_delete_history(engine: sa.Engine) -> None:
    rights = sa.text(
        "select table_name, privilege_type from information_schema.role_table_grants "
        "where grantee = 'gis_grid_app' and table_schema = 'public'"
    )
    with engine.connect() as connection:
        granted = {tuple(row) for row in connection.execute(rights)}

    assert not {table for table, right in granted if right in {"DELETE", "TRUNCATE"}}
    assert {right for table, right in granted if table in {"changes", "past_placements"}} == {"SELECT", "INSERT"}


def test_the_application_cannot_make_tables(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        may_create = connection.scalar(sa.text("select has_schema_privilege('public', 'create')"))

    assert may_create is False
