"""Orders: canceled ones, their history, the receipts that the law asks for."""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE payments.attempts
        ADD COLUMN receipt_email text,
        ADD COLUMN receipt_status text CHECK (receipt_status IN ('pending', 'succeeded', 'canceled'))""")
    op.execute("""
        ALTER TABLE payments.orders
        DROP CONSTRAINT orders_status_check,
        ADD CONSTRAINT ck_orders_status CHECK (status IN ('pending', 'paid', 'expired', 'canceled'))""")
    op.execute("""
        CREATE TABLE payments.order_steps (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments.orders (id),
            step text NOT NULL,
            payment_id uuid,
            provider text,
            detail text,
            at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX ix_order_steps_order_id ON payments.order_steps (order_id, id)")
    # A history is added to, and never changed.
    op.execute("REVOKE UPDATE, DELETE ON payments.order_steps FROM coursebus_payments")


def downgrade() -> None:
    op.execute("DROP TABLE payments.order_steps")
    op.execute("ALTER TABLE payments.attempts DROP COLUMN receipt_email, DROP COLUMN receipt_status")
    op.execute("""
        ALTER TABLE payments.orders
        DROP CONSTRAINT ck_orders_status,
        ADD CONSTRAINT orders_status_check CHECK (status IN ('pending', 'paid', 'expired'))""")
