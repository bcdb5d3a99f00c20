"""Answers to Idempotency-Keys keep the order of their fields: as text of JSON, which a repeat gets byte for byte."""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The keys of a day: rewritten in a second or two.
    op.execute("ALTER TABLE bus.idempotency_keys ALTER COLUMN answer TYPE json USING answer::json")


def downgrade() -> None:
    op.execute("ALTER TABLE bus.idempotency_keys ALTER COLUMN answer TYPE jsonb USING answer::jsonb")
