"""Progress: positions within lessons, certificates, and an index for streaks."""

from alembic import op

revision = "0018"
down_revision = "0016"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE progress.positions (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            position_seconds bigint NOT NULL CHECK (position_seconds >= 0),
            furthest_seconds bigint NOT NULL CHECK (furthest_seconds >= position_seconds),
            moved_at timestamptz NOT NULL,
            PRIMARY KEY (user_id, course_id, lesson_id),
            FOREIGN KEY (user_id, course_id) REFERENCES progress.course_progress (user_id, course_id)
        )""")
    op.execute("""
        ALTER TABLE progress.course_progress
            ADD COLUMN certificate_code text,
            ADD COLUMN certified_at timestamptz,
            ADD CONSTRAINT uq_course_progress_certificate_code UNIQUE (certificate_code),
            ADD CONSTRAINT ck_course_progress_certified CHECK ((certificate_code IS NULL) = (certified_at IS NULL))""")
    op.execute(
        "CREATE INDEX ix_course_progress_started_at ON progress.course_progress (user_id, started_at, course_id)"
    )
    op.execute("CREATE INDEX ix_completed_lessons_completed_at ON progress.completed_lessons (user_id, completed_at)")


def downgrade() -> None:
    op.execute("DROP INDEX progress.ix_completed_lessons_completed_at, progress.ix_course_progress_started_at")
    op.execute("ALTER TABLE progress.course_progress DROP COLUMN certified_at, DROP COLUMN certificate_code")
    op.execute("DROP TABLE progress.positions")
