"""Patrols at the size of a district's staff: blocks, teams, shifts.

The application can add, and end what is dated; it deletes nothing.
"""

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects.postgresql import ARRAY, TSTZRANGE, ExcludeConstraint

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "block_layers": "select, insert, update (in_force)",
    "blocks": "select, insert",
    "teams": "select, insert, update (valid)",
    "team_members": "select, insert, update (valid)",
    "team_grounds": "select, insert, update (valid)",
    "team_shifts": "select, insert, update (valid)",
}
ORIGINS = (
    "'employment_aid', 'housing', 'guard', 'property', 'police', 'chengguan', 'inspector', 'cadre', 'liaison', "
    "'assistant', 'patroller'"
)
GROUNDS = "ground in ('block', 'grid', 'area')"


def upgrade() -> None:
    _blocks()
    _teams()
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _blocks() -> None:
    op.create_table(
        "block_layers",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("parent_level", sa.Text(), nullable=False),
        sa.Column("parent_code", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("in_force", TSTZRANGE(), nullable=False),
        ExcludeConstraint(
            (sa.column("parent_code"), "="),
            (sa.column("in_force"), "&&"),
            using="gist",
            name="ex_block_layers_in_force",
        ),
        sa.CheckConstraint("parent_level in ('grid', 'community')", name="ck_block_layers_parent_level"),
        sa.PrimaryKeyConstraint("id", name="pk_block_layers"),
    )
    op.create_table(
        "blocks",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("layer_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kinds", ARRAY(sa.Text()), nullable=False),
        sa.Column("least_people", sa.Integer(), nullable=False),
        sa.Column("area_m2", sa.Double(), nullable=False),
        sa.Column("geom", Geometry("GEOMETRY", 4326, spatial_index=False), nullable=False),
        sa.CheckConstraint("least_people >= 0", name="ck_blocks_least_people"),
        sa.CheckConstraint("GeometryType(geom) in ('POLYGON', 'MULTIPOLYGON')", name="ck_blocks_polygonal"),
        sa.ForeignKeyConstraint(["layer_id"], ["block_layers.id"], name="fk_blocks_layer_id_block_layers"),
        sa.PrimaryKeyConstraint("id", name="pk_blocks"),
        sa.UniqueConstraint("layer_id", "code", name="uq_blocks_layer_id_code"),
    )


def _dated(table: str, key: tuple[str, ...], *rest: sa.Column | sa.CheckConstraint | sa.ForeignKeyConstraint) -> None:  # type: ignore[type-arg]
    op.create_table(
        table,
        *rest,
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_example", sa.Boolean(), server_default=sa.false(), nullable=False),
        ExcludeConstraint(
            *((sa.column(name), "=") for name in key),
            (sa.column("valid"), "&&"),
            using="gist",
            name=f"ex_{table}_valid",
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _teams() -> None:
    _dated(
        "teams",
        ("code",),
        *(_text(name) for name in ("code", "name", "name_en", "kind")),
        _text("unit_code", nullable=True),
        sa.CheckConstraint("kind in ('community', 'street')", name="ck_teams_kind"),
    )
    _dated(
        "team_members",
        ("team_code", "person_id"),
        _text("team_code"),
        sa.Column("person_id", sa.Integer(), nullable=False),
        _text("origin"),
        _text("ground", nullable=True),
        _text("code", nullable=True),
        sa.Column("is_full_time", sa.Boolean(), nullable=False),
        sa.CheckConstraint(f"origin in ({ORIGINS})", name="ck_team_members_origin"),
        sa.CheckConstraint(GROUNDS, name="ck_team_members_ground"),
        sa.CheckConstraint("(ground is null) = (code is null)", name="ck_team_members_code"),
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name="fk_team_members_person_id_persons"),
    )
    op.create_index("ix_team_members_person_id", "team_members", ["person_id"])
    op.create_index("ix_team_members_code", "team_members", ["code"])
    _dated(
        "team_grounds",
        ("team_code", "ground", "code"),
        *(_text(name) for name in ("team_code", "ground", "code")),
        sa.CheckConstraint(GROUNDS, name="ck_team_grounds_ground"),
    )
    op.create_index("ix_team_grounds_code", "team_grounds", ["code"])
    _dated(
        "team_shifts",
        ("team_code", "weekday", "starts"),
        _text("team_code"),
        _text("weekday"),
        sa.Column("starts", sa.Time(), nullable=False),
        sa.Column("ends", sa.Time(), nullable=False),
        *(_text(name) for name in ("kind", "first_duty", "second_duty")),
        sa.CheckConstraint("weekday in ('daily', '1', '2', '3', '4', '5', '6', '7')", name="ck_team_shifts_weekday"),
        sa.CheckConstraint("kind in ('day', 'night')", name="ck_team_shifts_kind"),
    )


def downgrade() -> None:
    for table in ("team_shifts", "team_grounds", "team_members", "teams", "blocks", "block_layers"):
        op.drop_table(table)
