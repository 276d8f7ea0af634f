"""What each patroller saw of a month, so that it is not made of raw fixes each time."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BIT

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"


def upgrade() -> None:
    op.create_table(
        "walked_tiles",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("walker", sa.Text(collation="C"), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("tile_row", "tile_col")),
        sa.Column("bits", BIT(16384, varying=True), nullable=False),
        sa.PrimaryKeyConstraint("month", "walker", "tile_row", "tile_col", name="pk_walked_tiles"),
    )
    # A server may have been built without lz4: then its own has to do.
    known = op.get_bind().scalar(
        sa.text("select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'")
    )
    if known:
        op.execute("alter table walked_tiles alter column bits set compression lz4")
    op.create_table(
        "walked_teams",
        sa.Column("walker", sa.Text(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("walker", "month", "team", name="pk_walked_teams"),
    )
    op.create_table(
        "walked_months",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("until", sa.Date(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("month", name="pk_walked_months"),
    )
    for table in ("walked_tiles", "walked_teams", "walked_months"):
        op.execute(f"grant select, insert, update on {table} to {APP_ROLE}")
    # Chunks are stored about as they come. A table without statistics, as a month's is at first, was searched for a
    # track's neighbours by time, through all that anybody walked in those hours.
    op.drop_index("ix_track_chunks_started_at", "track_chunks")
    for column in ("started_at", "received_at"):
        op.create_index(f"ix_track_chunks_{column}", "track_chunks", [column], postgresql_using="brin")


def downgrade() -> None:
    for column in ("started_at", "received_at"):
        op.drop_index(f"ix_track_chunks_{column}", "track_chunks")
    op.create_index("ix_track_chunks_started_at", "track_chunks", ["started_at"])
    op.drop_table("walked_months")
    op.drop_table("walked_teams")
    op.drop_table("walked_tiles")
