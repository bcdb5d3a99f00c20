"""Payments: what each day's comparison with the providers has found."""

from alembic import op

revision = "0032"
down_revision = "0035"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.reconciliations (
            id uuid PRIMARY KEY,
            provider text NOT NULL,
            account text NOT NULL,
            since timestamptz NOT NULL,
            until timestamptz NOT NULL CHECK (until > since),
            kind text NOT NULL CHECK (kind IN ('capture', 'refund')),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            theirs_minor bigint NOT NULL,
            ours_minor bigint NOT NULL,
            differing jsonb NOT NULL,
            compared_at timestamptz NOT NULL,
            -- A day is compared again while it does not agree; its report is one.
            UNIQUE (provider, account, since, kind, currency)
        )""")
    op.execute("""
        CREATE INDEX ix_reconciliations_off ON payments.reconciliations (since) WHERE differing <> '[]'""")


def downgrade() -> None:
    op.execute("DROP TABLE payments.reconciliations")
