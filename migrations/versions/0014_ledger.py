"""Payments: the ledger, in double entry and append-only, with what was captured before it."""

from alembic import op

revision = "0014"
down_revision = "0011"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.ledger_transactions (
            id uuid PRIMARY KEY,
            kind text NOT NULL CHECK (kind IN ('capture', 'refund', 'refund_returned')),
            source_id uuid NOT NULL,
            order_id uuid NOT NULL REFERENCES payments.orders (id),
            recorded_at timestamptz NOT NULL,
            -- A movement of money is booked once.
            UNIQUE (kind, source_id)
        )""")
    op.execute("CREATE INDEX ix_ledger_transactions_order_id ON payments.ledger_transactions (order_id)")
    op.execute("""
        CREATE TABLE payments.ledger_entries (
            id uuid PRIMARY KEY,
            transaction_id uuid NOT NULL REFERENCES payments.ledger_transactions (id),
            account text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$')
        )""")
    op.execute("CREATE INDEX ix_ledger_entries_transaction_id ON payments.ledger_entries (transaction_id)")
    op.execute("""
        CREATE INDEX ix_ledger_entries_account ON payments.ledger_entries (account, currency, id)
        INCLUDE (amount_minor)""")
    _only_appended()
    _balanced()
    _book_what_was_captured()


def _only_appended() -> None:
    op.execute("""
        REVOKE UPDATE, DELETE, TRUNCATE ON payments.ledger_transactions, payments.ledger_entries
        FROM coursebus_payments""")
    # The owner of the tables is above all grants, and not above this.
    op.execute("""
        CREATE FUNCTION payments.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
        END $$""")
    for table in ("ledger_transactions", "ledger_entries"):
        op.execute(f"""
            CREATE TRIGGER {table}_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.{table}
            FOR EACH STATEMENT EXECUTE FUNCTION payments.refuse_change()""")


def _balanced() -> None:
    # Looked at when the transaction commits: between the two entries it cannot be balanced.
    op.execute("""
        CREATE FUNCTION payments.refuse_imbalance() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM payments.ledger_entries WHERE transaction_id = NEW.transaction_id
                GROUP BY currency HAVING sum(amount_minor) <> 0
            ) THEN
                RAISE EXCEPTION 'ledger transaction % does not sum to zero', NEW.transaction_id
                USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE CONSTRAINT TRIGGER ledger_entries_sum_to_zero AFTER INSERT ON payments.ledger_entries
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments.refuse_imbalance()""")


def _book_what_was_captured() -> None:
    op.execute("""
        INSERT INTO payments.ledger_transactions (id, kind, source_id, order_id, recorded_at)
        SELECT gen_random_uuid(), 'capture', id, order_id, now() FROM payments.attempts WHERE captured_minor > 0""")
    op.execute("""
        INSERT INTO payments.ledger_entries (id, transaction_id, account, amount_minor, currency)
        SELECT gen_random_uuid(), booked.id, side.account, side.sign * attempt.captured_minor, attempt.currency
        FROM payments.ledger_transactions booked
        JOIN payments.attempts attempt ON attempt.id = booked.source_id
        CROSS JOIN LATERAL (VALUES
            ('provider.' || attempt.provider || '.' || attempt.account, 1),
            (CASE attempt.status WHEN 'duplicate' THEN 'owed_to_buyers' ELSE 'sales' END, -1)) side (account, sign)""")


def downgrade() -> None:
    op.execute("DROP TABLE payments.ledger_entries, payments.ledger_transactions")
    op.execute("DROP FUNCTION payments.refuse_change, payments.refuse_imbalance")
