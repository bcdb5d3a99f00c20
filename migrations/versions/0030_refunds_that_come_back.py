"""Refunds that leave the access or come back; grants that know how far they follow their source."""

from alembic import op

revision = "0030"
down_revision = "0034"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE payments.refunds ADD COLUMN keeps_access boolean NOT NULL DEFAULT false")
    # The version of the order or subscription whose news the grant has followed last.
    op.execute("ALTER TABLE courses.grants ADD COLUMN source_version bigint NOT NULL DEFAULT 0")
    # What paid for the present period: when that money goes, the subscription is over.
    op.execute("ALTER TABLE payments.subscriptions ADD COLUMN paid_order_id uuid")
    op.execute("""
        UPDATE payments.subscriptions subscription SET paid_order_id = (
            SELECT id FROM payments.orders
            WHERE subscription_id = subscription.id AND paid_at IS NOT NULL
            ORDER BY period_start DESC LIMIT 1)""")


def downgrade() -> None:
    op.execute("ALTER TABLE payments.refunds DROP COLUMN keeps_access")
    op.execute("ALTER TABLE payments.subscriptions DROP COLUMN paid_order_id")
    op.execute("ALTER TABLE courses.grants DROP COLUMN source_version")
