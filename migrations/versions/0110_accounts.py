"""Users: since when the permissions of tokens count, and a version of that for the cache."""

from alembic import op

revision = "0110"
down_revision = "0080"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE users.users
            ADD COLUMN tokens_valid_from bigint NOT NULL DEFAULT 0,
            ADD COLUMN account_version bigint NOT NULL DEFAULT 1""")


def downgrade() -> None:
    op.execute("ALTER TABLE users.users DROP COLUMN account_version, DROP COLUMN tokens_valid_from")
