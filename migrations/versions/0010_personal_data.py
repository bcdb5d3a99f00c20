"""A person's right to see all and to go: what each service remembers of having answered, and the users' own part."""

from alembic import op

revision = "0010"
down_revision = "0007"

ROLES = ("users", "courses", "payments", "progress", "notifications", "bridge")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE bus.data_subjects (
            service text NOT NULL,
            user_id uuid NOT NULL,
            version bigint NOT NULL,
            erased_at timestamptz,
            PRIMARY KEY (service, user_id)
        )""")
    op.execute("""
        CREATE TABLE bus.export_parts (
            service text NOT NULL,
            user_id uuid NOT NULL,
            export_id uuid NOT NULL,
            data jsonb NOT NULL,
            made_at timestamptz NOT NULL,
            PRIMARY KEY (service, user_id)
        )""")
    op.execute("CREATE INDEX ix_export_parts_made_at ON bus.export_parts (made_at)")
    for role in ROLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON bus.data_subjects, bus.export_parts TO coursebus_{role}")
    # By these an erasure finds what is personal without reading all that was ever told.
    op.execute("CREATE INDEX ix_outbox_pii ON bus.outbox ((payload ->> 'user_id')) WHERE payload ? 'pii'")
    op.execute("CREATE INDEX ix_operations_owner ON bus.operations (owner)")
    op.execute("ALTER TABLE notifications.contacts ADD COLUMN erased_at timestamptz")
    _erasures()


def _erasures() -> None:
    op.execute("""
        CREATE TABLE users.erasures (
            id uuid PRIMARY KEY,
            -- A person goes once.
            user_id uuid NOT NULL UNIQUE,
            sub_hash text NOT NULL,
            missing jsonb NOT NULL,
            receipt jsonb NOT NULL,
            started_at timestamptz NOT NULL,
            finished_at timestamptz,
            CONSTRAINT ck_erasures_finished CHECK ((missing = '[]') = (finished_at IS NOT NULL))
        )""")
    op.execute("CREATE INDEX ix_erasures_sub_hash ON users.erasures (sub_hash)")
    op.execute("""
        CREATE TABLE users.erased_subs (
            sub_hash text PRIMARY KEY,
            erased_at timestamptz NOT NULL,
            kept_until timestamptz NOT NULL
        )""")
    op.execute("""
        CREATE TABLE users.exports (
            id uuid PRIMARY KEY,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            services jsonb NOT NULL,
            missing jsonb NOT NULL,
            requested_at timestamptz NOT NULL,
            finished_at timestamptz,
            CONSTRAINT ck_exports_finished CHECK ((missing = '[]') = (finished_at IS NOT NULL))
        )""")
    op.execute("CREATE INDEX ix_exports_user_id ON users.exports (user_id)")
    op.execute("CREATE UNIQUE INDEX ux_exports_open ON users.exports (user_id) WHERE finished_at IS NULL")


def downgrade() -> None:
    op.execute("DROP TABLE users.exports, users.erased_subs, users.erasures")
    op.execute("ALTER TABLE notifications.contacts DROP COLUMN erased_at")
    op.execute("DROP INDEX bus.ix_operations_owner")
    op.execute("DROP INDEX bus.ix_outbox_pii")
    op.execute("DROP TABLE bus.export_parts, bus.data_subjects")
