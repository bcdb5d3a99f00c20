"""Payments: offers, orders, attempts, refunds, disputes and subscriptions; the invariants of money are constraints."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE SCHEMA payments")
    _products()
    _subscriptions()
    _orders()
    _payment_attempts()
    _providers()
    _refunds_and_disputes()
    _ledger()
    _reconciliation()
    _append_only_ledger()
    _balanced_ledger()
    _refunds_within_capture()
    _coupon_redemptions()
    _grants()


def _products() -> None:
    op.execute("""
        CREATE TABLE payments.offers (
            course_id uuid NOT NULL,
            course_version bigint NOT NULL,
            title text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            on_sale boolean NOT NULL,
            published_at timestamptz NOT NULL,
            CONSTRAINT pk_offers PRIMARY KEY (course_id),
            CONSTRAINT ck_offers_amount_minor CHECK (amount_minor >= 0),
            CONSTRAINT ck_offers_currency CHECK (currency ~ '^[A-Z]{3}$')
        )""")
    op.execute("""
        CREATE TABLE payments.plans (
            id uuid NOT NULL,
            name text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            interval text NOT NULL,
            trial_days bigint NOT NULL,
            course_ids jsonb NOT NULL,
            on_sale boolean NOT NULL,
            created_at timestamptz NOT NULL,
            revision bigint NOT NULL DEFAULT 1,
            CONSTRAINT pk_plans PRIMARY KEY (id),
            CONSTRAINT ck_plans_amount_minor CHECK (amount_minor > 0),
            CONSTRAINT ck_plans_currency CHECK (currency ~ '^[A-Z]{3}$'),
            CONSTRAINT ck_plans_interval CHECK (interval IN ('month', 'year')),
            CONSTRAINT ck_plans_trial_days CHECK (trial_days >= 0)
        )""")
    op.execute("""
        CREATE TABLE payments.bundles (
            id uuid NOT NULL,
            title text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            course_ids jsonb NOT NULL,
            on_sale boolean NOT NULL,
            created_at timestamptz NOT NULL,
            revision bigint NOT NULL DEFAULT 1,
            CONSTRAINT pk_bundles PRIMARY KEY (id),
            CONSTRAINT ck_bundles_amount_minor CHECK (amount_minor > 0),
            CONSTRAINT ck_bundles_currency CHECK (currency ~ '^[A-Z]{3}$'),
            CONSTRAINT ck_bundles_course_ids CHECK (jsonb_array_length(course_ids) > 0)
        )""")
    op.execute("""
        CREATE TABLE payments.coupons (
            id uuid NOT NULL,
            code text NOT NULL,
            kind text NOT NULL,
            value bigint NOT NULL,
            currency text,
            max_redemptions bigint,
            max_per_user bigint,
            starts_at timestamptz,
            ends_at timestamptz,
            course_ids jsonb,
            created_at timestamptz NOT NULL,
            redeemed bigint NOT NULL DEFAULT 0,
            revision bigint NOT NULL DEFAULT 1,
            CONSTRAINT pk_coupons PRIMARY KEY (id),
            CONSTRAINT uq_coupons_code UNIQUE (code),
            CONSTRAINT ck_coupons_code CHECK (code = upper(code)),
            CONSTRAINT ck_coupons_fixed_currency CHECK ((kind = 'fixed') = (currency IS NOT NULL)),
            CONSTRAINT ck_coupons_kind CHECK (kind IN ('percent', 'fixed')),
            CONSTRAINT ck_coupons_value CHECK (value > 0 AND (kind = 'fixed' OR value <= 100)),
            CONSTRAINT ck_coupons_currency CHECK (currency ~ '^[A-Z]{3}$'),
            -- A coupon is never redeemed more often than it allows. A trigger on coupon_redemptions counts.
            CONSTRAINT ck_coupons_redeemed CHECK (redeemed BETWEEN 0 AND coalesce(max_redemptions, redeemed))
        )""")


def _subscriptions() -> None:
    op.execute("""
        CREATE TABLE payments.subscriptions (
            id uuid NOT NULL,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            plan_id uuid NOT NULL,
            status text NOT NULL,
            provider text NOT NULL,
            plan_name text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            interval text NOT NULL,
            course_ids jsonb NOT NULL,
            receipt_email text,
            anchor_at timestamptz NOT NULL,
            periods bigint NOT NULL,
            period_start timestamptz NOT NULL,
            period_end timestamptz NOT NULL,
            -- The order that paid for the current period: the subscription ends when it is refunded in full.
            paid_order_id uuid,
            had_trial boolean NOT NULL,
            trial_end_notified boolean NOT NULL,
            failed_charges bigint NOT NULL,
            cancel_at_period_end boolean NOT NULL,
            problem text,
            next_step_at timestamptz,
            ends_at timestamptz,
            created_at timestamptz NOT NULL,
            ended_at timestamptz,
            CONSTRAINT pk_subscriptions PRIMARY KEY (id),
            CONSTRAINT fk_subscriptions_plan_id FOREIGN KEY (plan_id) REFERENCES payments.plans (id),
            CONSTRAINT ck_subscriptions_ended CHECK (
                (ended_at IS NULL) = (status IN ('incomplete', 'trialing', 'active', 'past_due'))
            ),
            -- Access without payment always has an end.
            CONSTRAINT ck_subscriptions_ends_at CHECK ((ends_at IS NOT NULL) = (status = 'past_due')),
            CONSTRAINT ck_subscriptions_status CHECK (
                status IN ('incomplete', 'trialing', 'active', 'past_due', 'canceled', 'expired')
            ),
            CONSTRAINT ck_subscriptions_amount_minor CHECK (amount_minor > 0),
            CONSTRAINT ck_subscriptions_currency CHECK (currency ~ '^[A-Z]{3}$'),
            CONSTRAINT ck_subscriptions_interval CHECK (interval IN ('month', 'year')),
            CONSTRAINT ck_subscriptions_period CHECK (period_end >= period_start)
        )""")
    op.execute("CREATE INDEX ix_subscriptions_next_step_at ON payments.subscriptions (next_step_at)")
    op.execute("CREATE INDEX ix_subscriptions_user_id ON payments.subscriptions (user_id, id)")
    # A user has at most one open subscription to a plan.
    op.execute("""
        CREATE UNIQUE INDEX ux_subscriptions_open ON payments.subscriptions (user_id, plan_id)
        WHERE ended_at IS NULL""")
    op.execute("""
        CREATE TABLE payments.saved_methods (
            user_id uuid NOT NULL,
            provider text NOT NULL,
            account text NOT NULL,
            method_id text NOT NULL,
            customer_id text,
            saved_at timestamptz NOT NULL,
            CONSTRAINT pk_saved_methods PRIMARY KEY (user_id, provider, account)
        )""")


def _orders() -> None:
    op.execute("""
        CREATE TABLE payments.orders (
            id uuid NOT NULL,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            status text NOT NULL,
            course_id uuid,
            bundle_id uuid,
            bundle_courses jsonb,
            subscription_id uuid,
            period_start timestamptz,
            period_end timestamptz,
            course_title text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            created_at timestamptz NOT NULL,
            paid_at timestamptz,
            CONSTRAINT pk_orders PRIMARY KEY (id),
            CONSTRAINT fk_orders_subscription_id FOREIGN KEY (subscription_id) REFERENCES payments.subscriptions (id),
            CONSTRAINT ck_orders_paid_at CHECK (
                status NOT IN ('paid', 'partially_refunded', 'refunded', 'disputed', 'charged_back')
                OR paid_at IS NOT NULL
            ),
            CONSTRAINT ck_orders_status CHECK (
                status IN (
                    'pending', 'paid', 'partially_refunded', 'refunded', 'expired', 'canceled', 'disputed',
                    'charged_back'
                )
            ),
            CONSTRAINT ck_orders_goods CHECK (num_nonnulls(course_id, bundle_id, subscription_id) = 1),
            CONSTRAINT ck_orders_bundle CHECK ((bundle_id IS NULL) = (bundle_courses IS NULL)),
            CONSTRAINT ck_orders_period CHECK (
                (subscription_id IS NULL) = (period_start IS NULL) AND (period_start IS NULL) = (period_end IS NULL)
            ),
            CONSTRAINT ck_orders_amount_minor CHECK (amount_minor >= 0),
            CONSTRAINT ck_orders_currency CHECK (currency ~ '^[A-Z]{3}$')
        )""")
    op.execute("CREATE INDEX ix_orders_user_id ON payments.orders (user_id, id)")
    # A subscription has at most one unpaid order.
    op.execute("""
        CREATE UNIQUE INDEX ux_orders_due ON payments.orders (subscription_id)
        WHERE status = 'pending' AND subscription_id IS NOT NULL""")
    # A buyer has at most one open order per course and per bundle.
    op.execute("CREATE UNIQUE INDEX ux_orders_open ON payments.orders (user_id, course_id) WHERE status = 'pending'")
    op.execute("""
        CREATE UNIQUE INDEX ux_orders_open_bundle ON payments.orders (user_id, bundle_id)
        WHERE status = 'pending'""")
    # A period of a subscription is paid once. Expired and canceled orders have paid nothing.
    op.execute("""
        CREATE UNIQUE INDEX ux_orders_period ON payments.orders (subscription_id, period_start)
        WHERE status NOT IN ('expired', 'canceled')""")
    op.execute("""
        CREATE TABLE payments.order_history (
            id uuid NOT NULL,
            order_id uuid NOT NULL,
            step text NOT NULL,
            payment_id uuid,
            provider text,
            detail text,
            at timestamptz NOT NULL,
            CONSTRAINT pk_order_history PRIMARY KEY (id),
            CONSTRAINT fk_order_history_order_id FOREIGN KEY (order_id) REFERENCES payments.orders (id)
        )""")
    # Rows are only appended: a BRIN index of a few pages finds the oldest.
    op.execute("CREATE INDEX ix_order_history_at ON payments.order_history USING brin (at)")
    op.execute("CREATE INDEX ix_order_history_order_id ON payments.order_history (order_id, id)")
    op.execute("""
        CREATE TABLE payments.coupon_redemptions (
            order_id uuid NOT NULL,
            coupon_id uuid NOT NULL,
            user_id uuid NOT NULL,
            code text NOT NULL,
            discount_minor bigint NOT NULL,
            redeemed_at timestamptz NOT NULL,
            returned_at timestamptz,
            CONSTRAINT pk_coupon_redemptions PRIMARY KEY (order_id),
            CONSTRAINT fk_coupon_redemptions_order_id FOREIGN KEY (order_id) REFERENCES payments.orders (id),
            CONSTRAINT fk_coupon_redemptions_coupon_id FOREIGN KEY (coupon_id) REFERENCES payments.coupons (id),
            CONSTRAINT ck_coupon_redemptions_discount_minor CHECK (discount_minor >= 0)
        )""")
    op.execute("CREATE INDEX ix_coupon_redemptions_user_id ON payments.coupon_redemptions (coupon_id, user_id)")


def _payment_attempts() -> None:
    op.execute("""
        CREATE TABLE payments.payment_attempts (
            id uuid NOT NULL,
            order_id uuid NOT NULL,
            status text NOT NULL,
            provider text NOT NULL,
            account text NOT NULL,
            live_mode boolean NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            captured_minor bigint NOT NULL,
            captured_currency text,
            refund_pending_minor bigint NOT NULL,
            refunded_minor bigint NOT NULL,
            disputed_minor bigint NOT NULL DEFAULT 0,
            charged_back_minor bigint NOT NULL DEFAULT 0,
            success_url text NOT NULL,
            cancel_url text,
            saves_method boolean NOT NULL DEFAULT false,
            method_id text,
            customer_id text,
            is_scheduled boolean NOT NULL DEFAULT false,
            receipt_email text,
            receipt_status text,
            checkout_session_id text,
            checkout_url text,
            checkout_session_open boolean NOT NULL,
            payment_id text,
            superseded boolean NOT NULL,
            problem text,
            failed_at timestamptz,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            next_sync_at timestamptz,
            syncs bigint NOT NULL,
            CONSTRAINT pk_payment_attempts PRIMARY KEY (id),
            -- An object of a provider belongs to one attempt.
            CONSTRAINT uq_payment_attempts_provider_account_checkout_session_id
                UNIQUE (provider, account, checkout_session_id),
            CONSTRAINT uq_payment_attempts_provider_account_payment_id UNIQUE (provider, account, payment_id),
            CONSTRAINT fk_payment_attempts_order_id FOREIGN KEY (order_id) REFERENCES payments.orders (id),
            CONSTRAINT ck_payment_attempts_status CHECK (
                status IN (
                    'created', 'requires_action', 'processing', 'authorized', 'succeeded', 'failed', 'canceled',
                    'expired', 'unknown', 'review', 'duplicate'
                )
            ),
            CONSTRAINT ck_payment_attempts_amount_minor CHECK (amount_minor > 0),
            CONSTRAINT ck_payment_attempts_currency CHECK (currency ~ '^[A-Z]{3}$'),
            -- A provider may capture more than was requested, or in another currency: such payments go to review.
            CONSTRAINT ck_payment_attempts_captured CHECK (captured_minor >= 0),
            CONSTRAINT ck_payment_attempts_captured_currency CHECK (captured_currency ~ '^[A-Z]{3}$'),
            -- A refund made in the provider's dashboard may exceed the captured amount. The trigger
            -- refunds_within_capture limits the refunds of the platform.
            CONSTRAINT ck_payment_attempts_refunded CHECK (refunded_minor >= 0 AND refund_pending_minor >= 0),
            -- A dispute may exceed what is left after refunds: what a bank has taken is a fact.
            CONSTRAINT ck_payment_attempts_disputed CHECK (disputed_minor >= 0),
            CONSTRAINT ck_payment_attempts_charged_back CHECK (charged_back_minor >= 0),
            CONSTRAINT ck_payment_attempts_receipt_status CHECK (
                receipt_status IN ('pending', 'succeeded', 'canceled')
            )
        )""")
    op.execute("CREATE INDEX ix_payment_attempts_next_sync_at ON payments.payment_attempts (next_sync_at)")
    op.execute("CREATE INDEX ix_payment_attempts_order_id ON payments.payment_attempts (order_id)")
    op.execute("CREATE INDEX ix_payment_attempts_review ON payments.payment_attempts (id) WHERE status = 'review'")
    # An order has at most one live attempt, across providers. An open checkout session can still be paid, also after a
    # decline. Attempts in review are excluded: money that does not match may arrive while another session is open.
    op.execute("""
        CREATE UNIQUE INDEX ux_payment_attempts_live ON payments.payment_attempts (order_id)
        WHERE status <> 'review' AND (
            checkout_session_open OR status IN ('created', 'requires_action', 'processing', 'authorized', 'unknown')
        )""")
    # An order is paid once: a second successful payment is stored as a duplicate.
    op.execute("""
        CREATE UNIQUE INDEX ux_payment_attempts_success ON payments.payment_attempts (order_id)
        WHERE status = 'succeeded'""")


def _providers() -> None:
    op.execute("""
        CREATE TABLE payments.provider_events (
            id uuid NOT NULL,
            provider text NOT NULL,
            account text NOT NULL,
            dedupe_key text NOT NULL,
            type text NOT NULL,
            object_id text NOT NULL,
            status text NOT NULL,
            sweeps bigint NOT NULL,
            crashes bigint NOT NULL DEFAULT 0,
            problem text,
            due_at timestamptz NOT NULL,
            received_at timestamptz NOT NULL,
            finished_at timestamptz,
            headers jsonb NOT NULL DEFAULT '{}',
            CONSTRAINT pk_provider_events PRIMARY KEY (id),
            -- A webhook that the provider sends again is the same event.
            CONSTRAINT uq_provider_events_provider_account_dedupe_key UNIQUE (provider, account, dedupe_key),
            CONSTRAINT ck_provider_events_status CHECK (status IN ('received', 'applied', 'ignored', 'failed'))
        )""")
    op.execute("CREATE INDEX ix_provider_events_due ON payments.provider_events (due_at) WHERE status = 'received'")
    op.execute("CREATE INDEX ix_provider_events_finished_at ON payments.provider_events (finished_at)")
    op.execute("""
        CREATE TABLE payments.provider_pulls (
            provider text NOT NULL,
            account text NOT NULL,
            pulled_until timestamptz NOT NULL,
            CONSTRAINT pk_provider_pulls PRIMARY KEY (provider, account)
        )""")
    op.execute("""
        CREATE TABLE payments.provider_erasures (
            id uuid NOT NULL,
            provider text NOT NULL,
            account text NOT NULL,
            customer_id text NOT NULL,
            requested_at timestamptz NOT NULL,
            next_try_at timestamptz NOT NULL,
            tries bigint NOT NULL,
            CONSTRAINT pk_provider_erasures PRIMARY KEY (id),
            CONSTRAINT uq_provider_erasures_provider_account_customer_id UNIQUE (provider, account, customer_id)
        )""")
    op.execute("CREATE INDEX ix_provider_erasures_next_try_at ON payments.provider_erasures (next_try_at)")


def _refunds_and_disputes() -> None:
    op.execute("""
        CREATE TABLE payments.refunds (
            id uuid NOT NULL,
            command_id uuid NOT NULL,
            order_id uuid NOT NULL,
            attempt_id uuid NOT NULL,
            status text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            reason text NOT NULL,
            requested_by uuid,
            keeps_access boolean NOT NULL DEFAULT false,
            owed_since timestamptz,
            object_id text,
            problem text,
            created_at timestamptz NOT NULL,
            finished_at timestamptz,
            next_sync_at timestamptz,
            syncs bigint NOT NULL,
            CONSTRAINT pk_refunds PRIMARY KEY (id),
            -- A command refunds once, however often it is executed.
            CONSTRAINT uq_refunds_command_id UNIQUE (command_id),
            -- An object of a provider belongs to one refund.
            CONSTRAINT uq_refunds_attempt_id_object_id UNIQUE (attempt_id, object_id),
            CONSTRAINT fk_refunds_order_id FOREIGN KEY (order_id) REFERENCES payments.orders (id),
            CONSTRAINT fk_refunds_attempt_id FOREIGN KEY (attempt_id) REFERENCES payments.payment_attempts (id),
            CONSTRAINT ck_refunds_status CHECK (
                status IN ('created', 'unknown', 'pending', 'review', 'succeeded', 'failed')
            ),
            CONSTRAINT ck_refunds_amount_minor CHECK (amount_minor > 0),
            CONSTRAINT ck_refunds_currency CHECK (currency ~ '^[A-Z]{3}$')
        )""")
    op.execute("CREATE INDEX ix_refunds_next_sync_at ON payments.refunds (next_sync_at)")
    op.execute("CREATE INDEX ix_refunds_order_id ON payments.refunds (order_id)")
    op.execute("""
        CREATE INDEX ix_refunds_owed_since ON payments.refunds (owed_since)
        WHERE owed_since IS NOT NULL AND status <> 'succeeded'""")
    op.execute("CREATE INDEX ix_refunds_review ON payments.refunds (id) WHERE status = 'review'")
    op.execute("""
        CREATE TABLE payments.disputes (
            id uuid NOT NULL,
            order_id uuid NOT NULL,
            attempt_id uuid NOT NULL,
            object_id text NOT NULL,
            status text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            reason text NOT NULL,
            problem text,
            respond_by timestamptz,
            opened_at timestamptz NOT NULL,
            closed_at timestamptz,
            CONSTRAINT pk_disputes PRIMARY KEY (id),
            -- An object of a provider is one dispute, however often it is reported.
            CONSTRAINT uq_disputes_attempt_id_object_id UNIQUE (attempt_id, object_id),
            CONSTRAINT fk_disputes_order_id FOREIGN KEY (order_id) REFERENCES payments.orders (id),
            CONSTRAINT fk_disputes_attempt_id FOREIGN KEY (attempt_id) REFERENCES payments.payment_attempts (id),
            CONSTRAINT ck_disputes_status CHECK (status IN ('inquiry', 'open', 'won', 'lost', 'review')),
            CONSTRAINT ck_disputes_amount_minor CHECK (amount_minor > 0),
            CONSTRAINT ck_disputes_currency CHECK (currency ~ '^[A-Z]{3}$')
        )""")
    op.execute("CREATE INDEX ix_disputes_order_id ON payments.disputes (order_id)")
    op.execute("""
        CREATE TABLE payments.resolutions (
            id uuid NOT NULL,
            order_id uuid NOT NULL,
            subject text NOT NULL,
            subject_id uuid NOT NULL,
            action text NOT NULL,
            note text NOT NULL,
            actor uuid NOT NULL,
            resolved_at timestamptz NOT NULL,
            CONSTRAINT pk_resolutions PRIMARY KEY (id),
            CONSTRAINT fk_resolutions_order_id FOREIGN KEY (order_id) REFERENCES payments.orders (id),
            CONSTRAINT ck_resolutions_subject CHECK (subject IN ('payment', 'refund', 'dispute')),
            CONSTRAINT ck_resolutions_action CHECK (action IN ('accept', 'release', 'refund'))
        )""")
    op.execute("CREATE INDEX ix_resolutions_order_id ON payments.resolutions (order_id)")
    op.execute("CREATE INDEX ix_resolutions_subject_id ON payments.resolutions (subject_id)")


def _ledger() -> None:
    op.execute("""
        CREATE TABLE payments.ledger_transactions (
            id uuid NOT NULL,
            kind text NOT NULL,
            source_id uuid NOT NULL,
            order_id uuid NOT NULL,
            recorded_at timestamptz NOT NULL,
            CONSTRAINT pk_ledger_transactions PRIMARY KEY (id),
            CONSTRAINT fk_ledger_transactions_order_id FOREIGN KEY (order_id) REFERENCES payments.orders (id),
            CONSTRAINT ck_ledger_transactions_kind CHECK (
                kind IN (
                    'capture', 'refund', 'refund_reversed', 'dispute', 'dispute_won', 'review_resolved',
                    'dispute_changed'
                )
            )
        )""")
    # Reconciliation sums all transactions of a source.
    op.execute("""
        CREATE INDEX ix_ledger_transactions_dispute_changed ON payments.ledger_transactions (source_id)
        WHERE kind = 'dispute_changed'""")
    op.execute("CREATE INDEX ix_ledger_transactions_order_id ON payments.ledger_transactions (order_id)")
    op.execute("CREATE INDEX ix_ledger_transactions_recorded_at ON payments.ledger_transactions (recorded_at)")
    # The amount of a dispute may change repeatedly. Every other movement of money is booked once.
    op.execute("""
        CREATE UNIQUE INDEX ux_ledger_transactions_source ON payments.ledger_transactions (source_id, kind)
        WHERE kind <> 'dispute_changed'""")
    op.execute("""
        CREATE TABLE payments.ledger_entries (
            id uuid NOT NULL,
            transaction_id uuid NOT NULL,
            account text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            CONSTRAINT pk_ledger_entries PRIMARY KEY (id),
            CONSTRAINT fk_ledger_entries_transaction_id FOREIGN KEY (transaction_id)
                REFERENCES payments.ledger_transactions (id),
            CONSTRAINT ck_ledger_entries_amount_minor CHECK (amount_minor <> 0),
            CONSTRAINT ck_ledger_entries_currency CHECK (currency ~ '^[A-Z]{3}$')
        )""")
    op.execute("""
        CREATE INDEX ix_ledger_entries_account ON payments.ledger_entries (account, currency, id)
        INCLUDE (amount_minor)""")
    op.execute("CREATE INDEX ix_ledger_entries_transaction_id ON payments.ledger_entries (transaction_id)")


def _reconciliation() -> None:
    op.execute("""
        CREATE TABLE payments.reconciled_days (
            provider text NOT NULL,
            account text NOT NULL,
            since timestamptz NOT NULL,
            compared_at timestamptz NOT NULL,
            differing bigint NOT NULL,
            CONSTRAINT pk_reconciled_days PRIMARY KEY (provider, account, since),
            CONSTRAINT ck_reconciled_days_differing CHECK (differing >= 0)
        )""")
    op.execute("""
        CREATE TABLE payments.reconciliations (
            id uuid NOT NULL,
            provider text NOT NULL,
            account text NOT NULL,
            since timestamptz NOT NULL,
            until timestamptz NOT NULL,
            kind text NOT NULL,
            currency text NOT NULL,
            provider_minor bigint NOT NULL,
            ledger_minor bigint NOT NULL,
            differing jsonb NOT NULL,
            compared_at timestamptz NOT NULL,
            CONSTRAINT pk_reconciliations PRIMARY KEY (id),
            -- A day that does not agree is compared again and keeps one report.
            CONSTRAINT uq_reconciliations_provider_account_since_kind_currency
                UNIQUE (provider, account, since, kind, currency),
            CONSTRAINT ck_reconciliations_period CHECK (until > since),
            CONSTRAINT ck_reconciliations_kind CHECK (kind IN ('capture', 'refund', 'dispute')),
            CONSTRAINT ck_reconciliations_currency CHECK (currency ~ '^[A-Z]{3}$')
        )""")
    op.execute("CREATE INDEX ix_reconciliations_off ON payments.reconciliations (since) WHERE differing <> '[]'")


def _append_only_ledger() -> None:
    # Triggers, because the owner of the tables is not bound by grants.
    op.execute("""
        CREATE FUNCTION payments.reject_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
        END $$""")
    for table in ("ledger_transactions", "ledger_entries"):
        op.execute(f"""
            CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.{table}
            FOR EACH STATEMENT EXECUTE FUNCTION payments.reject_ledger_change()""")


def _balanced_ledger() -> None:
    # Checked at the commit: between the two entries of a transaction the sum is not zero.
    op.execute("""
        CREATE FUNCTION payments.reject_unbalanced_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM payments.ledger_entries WHERE transaction_id = NEW.transaction_id
                GROUP BY currency HAVING sum(amount_minor) <> 0
            ) THEN
                RAISE EXCEPTION 'ledger transaction % does not sum to zero', NEW.transaction_id
                USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE CONSTRAINT TRIGGER ledger_entries_sum_to_zero AFTER INSERT ON payments.ledger_entries
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments.reject_unbalanced_transaction()""")


def _refunds_within_capture() -> None:
    # Refunds that the platform starts have the status 'created'; refunds made elsewhere are facts and may exceed the
    # captured amount. Checked at the commit: the attempt is updated in the same transaction.
    op.execute("""
        CREATE FUNCTION payments.reject_refund_above_capture() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (
                SELECT FROM payments.payment_attempts
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
        EXECUTE FUNCTION payments.reject_refund_above_capture()""")


def _coupon_redemptions() -> None:
    # A counter with a CHECK limits concurrent redemptions without a lock that the code might forget. A coupon counts as
    # unused again when its order is refunded in full (returned_at).
    op.execute("""
        CREATE FUNCTION payments.count_redemptions() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' AND OLD.returned_at IS NULL THEN
                UPDATE payments.coupons SET redeemed = redeemed - 1 WHERE id = OLD.coupon_id;
            END IF;
            IF TG_OP <> 'DELETE' AND NEW.returned_at IS NULL THEN
                UPDATE payments.coupons SET redeemed = redeemed + 1 WHERE id = NEW.coupon_id;
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER coupon_redemptions_count
        AFTER INSERT OR DELETE OR UPDATE OF coupon_id, returned_at ON payments.coupon_redemptions
        FOR EACH ROW EXECUTE FUNCTION payments.count_redemptions()""")


def _grants() -> None:
    op.execute("GRANT USAGE ON SCHEMA payments TO coursebus_payments")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA payments TO coursebus_payments")
    # For the tables of later steps.
    op.execute("""
        ALTER DEFAULT PRIVILEGES IN SCHEMA payments
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO coursebus_payments""")
    # Rows of the ledger and of histories are added and never changed. Old order history is pruned: its rows are locked
    # before they are deleted, which needs the right to update one column.
    op.execute("""
        REVOKE UPDATE, DELETE
        ON payments.ledger_transactions, payments.ledger_entries, payments.order_history, payments.resolutions
        FROM coursebus_payments""")
    op.execute("GRANT DELETE, UPDATE (id) ON payments.order_history TO coursebus_payments")
    # The erasure of a buyer clears the note of an operator.
    op.execute("GRANT UPDATE (note) ON payments.resolutions TO coursebus_payments")
