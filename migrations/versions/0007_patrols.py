"""Patrols at the size of a district's staff: blocks, teams, shifts; tracks parted by month.

The application can add, and end what is dated; it deletes nothing. Months of tracks are made by a function that runs
with the owner's rights, and lie in a schema of their own.
"""

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects.postgresql import ARRAY, BIT, JSONB, TSTZRANGE, ExcludeConstraint

revision = "0007"
down_revision = "0005"
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
    "track_chunks": "select, insert",
    "track_readings": "select, insert",
    "forgotten_tracks": "select",
    "seen_months": "select, insert, update",
    "rolled_months": "select, insert",
    "ground_masks": "select, insert",
    "excluded_grounds": "select, insert, update (until)",
}
TIME = sa.DateTime(timezone=True)
# The names in the function are whole, and so is its search path: who calls it cannot lead it elsewhere.
ENSURE_MONTH = """
create function ensure_track_month(day date) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    first date := date_trunc('month', day)::date;
    name text := 'track_chunks_' || to_char(first, 'YYYY_MM');
begin
    if day < date '1970-01-01' or day >= date '2101-01-01' then
        raise exception 'no tracks of %', day;
    end if;
    if to_regclass('track_months.' || name) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(1007);
    execute format(
        'create table if not exists track_months.%I partition of public.track_chunks for values from (%L) to (%L)',
        name, first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00'
    );
end
$$
"""
ORIGINS = (
    "'employment_aid', 'housing', 'guard', 'property', 'police', 'chengguan', 'inspector', 'cadre', 'liaison', "
    "'assistant', 'patroller'"
)
GROUNDS = "ground in ('block', 'grid', 'area')"


def upgrade() -> None:
    _blocks()
    _teams()
    _tracks()
    _seen()
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


def _tracks() -> None:
    op.execute("create schema track_months")
    op.rename_table("track_chunks", "old_track_chunks")
    for kind, old in (("constraint", "pk_track_chunks"), ("constraint", "uq_track_chunks_track_sequence")):
        op.execute(f"alter table old_track_chunks rename {kind} {old} to old_{old}")
    for index in ("ix_track_chunks_geom", "ix_track_chunks_started_at"):
        op.execute(f"alter index {index} rename to old_{index}")
    _track_chunks()
    op.execute(ENSURE_MONTH)
    op.execute("revoke execute on function ensure_track_month from public")
    op.execute(f"grant execute on function ensure_track_month to {APP_ROLE}")
    op.execute("select ensure_track_month(day) from (select distinct started_at::date as day from old_track_chunks) d")
    op.execute(
        "insert into track_chunks (track, sequence, content_sha256, team, source, received_at, is_synthetic, "
        "started_at, ended_at, geom) select track, sequence, 'chunk ' || id, team, source, ended_at, is_synthetic, "
        "started_at, ended_at, geom from old_track_chunks order by id"
    )
    op.drop_table("old_track_chunks")
    op.create_table(
        "track_readings",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        *(_text(name) for name in ("who", "channel", "request_id", "walker")),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_track_readings"),
    )
    op.create_index("ix_track_readings_walker", "track_readings", ["walker"])
    op.create_table(
        "forgotten_tracks",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("before", TIME, nullable=False),
        sa.Column("chunks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_forgotten_tracks"),
    )


def _track_chunks() -> None:
    op.create_table(
        "track_chunks",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=False),
        _text("track"),
        sa.Column("sequence", sa.Integer(), nullable=False),
        _text("content_sha256"),
        _text("team"),
        _text("walker", nullable=True),
        _text("source"),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("geom", Geometry("LINESTRINGM", 4326, dimension=3, spatial_index=False), nullable=True),
        sa.Column("accuracy_m", ARRAY(sa.REAL()), nullable=True),
        sa.Column("uncounted", JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", "started_at", name="pk_track_chunks"),
        sa.UniqueConstraint(
            "track", "content_sha256", "started_at", name="uq_track_chunks_track_content_sha256_started_at"
        ),
        postgresql_partition_by="range (started_at)",
    )
    op.create_index("ix_track_chunks_started_at", "track_chunks", ["started_at"])
    op.create_index("ix_track_chunks_walker_started_at", "track_chunks", ["walker", "started_at"])
    op.create_index("ix_track_chunks_geom", "track_chunks", ["geom"], postgresql_using="gist")


def _seen() -> None:
    op.create_table(
        "seen_months",
        sa.Column("tile_row", sa.Integer(), nullable=False),
        sa.Column("tile_col", sa.Integer(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("shift", sa.SmallInteger(), nullable=False),
        sa.Column("bits", BIT(length=16384, varying=True), nullable=False),
        sa.PrimaryKeyConstraint("tile_row", "tile_col", "month", "shift", name="pk_seen_months"),
    )
    op.create_table(
        "rolled_months",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("rolled_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("month", name="pk_rolled_months"),
    )
    op.create_table(
        "ground_masks",
        _text("kind"),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("place_id", "tile_row", "tile_col")),
        sa.Column("bits", BIT(length=16384, varying=True), nullable=False),
        sa.CheckConstraint("kind in ('grid', 'block', 'excluded')", name="ck_ground_masks_kind"),
        sa.PrimaryKeyConstraint("kind", "place_id", "tile_row", "tile_col", name="pk_ground_masks"),
    )
    op.create_table(
        "excluded_grounds",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        _text("reason"),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("until", sa.Date(), nullable=True),
        sa.Column("geom", Geometry("GEOMETRY", 4326, spatial_index=False), nullable=False),
        sa.CheckConstraint("until is null or until >= since", name="ck_excluded_grounds_until"),
        sa.CheckConstraint("GeometryType(geom) in ('POLYGON', 'MULTIPOLYGON')", name="ck_excluded_grounds_polygonal"),
        sa.PrimaryKeyConstraint("id", name="pk_excluded_grounds"),
    )


def downgrade() -> None:
    for table in ("excluded_grounds", "ground_masks", "rolled_months", "seen_months"):
        op.drop_table(table)
    _old_track_chunks()
    for table in ("forgotten_tracks", "track_readings"):
        op.drop_table(table)
    for table in ("team_shifts", "team_grounds", "team_members", "teams", "blocks", "block_layers"):
        op.drop_table(table)


def _old_track_chunks() -> None:
    op.rename_table("track_chunks", "new_track_chunks")
    for name in ("pk_track_chunks", "uq_track_chunks_track_content_sha256_started_at"):
        op.execute(f"alter table new_track_chunks rename constraint {name} to new_{name}")
    for index in ("ix_track_chunks_geom", "ix_track_chunks_started_at"):
        op.execute(f"alter index {index} rename to new_{index}")
    op.create_table(
        "track_chunks",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _text("track"),
        sa.Column("sequence", sa.Integer(), nullable=False),
        _text("team"),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=False),
        _text("source"),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("geom", Geometry("LINESTRINGM", 4326, dimension=3, spatial_index=False), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_track_chunks"),
        sa.UniqueConstraint("track", "sequence", name="uq_track_chunks_track_sequence"),
    )
    op.create_index("ix_track_chunks_geom", "track_chunks", ["geom"], postgresql_using="gist")
    op.create_index("ix_track_chunks_started_at", "track_chunks", ["started_at"])
    op.execute(
        "insert into track_chunks (track, sequence, team, started_at, ended_at, source, is_synthetic, geom) "
        "select track, sequence, team, started_at, ended_at, source, is_synthetic, geom from new_track_chunks "
        "where geom is not null order by id on conflict do nothing"
    )
    op.drop_table("new_track_chunks")
    op.execute("drop function ensure_track_month")
    op.execute("drop schema track_months cascade")
    op.execute(f"grant select, insert on track_chunks to {APP_ROLE}")
