"""Payments: indexes by which old webhooks and steps of orders are pruned."""

from alembic import op

revision = "0085"
down_revision = "0084"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE INDEX ix_provider_events_finished_at ON payments.provider_events (finished_at)")
    # Rows are only appended: a BRIN index of some pages finds the oldest.
    op.execute("CREATE INDEX ix_order_steps_at ON payments.order_steps USING brin (at)")


def downgrade() -> None:
    op.execute("DROP INDEX payments.ix_provider_events_finished_at, payments.ix_order_steps_at")
