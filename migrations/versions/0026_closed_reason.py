"""Why the progress of a learner was closed: a certificate that a late event issues obeys the rule for refunds."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE progress.course_progress ADD COLUMN closed_reason text")


def downgrade() -> None:
    op.execute("ALTER TABLE progress.course_progress DROP COLUMN closed_reason")
