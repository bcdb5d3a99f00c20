"""Attempts at quizzes that are started, with a time limit, and extra attempts of learners."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_column

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    if not has_column("courses.quiz_attempts", "status"):
        _change_tables()
    with op.get_context().autocommit_block():  # CONCURRENTLY: learners answer quizzes in the meantime
        for name in ("status", "graded"):
            op.execute(f"ALTER TABLE courses.quiz_attempts VALIDATE CONSTRAINT ck_quiz_attempts_{name}")
        open_attempts = "courses.quiz_attempts ({}) WHERE status = 'open'"
        create_index_concurrently(
            "courses.ix_quiz_attempts_open", open_attempts.format("user_id, lesson_id"), unique=True
        )
        create_index_concurrently("courses.ix_quiz_attempts_expires_at", open_attempts.format("expires_at"))


def _change_tables() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Workers of the version before insert graded attempts only, so a row without a status is graded.
    op.execute("""
        ALTER TABLE courses.quiz_attempts
            ADD COLUMN status text NOT NULL DEFAULT 'submitted',
            ADD COLUMN course_version bigint,
            ADD COLUMN layout jsonb,
            ADD COLUMN points jsonb,
            ADD COLUMN points_earned double precision,
            ADD COLUMN points_total bigint,
            ADD COLUMN started_at timestamptz,
            ADD COLUMN expires_at timestamptz,
            ALTER COLUMN score_percent DROP NOT NULL,
            ALTER COLUMN passed DROP NOT NULL,
            ALTER COLUMN attempted_at DROP NOT NULL,
            ADD CONSTRAINT ck_quiz_attempts_status CHECK (status IN ('open', 'submitted', 'expired'))
                NOT VALID,
            ADD CONSTRAINT ck_quiz_attempts_graded CHECK (
                (status = 'open') = (score_percent IS NULL)
                AND (status = 'open') = (passed IS NULL)
                AND (status = 'open') = (attempted_at IS NULL)
            ) NOT VALID""")
    op.execute("""
        CREATE TABLE courses.quiz_extra_attempts (
            user_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            course_id uuid NOT NULL,
            attempts bigint NOT NULL,
            CONSTRAINT pk_quiz_extra_attempts PRIMARY KEY (user_id, lesson_id),
            CONSTRAINT fk_quiz_extra_attempts_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id),
            CONSTRAINT ck_quiz_extra_attempts_attempts CHECK (attempts BETWEEN 1 AND 1000)
        )""")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON courses.quiz_extra_attempts TO coursebus_courses")


def downgrade() -> None:
    op.execute("DROP TABLE courses.quiz_extra_attempts")
    op.execute("DELETE FROM courses.quiz_attempts WHERE status = 'open'")
    op.execute("""
        ALTER TABLE courses.quiz_attempts
            DROP COLUMN status,
            DROP COLUMN course_version,
            DROP COLUMN layout,
            DROP COLUMN points,
            DROP COLUMN points_earned,
            DROP COLUMN points_total,
            DROP COLUMN started_at,
            DROP COLUMN expires_at,
            ALTER COLUMN score_percent SET NOT NULL,
            ALTER COLUMN passed SET NOT NULL,
            ALTER COLUMN attempted_at SET NOT NULL""")
