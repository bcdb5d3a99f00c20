"""Revisions of what staff edit, so that a change names the state that its author has seen."""

from alembic import op

revision = "0131"
down_revision = "0060"

TABLES = ("payments.bundles", "payments.coupons", "payments.plans", "integrations.webhook_endpoints")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN revision bigint NOT NULL DEFAULT 1")


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN revision")
