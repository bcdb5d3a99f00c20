"""The version of each enrollment, and covers of courses."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("courses", "course_versions", "catalogue"):
        op.execute(f"ALTER TABLE courses.{table} ADD COLUMN cover_url text")
    op.execute("ALTER TABLE courses.enrollments ADD COLUMN course_version bigint")
    # Learners stay on the version on which they have started.
    op.execute("""
        UPDATE courses.enrollments AS enrollment SET course_version = started.course_version
        FROM progress.course_progress AS started
        WHERE started.user_id = enrollment.user_id AND started.course_id = enrollment.course_id""")


def downgrade() -> None:
    op.execute("ALTER TABLE courses.enrollments DROP COLUMN course_version")
    for table in ("catalogue", "course_versions", "courses"):
        op.execute(f"ALTER TABLE courses.{table} DROP COLUMN cover_url")
