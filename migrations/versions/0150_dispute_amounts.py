"""Payments: the ledger books each change of the amount of a dispute."""

from alembic import op

revision = "0150"
down_revision = "0141"

_KINDS_BEFORE = "'capture', 'refund', 'refund_returned', 'dispute', 'dispute_won', 'review_resolved'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"""
        ALTER TABLE payments.ledger_transactions
        DROP CONSTRAINT ledger_transactions_kind_source_id_key,
        DROP CONSTRAINT ledger_transactions_kind_check,
        ADD CONSTRAINT ledger_transactions_kind_check CHECK (kind IN ({_KINDS_BEFORE}, 'dispute_changed')) NOT VALID""")
    op.execute("ALTER TABLE payments.ledger_transactions VALIDATE CONSTRAINT ledger_transactions_kind_check")
    # The amount of one dispute may change repeatedly; every other movement of money is booked once.
    op.execute("""
        CREATE UNIQUE INDEX ux_ledger_transactions_source ON payments.ledger_transactions (source_id, kind)
        WHERE kind <> 'dispute_changed'""")
    # Reconciliation sums all transactions of a source.
    op.execute("""
        CREATE INDEX ix_ledger_transactions_dispute_changed ON payments.ledger_transactions (source_id)
        WHERE kind = 'dispute_changed'""")


def downgrade() -> None:
    op.execute("DROP INDEX payments.ix_ledger_transactions_dispute_changed, payments.ux_ledger_transactions_source")
    op.execute("""
        ALTER TABLE payments.ledger_transactions
        ADD CONSTRAINT ledger_transactions_kind_source_id_key UNIQUE (kind, source_id)""")
