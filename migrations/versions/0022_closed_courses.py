"""Progress: a course whose access has ended is closed, and keeps what was done."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE progress.course_progress ADD COLUMN closed_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE progress.course_progress DROP COLUMN closed_at")
