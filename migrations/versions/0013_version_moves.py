"""Moves of learners to a new version of their course."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_table

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    if not has_table("progress.version_moves"):
        _change_tables()
    with op.get_context().autocommit_block():  # CONCURRENTLY: learners complete lessons in the meantime
        create_index_concurrently(
            "progress.ix_course_progress_course_id", "progress.course_progress (course_id, user_id)"
        )


def _change_tables() -> None:
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


def downgrade() -> None:
    op.execute("DROP INDEX progress.ix_course_progress_course_id")
    op.execute("DROP TABLE progress.version_moves")
    op.execute("ALTER TABLE progress.outlines DROP COLUMN moves_learners")
