"""The exchange with 110 and the city: an outbox and receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "exchange_messages": "select, insert, update (next_try_at, tries, state, answered_at, reference, reason, error)",
    "exchange_receipts": "select, insert",
}
TIME = sa.DateTime(timezone=True)
PEER, KIND = "peer in ('110', '12345')", "kind in ('request', 'result')"


def upgrade() -> None:
    _messages()
    _receipts()
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _messages() -> None:
    table = "exchange_messages"
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        *(_text(name) for name in ("peer", "kind")),
        *_about(table),
        _text("body"),
        *(sa.Column(name, TIME, nullable=False) for name in ("created_at", "next_try_at")),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        _text("state"),
        sa.Column("answered_at", TIME),
        *(_text(name, nullable=True) for name in ("reference", "reason", "error")),
        sa.CheckConstraint(PEER, name=f"ck_{table}_peer"),
        sa.CheckConstraint(KIND, name=f"ck_{table}_kind"),
        sa.CheckConstraint("state in ('pending', 'received', 'returned', 'refused')", name=f"ck_{table}_state"),
        sa.CheckConstraint("(state = 'pending') = (answered_at is null)", name=f"ck_{table}_answered"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )
    is_pending = sa.text("state = 'pending'")
    op.create_index("ix_exchange_messages_due", table, ["peer", "next_try_at"], postgresql_where=is_pending)
    op.create_index("ix_exchange_messages_created_at", table, ["peer", "created_at", "id"])
    _index_about(table)


def _receipts() -> None:
    table = "exchange_receipts"
    op.create_table(
        table,
        _text("peer"),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        *(_text(name) for name in ("kind", "body_sha256")),
        *(sa.Column(name, TIME, nullable=False) for name in ("sent_at", "received_at")),
        _text("received_by"),
        _text("their_reference", nullable=True),
        _text("state"),
        *(_text(name, nullable=True) for name in ("reference", "reason")),
        *_about(table),
        sa.CheckConstraint(PEER, name=f"ck_{table}_peer"),
        sa.CheckConstraint(KIND, name=f"ck_{table}_kind"),
        sa.CheckConstraint("state in ('received', 'returned', 'refused')", name=f"ck_{table}_state"),
        sa.PrimaryKeyConstraint("peer", "message_id", name=f"pk_{table}"),
    )
    op.create_index("ix_exchange_receipts_sent_at", table, ["peer", "sent_at", "message_id"])
    _index_about(table)


def _about(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    """The report and the case that a message is about."""
    return (
        sa.Column("report_id", sa.Uuid()),
        sa.Column("case_id", sa.BigInteger()),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name=f"fk_{table}_report_id_reports"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=f"fk_{table}_case_id_cases"),
    )


def _index_about(table: str) -> None:
    for column in ("report_id", "case_id"):
        op.create_index(f"ix_{table}_{column}", table, [column])


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
