"""Request traces: find the events that a request has caused."""

from alembic import op

from migrations.repeatable import create_index_concurrently

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    with op.get_context().autocommit_block():  # CONCURRENTLY: events are recorded in the meantime
        create_index_concurrently("bus.ix_outbox_request_id", "bus.outbox ((headers ->> 'request_id'))")


def downgrade() -> None:
    op.execute("DROP INDEX bus.ix_outbox_request_id")
