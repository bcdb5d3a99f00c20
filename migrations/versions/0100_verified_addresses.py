"""Verified addresses, and accounts that the identity provider has blocked."""

from alembic import op

revision = "0100"
down_revision = "0085"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Unverified until the identity provider, or a token, says otherwise.
    op.execute("""
        ALTER TABLE users.users
            ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
            ADD COLUMN blocked_at timestamptz""")
    op.execute("ALTER TABLE notifications.contacts ADD COLUMN email_verified boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE notifications.contacts DROP COLUMN email_verified")
    op.execute("ALTER TABLE users.users DROP COLUMN blocked_at, DROP COLUMN email_verified")
