"""Devices that push messages go to."""

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE notifications.devices (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            kind text NOT NULL CHECK (kind IN ('fcm', 'web_push')),
            -- A browser or an app belongs to whoever signed in on it last.
            address text NOT NULL UNIQUE,
            keys jsonb NOT NULL,
            created_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX ix_devices_user_id ON notifications.devices (user_id)")


def downgrade() -> None:
    op.execute("DROP TABLE notifications.devices")
