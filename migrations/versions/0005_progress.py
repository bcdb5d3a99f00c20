"""Progress: outlines of published versions, and each learner's way through them."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE progress.outlines (
            course_id uuid NOT NULL,
            course_version bigint NOT NULL,
            title text NOT NULL,
            sequential boolean NOT NULL,
            lessons jsonb NOT NULL,
            PRIMARY KEY (course_id, course_version)
        )""")
    op.execute("""
        CREATE TABLE progress.course_progress (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            version bigint NOT NULL,
            course_version bigint NOT NULL,
            lessons_total bigint NOT NULL,
            lessons_completed bigint NOT NULL,
            next_lesson_id uuid,
            last_lesson_id uuid,
            started_at timestamptz NOT NULL,
            completed_at timestamptz,
            PRIMARY KEY (user_id, course_id),
            FOREIGN KEY (course_id, course_version) REFERENCES progress.outlines (course_id, course_version),
            -- No percentage above 100, whatever the code does.
            CONSTRAINT ck_course_progress_counts CHECK (lessons_completed BETWEEN 0 AND lessons_total)
        )""")
    op.execute("""
        CREATE TABLE progress.completed_lessons (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            completed_at timestamptz NOT NULL,
            PRIMARY KEY (user_id, course_id, lesson_id),
            FOREIGN KEY (user_id, course_id) REFERENCES progress.course_progress (user_id, course_id)
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE progress.completed_lessons, progress.course_progress, progress.outlines")
