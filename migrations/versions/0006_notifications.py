"""Notifications: whom to write to, and which deliveries have ended. What was told lies in MongoDB."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE notifications.contacts (
            user_id uuid PRIMARY KEY,
            version bigint NOT NULL,
            email text,
            name text,
            locale text NOT NULL,
            timezone text NOT NULL
        )""")
    op.execute("""
        CREATE TABLE notifications.recipients (
            user_id uuid PRIMARY KEY,
            version bigint NOT NULL
        )""")
    op.execute("""
        CREATE TABLE notifications.ended_deliveries (
            -- The end of a delivery is told once, whoever sent it last.
            delivery_id uuid PRIMARY KEY,
            state text NOT NULL,
            reason text,
            ended_at timestamptz NOT NULL,
            CONSTRAINT ck_ended_deliveries_state CHECK (state IN ('sent', 'failed')),
            CONSTRAINT ck_ended_deliveries_reason CHECK ((state = 'failed') = (reason IS NOT NULL))
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE notifications.ended_deliveries, notifications.recipients, notifications.contacts")
