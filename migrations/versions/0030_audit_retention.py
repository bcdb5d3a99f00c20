"""Retention of the audit log: a function deletes entries that are older than a year; no role may do more."""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION bus.prune_staff_actions(older_than timestamptz, batch bigint) RETURNS bigint
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            DECLARE
                deleted bigint;
            BEGIN
                IF older_than > now() - interval '365 days' THEN
                    RAISE EXCEPTION 'entries of the audit log are kept for at least 365 days';
                END IF;
                DELETE FROM bus.staff_actions WHERE id IN (
                    SELECT id FROM (SELECT id, done_at FROM bus.staff_actions ORDER BY id LIMIT batch) AS oldest
                    WHERE done_at < older_than);
                GET DIAGNOSTICS deleted = ROW_COUNT;
                RETURN deleted;
            END $$""")
    op.execute("REVOKE ALL ON FUNCTION bus.prune_staff_actions FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION bus.prune_staff_actions TO coursebus_users")


def downgrade() -> None:
    op.execute("DROP FUNCTION bus.prune_staff_actions")
