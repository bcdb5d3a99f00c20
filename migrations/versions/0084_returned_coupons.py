"""Payments: a coupon is counted as unused again when its order is refunded in full."""

from alembic import op

revision = "0084"
down_revision = "0083"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE payments.coupon_redemptions ADD COLUMN returned_at timestamptz")
    op.execute("""
        CREATE OR REPLACE FUNCTION payments.count_redemptions() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' AND OLD.returned_at IS NULL THEN
                UPDATE payments.coupons SET redeemed = redeemed - 1 WHERE id = OLD.coupon_id;
            END IF;
            IF TG_OP <> 'DELETE' AND NEW.returned_at IS NULL THEN
                UPDATE payments.coupons SET redeemed = redeemed + 1 WHERE id = NEW.coupon_id;
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("DROP TRIGGER coupon_redemptions_are_counted ON payments.coupon_redemptions")
    op.execute("""
        CREATE TRIGGER coupon_redemptions_are_counted
        AFTER INSERT OR DELETE OR UPDATE OF coupon_id, returned_at ON payments.coupon_redemptions
        FOR EACH ROW EXECUTE FUNCTION payments.count_redemptions()""")


def downgrade() -> None:
    op.execute("DELETE FROM payments.coupon_redemptions WHERE returned_at IS NOT NULL")
    op.execute("DROP TRIGGER coupon_redemptions_are_counted ON payments.coupon_redemptions")
    op.execute("ALTER TABLE payments.coupon_redemptions DROP COLUMN returned_at")
    op.execute("""
        CREATE OR REPLACE FUNCTION payments.count_redemptions() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                UPDATE payments.coupons SET redeemed = redeemed - 1 WHERE id = OLD.coupon_id;
            END IF;
            IF TG_OP <> 'DELETE' THEN
                UPDATE payments.coupons SET redeemed = redeemed + 1 WHERE id = NEW.coupon_id;
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER coupon_redemptions_are_counted
        AFTER INSERT OR DELETE OR UPDATE OF coupon_id ON payments.coupon_redemptions
        FOR EACH ROW EXECUTE FUNCTION payments.count_redemptions()""")
