"""Payments: refunds of money that is owed to buyers, which are tried until it is returned."""

from alembic import op

revision = "0081"
down_revision = "0090"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE payments.refunds ADD COLUMN owed_since timestamptz")
    op.execute("""
        CREATE INDEX ix_refunds_owed_since ON payments.refunds (owed_since)
        WHERE owed_since IS NOT NULL AND status <> 'succeeded'""")


def downgrade() -> None:
    op.execute("ALTER TABLE payments.refunds DROP COLUMN owed_since")
