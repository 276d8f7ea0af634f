"""Where the ground of a new layer's grids comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"


def upgrade() -> None:
    op.create_table(
        "grid_lineage",
        sa.Column("old_grid_id", sa.Integer(), nullable=False),
        sa.Column("new_grid_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("area_m2", "share_of_old", "share_of_new")),
        sa.Column("descent", sa.Text(), nullable=False),
        sa.CheckConstraint("descent in ('same', 'split', 'merge', 'transfer')", name="ck_grid_lineage_descent"),
        *(
            sa.ForeignKeyConstraint([name], ["grids.id"], name=f"fk_grid_lineage_{name}_grids", ondelete="CASCADE")
            for name in ("old_grid_id", "new_grid_id")
        ),
        sa.PrimaryKeyConstraint("old_grid_id", "new_grid_id", name="pk_grid_lineage"),
    )
    op.create_index("ix_grid_lineage_new_grid_id", "grid_lineage", ["new_grid_id"])
    op.execute(f"grant select, insert on grid_lineage to {APP_ROLE}")


def downgrade() -> None:
    op.drop_table("grid_lineage")
