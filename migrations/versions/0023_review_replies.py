"""Replies to reviews, and reviews that staff have hidden."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE courses.reviews
            ADD COLUMN reply text,
            ADD COLUMN replied_at timestamptz,
            ADD COLUMN hidden_at timestamptz,
            ADD COLUMN hidden_reason text,
            ADD CONSTRAINT ck_reviews_reply CHECK ((reply IS NULL) = (replied_at IS NULL)),
            ADD CONSTRAINT ck_reviews_hidden CHECK ((hidden_reason IS NULL) = (hidden_at IS NULL))""")


def downgrade() -> None:
    op.execute("""
        ALTER TABLE courses.reviews
            DROP COLUMN reply, DROP COLUMN replied_at, DROP COLUMN hidden_at, DROP COLUMN hidden_reason""")
