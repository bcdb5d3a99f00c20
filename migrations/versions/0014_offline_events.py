"""Offline events that are applied in any order, and the watched parts of a lesson."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE progress.course_progress ADD COLUMN last_activity_at timestamptz")
    # Null: watched up to furthest_seconds, as it was counted before this migration.
    op.execute("ALTER TABLE progress.positions ADD COLUMN watched int4multirange")
    op.execute("""
        CREATE TABLE progress.reopened_lessons (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            reopened_at timestamptz NOT NULL,
            CONSTRAINT pk_reopened_lessons PRIMARY KEY (user_id, course_id, lesson_id),
            CONSTRAINT fk_reopened_lessons_user_id_course_id FOREIGN KEY (user_id, course_id)
                REFERENCES progress.course_progress (user_id, course_id)
        )""")
    op.execute("""
        CREATE TABLE progress.waiting_events (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            at timestamptz NOT NULL,
            kind text NOT NULL,
            position_seconds bigint NOT NULL,
            from_seconds bigint NOT NULL,
            CONSTRAINT pk_waiting_events
                PRIMARY KEY (user_id, course_id, lesson_id, at, kind, position_seconds, from_seconds),
            CONSTRAINT fk_waiting_events_user_id_course_id FOREIGN KEY (user_id, course_id)
                REFERENCES progress.course_progress (user_id, course_id),
            CONSTRAINT ck_waiting_events_kind CHECK (kind IN ('completed', 'position'))
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE progress.waiting_events")
    op.execute("DROP TABLE progress.reopened_lessons")
    op.execute("ALTER TABLE progress.positions DROP COLUMN watched")
    op.execute("ALTER TABLE progress.course_progress DROP COLUMN last_activity_at")
