"""Schedules of single learners, and when LESSON_UNLOCKED is to be published."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_table

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    if not has_table("progress.unlocked_lessons"):
        _change_tables()
    with op.get_context().autocommit_block():  # CONCURRENTLY: learners complete lessons in the meantime
        create_index_concurrently(
            "progress.ix_course_progress_next_unlock_at",
            "progress.course_progress (next_unlock_at) WHERE next_unlock_at IS NOT NULL AND closed_at IS NULL",
        )


def _change_tables() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE progress.course_progress ADD COLUMN schedule jsonb, ADD COLUMN next_unlock_at timestamptz""")
    op.execute("""
        CREATE TABLE progress.unlocked_lessons (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            unlocked_at timestamptz NOT NULL,
            CONSTRAINT pk_unlocked_lessons PRIMARY KEY (user_id, course_id, lesson_id),
            CONSTRAINT fk_unlocked_lessons_user_id_course_id FOREIGN KEY (user_id, course_id)
                REFERENCES progress.course_progress (user_id, course_id)
        )""")
    # Learners who wait for a lesson now. What opened before is not reported.
    op.execute("""
        UPDATE progress.course_progress AS learner SET next_unlock_at = (
            SELECT min(opens) FROM jsonb_array_elements(outline.lessons) AS lesson, LATERAL (
                SELECT coalesce(
                    (lesson ->> 'opens_at')::timestamptz,
                    learner.started_at + (lesson ->> 'opens_after_days')::int * interval '1 day'
                ) AS opens
            ) AS scheduled
            WHERE opens > now()
        )
        FROM progress.outlines AS outline
        WHERE outline.course_id = learner.course_id AND outline.course_version = learner.course_version
            AND jsonb_path_exists(outline.lessons, '$[*] ? (@.opens_at != null || @.opens_after_days > 0)')""")


def downgrade() -> None:
    op.execute("DROP INDEX progress.ix_course_progress_next_unlock_at")
    op.execute("DROP TABLE progress.unlocked_lessons")
    op.execute("ALTER TABLE progress.course_progress DROP COLUMN schedule, DROP COLUMN next_unlock_at")
