"""Emergencies and drills, rule sets for them, classes of reporters, rewards and sealed informants.

The application can but add to the ledger of rewards, the sealed identities and the readings of these.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "situations": "select, insert, update (valid, ended_by, end_reason)",
    "reward_rules": "select, insert, update (valid)",
    "informants": "select, insert",
    "informant_readings": "select, insert",
    "reward_entries": "select, insert",
}
SETS = {"routing_rules": ("event_type", "urgency", "level"), "limits": ("event_type", "urgency", "step")}
OLD_ROLES = (
    "'resident', 'volunteer', 'patroller', 'grid_manager', 'operator', 'dispatcher', 'handler', 'checker', "
    "'supervisor', 'planner', 'administrator'"
)
NEW_ROLES = (
    "'resident', 'volunteer', 'stairwell_head', 'committee', 'patroller', 'grid_manager', 'operator', 'dispatcher', "
    "'handler', 'checker', 'supervisor', 'planner', 'reward_clerk', 'administrator'"
)
CLASSES = "'resident', 'volunteer', 'stairwell_head', 'committee', 'staff'"
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _situations()
    for table, key in SETS.items():
        op.add_column(table, sa.Column("rule_set", sa.Text(), server_default="", nullable=False))
        op.drop_constraint(f"ex_{table}_valid", table)
        _one_at_a_time(table, "rule_set", *key)
    _reports()
    _roles(NEW_ROLES)
    _rewards()
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _situations() -> None:
    same = [(sa.column(name), "=") for name in ("kind", "area_code")]
    op.create_table(
        "situations",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        *(_text(name) for name in ("kind", "name", "area_code", "reason")),
        _text("rule_set", nullable=True),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        _text("started_by"),
        *(_text(name, nullable=True) for name in ("ended_by", "end_reason")),
        sa.CheckConstraint("kind in ('emergency', 'drill')", name="ck_situations_kind"),
        sa.CheckConstraint("upper_inf(valid) = (ended_by is null)", name="ck_situations_ended"),
        sa.CheckConstraint("kind = 'drill' or rule_set is not null", name="ck_situations_rule_set"),
        ExcludeConstraint(*same, (sa.column("valid"), "&&"), using="gist", name="ex_situations_valid"),
        sa.PrimaryKeyConstraint("id", name="pk_situations"),
    )


def _reports() -> None:
    for table in ("reports", "cases"):
        op.add_column(table, sa.Column("drill_id", sa.Integer(), nullable=True))
        op.create_foreign_key(f"fk_{table}_drill_id_situations", table, "situations", ["drill_id"], ["id"])
        is_drill = sa.text("drill_id is not null")
        op.create_index(f"ix_{table}_drill_id", table, ["drill_id"], postgresql_where=is_drill)
    op.drop_index("ix_cases_open_grid", "cases")
    _open_by_grid("drill_id")
    op.add_column("reports", sa.Column("reporter_class", sa.Text(), server_default="resident", nullable=False))
    op.execute("update reports set reporter_class = 'staff' where source = 'patrol' and placed_by <> 'anonymous'")
    op.create_check_constraint("ck_reports_reporter_class", "reports", f"reporter_class in ({CLASSES})")


def _open_by_grid(*more: str) -> None:
    op.create_index(
        "ix_cases_open_grid",
        "cases",
        ["grid_code", "due_at", "id"],
        postgresql_where=sa.text("closed_at is null"),
        postgresql_include=["filed_at", "yellow_at", "orange_at", "red_at", *more],
    )


def _roles(words: str) -> None:
    names = sa.inspect(op.get_bind()).get_check_constraints("role_grants")
    (name,) = (one["name"] for one in names if "volunteer" in one["sqltext"])
    op.drop_constraint(op.f(name), "role_grants")
    op.create_check_constraint("ck_role_grants_role", "role_grants", f"role in ({words})")


def _rewards() -> None:
    op.create_table(
        "reward_rules",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_example", sa.Boolean(), server_default=sa.false(), nullable=False),
        _text("event_type"),
        sa.Column("amount_yuan", sa.Numeric(), nullable=False),
        sa.CheckConstraint("amount_yuan > 0", name="ck_reward_rules_amount"),
        sa.PrimaryKeyConstraint("id", name="pk_reward_rules"),
    )
    _one_at_a_time("reward_rules", "event_type")
    op.create_table(
        "informants",
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_informants_report_id_reports"),
        sa.PrimaryKeyConstraint("report_id", name="pk_informants"),
    )
    op.create_table(
        "informant_readings",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        _text("who"),
        sa.Column("at", TIME, nullable=False),
        *(_text(name) for name in ("reason", "channel", "request_id")),
        sa.ForeignKeyConstraint(
            ["report_id"], ["informants.report_id"], name="fk_informant_readings_report_id_informants"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_informant_readings"),
    )
    op.create_index("ix_informant_readings_report_id", "informant_readings", ["report_id"])
    op.create_table(
        "reward_entries",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        _text("step"),
        sa.Column("amount_yuan", sa.Numeric(), nullable=False),
        sa.Column("rule_id", sa.Integer(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        *(_text(name) for name in ("who", "reason", "channel", "request_id")),
        sa.CheckConstraint("step in ('granted', 'paid', 'refused')", name="ck_reward_entries_step"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_reward_entries_case_id_cases"),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_reward_entries_report_id_reports"),
        sa.ForeignKeyConstraint(["rule_id"], ["reward_rules.id"], name="fk_reward_entries_rule_id_reward_rules"),
        sa.PrimaryKeyConstraint("case_id", "seq", name="pk_reward_entries"),
    )
    op.create_index("ix_reward_entries_report_id", "reward_entries", ["report_id"])


def _one_at_a_time(table: str, *key: str) -> None:
    op.create_exclude_constraint(
        f"ex_{table}_valid", table, *((name, "=") for name in key), ("valid", "&&"), using="gist"
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def downgrade() -> None:
    for table in ("reward_entries", "informant_readings", "informants", "reward_rules"):
        op.drop_table(table)
    op.execute("delete from role_grants where role in ('stairwell_head', 'committee', 'reward_clerk')")
    _roles(OLD_ROLES)
    op.drop_column("reports", "reporter_class")
    op.drop_index("ix_cases_open_grid", "cases")
    for table in ("cases", "reports"):
        op.drop_column(table, "drill_id")
    _open_by_grid()
    for table, key in SETS.items():
        op.execute(f"delete from {table} where rule_set <> ''")  # noqa: S608 - tables of our own
        op.drop_column(table, "rule_set")
        _one_at_a_time(table, *key)
    op.drop_table("situations")
