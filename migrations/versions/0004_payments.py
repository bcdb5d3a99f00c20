"""Payments: offers, orders, attempts and the providers' events, with the invariants of money as constraints."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.offers (
            course_id uuid PRIMARY KEY,
            course_version bigint NOT NULL,
            title text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            on_sale boolean NOT NULL,
            published_at timestamptz NOT NULL
        )""")
    op.execute("""
        CREATE TABLE payments.orders (
            id uuid PRIMARY KEY,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            status text NOT NULL CHECK (status IN ('pending', 'paid', 'expired')),
            course_id uuid NOT NULL,
            course_title text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            created_at timestamptz NOT NULL,
            paid_at timestamptz,
            CONSTRAINT ck_orders_paid_at CHECK (status <> 'paid' OR paid_at IS NOT NULL)
        )""")
    op.execute("CREATE INDEX ix_orders_user_id ON payments.orders (user_id, id)")
    # At most one open order per buyer and product.
    op.execute("CREATE UNIQUE INDEX ux_orders_open ON payments.orders (user_id, course_id) WHERE status = 'pending'")
    _attempts()
    op.execute("""
        CREATE TABLE payments.provider_events (
            id uuid PRIMARY KEY,
            provider text NOT NULL,
            account text NOT NULL,
            dedupe_key text NOT NULL,
            type text NOT NULL,
            object_id text NOT NULL,
            status text NOT NULL CHECK (status IN ('received', 'applied', 'ignored')),
            sweeps bigint NOT NULL,
            due_at timestamptz NOT NULL,
            received_at timestamptz NOT NULL,
            finished_at timestamptz,
            -- A webhook that comes again is the same event.
            UNIQUE (provider, account, dedupe_key)
        )""")
    op.execute("CREATE INDEX ix_provider_events_due ON payments.provider_events (due_at) WHERE status = 'received'")


def _attempts() -> None:
    op.execute("""
        CREATE TABLE payments.attempts (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments.orders (id),
            status text NOT NULL CHECK (status IN (
                'created', 'requires_action', 'processing', 'authorized', 'succeeded', 'failed', 'canceled', 'expired',
                'unknown', 'review', 'duplicate')),
            provider text NOT NULL,
            account text NOT NULL,
            live_mode boolean NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            captured_minor bigint NOT NULL,
            refund_pending_minor bigint NOT NULL,
            refunded_minor bigint NOT NULL,
            success_url text NOT NULL,
            cancel_url text,
            page_id text,
            page_url text,
            page_open boolean NOT NULL,
            payment_id text,
            superseded boolean NOT NULL,
            problem text,
            failed_at timestamptz,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            next_sync_at timestamptz,
            syncs bigint NOT NULL,
            CONSTRAINT ck_attempts_captured CHECK (captured_minor BETWEEN 0 AND amount_minor),
            -- Nobody gives back more than was taken, whatever the code does.
            CONSTRAINT ck_attempts_refunded CHECK (
                refunded_minor >= 0 AND refund_pending_minor >= 0
                AND refunded_minor + refund_pending_minor <= captured_minor),
            -- A provider's object belongs to one attempt.
            UNIQUE (provider, account, page_id),
            UNIQUE (provider, account, payment_id)
        )""")
    op.execute("CREATE INDEX ix_attempts_order_id ON payments.attempts (order_id)")
    op.execute("CREATE INDEX ix_attempts_next_sync_at ON payments.attempts (next_sync_at)")
    # One live attempt per order, across providers: a page that can still be paid counts, after a decline too.
    op.execute("""
        CREATE UNIQUE INDEX ux_attempts_live ON payments.attempts (order_id)
        WHERE page_open OR status IN ('created', 'requires_action', 'processing', 'authorized', 'unknown', 'review')""")
    # One success per order: the loser of a race is stored as a duplicate.
    op.execute("CREATE UNIQUE INDEX ux_attempts_success ON payments.attempts (order_id) WHERE status = 'succeeded'")


def downgrade() -> None:
    op.execute("DROP TABLE payments.provider_events, payments.attempts, payments.orders, payments.offers")
