"""Replies to reviews, and reviews that staff have hidden."""

from alembic import op

from migrations.repeatable import has_column

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    if not has_column("courses.reviews", "reply"):
        _change_tables()
    with op.get_context().autocommit_block():  # so that the check of all rows holds no lock that readers wait for
        for name in ("reply", "hidden"):
            op.execute(f"ALTER TABLE courses.reviews VALIDATE CONSTRAINT ck_reviews_{name}")


def _change_tables() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE courses.reviews
            ADD COLUMN reply text,
            ADD COLUMN replied_at timestamptz,
            ADD COLUMN hidden_at timestamptz,
            ADD COLUMN hidden_reason text,
            ADD CONSTRAINT ck_reviews_reply CHECK ((reply IS NULL) = (replied_at IS NULL)) NOT VALID,
            ADD CONSTRAINT ck_reviews_hidden CHECK ((hidden_reason IS NULL) = (hidden_at IS NULL)) NOT VALID""")


def downgrade() -> None:
    op.execute("""
        ALTER TABLE courses.reviews
            DROP COLUMN reply, DROP COLUMN replied_at, DROP COLUMN hidden_at, DROP COLUMN hidden_reason""")
