"""Addresses that must not be written to, and the reports of the mail provider's that say so."""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE notifications.suppressions (
            address_hash text PRIMARY KEY,
            reason text NOT NULL CHECK (reason IN ('bounced', 'complained')),
            since timestamptz NOT NULL
        )""")
    op.execute("""
        CREATE TABLE notifications.mail_reports (
            -- The provider's, which sends a report until it hears 2xx.
            id text PRIMARY KEY,
            kind text NOT NULL,
            received_at timestamptz NOT NULL
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE notifications.mail_reports, notifications.suppressions")
