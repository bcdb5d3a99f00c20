"""The number of claims of a job's run: unlike ``attempts`` it never goes back, so it identifies the latest claim."""

from alembic import op

revision = "0140"
down_revision = "0131"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE bus.jobs ADD COLUMN claims bigint NOT NULL DEFAULT 0")
    op.execute("UPDATE bus.jobs SET claims = attempts")


def downgrade() -> None:
    op.execute("ALTER TABLE bus.jobs DROP COLUMN claims")
