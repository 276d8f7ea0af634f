"""Answering for it: referrals, evaluations both ways, themes of the year, and acts of supervision to a webhook."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSTZRANGE, ExcludeConstraint

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "referrals": "select, insert",
    "evaluation_criteria": "select, insert, update (valid)",
    "evaluations": "select, insert",
    "yearly_themes": "select, insert, update (valid)",
}
CAUSES = "'红灯超时', '效率低下', '工作延误', '推诿扯皮', '敷衍塞责'"
DIRECTIONS = "'district_to_town', 'town_to_stationed', 'town_to_department'"
MESSAGES = "exchange_messages"
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _referrals()
    _evaluations()
    _themes()
    _messages("'110', '12345', 'webhook'", "'request', 'result', 'act'")
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _referrals() -> None:
    op.create_table(
        "referrals",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _text("unit_code"),
        _text("person", nullable=True),
        *(_text(name) for name in ("cause", "legal_duty", "adverse_effect")),
        sa.Column("evidence", JSONB(none_as_null=True), nullable=False),
        *(_text(name) for name in ("evidence_sha256", "referred_by")),
        sa.Column("referred_at", TIME, nullable=False),
        *(_text(name) for name in ("channel", "request_id")),
        sa.CheckConstraint(f"cause in ({CAUSES})", name="cause"),
        sa.CheckConstraint("btrim(legal_duty) <> ''", name="legal_duty"),
        sa.CheckConstraint("btrim(adverse_effect) <> ''", name="adverse_effect"),
        sa.CheckConstraint("jsonb_array_length(evidence) > 0", name="evidence"),
        sa.CheckConstraint("person <> referred_by", name="self"),
        sa.PrimaryKeyConstraint("id", name="pk_referrals"),
        sa.UniqueConstraint("unit_code", "cause", "evidence_sha256", name="uq_referrals_unit_code"),
    )
    op.create_index("ix_referrals_referred_at", "referrals", ["referred_at", "id"])


def _evaluations() -> None:
    op.create_table(
        "evaluation_criteria",
        *_dated("evaluation_criteria", "direction", "criterion"),
        *(_text(name) for name in ("direction", "criterion")),
        sa.Column("weight", sa.Numeric(), nullable=False),
        sa.CheckConstraint(f"direction in ({DIRECTIONS})", name="direction"),
        sa.CheckConstraint("weight > 0 and weight <= 1", name="weight"),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        *(_text(name) for name in ("direction", "month", "by_unit", "of_unit", "criterion")),
        sa.Column("points", sa.Numeric(), nullable=False),
        *(_text(name) for name in ("reason", "who")),
        sa.Column("at", TIME, nullable=False),
        *(_text(name) for name in ("channel", "request_id")),
        sa.CheckConstraint(f"direction in ({DIRECTIONS})", name="direction"),
        sa.CheckConstraint("month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'", name="month"),
        sa.CheckConstraint("points between 0 and 100", name="points"),
        sa.CheckConstraint("by_unit <> of_unit", name="self"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
    )
    op.create_index("ix_evaluations_month", "evaluations", ["month", "direction", "id"])


def _themes() -> None:
    op.create_table(
        "yearly_themes",
        *_dated("yearly_themes", "year"),
        *(_text(name) for name in ("year", "name")),
        sa.Column("event_types", ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("year ~ '^(19[7-9]|20[0-9])[0-9]$'", name="year"),
        sa.CheckConstraint("event_types <> '{}'", name="event_types"),
    )


def _messages(peers: str, kinds: str) -> None:
    for name, words in (("peer", peers), ("kind", kinds)):
        # 0010's are named by the convention twice over.
        for old in (f"ck_{MESSAGES}_ck_{MESSAGES}_{name}", f"ck_{MESSAGES}_{name}"):
            op.execute(f"alter table {MESSAGES} drop constraint if exists {old}")
        op.create_check_constraint(name, MESSAGES, f"{name} in ({words})")


def _dated(table: str, *key: str) -> tuple[sa.schema.SchemaItem, ...]:
    same = [(sa.column(name), "=") for name in key]
    return (
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_example", sa.Boolean(), server_default=sa.false(), nullable=False),
        ExcludeConstraint(*same, (sa.column("valid"), "&&"), using="gist", name=f"ex_{table}_valid"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def downgrade() -> None:
    op.execute("delete from exchange_messages where peer = 'webhook'")
    _messages("'110', '12345'", "'request', 'result'")
    for table in reversed(RIGHTS):
        op.drop_table(table)
