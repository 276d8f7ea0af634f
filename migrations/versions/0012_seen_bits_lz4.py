"""Bits of seen ground and masks compressed by lz4, which is read several times as fast as PostgreSQL's own."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TABLES = ("seen_tiles", "seen_months", "ground_masks")


def upgrade() -> None:
    # A server may have been built without lz4: then its own has to do.
    known = op.get_bind().scalar(
        sa.text("select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression'")
    )
    if known:
        _compress("lz4")


def downgrade() -> None:
    _compress("pglz")


def _compress(method: str) -> None:
    for table in TABLES:
        op.execute(f"alter table {table} alter column bits set compression {method}")
        op.execute(f"update {table} set bits = bits | bits")  # noqa: S608 - names of ours; what is computed is packed anew
