"""Payments: refunds, each a row before its provider is called."""

from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.refunds (
            id uuid PRIMARY KEY,
            -- A command gives money back once, however often it is entered.
            command_id uuid NOT NULL UNIQUE,
            order_id uuid NOT NULL REFERENCES payments.orders (id),
            attempt_id uuid NOT NULL REFERENCES payments.attempts (id),
            status text NOT NULL CHECK (status IN ('created', 'unknown', 'pending', 'review', 'succeeded', 'failed')),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            reason text NOT NULL,
            requested_by uuid,
            object_id text,
            problem text,
            created_at timestamptz NOT NULL,
            finished_at timestamptz,
            next_sync_at timestamptz,
            syncs bigint NOT NULL,
            -- A provider's object belongs to one refund.
            UNIQUE (attempt_id, object_id)
        )""")
    op.execute("CREATE INDEX ix_refunds_order_id ON payments.refunds (order_id)")
    op.execute("CREATE INDEX ix_refunds_next_sync_at ON payments.refunds (next_sync_at)")
    op.execute("ALTER TABLE payments.orders DROP CONSTRAINT ck_orders_status, DROP CONSTRAINT ck_orders_paid_at")
    op.execute("""
        ALTER TABLE payments.orders
        ADD CONSTRAINT ck_orders_status CHECK (
            status IN ('pending', 'paid', 'partially_refunded', 'refunded', 'expired', 'canceled')) NOT VALID,
        ADD CONSTRAINT ck_orders_paid_at CHECK (
            status NOT IN ('paid', 'partially_refunded', 'refunded') OR paid_at IS NOT NULL) NOT VALID""")
    op.execute("ALTER TABLE payments.orders VALIDATE CONSTRAINT ck_orders_status")
    op.execute("ALTER TABLE payments.orders VALIDATE CONSTRAINT ck_orders_paid_at")


def downgrade() -> None:
    op.execute("ALTER TABLE payments.orders DROP CONSTRAINT ck_orders_status, DROP CONSTRAINT ck_orders_paid_at")
    op.execute("""
        ALTER TABLE payments.orders
        ADD CONSTRAINT ck_orders_status CHECK (status IN ('pending', 'paid', 'expired', 'canceled')),
        ADD CONSTRAINT ck_orders_paid_at CHECK (status <> 'paid' OR paid_at IS NOT NULL)""")
    op.execute("DROP TABLE payments.refunds")
