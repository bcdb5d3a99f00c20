"""Moves of learners to a new version of their course."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE progress.outlines ADD COLUMN moves_learners boolean NOT NULL DEFAULT false")
    op.execute("""
        CREATE TABLE progress.version_moves (
            course_id uuid NOT NULL,
            course_version bigint NOT NULL,
            after_user_id uuid NOT NULL,
            requested_at timestamptz NOT NULL,
            CONSTRAINT pk_version_moves PRIMARY KEY (course_id)
        )""")
    with op.get_context().autocommit_block():  # CONCURRENTLY: learners complete lessons in the meantime
        op.execute("""
            CREATE INDEX CONCURRENTLY ix_course_progress_course_id
            ON progress.course_progress (course_id, user_id)""")


def downgrade() -> None:
    op.execute("DROP INDEX progress.ix_course_progress_course_id")
    op.execute("DROP TABLE progress.version_moves")
    op.execute("ALTER TABLE progress.outlines DROP COLUMN moves_learners")
