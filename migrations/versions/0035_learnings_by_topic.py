"""Learnings in columns of one topic each, and days of study: so that either topic can be told again."""

from alembic import op

revision = "0035"
down_revision = "0031"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Yesterday's code goes on with active_at; it goes when that code has gone.
    op.execute("""
        ALTER TABLE notifications.learnings
            ADD COLUMN enrollment_id uuid,
            ADD COLUMN enrolled_at timestamptz,
            ADD COLUMN studied_at timestamptz,
            ADD COLUMN studied_on date[] NOT NULL DEFAULT '{}',
            ALTER COLUMN active_at DROP NOT NULL""")
    op.execute("UPDATE notifications.learnings SET enrolled_at = active_at")
    op.execute("CREATE INDEX ix_learnings_enrollment_id ON notifications.learnings (enrollment_id)")
    op.execute("CREATE INDEX ix_learnings_ended_at ON notifications.learnings (ended_at) WHERE ended_at IS NOT NULL")
    op.execute("CREATE INDEX ix_waits_since ON notifications.waits (kind, since)")
    op.execute("CREATE INDEX ix_reminders_local_day ON notifications.reminders (local_day)")


def downgrade() -> None:
    op.execute("DROP INDEX notifications.ix_reminders_local_day, notifications.ix_waits_since")
    op.execute("UPDATE notifications.learnings SET active_at = greatest(enrolled_at, studied_at)")
    op.execute("""
        ALTER TABLE notifications.learnings
            ALTER COLUMN active_at SET NOT NULL,
            DROP COLUMN studied_on, DROP COLUMN studied_at, DROP COLUMN enrolled_at, DROP COLUMN enrollment_id""")
