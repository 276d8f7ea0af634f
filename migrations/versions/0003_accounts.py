"""Accounts, keys and their roles; sessions, sign-in attempts, rate counts.

The application may change only the columns that change in a thing's life, and can but add attempts.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

APP_ROLE = "gis_grid_app"
RIGHTS = {
    "accounts": "select, insert, update (password_hash, person_id, disabled_at)",
    "api_keys": "select, insert, update (revoked_at)",
    "role_grants": "select, insert, update (valid)",
    "account_sessions": "select, insert, update (idle_until, ended_at)",
    "sign_in_attempts": "select, insert",
    "rate_counts": "select, insert, update (window_start, count)",
}
ROLES = (
    "'resident', 'volunteer', 'patroller', 'grid_manager', 'operator', 'dispatcher', 'handler', 'checker', "
    "'supervisor', 'planner', 'administrator'"
)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("disabled_at", TIME, nullable=True),
        sa.Column("is_synthetic", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name="fk_accounts_person_id_persons"),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("login", name="uq_accounts_login"),
    )
    op.create_index("ix_accounts_person_id", "accounts", ["person_id"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
        sa.UniqueConstraint("key_sha256", name="uq_api_keys_key_sha256"),
    )
    op.create_table(
        "role_grants",
        sa.Column("id", sa.Integer(), sa.Identity(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("api_key_id", sa.Integer(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scope_kind", sa.Text(), nullable=False),
        sa.Column("scope_code", sa.Text(), nullable=False),
        sa.Column("valid", TSTZRANGE(), nullable=False),
        _one_at_a_time("account_id"),
        _one_at_a_time("api_key_id"),
        sa.CheckConstraint("num_nonnulls(account_id, api_key_id) = 1", name="ck_role_grants_holder"),
        sa.CheckConstraint(f"role in ({ROLES})", name="ck_role_grants_role"),
        sa.CheckConstraint("scope_kind in ('all', 'area', 'unit')", name="ck_role_grants_scope_kind"),
        sa.CheckConstraint("(scope_kind = 'all') = (scope_code = '')", name="ck_role_grants_scope"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_role_grants_account_id_accounts"),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_keys.id"], name="fk_role_grants_api_key_id_api_keys"),
        sa.PrimaryKeyConstraint("id", name="pk_role_grants"),
    )
    op.create_table(
        "account_sessions",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("idle_until", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.CheckConstraint("kind in ('browser', 'bearer')", name="ck_account_sessions_kind"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_account_sessions_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_account_sessions"),
        sa.UniqueConstraint("secret_sha256", name="uq_account_sessions_secret_sha256"),
    )
    op.create_index("ix_account_sessions_account_id", "account_sessions", ["account_id"])
    op.create_table(
        "sign_in_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("is_success", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sign_in_attempts"),
    )
    op.create_index("ix_sign_in_attempts_login_at", "sign_in_attempts", ["login", "at"])
    op.create_index("ix_sign_in_attempts_address_at", "sign_in_attempts", ["address", "at"])
    op.create_table(
        "rate_counts",
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("window_start", TIME, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("what", "who", name="pk_rate_counts"),
    )
    for table, rights in RIGHTS.items():
        op.execute(f"grant {rights} on {table} to {APP_ROLE}")


def _one_at_a_time(holder: str) -> ExcludeConstraint:
    same = [(sa.column(name), "=") for name in (holder, "role", "scope_kind", "scope_code")]
    return ExcludeConstraint(*same, (sa.column("valid"), "&&"), using="gist", name=f"ex_role_grants_{holder}")


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
