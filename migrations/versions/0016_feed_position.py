"""The order of the feed: positions in the order in which notes become visible, so that a reader can go on from one."""

from alembic import op

revision = "0016"
down_revision = "0014"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE SEQUENCE notifications.feed_position")
    op.execute("GRANT USAGE ON SEQUENCE notifications.feed_position TO coursebus_notifications")


def downgrade() -> None:
    op.execute("DROP SEQUENCE notifications.feed_position")
