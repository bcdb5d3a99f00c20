"""Payments: customers whom a provider is to delete."""

from alembic import op

revision = "0083"
down_revision = "0082"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.provider_erasures (
            id uuid PRIMARY KEY,
            provider text NOT NULL,
            account text NOT NULL,
            customer_id text NOT NULL,
            requested_at timestamptz NOT NULL,
            next_try_at timestamptz NOT NULL,
            tries bigint NOT NULL,
            UNIQUE (provider, account, customer_id)
        )""")
    op.execute("CREATE INDEX ix_provider_erasures_next_try_at ON payments.provider_erasures (next_try_at)")


def downgrade() -> None:
    op.execute("DROP TABLE payments.provider_erasures")
