"""The request and the trace that a provider's event belongs to, for the sweeps that apply it later."""

from alembic import op

revision = "0141"
down_revision = "0140"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE payments.provider_events ADD COLUMN headers jsonb NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    op.execute("ALTER TABLE payments.provider_events DROP COLUMN headers")
