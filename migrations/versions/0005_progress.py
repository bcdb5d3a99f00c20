"""Progress: outlines of published versions, the progress of each learner and the learner's playback positions."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE SCHEMA progress")
    _courses()
    _learners()
    _grants()


def _courses() -> None:
    op.execute("""
        CREATE TABLE progress.outlines (
            course_id uuid NOT NULL,
            course_version bigint NOT NULL,
            title text NOT NULL,
            sequential boolean NOT NULL,
            prerequisites uuid[] NOT NULL DEFAULT '{}',
            lessons jsonb NOT NULL,
            CONSTRAINT pk_outlines PRIMARY KEY (course_id, course_version)
        )""")
    op.execute("""
        CREATE TABLE progress.course_sales (
            course_id uuid NOT NULL,
            version bigint NOT NULL,
            on_sale boolean NOT NULL,
            CONSTRAINT pk_course_sales PRIMARY KEY (course_id)
        )""")


def _learners() -> None:
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
            certificate_code text,
            certified_at timestamptz,
            -- Set while the learner has no access; the progress is kept.
            closed_at timestamptz,
            enrollment_version bigint NOT NULL DEFAULT 0,
            CONSTRAINT pk_course_progress PRIMARY KEY (user_id, course_id),
            CONSTRAINT uq_course_progress_certificate_code UNIQUE (certificate_code),
            -- Deferrable: a rebuild replaces, within one transaction, an outline that learners have started.
            CONSTRAINT fk_course_progress_course_id_course_version FOREIGN KEY (course_id, course_version)
                REFERENCES progress.outlines (course_id, course_version) DEFERRABLE,
            -- Progress never exceeds 100 percent.
            CONSTRAINT ck_course_progress_counts CHECK (lessons_completed BETWEEN 0 AND lessons_total),
            CONSTRAINT ck_course_progress_certified CHECK ((certificate_code IS NULL) = (certified_at IS NULL))
        )""")
    op.execute("""
        CREATE INDEX ix_course_progress_started_at
        ON progress.course_progress (user_id, started_at, course_id)""")
    op.execute("""
        CREATE TABLE progress.completed_lessons (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            completed_at timestamptz NOT NULL,
            CONSTRAINT pk_completed_lessons PRIMARY KEY (user_id, course_id, lesson_id),
            CONSTRAINT fk_completed_lessons_user_id_course_id FOREIGN KEY (user_id, course_id)
                REFERENCES progress.course_progress (user_id, course_id)
        )""")
    op.execute("CREATE INDEX ix_completed_lessons_completed_at ON progress.completed_lessons (user_id, completed_at)")
    op.execute("""
        CREATE TABLE progress.positions (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            position_seconds bigint NOT NULL,
            furthest_seconds bigint NOT NULL,
            moved_at timestamptz NOT NULL,
            CONSTRAINT pk_positions PRIMARY KEY (user_id, course_id, lesson_id),
            CONSTRAINT fk_positions_user_id_course_id FOREIGN KEY (user_id, course_id)
                REFERENCES progress.course_progress (user_id, course_id),
            CONSTRAINT ck_positions_furthest CHECK (furthest_seconds >= position_seconds),
            CONSTRAINT ck_positions_position_seconds CHECK (position_seconds >= 0)
        )""")


def _grants() -> None:
    op.execute("GRANT USAGE ON SCHEMA progress TO coursebus_progress")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA progress TO coursebus_progress")
    # For the tables of later steps.
    op.execute("""
        ALTER DEFAULT PRIVILEGES IN SCHEMA progress
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO coursebus_progress""")
