"""Access with an end: the agreed end of a grant, the end of the access, and when the learner is notified of it."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_column

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    if not has_column("courses.enrollments", "access_ends_at"):
        op.execute("SET LOCAL lock_timeout = '5s'")
        op.execute("ALTER TABLE courses.grants ADD COLUMN agreed_ends_at timestamptz")
        op.execute("""
            ALTER TABLE courses.enrollments
            ADD COLUMN access_ends_at timestamptz, ADD COLUMN end_notice_at timestamptz""")
        op.execute("ALTER TABLE progress.course_progress ADD COLUMN access_ends_at timestamptz")
    with op.get_context().autocommit_block():  # CONCURRENTLY: people enroll in the meantime
        for column in ("access_ends_at", "end_notice_at"):
            create_index_concurrently(
                f"courses.ix_enrollments_{column}", f"courses.enrollments ({column}) WHERE {column} IS NOT NULL"
            )


def downgrade() -> None:
    op.execute("ALTER TABLE progress.course_progress DROP COLUMN access_ends_at")
    op.execute("ALTER TABLE courses.enrollments DROP COLUMN access_ends_at, DROP COLUMN end_notice_at")
    op.execute("ALTER TABLE courses.grants DROP COLUMN agreed_ends_at")
