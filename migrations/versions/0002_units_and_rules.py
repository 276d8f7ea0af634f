"""Units, posts and telephone numbers; routing, limits, the exchange with 110; office hours, work days and lights.

All of it is dated data that files are loaded into. Rows are closed or withdrawn by their range, never deleted.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "units": "select, insert, update (valid)",
    "posts": "select, insert, update (valid)",
    "post_holders": "select, insert, update (valid)",
    "hotlines": "select, insert, update (valid)",
    "routing_rules": "select, insert, update (valid)",
    "limits": "select, insert, update (valid)",
    "exchange_rules": "select, insert, update (valid)",
    "office_hours": "select, insert, update (valid)",
    "light_thresholds": "select, insert, update (valid)",
    "work_days": "select, insert, update",
}
URGENCIES = "urgency in ('urgent', 'normal', '*')"


def upgrade() -> None:
    _units()
    _posts()
    _rules()
    _calendar()
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _units() -> None:
    _create_dated(
        "units",
        ["code"],
        _text("code"),
        _text("name"),
        _text("name_en"),
        _text("kind"),
        _text("parent_code", nullable=True),
        _text("area_level", nullable=True),
        _text("area_code", nullable=True),
        _text("enforces_as", nullable=True),
        _text("placement_model", nullable=True),
        _never_two("ex_units_root", ["kind"], where="kind = 'centre'"),
        sa.CheckConstraint(
            "kind in ('centre', 'sub_centre', 'community_workstation', 'committee', 'department', 'station', 'team', "
            "'squad')",
            name="ck_units_kind",
        ),
        sa.CheckConstraint("placement_model in ('sunk', 'stationed', 'line')", name="ck_units_placement_model"),
        sa.CheckConstraint("(parent_code is null) = (kind = 'centre')", name="ck_units_root"),
        sa.CheckConstraint("parent_code <> code", name="ck_units_parent"),
        sa.CheckConstraint("(area_level is null) = (area_code is null)", name="ck_units_area"),
        sa.CheckConstraint("area_level in ('district', 'town', 'community')", name="ck_units_area_level"),
    )
    op.create_index("ix_units_area_code", "units", ["area_code"])
    op.create_index("ix_units_parent_code", "units", ["parent_code"])
    _create_dated(
        "hotlines",
        ["number"],
        _text("number"),
        _text("name"),
        _text("unit_code"),
        _text("role"),
        sa.CheckConstraint("role in ('intake', 'merged', 'linked')", name="ck_hotlines_role"),
    )


def _posts() -> None:
    _create_dated(
        "posts",
        ["unit_code", "title"],
        _text("unit_code"),
        _text("title"),
        sa.Column("is_first_responsible", sa.Boolean(), nullable=False),
        _never_two("ex_posts_first_responsible", ["unit_code"], where="is_first_responsible"),
    )
    op.create_table(
        "post_holders",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        _text("unit_code"),
        _text("title"),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        _never_two("ex_post_holders_valid", ["unit_code", "title"]),
        sa.CheckConstraint("not isempty(valid)", name="ck_post_holders_valid"),
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name="fk_post_holders_person_id_persons"),
        sa.PrimaryKeyConstraint("id", name="pk_post_holders"),
    )
    op.create_index("ix_post_holders_person_id", "post_holders", ["person_id"])


def _rules() -> None:
    _create_dated(
        "routing_rules",
        ["event_type", "urgency", "level"],
        _text("event_type"),
        _text("urgency"),
        _text("level"),
        _text("unit"),
        sa.CheckConstraint(URGENCIES, name="ck_routing_rules_urgency"),
        sa.CheckConstraint("level in ('community', 'town', 'district')", name="ck_routing_rules_level"),
    )
    _create_dated(
        "limits",
        ["event_type", "urgency", "step"],
        _text("event_type"),
        _text("urgency"),
        _text("step"),
        sa.Column("amount", sa.Numeric(), nullable=False),
        _text("unit"),
        sa.CheckConstraint(URGENCIES, name="ck_limits_urgency"),
        sa.CheckConstraint(
            "step in ('accept', 'file', 'dispatch', 'take', 'handle', 'check', 'answer', 'whole')",
            name="ck_limits_step",
        ),
        sa.CheckConstraint(
            "unit in ('urgent_hours', 'work_hours', 'work_days', 'natural_days')", name="ck_limits_unit"
        ),
        sa.CheckConstraint("amount > 0", name="ck_limits_amount"),
    )
    _create_dated(
        "exchange_rules",
        ["is_police", "alarm"],
        sa.Column("is_police", sa.Boolean(), nullable=False),
        _text("alarm"),
        _text("desk"),
        sa.CheckConstraint("alarm in ('none', 'security', 'other')", name="ck_exchange_rules_alarm"),
        sa.CheckConstraint("desk in ('110', 'centre')", name="ck_exchange_rules_desk"),
    )


def _calendar() -> None:
    op.create_table(
        "work_days",
        sa.Column("day", sa.Date(), nullable=False),
        _text("kind"),
        _text("name"),
        sa.CheckConstraint("kind in ('work', 'rest', 'holiday', 'makeup')", name="ck_work_days_kind"),
        sa.PrimaryKeyConstraint("day", name="pk_work_days"),
    )
    _create_dated(
        "office_hours",
        ["weekday", "opens"],
        _text("weekday"),
        sa.Column("opens", sa.Time(), nullable=False),
        sa.Column("closes", sa.Time(), nullable=False),
        sa.CheckConstraint("weekday in ('all', '1', '2', '3', '4', '5', '6', '7')", name="ck_office_hours_weekday"),
    )
    _create_dated(
        "light_thresholds",
        ["light"],
        _text("light"),
        sa.Column("share", sa.Numeric(), nullable=False),
        sa.CheckConstraint("light in ('yellow', 'orange', 'red')", name="ck_light_thresholds_light"),
        sa.CheckConstraint("share > 0 and share <= 1", name="ck_light_thresholds_share"),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _never_two(name: str, key: list[str], where: str | None = None) -> ExcludeConstraint:
    same: list[tuple[sa.ColumnClause[object], str]] = [(sa.column(column), "=") for column in key]
    return ExcludeConstraint(
        *same, (sa.column("valid"), "&&"), using="gist", name=name, where=sa.text(where) if where else None
    )


def _create_dated(table: str, key: list[str], *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        *parts,
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_example", sa.Boolean(), server_default=sa.false(), nullable=False),
        _never_two(f"ex_{table}_valid", key),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
