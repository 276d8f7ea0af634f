"""Cases, their append-only log, serial numbers; hotline calls, joint operations, the numbers cases are judged by.

The application may change a case only together with its log: the log can be added to, never altered.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE, ExcludeConstraint

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "case_numbers": "select, insert, update (valid)",
    "joint_leads": "select, insert, update (valid)",
    "cases": "select, insert, update (grid_id, report_id, serial, seq, stage, kind, event_type, urgency, grid_code, "
    "community_code, town_code, district_code, unit, level, accepted_at, filed_at, closed_at, due_at, yellow_at, "
    "orange_at, red_at, state)",
    "case_events": "select, insert",
    "case_serials": "select, insert, update (last)",
    "hotline_calls": "select, insert",
    "joint_operations": "select, insert",
    "joint_units": "select, insert",
    "joint_cases": "select, insert",
}
STAGES = (
    "'accepted', 'filed', 'dispatched', 'taken', 'returned', 'handled', 'rework', 'checked', 'answered', 'closed', "
    "'merged', 'void'"
)
TIME = sa.DateTime(timezone=True)
IS_OPEN = sa.text("closed_at is null")


def upgrade() -> None:
    _create_dated("case_numbers", "name", _text("name"), sa.Column("value", sa.Numeric(), nullable=False))
    op.create_check_constraint("ck_case_numbers_value", "case_numbers", "value > 0")
    _create_dated("joint_leads", "unit_code", _text("unit_code"))
    _cases()
    _log()
    _hotline()
    _joint_operations()
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _cases() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("opening_report_id", sa.Uuid(), nullable=False),
        sa.Column("grid_id", sa.Integer(), nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        _text("serial", nullable=True),
        sa.Column("seq", sa.Integer(), nullable=False),
        *(_text(name) for name in ("stage", "kind", "event_type", "urgency")),
        *(_text(name) for name in ("grid_code", "community_code", "town_code", "district_code")),
        *(_text(name, nullable=True) for name in ("unit", "level")),
        sa.Column("accepted_at", TIME, nullable=False),
        *(sa.Column(name, TIME, nullable=True) for name in ("filed_at", "closed_at")),
        sa.Column("due_at", TIME, nullable=False),
        *(sa.Column(name, TIME, nullable=True) for name in ("yellow_at", "orange_at", "red_at")),
        sa.Column("state", JSONB(), nullable=False),
        sa.CheckConstraint(f"stage in ({STAGES})", name="ck_cases_stage"),
        sa.CheckConstraint("urgency in ('urgent', 'normal')", name="ck_cases_urgency"),
        sa.CheckConstraint("level in ('community', 'town', 'district')", name="ck_cases_level"),
        sa.CheckConstraint("(closed_at is null) = (stage not in ('closed', 'merged', 'void'))", name="ck_cases_closed"),
        sa.CheckConstraint("(serial is null) = (filed_at is null)", name="ck_cases_serial"),
        sa.ForeignKeyConstraint(["opening_report_id"], ["reports.id"], name="fk_cases_opening_report_id_reports"),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_cases_report_id_reports"),
        sa.ForeignKeyConstraint(["grid_id"], ["grids.id"], name="fk_cases_grid_id_grids"),
        sa.ForeignKeyConstraint(["event_type"], ["event_types.code"], name="fk_cases_event_type_event_types"),
        sa.PrimaryKeyConstraint("id", name="pk_cases"),
        sa.UniqueConstraint("opening_report_id", name="uq_cases_opening_report_id"),
        sa.UniqueConstraint("serial", name="uq_cases_serial"),
    )
    op.create_index("ix_cases_report_id", "cases", ["report_id"])
    op.create_index("ix_cases_grid_id", "cases", ["grid_id"])
    op.create_index("ix_cases_accepted_at", "cases", ["accepted_at", "id"])
    op.create_index("ix_cases_grid_accepted_at", "cases", ["grid_code", "accepted_at", "id"])
    op.create_index("ix_cases_open", "cases", ["due_at", "id"], postgresql_where=IS_OPEN)
    op.create_index(
        "ix_cases_open_grid",
        "cases",
        ["grid_code", "due_at", "id"],
        postgresql_where=IS_OPEN,
        postgresql_include=["filed_at", "yellow_at", "orange_at", "red_at"],
    )
    for name, column in (("community", "community_code"), ("town", "town_code"), ("unit", "unit")):
        op.create_index(f"ix_cases_open_{name}", "cases", [column, "due_at", "id"], postgresql_where=IS_OPEN)


def _log() -> None:
    op.create_table(
        "case_events",
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        *(_text(name) for name in ("action", "who")),
        *(_text(name, nullable=True) for name in ("unit", "before")),
        _text("after"),
        sa.Column("said", JSONB(), nullable=False),
        sa.Column("changed", JSONB(), nullable=False),
        *(_text(name) for name in ("channel", "request_id")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_case_events_case_id_cases"),
        sa.PrimaryKeyConstraint("case_id", "seq", name="pk_case_events"),
    )
    op.create_index("ix_case_events_at", "case_events", ["at"], postgresql_using="brin")
    op.create_table(
        "case_serials",
        _text("day"),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.CheckConstraint("last between 1 and 99999", name="ck_case_serials_last"),
        sa.PrimaryKeyConstraint("day", name="pk_case_serials"),
    )


def _hotline() -> None:
    op.create_table(
        "hotline_calls",
        sa.Column("report_id", sa.Uuid(), nullable=False),
        *(_text(name) for name in ("number", "unit_code", "town_code")),
        sa.Column("is_police", sa.Boolean(), nullable=False),
        *(_text(name) for name in ("alarm", "desk")),
        sa.Column("taken_at", TIME, nullable=False),
        _text("taken_by"),
        sa.CheckConstraint("alarm in ('none', 'security', 'other')", name="ck_hotline_calls_alarm"),
        sa.CheckConstraint("desk in ('110', 'centre')", name="ck_hotline_calls_desk"),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_hotline_calls_report_id_reports"),
        sa.PrimaryKeyConstraint("report_id", name="pk_hotline_calls"),
    )
    op.create_index("ix_hotline_calls_taken_at", "hotline_calls", ["taken_at"])


def _joint_operations() -> None:
    op.create_table(
        "joint_operations",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        *(_text(name) for name in ("title", "reason")),
        sa.Column("planned_at", TIME, nullable=False),
        _text("planned_by"),
        sa.Column("starts_at", TIME, nullable=False),
        sa.CheckConstraint("starts_at >= planned_at", name="ck_joint_operations_starts_at"),
        sa.PrimaryKeyConstraint("id", name="pk_joint_operations"),
    )
    op.create_index("ix_joint_operations_starts_at", "joint_operations", ["starts_at", "id"])
    for table, column, kind in (
        ("joint_units", "unit_code", sa.Text()),
        ("joint_cases", "case_id", sa.BigInteger()),
    ):
        op.create_table(
            table,
            sa.Column("operation_id", sa.Integer(), nullable=False),
            sa.Column(column, kind, nullable=False),
            sa.ForeignKeyConstraint(
                ["operation_id"], ["joint_operations.id"], name=f"fk_{table}_operation_id_joint_operations"
            ),
            sa.PrimaryKeyConstraint("operation_id", column, name=f"pk_{table}"),
        )
    op.add_column("joint_units", _text("leads_for", nullable=True))
    op.create_foreign_key("fk_joint_cases_case_id_cases", "joint_cases", "cases", ["case_id"], ["id"])
    op.create_index("ix_joint_cases_case_id", "joint_cases", ["case_id"])


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _create_dated(table: str, key: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        *parts,
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_example", sa.Boolean(), server_default=sa.false(), nullable=False),
        ExcludeConstraint((sa.column(key), "="), (sa.column("valid"), "&&"), using="gist", name=f"ex_{table}_valid"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
