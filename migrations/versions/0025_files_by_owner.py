"""Files by their owner, for the export and erasure of personal data."""

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    with op.get_context().autocommit_block():  # CONCURRENTLY: files are written in the meantime
        op.execute("CREATE INDEX CONCURRENTLY ix_files_owner_id ON courses.files (owner_id)")


def downgrade() -> None:
    op.execute("DROP INDEX courses.ix_files_owner_id")
