"""Files by their owner, for the export and erasure of personal data."""

from alembic import op

from migrations.repeatable import create_index_concurrently

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    with op.get_context().autocommit_block():  # CONCURRENTLY: files are written in the meantime
        create_index_concurrently("courses.ix_files_owner_id", "courses.files (owner_id)")


def downgrade() -> None:
    op.execute("DROP INDEX courses.ix_files_owner_id")
