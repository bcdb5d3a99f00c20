"""Quarantined events in the outbox, and the place of a refill beside the id of its topic."""

from alembic import op

revision = "0050"
down_revision = "0081"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE bus.outbox
            ADD COLUMN failed_at timestamptz,
            ADD COLUMN failure_reason text,
            ADD CONSTRAINT ck_outbox_failure CHECK ((failed_at IS NULL) = (failure_reason IS NULL))""")
    # The relay reads by this index. Quarantined events are not in it, so many of them cost nothing.
    op.execute("DROP INDEX bus.ix_outbox_unpublished")
    op.execute("""
        CREATE INDEX ix_outbox_unpublished ON bus.outbox (seq) WHERE published_at IS NULL AND failed_at IS NULL""")
    op.execute("""
        CREATE INDEX ix_outbox_quarantined ON bus.outbox (aggregatetype, aggregateid, seq)
        WHERE failed_at IS NOT NULL""")
    op.execute("""
        ALTER TABLE bus.kafka_topics
            ADD COLUMN refill_after bigint,
            ADD COLUMN refill_until bigint,
            ADD COLUMN refill_since timestamptz,
            ADD COLUMN refill_began_at timestamptz,
            ADD COLUMN refill_sent bigint NOT NULL DEFAULT 0,
            ADD CONSTRAINT ck_kafka_topics_refill CHECK ((refill_after IS NULL) = (refill_until IS NULL))""")


def downgrade() -> None:
    op.execute("""
        ALTER TABLE bus.kafka_topics
            DROP COLUMN refill_after, DROP COLUMN refill_until, DROP COLUMN refill_since,
            DROP COLUMN refill_began_at, DROP COLUMN refill_sent""")
    op.execute("DROP INDEX bus.ix_outbox_quarantined")
    op.execute("DROP INDEX bus.ix_outbox_unpublished")
    op.execute("ALTER TABLE bus.outbox DROP COLUMN failed_at, DROP COLUMN failure_reason")
    op.execute("CREATE INDEX ix_outbox_unpublished ON bus.outbox (seq) WHERE published_at IS NULL")
