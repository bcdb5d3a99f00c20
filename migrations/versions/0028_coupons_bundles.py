"""Payments: bundles, which an order may be for; coupons, whose redemptions are counted by the database."""

from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE payments.bundles (
            id uuid PRIMARY KEY,
            title text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            course_ids jsonb NOT NULL CHECK (jsonb_array_length(course_ids) > 0),
            on_sale boolean NOT NULL,
            created_at timestamptz NOT NULL
        )""")
    op.execute("""
        ALTER TABLE payments.orders
        ADD COLUMN bundle_id uuid,
        ADD COLUMN bundle_courses jsonb,
        DROP CONSTRAINT ck_orders_goods,
        ADD CONSTRAINT ck_orders_goods CHECK (num_nonnulls(course_id, bundle_id, subscription_id) = 1) NOT VALID,
        ADD CONSTRAINT ck_orders_bundle CHECK ((bundle_id IS NULL) = (bundle_courses IS NULL)) NOT VALID""")
    op.execute("ALTER TABLE payments.orders VALIDATE CONSTRAINT ck_orders_goods")
    op.execute("ALTER TABLE payments.orders VALIDATE CONSTRAINT ck_orders_bundle")
    # At most one open order per buyer and product, of bundles too.
    op.execute("""
        CREATE UNIQUE INDEX ux_orders_open_bundle ON payments.orders (user_id, bundle_id) WHERE status = 'pending'""")
    _coupons()


def _coupons() -> None:
    op.execute("""
        CREATE TABLE payments.coupons (
            id uuid PRIMARY KEY,
            code text NOT NULL UNIQUE CHECK (code = upper(code)),
            kind text NOT NULL CHECK (kind IN ('percent', 'fixed')),
            value bigint NOT NULL CHECK (value > 0 AND (kind = 'fixed' OR value <= 100)),
            currency text CHECK (currency ~ '^[A-Z]{3}$'),
            max_redemptions bigint,
            max_per_user bigint,
            starts_at timestamptz,
            ends_at timestamptz,
            course_ids jsonb,
            created_at timestamptz NOT NULL,
            redeemed bigint NOT NULL DEFAULT 0,
            CHECK ((kind = 'fixed') = (currency IS NOT NULL)),
            -- Nobody oversells it, whatever the code does.
            CONSTRAINT ck_coupons_redeemed CHECK (redeemed >= 0 AND redeemed <= coalesce(max_redemptions, redeemed))
        )""")
    op.execute("""
        CREATE TABLE payments.coupon_redemptions (
            order_id uuid PRIMARY KEY REFERENCES payments.orders (id),
            coupon_id uuid NOT NULL REFERENCES payments.coupons (id),
            user_id uuid NOT NULL,
            code text NOT NULL,
            discount_minor bigint NOT NULL CHECK (discount_minor >= 0),
            redeemed_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX ix_coupon_redemptions_user_id ON payments.coupon_redemptions (coupon_id, user_id)")
    op.execute("""
        CREATE FUNCTION payments.count_redemptions() RETURNS trigger LANGUAGE plpgsql AS $$
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


def downgrade() -> None:
    op.execute("DROP TABLE payments.coupon_redemptions, payments.coupons, payments.bundles")
    op.execute("DROP FUNCTION payments.count_redemptions")
    op.execute("DROP INDEX payments.ux_orders_open_bundle")
    op.execute("DELETE FROM payments.orders WHERE bundle_id IS NOT NULL")
    op.execute("""
        ALTER TABLE payments.orders
        DROP CONSTRAINT ck_orders_bundle, DROP CONSTRAINT ck_orders_goods, DROP COLUMN bundle_id,
        DROP COLUMN bundle_courses""")
    op.execute("""
        ALTER TABLE payments.orders
        ADD CONSTRAINT ck_orders_goods CHECK ((course_id IS NULL) <> (subscription_id IS NULL))""")
