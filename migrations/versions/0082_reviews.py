"""Payments: money in review is counted and booked in suspense, and a person's decision leads out of it."""

from alembic import op

revision = "0082"
down_revision = "0070"

_KINDS_BEFORE = "'capture', 'refund', 'refund_returned', 'dispute', 'dispute_won'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # What a provider has captured may be more than, or in another currency than what was asked for.
    op.execute("""
        ALTER TABLE payments.attempts
        ADD COLUMN captured_currency text CHECK (captured_currency ~ '^[A-Z]{3}$'),
        DROP CONSTRAINT ck_attempts_captured,
        ADD CONSTRAINT ck_attempts_captured CHECK (captured_minor >= 0) NOT VALID""")
    op.execute("ALTER TABLE payments.attempts VALIDATE CONSTRAINT ck_attempts_captured")
    op.execute("CREATE INDEX ix_attempts_review ON payments.attempts (id) WHERE status = 'review'")
    op.execute("CREATE INDEX ix_refunds_review ON payments.refunds (id) WHERE status = 'review'")
    _kinds(f"{_KINDS_BEFORE}, 'review_resolved'")
    op.execute("""
        CREATE TABLE payments.resolutions (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments.orders (id),
            subject text NOT NULL CHECK (subject IN ('payment', 'refund', 'dispute')),
            subject_id uuid NOT NULL,
            action text NOT NULL CHECK (action IN ('accept', 'release', 'refund')),
            note text NOT NULL,
            actor uuid NOT NULL,
            resolved_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX ix_resolutions_subject_id ON payments.resolutions (subject_id)")
    op.execute("CREATE INDEX ix_resolutions_order_id ON payments.resolutions (order_id)")
    # An audit trail: rows are added, and only the note is cleared when its buyer is erased.
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON payments.resolutions FROM coursebus_payments")
    op.execute("GRANT UPDATE (note) ON payments.resolutions TO coursebus_payments")


def downgrade() -> None:
    op.execute("DROP TABLE payments.resolutions")
    op.execute("DROP INDEX payments.ix_attempts_review, payments.ix_refunds_review")
    op.execute("""
        ALTER TABLE payments.attempts
        DROP COLUMN captured_currency,
        DROP CONSTRAINT ck_attempts_captured,
        ADD CONSTRAINT ck_attempts_captured CHECK (captured_minor BETWEEN 0 AND amount_minor) NOT VALID""")


def _kinds(kinds: str) -> None:
    op.execute(f"""
        ALTER TABLE payments.ledger_transactions
        DROP CONSTRAINT ledger_transactions_kind_check,
        ADD CONSTRAINT ledger_transactions_kind_check CHECK (kind IN ({kinds})) NOT VALID""")
    op.execute("ALTER TABLE payments.ledger_transactions VALIDATE CONSTRAINT ledger_transactions_kind_check")
