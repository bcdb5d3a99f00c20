"""Notifications: contacts, devices, suppressions, results of deliveries and reminders. Notifications are in MongoDB."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE SCHEMA notifications")
    _contacts()
    _deliveries()
    _reminders()
    _inbox_position()
    _grants()


def _contacts() -> None:
    op.execute("""
        CREATE TABLE notifications.contacts (
            user_id uuid NOT NULL,
            version bigint NOT NULL,
            email text,
            email_verified boolean NOT NULL DEFAULT false,
            name text,
            locale text NOT NULL,
            timezone text NOT NULL,
            erased_at timestamptz,
            CONSTRAINT pk_contacts PRIMARY KEY (user_id)
        )""")
    op.execute("""
        CREATE TABLE notifications.devices (
            id uuid NOT NULL,
            user_id uuid NOT NULL,
            kind text NOT NULL,
            address text NOT NULL,
            keys jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            CONSTRAINT pk_devices PRIMARY KEY (id),
            -- A browser or app belongs to the user who signed in on it last.
            CONSTRAINT uq_devices_address UNIQUE (address),
            CONSTRAINT ck_devices_kind CHECK (kind IN ('fcm', 'web_push'))
        )""")
    op.execute("CREATE INDEX ix_devices_user_id ON notifications.devices (user_id)")
    op.execute("""
        CREATE TABLE notifications.suppressions (
            address_hash text NOT NULL,
            reason text NOT NULL,
            since timestamptz NOT NULL,
            CONSTRAINT pk_suppressions PRIMARY KEY (address_hash),
            CONSTRAINT ck_suppressions_reason CHECK (reason IN ('bounced', 'complained'))
        )""")


def _deliveries() -> None:
    op.execute("""
        CREATE TABLE notifications.notification_sequences (
            user_id uuid NOT NULL,
            version bigint NOT NULL,
            CONSTRAINT pk_notification_sequences PRIMARY KEY (user_id)
        )""")
    op.execute("""
        CREATE TABLE notifications.delivery_results (
            delivery_id uuid NOT NULL,
            state text NOT NULL,
            reason text,
            ended_at timestamptz NOT NULL,
            -- The result of a delivery is published once, whichever sender finished it.
            CONSTRAINT pk_delivery_results PRIMARY KEY (delivery_id),
            CONSTRAINT ck_delivery_results_reason CHECK ((state = 'failed') = (reason IS NOT NULL)),
            CONSTRAINT ck_delivery_results_state CHECK (state IN ('sent', 'failed'))
        )""")
    op.execute("""
        CREATE TABLE notifications.email_events (
            -- The id that the mail provider gives the event; it sends the event until it receives a 2xx response.
            id text NOT NULL,
            kind text NOT NULL,
            received_at timestamptz NOT NULL,
            CONSTRAINT pk_email_events PRIMARY KEY (id)
        )""")


def _reminders() -> None:
    op.execute("""
        CREATE TABLE notifications.learning_activity (
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            course_title text NOT NULL,
            enrollment_id uuid,
            enrolled_at timestamptz,
            ended_at timestamptz,
            studied_at timestamptz,
            studied_on date[] NOT NULL DEFAULT '{}',
            completed_at timestamptz,
            CONSTRAINT pk_learning_activity PRIMARY KEY (user_id, course_id)
        )""")
    op.execute("""
        CREATE INDEX ix_learning_activity_ended_at ON notifications.learning_activity (ended_at)
        WHERE ended_at IS NOT NULL""")
    op.execute("CREATE INDEX ix_learning_activity_enrollment_id ON notifications.learning_activity (enrollment_id)")
    op.execute("""
        CREATE TABLE notifications.pending_reminders (
            kind text NOT NULL,
            about uuid NOT NULL,
            user_id uuid NOT NULL,
            since timestamptz NOT NULL,
            due_at timestamptz,
            ended_at timestamptz,
            facts jsonb NOT NULL,
            CONSTRAINT pk_pending_reminders PRIMARY KEY (kind, about),
            CONSTRAINT ck_pending_reminders_kind CHECK (kind IN ('inactivity', 'streak', 'abandoned_checkout')),
            CONSTRAINT ck_pending_reminders_ended CHECK (ended_at IS NULL OR due_at IS NULL)
        )""")
    op.execute("""
        CREATE INDEX ix_pending_reminders_due_at ON notifications.pending_reminders (due_at)
        WHERE due_at IS NOT NULL""")
    op.execute("CREATE INDEX ix_pending_reminders_since ON notifications.pending_reminders (kind, since)")
    op.execute("CREATE INDEX ix_pending_reminders_user_id ON notifications.pending_reminders (user_id)")
    op.execute("""
        CREATE TABLE notifications.reminders (
            id uuid NOT NULL,
            user_id uuid NOT NULL,
            kind text NOT NULL,
            local_day date NOT NULL,
            reason text NOT NULL,
            CONSTRAINT pk_reminders PRIMARY KEY (id),
            -- A reminder is sent once per reason and at most once a day.
            CONSTRAINT uq_reminders_user_id_kind_local_day UNIQUE (user_id, kind, local_day),
            CONSTRAINT uq_reminders_user_id_kind_reason UNIQUE (user_id, kind, reason)
        )""")
    op.execute("CREATE INDEX ix_reminders_local_day ON notifications.reminders (local_day)")


def _inbox_position() -> None:
    # Notifications get positions in the order in which they become visible, so that a reader can continue after one.
    op.execute("CREATE SEQUENCE notifications.inbox_position")


def _grants() -> None:
    op.execute("GRANT USAGE ON SCHEMA notifications TO coursebus_notifications")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA notifications TO coursebus_notifications")
    # For the tables of later steps.
    op.execute("""
        ALTER DEFAULT PRIVILEGES IN SCHEMA notifications
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO coursebus_notifications""")
    op.execute("GRANT USAGE ON SEQUENCE notifications.inbox_position TO coursebus_notifications")
