"""Plans, subscriptions to them, saved means of payment; an order may be of a period of a subscription."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.plans (
            id uuid PRIMARY KEY,
            name text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            interval text NOT NULL CHECK (interval IN ('month', 'year')),
            trial_days bigint NOT NULL CHECK (trial_days >= 0),
            course_ids jsonb NOT NULL,
            on_sale boolean NOT NULL,
            created_at timestamptz NOT NULL
        )""")
    op.execute("""
        CREATE TABLE payments.saved_methods (
            user_id uuid NOT NULL,
            provider text NOT NULL,
            account text NOT NULL,
            method_id text NOT NULL,
            customer_id text,
            saved_at timestamptz NOT NULL,
            PRIMARY KEY (user_id, provider, account)
        )""")
    _subscriptions()
    op.execute("""
        ALTER TABLE payments.orders
        ALTER COLUMN course_id DROP NOT NULL,
        ADD COLUMN subscription_id uuid REFERENCES payments.subscriptions (id),
        ADD COLUMN period_start timestamptz,
        ADD COLUMN period_end timestamptz,
        ADD CONSTRAINT ck_orders_goods CHECK ((course_id IS NULL) <> (subscription_id IS NULL)),
        ADD CONSTRAINT ck_orders_period CHECK (
            (subscription_id IS NULL) = (period_start IS NULL) AND (period_start IS NULL) = (period_end IS NULL))""")
    # A period is paid once. An order that was given up has paid nothing.
    op.execute("""
        CREATE UNIQUE INDEX ux_orders_period ON payments.orders (subscription_id, period_start)
        WHERE status NOT IN ('expired', 'canceled')""")
    # And one is waited for at a time.
    op.execute("""
        CREATE UNIQUE INDEX ux_orders_due ON payments.orders (subscription_id)
        WHERE status = 'pending' AND subscription_id IS NOT NULL""")
    op.execute("""
        ALTER TABLE payments.attempts
        ADD COLUMN saves_method boolean NOT NULL DEFAULT false,
        ADD COLUMN method_id text,
        ADD COLUMN customer_id text""")


def _subscriptions() -> None:
    op.execute("""
        CREATE TABLE payments.subscriptions (
            id uuid PRIMARY KEY,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            plan_id uuid NOT NULL REFERENCES payments.plans (id),
            status text NOT NULL CHECK (
                status IN ('incomplete', 'trialing', 'active', 'past_due', 'canceled', 'expired')),
            provider text NOT NULL,
            plan_name text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            interval text NOT NULL CHECK (interval IN ('month', 'year')),
            course_ids jsonb NOT NULL,
            receipt_email text,
            anchor_at timestamptz NOT NULL,
            periods bigint NOT NULL,
            period_start timestamptz NOT NULL,
            period_end timestamptz NOT NULL CHECK (period_end >= period_start),
            had_trial boolean NOT NULL,
            trial_end_told boolean NOT NULL,
            failed_charges bigint NOT NULL,
            cancel_at_period_end boolean NOT NULL,
            problem text,
            next_step_at timestamptz,
            created_at timestamptz NOT NULL,
            ended_at timestamptz,
            CONSTRAINT ck_subscriptions_ended CHECK (
                (ended_at IS NULL) = (status IN ('incomplete', 'trialing', 'active', 'past_due')))
        )""")
    # A person is subscribed to a plan once at a time.
    op.execute("""
        CREATE UNIQUE INDEX ux_subscriptions_open ON payments.subscriptions (user_id, plan_id)
        WHERE ended_at IS NULL""")
    op.execute("CREATE INDEX ix_subscriptions_user_id ON payments.subscriptions (user_id, id)")
    op.execute("CREATE INDEX ix_subscriptions_next_step_at ON payments.subscriptions (next_step_at)")


def downgrade() -> None:
    op.execute("ALTER TABLE payments.attempts DROP COLUMN saves_method, DROP COLUMN method_id, DROP COLUMN customer_id")
    op.execute("DELETE FROM payments.orders WHERE subscription_id IS NOT NULL")
    op.execute("""
        ALTER TABLE payments.orders
        DROP COLUMN subscription_id, DROP COLUMN period_start, DROP COLUMN period_end,
        ALTER COLUMN course_id SET NOT NULL""")
    op.execute("DROP TABLE payments.subscriptions, payments.saved_methods, payments.plans")
