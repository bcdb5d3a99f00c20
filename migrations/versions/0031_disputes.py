"""Payments: disputes, and the order's states while one is open and after one is lost."""

from alembic import op

revision = "0031"
down_revision = "0030"

_BEFORE = "'pending', 'paid', 'partially_refunded', 'refunded', 'expired', 'canceled'"
_PAID_BEFORE = "'paid', 'partially_refunded', 'refunded'"
_KINDS_BEFORE = "'capture', 'refund', 'refund_returned'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.disputes (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments.orders (id),
            attempt_id uuid NOT NULL REFERENCES payments.attempts (id),
            object_id text NOT NULL,
            status text NOT NULL CHECK (status IN ('inquiry', 'open', 'won', 'lost', 'review')),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            reason text NOT NULL,
            problem text,
            respond_by timestamptz,
            opened_at timestamptz NOT NULL,
            closed_at timestamptz,
            -- A provider's object is one dispute, however often it is told.
            UNIQUE (attempt_id, object_id)
        )""")
    op.execute("CREATE INDEX ix_disputes_order_id ON payments.disputes (order_id)")
    # A dispute may be of more than is left after refunds: what a bank has taken is a fact, and no rule of ours.
    op.execute("""
        ALTER TABLE payments.attempts
        ADD COLUMN disputed_minor bigint NOT NULL DEFAULT 0
            CONSTRAINT ck_attempts_disputed CHECK (disputed_minor >= 0),
        ADD COLUMN charged_back_minor bigint NOT NULL DEFAULT 0
            CONSTRAINT ck_attempts_charged_back CHECK (charged_back_minor >= 0)""")
    _orders(f"{_BEFORE}, 'disputed', 'charged_back'", f"{_PAID_BEFORE}, 'disputed', 'charged_back'")
    _kinds(f"{_KINDS_BEFORE}, 'dispute', 'dispute_won'")


def downgrade() -> None:
    op.execute("UPDATE payments.orders SET status = 'refunded' WHERE status IN ('disputed', 'charged_back')")
    _orders(_BEFORE, _PAID_BEFORE)
    op.execute("ALTER TABLE payments.attempts DROP COLUMN disputed_minor, DROP COLUMN charged_back_minor")
    op.execute("DROP TABLE payments.disputes")


def _orders(statuses: str, paid: str) -> None:
    op.execute("ALTER TABLE payments.orders DROP CONSTRAINT ck_orders_status, DROP CONSTRAINT ck_orders_paid_at")
    op.execute(f"""
        ALTER TABLE payments.orders
        ADD CONSTRAINT ck_orders_status CHECK (status IN ({statuses})) NOT VALID,
        ADD CONSTRAINT ck_orders_paid_at CHECK (status NOT IN ({paid}) OR paid_at IS NOT NULL) NOT VALID""")
    op.execute("ALTER TABLE payments.orders VALIDATE CONSTRAINT ck_orders_status")
    op.execute("ALTER TABLE payments.orders VALIDATE CONSTRAINT ck_orders_paid_at")


def _kinds(kinds: str) -> None:
    op.execute(f"""
        ALTER TABLE payments.ledger_transactions
        DROP CONSTRAINT ledger_transactions_kind_check,
        ADD CONSTRAINT ledger_transactions_kind_check CHECK (kind IN ({kinds})) NOT VALID""")
    op.execute("ALTER TABLE payments.ledger_transactions VALIDATE CONSTRAINT ledger_transactions_kind_check")
