"""Joint operations that were called off before they began."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"


def upgrade() -> None:
    op.create_table(
        "joint_cancellations",
        sa.Column("operation_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_by", sa.Text(), nullable=False),
        sa.CheckConstraint("btrim(reason) <> ''", name="ck_joint_cancellations_reason"),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["joint_operations.id"], name="fk_joint_cancellations_operation_id_joint_operations"
        ),
        sa.PrimaryKeyConstraint("operation_id", name="pk_joint_cancellations"),
    )
    op.execute(f"grant select, insert on joint_cancellations to {APP_ROLE}")


def downgrade() -> None:
    op.drop_table("joint_cancellations")
