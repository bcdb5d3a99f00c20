"""Payments: when access ends while a subscription is past due, and which charges the renewal job has made."""

from alembic import op

revision = "0070"
down_revision = "0050"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE payments.subscriptions ADD COLUMN ends_at timestamptz")
    op.execute("UPDATE payments.subscriptions SET ends_at = period_end + interval '21 days' WHERE status = 'past_due'")
    # The first paid period begins when the trial ends.
    op.execute("UPDATE payments.subscriptions SET anchor_at = period_end WHERE had_trial AND paid_order_id IS NULL")
    # Access without payment always has an end.
    op.execute("""
        ALTER TABLE payments.subscriptions
        ADD CONSTRAINT ck_subscriptions_ends_at CHECK ((ends_at IS NOT NULL) = (status = 'past_due'))""")
    op.execute("ALTER TABLE payments.attempts ADD COLUMN is_scheduled boolean NOT NULL DEFAULT false")
    op.execute("UPDATE payments.attempts SET is_scheduled = true WHERE method_id IS NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE payments.subscriptions DROP COLUMN ends_at")
    op.execute("ALTER TABLE payments.attempts DROP COLUMN is_scheduled")
