"""Payments: what a provider reports has happened, and is stored; what we promise stays within what was captured."""

from alembic import op

revision = "0080"
down_revision = "0032"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # A refund made in the provider's dashboard may exceed what refunds and disputes of ours have left.
    op.execute("""
        ALTER TABLE payments.attempts
        DROP CONSTRAINT ck_attempts_refunded,
        ADD CONSTRAINT ck_attempts_refunded CHECK (refunded_minor >= 0 AND refund_pending_minor >= 0) NOT VALID""")
    op.execute("ALTER TABLE payments.attempts VALIDATE CONSTRAINT ck_attempts_refunded")
    # A new refund of ours is 'created'. Checked at commit: the attempt is written in the same transaction.
    op.execute("""
        CREATE FUNCTION payments.refuse_refund_above_capture() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM payments.attempts
                WHERE id = NEW.attempt_id AND refunded_minor + refund_pending_minor > captured_minor
            ) THEN
                RAISE EXCEPTION 'refund % exceeds what was captured', NEW.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'refunds_within_capture';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE CONSTRAINT TRIGGER refunds_within_capture AFTER INSERT ON payments.refunds
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'created')
        EXECUTE FUNCTION payments.refuse_refund_above_capture()""")
    # Money that does not match may arrive for one page while another one is open.
    op.execute("DROP INDEX payments.ux_attempts_live")
    op.execute("""
        CREATE UNIQUE INDEX ux_attempts_live ON payments.attempts (order_id)
        WHERE status <> 'review'
            AND (page_open OR status IN ('created', 'requires_action', 'processing', 'authorized', 'unknown'))""")


def downgrade() -> None:
    op.execute("DROP INDEX payments.ux_attempts_live")
    op.execute("""
        CREATE UNIQUE INDEX ux_attempts_live ON payments.attempts (order_id)
        WHERE page_open OR status IN ('created', 'requires_action', 'processing', 'authorized', 'unknown', 'review')""")
    op.execute("DROP TRIGGER refunds_within_capture ON payments.refunds")
    op.execute("DROP FUNCTION payments.refuse_refund_above_capture")
    op.execute("""
        ALTER TABLE payments.attempts
        DROP CONSTRAINT ck_attempts_refunded,
        ADD CONSTRAINT ck_attempts_refunded CHECK (
            refunded_minor >= 0 AND refund_pending_minor >= 0
            AND refunded_minor + refund_pending_minor <= captured_minor) NOT VALID""")
