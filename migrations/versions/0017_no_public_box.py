"""No index of the public's squares by place: nobody is given reports by a box of them any more."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_reports_public_geom", "reports")


def downgrade() -> None:
    op.create_index("ix_reports_public_geom", "reports", ["public_geom"], postgresql_using="gist")
