"""Numbered invoices and credit notes, and the billing details of buyers."""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.billing_details (
            user_id uuid NOT NULL,
            version bigint NOT NULL,
            name text,
            company text,
            address text,
            tax_id text,
            CONSTRAINT pk_billing_details PRIMARY KEY (user_id)
        )""")
    op.execute("""
        CREATE TABLE payments.invoice_counters (
            kind text NOT NULL,
            year bigint NOT NULL,
            last_number bigint NOT NULL,
            CONSTRAINT pk_invoice_counters PRIMARY KEY (kind, year)
        )""")
    op.execute("""
        CREATE TABLE payments.invoices (
            id uuid NOT NULL,
            kind text NOT NULL,
            order_id uuid NOT NULL,
            refund_id uuid,
            user_id uuid NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            issued_at timestamptz NOT NULL,
            year bigint NOT NULL,
            number bigint,
            seller jsonb,
            buyer jsonb,
            tax jsonb,
            voided_at timestamptz,
            CONSTRAINT pk_invoices PRIMARY KEY (id),
            CONSTRAINT fk_invoices_order_id_orders FOREIGN KEY (order_id) REFERENCES payments.orders (id),
            CONSTRAINT uq_invoices_kind_year_number UNIQUE (kind, year, number),
            CONSTRAINT ck_invoices_kind CHECK (kind IN ('invoice', 'credit_note')),
            CONSTRAINT ck_invoices_refund CHECK ((kind = 'credit_note') = (refund_id IS NOT NULL)),
            CONSTRAINT ck_invoices_numbered CHECK ((number IS NULL) = (seller IS NULL))
        )""")
    op.execute("CREATE UNIQUE INDEX ux_invoices_order ON payments.invoices (order_id) WHERE kind = 'invoice'")
    op.execute("CREATE UNIQUE INDEX ux_invoices_refund ON payments.invoices (refund_id)")
    op.execute("CREATE INDEX ix_invoices_order_id ON payments.invoices (order_id)")
    op.execute("CREATE INDEX ix_invoices_user_id ON payments.invoices (user_id)")
    op.execute("CREATE INDEX ix_invoices_unnumbered ON payments.invoices (id) WHERE number IS NULL")


def downgrade() -> None:
    op.execute("DROP TABLE payments.invoices")
    op.execute("DROP TABLE payments.invoice_counters")
    op.execute("DROP TABLE payments.billing_details")
