"""What learners may be reminded of, as events told it, and what they have been reminded of."""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE notifications.learnings (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            course_title text NOT NULL,
            active_at timestamptz NOT NULL,
            completed_at timestamptz,
            ended_at timestamptz,
            PRIMARY KEY (user_id, course_id)
        )""")
    op.execute("""
        CREATE TABLE notifications.waits (
            kind text NOT NULL CHECK (kind IN ('inactivity', 'streak', 'abandoned_checkout')),
            about uuid NOT NULL,
            user_id uuid NOT NULL,
            since timestamptz NOT NULL,
            due_at timestamptz,
            ended_at timestamptz,
            facts jsonb NOT NULL,
            PRIMARY KEY (kind, about),
            CHECK (ended_at IS NULL OR due_at IS NULL)
        )""")
    op.execute("CREATE INDEX ix_waits_due_at ON notifications.waits (due_at) WHERE due_at IS NOT NULL")
    op.execute("CREATE INDEX ix_waits_user_id ON notifications.waits (user_id)")
    op.execute("""
        CREATE TABLE notifications.reminders (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            kind text NOT NULL,
            local_day date NOT NULL,
            reason text NOT NULL,
            UNIQUE (user_id, kind, local_day),
            UNIQUE (user_id, kind, reason)
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE notifications.reminders, notifications.waits, notifications.learnings")
