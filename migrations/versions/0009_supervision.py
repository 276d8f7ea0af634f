"""Supervision and assessment: acts that fall due, notices of whom they told, due times by index, weights of a score.

Cases of before get their acts worked out by the first sweep that finds them past yellow.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TSTZRANGE, ExcludeConstraint

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "supervision_acts": "select, insert, update (valid)",
    "score_weights": "select, insert, update (valid)",
    "notices": "select, insert",
    "notice_reads": "select, insert",
}
ACTS = "'提醒', '催办', '督办', '问效'"
CLOCKS = ("step", "whole")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _acts()
    _next_act()
    _notices()
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _acts() -> None:
    op.create_table(
        "supervision_acts",
        *_dated("supervision_acts", "act"),
        *(_text(name) for name in ("act", "at")),
        sa.Column("tells", ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint(f"act in ({ACTS})", name="ck_supervision_acts_act"),
        sa.CheckConstraint("at in ('yellow', 'orange', 'red', 'again')", name="ck_supervision_acts_at"),
        sa.CheckConstraint("tells <> '{}'", name="ck_supervision_acts_tells"),
    )
    op.create_table(
        "score_weights",
        *_dated("score_weights", "name"),
        _text("name"),
        sa.Column("weight", sa.Numeric(), nullable=False),
        sa.CheckConstraint("weight > 0 and weight <= 1", name="ck_score_weights_weight"),
    )


def _next_act() -> None:
    op.add_column("cases", sa.Column("next_act_at", TIME, nullable=True))
    op.execute("update cases set next_act_at = yellow_at where closed_at is null")
    op.create_index("ix_cases_next_act", "cases", ["next_act_at", "id"], postgresql_where=sa.text("closed_at is null"))
    op.execute(f"grant update (next_act_at) on cases to {APP_ROLE}")
    for clock in CLOCKS:
        due = f"((changed -> '{clock}'::text) ->> 'red_at'::text)"
        op.create_index(
            f"ix_case_events_{clock}_due",
            "case_events",
            [sa.text(due)],
            postgresql_where=sa.text(f"{due} is not null"),
        )


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        *(_text(name) for name in ("act", "clock")),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("fell_due_at", TIME, nullable=True),
        sa.Column("issued_at", TIME, nullable=False),
        _text("unit_code"),
        _text("post", nullable=True),
        sa.Column("holder_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(f"act in ({ACTS})", name="ck_notices_act"),
        sa.CheckConstraint("clock in ('step', 'whole')", name="ck_notices_clock"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_notices_case_id_cases"),
        sa.ForeignKeyConstraint(["holder_id"], ["post_holders.id"], name="fk_notices_holder_id_post_holders"),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
        sa.UniqueConstraint(
            "case_id", "seq", "unit_code", "post", name="uq_notices_case_id", postgresql_nulls_not_distinct=True
        ),
    )
    op.create_index("ix_notices_unit_code", "notices", ["unit_code", "id"])
    op.create_table(
        "notice_reads",
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        _text("who"),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name="fk_notice_reads_notice_id_notices"),
        sa.PrimaryKeyConstraint("notice_id", "who", name="pk_notice_reads"),
    )


def _dated(table: str, key: str) -> tuple[sa.schema.SchemaItem, ...]:
    return (
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_example", sa.Boolean(), server_default=sa.false(), nullable=False),
        ExcludeConstraint((sa.column(key), "="), (sa.column("valid"), "&&"), using="gist", name=f"ex_{table}_valid"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
    for clock in CLOCKS:
        op.drop_index(f"ix_case_events_{clock}_due", "case_events")
    op.drop_index("ix_cases_next_act", "cases")
    op.drop_column("cases", "next_act_at")
