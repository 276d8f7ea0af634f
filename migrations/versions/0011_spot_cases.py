"""Blind spots that became cases: which one it was, kept beside the case."""

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"


def upgrade() -> None:
    op.create_table(
        "spot_cases",
        sa.Column("case_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("place", Geometry("GEOMETRY", 4326, spatial_index=False), nullable=False),
        sa.Column("area_m2", sa.Float(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("since", sa.Date(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("why_zh", sa.Text(), nullable=False),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("filed_by", sa.Text(), nullable=False),
        sa.CheckConstraint("kind in ('geometric', 'unseen', 'silent', 'unmanned')", name="ck_spot_cases_kind"),
        sa.CheckConstraint("first_day <= last_day", name="ck_spot_cases_days"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_spot_cases_case_id_cases"),
        sa.PrimaryKeyConstraint("case_id", name="pk_spot_cases"),
    )
    op.create_index("ix_spot_cases_place", "spot_cases", ["place"], postgresql_using="gist")
    op.create_index("ix_spot_cases_filed_at", "spot_cases", ["filed_at"])
    op.execute(f"grant select, insert on spot_cases to {APP_ROLE}")


def downgrade() -> None:
    op.drop_table("spot_cases")
