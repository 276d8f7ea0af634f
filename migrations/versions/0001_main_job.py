"""The main job: territory, tenures, reports, photos, patrols.

The application's role gets only what it needs: nothing may be deleted, and history rows may only be added.
"""

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects.postgresql import BIT, JSONB, TSTZRANGE, ExcludeConstraint

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "changes": "select, insert",
    "cities": "select, insert",
    "event_types": "select, insert, update",
    "grid_layers": "select, insert, update",
    "persons": "select, insert",
    "seen_tiles": "select, insert, update",
    "track_chunks": "select, insert",
    "areas": "select, insert",
    "tenures": "select, insert, update",
    "grids": "select, insert",
    "reports": "select, insert, update",
    "past_placements": "select, insert",
    "photos": "select, insert",
    "reporters": "select, insert",
}
NEEDS = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'gis_grid_app') then
        create role gis_grid_app nologin;
        execute format('grant gis_grid_app to %I', current_user);
    end if;
end
$$;
create extension if not exists postgis;
create extension if not exists btree_gist;
"""


def upgrade() -> None:
    op.execute(NEEDS)
    op.create_table(
        "changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("thing", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("before", JSONB(), nullable=True),
        sa.Column("after", JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_changes"),
    )
    op.create_index("ix_changes_thing_key", "changes", ["thing", "key"])
    op.create_table(
        "cities",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("adcode", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("metric_crs", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_cities_one"),
        sa.PrimaryKeyConstraint("id", name="pk_cities"),
    )
    op.create_table(
        "event_types",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("parent_code", sa.Text(), nullable=True),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), nullable=False),
        sa.Column("is_example", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["parent_code"], ["event_types.code"], name="fk_event_types_parent_code_event_types"),
        sa.PrimaryKeyConstraint("code", name="pk_event_types"),
    )
    op.create_index("ix_event_types_parent_code", "event_types", ["parent_code"])
    op.create_table(
        "grid_layers",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_force", TSTZRANGE(), nullable=True),
        sa.Column("grid_count", sa.Integer(), nullable=False),
        sa.Column("accepted_faults", JSONB(), nullable=True),
        ExcludeConstraint((sa.column("in_force"), "&&"), using="gist", name="ex_grid_layers_in_force"),
        sa.PrimaryKeyConstraint("id", name="pk_grid_layers"),
    )
    op.create_table(
        "persons",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("own_phone", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_persons"),
    )
    op.create_index("ix_persons_name_own_phone", "persons", ["name", "own_phone"])
    op.create_table(
        "seen_tiles",
        sa.Column("tile_row", sa.Integer(), nullable=False),
        sa.Column("tile_col", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("shift", sa.SmallInteger(), nullable=False),
        sa.Column("bits", BIT(length=16384, varying=True), nullable=False),
        sa.PrimaryKeyConstraint("tile_row", "tile_col", "day", "shift", name="pk_seen_tiles"),
    )
    op.create_index("ix_seen_tiles_day", "seen_tiles", ["day"])
    op.create_table(
        "track_chunks",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("track", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("geom", Geometry("LINESTRINGM", 4326, dimension=3, spatial_index=False), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_track_chunks"),
        sa.UniqueConstraint("track", "sequence", name="uq_track_chunks_track_sequence"),
    )
    op.create_index("ix_track_chunks_geom", "track_chunks", ["geom"], postgresql_using="gist")
    op.create_index("ix_track_chunks_started_at", "track_chunks", ["started_at"])
    op.create_table(
        "areas",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("layer_id", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("area_m2", sa.Double(), nullable=False),
        sa.Column("geom", Geometry("MULTIPOLYGON", 4326, spatial_index=False), nullable=False),
        sa.CheckConstraint("level in ('district', 'town', 'community')", name="ck_areas_level"),
        sa.ForeignKeyConstraint(
            ["layer_id"], ["grid_layers.id"], name="fk_areas_layer_id_grid_layers", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["areas.id"], name="fk_areas_parent_id_areas", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_areas"),
        sa.UniqueConstraint("layer_id", "level", "code", name="uq_areas_layer_id_level_code"),
    )
    op.create_index("ix_areas_geom", "areas", ["geom"], postgresql_using="gist")
    op.create_index("ix_areas_parent_id", "areas", ["parent_id"])
    op.create_table(
        "tenures",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("ground", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("post", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("duty_phone", sa.Text(), nullable=False),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        ExcludeConstraint(
            (sa.column("ground"), "="),
            (sa.column("code"), "="),
            (sa.column("role"), "="),
            (sa.column("valid"), "&&"),
            using="gist",
            name="ex_tenures_valid",
        ),
        sa.CheckConstraint("ground in ('grid', 'area', 'block')", name="ck_tenures_ground"),
        sa.CheckConstraint("not isempty(valid)", name="ck_tenures_valid"),
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name="fk_tenures_person_id_persons"),
        sa.PrimaryKeyConstraint("id", name="pk_tenures"),
    )
    op.create_index("ix_tenures_person_id", "tenures", ["person_id"])
    op.create_table(
        "grids",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("layer_id", sa.Integer(), nullable=False),
        sa.Column("community_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("area_m2", sa.Double(), nullable=False),
        sa.Column("geom", Geometry("GEOMETRY", 4326, spatial_index=False), nullable=False),
        sa.CheckConstraint("GeometryType(geom) in ('POLYGON', 'MULTIPOLYGON')", name="ck_grids_polygonal"),
        sa.ForeignKeyConstraint(["community_id"], ["areas.id"], name="fk_grids_community_id_areas", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["layer_id"], ["grid_layers.id"], name="fk_grids_layer_id_grid_layers", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_grids"),
        sa.UniqueConstraint("layer_id", "code", name="uq_grids_layer_id_code"),
    )
    op.create_index("ix_grids_community_id", "grids", ["community_id"])
    op.create_index("ix_grids_geom", "grids", ["geom"], postgresql_using="gist")
    op.create_table(
        "reports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sent_lon", sa.Double(), nullable=False),
        sa.Column("sent_lat", sa.Double(), nullable=False),
        sa.Column("datum", sa.Text(), nullable=False),
        sa.Column("accuracy_m", sa.Double(), nullable=True),
        sa.Column("geom", Geometry("POINT", 4326, spatial_index=False), nullable=False),
        sa.Column("public_geom", Geometry("POINT", 4326, spatial_index=False), nullable=False),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("layer_id", sa.Integer(), nullable=True),
        sa.Column("grid_id", sa.Integer(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("distance_m", sa.Double(), nullable=True),
        sa.Column("shares", JSONB(), nullable=True),
        sa.Column("is_uncertain", sa.Boolean(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("placement_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(grid_id is null) = (method = 'outside')", name="ck_reports_grid"),
        sa.CheckConstraint("method in ('inside', 'edge', 'snapped', 'outside', 'manual')", name="ck_reports_method"),
        sa.ForeignKeyConstraint(["event_type"], ["event_types.code"], name="fk_reports_event_type_event_types"),
        sa.ForeignKeyConstraint(["grid_id"], ["grids.id"], name="fk_reports_grid_id_grids"),
        sa.ForeignKeyConstraint(["layer_id"], ["grid_layers.id"], name="fk_reports_layer_id_grid_layers"),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
    )
    op.create_index("ix_reports_event_type_received_at", "reports", ["event_type", "received_at", "id"])
    op.create_index("ix_reports_geom", "reports", ["geom"], postgresql_using="gist")
    op.create_index("ix_reports_grid_id_received_at", "reports", ["grid_id", "received_at", "id"])
    op.create_index("ix_reports_public_geom", "reports", ["public_geom"], postgresql_using="gist")
    op.create_index("ix_reports_received_at", "reports", ["received_at", "id"])
    op.create_index(
        "ix_reports_unplaced", "reports", ["received_at", "id"], postgresql_where=sa.text("method = 'outside'")
    )
    op.create_table(
        "past_placements",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("layer_id", sa.Integer(), nullable=True),
        sa.Column("grid_id", sa.Integer(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("distance_m", sa.Double(), nullable=True),
        sa.Column("shares", JSONB(), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("placement_reason", sa.Text(), nullable=True),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_past_placements_report_id_reports"),
        sa.PrimaryKeyConstraint("id", name="pk_past_placements"),
    )
    op.create_index("ix_past_placements_report_id", "past_placements", ["report_id"])
    op.create_table(
        "photos",
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_photos_report_id_reports"),
        sa.PrimaryKeyConstraint("report_id", "sha256", name="pk_photos"),
    )
    op.create_table(
        "reporters",
        sa.Column("report_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_reporters_report_id_reports"),
        sa.PrimaryKeyConstraint("report_id", name="pk_reporters"),
    )
    op.execute(f"grant usage on schema public to {APP_ROLE}")
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")
    op.execute(f"grant select on alembic_version to {APP_ROLE}")


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
