"""Announcements of courses to their learners."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_table

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    if not has_table("courses.announcements"):
        _change_tables()
    # Pages of learners by user id; it serves what the index of the course alone served.
    with op.get_context().autocommit_block():  # CONCURRENTLY: people enroll in the meantime
        create_index_concurrently(
            "courses.ix_enrollments_course_id_user_id", "courses.enrollments (course_id, user_id)"
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS courses.ix_enrollments_course_id")


def _change_tables() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE courses.announcements (
            id uuid NOT NULL,
            version bigint NOT NULL,
            course_id uuid NOT NULL,
            author_id uuid NOT NULL,
            course_title text NOT NULL,
            subject text NOT NULL,
            body text NOT NULL,
            created_at timestamptz NOT NULL,
            recipients_total bigint NOT NULL,
            recipients_done bigint NOT NULL,
            last_user_id uuid,
            finished_at timestamptz,
            CONSTRAINT pk_announcements PRIMARY KEY (id)
        )""")
    op.execute("CREATE INDEX ix_announcements_course_id ON courses.announcements (course_id, created_at)")
    op.execute("""
        CREATE INDEX ix_announcements_unfinished ON courses.announcements (created_at) WHERE finished_at IS NULL""")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        create_index_concurrently("courses.ix_enrollments_course_id", "courses.enrollments (course_id)")
    op.execute("DROP INDEX courses.ix_enrollments_course_id_user_id")
    op.execute("DROP TABLE courses.announcements")
