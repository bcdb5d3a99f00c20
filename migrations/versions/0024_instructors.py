"""Editors of courses, and what instructors say about themselves."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_column

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    if not has_column("courses.courses", "editor_ids"):
        _change_tables()
    with op.get_context().autocommit_block():  # CONCURRENTLY: courses are written in the meantime
        create_index_concurrently("courses.ix_courses_editor_ids", "courses.courses USING gin (editor_ids)")


def _change_tables() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Defaults that are no expressions are stored in the catalogue: existing rows are not rewritten.
    op.execute("ALTER TABLE courses.courses ADD COLUMN editor_ids uuid[] NOT NULL DEFAULT '{}'")
    op.execute("ALTER TABLE users.users ADD COLUMN bio text")


def downgrade() -> None:
    op.execute("ALTER TABLE users.users DROP COLUMN bio")
    op.execute("DROP INDEX courses.ix_courses_editor_ids")
    op.execute("ALTER TABLE courses.courses DROP COLUMN editor_ids")
