"""The status of the fiscal receipt of a refund."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE payments.refunds
            ADD COLUMN receipt_status text,
            ADD CONSTRAINT ck_refunds_receipt_status CHECK (receipt_status IN ('pending', 'succeeded', 'canceled'))""")


def downgrade() -> None:
    op.execute("ALTER TABLE payments.refunds DROP COLUMN receipt_status")
