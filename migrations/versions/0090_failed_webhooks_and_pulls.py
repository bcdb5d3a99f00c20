"""Payments: webhooks that crash end as failed, pulls go on where the last one ended, compared days are rows."""

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
    op.execute("""
        CREATE TABLE payments.reconciled_days (
            provider text NOT NULL,
            account text NOT NULL,
            since timestamptz NOT NULL,
            compared_at timestamptz NOT NULL,
            differing integer NOT NULL CHECK (differing >= 0),
            PRIMARY KEY (provider, account, since)
        )""")
    op.execute("""
        ALTER TABLE payments.reconciliations
        DROP CONSTRAINT reconciliations_kind_check,
        ADD CONSTRAINT reconciliations_kind_check CHECK (kind IN ('capture', 'refund', 'dispute')) NOT VALID""")
    op.execute("ALTER TABLE payments.reconciliations VALIDATE CONSTRAINT reconciliations_kind_check")
    # For what was booked in a day.
    op.execute("CREATE INDEX ix_ledger_transactions_recorded_at ON payments.ledger_transactions (recorded_at)")


def downgrade() -> None:
    op.execute("DROP INDEX payments.ix_ledger_transactions_recorded_at")
    op.execute("DELETE FROM payments.reconciliations WHERE kind = 'dispute'")
    op.execute("""
        ALTER TABLE payments.reconciliations
        DROP CONSTRAINT reconciliations_kind_check,
        ADD CONSTRAINT reconciliations_kind_check CHECK (kind IN ('capture', 'refund')) NOT VALID""")
    op.execute("DROP TABLE payments.reconciled_days")
    op.execute("DROP TABLE payments.provider_pulls")
    op.execute("UPDATE payments.provider_events SET status = 'received' WHERE status = 'failed'")
    op.execute("""
        ALTER TABLE payments.provider_events
        DROP CONSTRAINT provider_events_status_check,
        ADD CONSTRAINT provider_events_status_check CHECK (status IN ('received', 'applied', 'ignored')) NOT VALID,
        DROP COLUMN problem,
        DROP COLUMN crashes""")
