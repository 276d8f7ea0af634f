"""Sums of patrols of the months whose raw fixes were dropped: only the owner, who drops these, adds to them."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
BY = "'city', 'community', 'family', 'grid', 'patroller', 'post', 'town', 'unit'"


def upgrade() -> None:
    op.create_table(
        "patrol_figures",
        sa.Column("month", sa.Date(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("by", "key", "measure")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("due", "done")),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"by in ({BY})", name="ck_patrol_figures_by"),
        sa.CheckConstraint("measure in ('miss', 'cover')", name="ck_patrol_figures_measure"),
        sa.CheckConstraint("done between 0 and due", name="ck_patrol_figures_done"),
        sa.PrimaryKeyConstraint("month", "by", "key", "measure", name="pk_patrol_figures"),
    )
    op.execute(f"grant select on patrol_figures to {APP_ROLE}")


def downgrade() -> None:
    op.drop_table("patrol_figures")
