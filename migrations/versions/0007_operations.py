"""Operations, the copies of dead letters on Kafka, and what pruning and rebuilding find their rows by."""

from alembic import op

revision = "0007"
down_revision = "0006"

ROLES = ("users", "courses", "payments", "progress", "notifications", "bridge")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE bus.operations (
            id uuid PRIMARY KEY,
            kind text NOT NULL,
            message jsonb NOT NULL,
            owner text NOT NULL,
            claim jsonb NOT NULL,
            headers jsonb NOT NULL,
            status text NOT NULL CHECK (status IN ('pending', 'running', 'succeeded', 'failed')),
            attempts bigint NOT NULL,
            leased_until timestamptz,
            run_after timestamptz NOT NULL,
            answer jsonb,
            created_at timestamptz NOT NULL,
            finished_at timestamptz,
            -- Finished is what has an answer, and nothing else.
            CONSTRAINT ck_operations_outcome CHECK (
                (status IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)
                AND (answer IS NOT NULL) = (finished_at IS NOT NULL)
            )
        )""")
    op.execute("CREATE INDEX ix_operations_open ON bus.operations (run_after) WHERE finished_at IS NULL")
    op.execute("CREATE INDEX ix_operations_finished_at ON bus.operations (finished_at)")
    for role in ROLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON bus.operations TO coursebus_{role}")
    op.execute("ALTER TABLE bus.dead_letters ADD COLUMN published_at timestamptz")
    op.execute("CREATE INDEX ix_dead_letters_unpublished ON bus.dead_letters (seq) WHERE published_at IS NULL")
    # By type, because events that projections are folded from are kept for good and must not be passed again and again.
    op.execute("CREATE INDEX ix_outbox_published ON bus.outbox (type, published_at) WHERE published_at IS NOT NULL")
    # A rebuild replaces an outline within one transaction; whoever has started on it must find it at its end.
    op.execute("""
        ALTER TABLE progress.course_progress
        ALTER CONSTRAINT course_progress_course_id_course_version_fkey DEFERRABLE INITIALLY IMMEDIATE""")


def downgrade() -> None:
    op.execute("""
        ALTER TABLE progress.course_progress
        ALTER CONSTRAINT course_progress_course_id_course_version_fkey NOT DEFERRABLE""")
    op.execute("DROP INDEX bus.ix_outbox_published")
    op.execute("ALTER TABLE bus.dead_letters DROP COLUMN published_at")
    op.execute("DROP TABLE bus.operations")
