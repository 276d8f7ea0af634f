"""Codes by which reporters follow their reports without signing in."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"


def upgrade() -> None:
    op.create_table(
        "query_codes",
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_query_codes_report_id_reports"),
        sa.PrimaryKeyConstraint("report_id", name="pk_query_codes"),
    )
    op.execute(f"grant select, insert on query_codes to {APP_ROLE}")


def downgrade() -> None:
    op.drop_table("query_codes")
