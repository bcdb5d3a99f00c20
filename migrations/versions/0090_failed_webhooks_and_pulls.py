"""Payments: webhooks that crash end as failed; a pull of providers' events goes on where the last one ended."""

from alembic import op

revision = "0090"
down_revision = "0130"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE payments.provider_events
        ADD COLUMN crashes integer NOT NULL DEFAULT 0,
        ADD COLUMN problem text,
        DROP CONSTRAINT provider_events_status_check,
        ADD CONSTRAINT provider_events_status_check
            CHECK (status IN ('received', 'applied', 'ignored', 'failed')) NOT VALID""")
    op.execute("ALTER TABLE payments.provider_events VALIDATE CONSTRAINT provider_events_status_check")
    op.execute("""
        CREATE TABLE payments.provider_pulls (
            provider text NOT NULL,
            account text NOT NULL,
            pulled_until timestamptz NOT NULL,
            PRIMARY KEY (provider, account)
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE payments.provider_pulls")
    op.execute("UPDATE payments.provider_events SET status = 'received' WHERE status = 'failed'")
    op.execute("""
        ALTER TABLE payments.provider_events
        DROP CONSTRAINT provider_events_status_check,
        ADD CONSTRAINT provider_events_status_check CHECK (status IN ('received', 'applied', 'ignored')) NOT VALID,
        DROP COLUMN problem,
        DROP COLUMN crashes""")
