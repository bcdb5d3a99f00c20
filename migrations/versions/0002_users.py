"""Users: profiles, the synchronization with the identity provider, erasures and exports of personal data."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE SCHEMA users")
    _profiles()
    _personal_data()
    _grants()


def _profiles() -> None:
    op.execute("""
        CREATE TABLE users.users (
            id uuid NOT NULL,
            version bigint NOT NULL,
            sub text NOT NULL,
            email text,
            email_verified boolean NOT NULL DEFAULT false,
            name text,
            locale text NOT NULL,
            timezone text NOT NULL,
            avatar_url text,
            roles jsonb NOT NULL,
            search text NOT NULL DEFAULT '',
            identity_name text,
            identity_at timestamptz,
            created_at timestamptz NOT NULL,
            initialized_at timestamptz,
            erased_at timestamptz,
            blocked_at timestamptz,
            tokens_valid_from bigint NOT NULL DEFAULT 0,
            account_version bigint NOT NULL DEFAULT 1,
            CONSTRAINT pk_users PRIMARY KEY (id),
            -- Concurrent first requests of one person create one user.
            CONSTRAINT uq_users_sub UNIQUE (sub),
            -- An erased user has no personal data.
            CONSTRAINT ck_users_erased CHECK (
                erased_at IS NULL
                OR (email IS NULL AND name IS NULL AND avatar_url IS NULL AND identity_name IS NULL AND search = '')
            ),
            CONSTRAINT ck_users_roles CHECK (jsonb_typeof(roles) = 'array')
        )""")
    op.execute("CREATE INDEX ix_users_roles ON users.users USING gin (roles jsonb_path_ops)")
    op.execute("CREATE INDEX ix_users_search ON users.users USING gin (search gin_trgm_ops)")
    op.execute("""
        CREATE TABLE users.identity_changes (
            id uuid NOT NULL,
            user_id uuid NOT NULL,
            kind text NOT NULL,
            sub text NOT NULL,
            roles jsonb NOT NULL,
            attempts bigint NOT NULL,
            due_at timestamptz NOT NULL,
            last_error text,
            CONSTRAINT pk_identity_changes PRIMARY KEY (id),
            -- Only the latest change of a kind is sent to the identity provider.
            CONSTRAINT uq_identity_changes_user_id_kind UNIQUE (user_id, kind),
            CONSTRAINT ck_identity_changes_kind CHECK (kind IN ('roles', 'erase'))
        )""")
    op.execute("CREATE INDEX ix_identity_changes_due_at ON users.identity_changes (due_at)")


def _personal_data() -> None:
    op.execute("""
        CREATE TABLE users.erasures (
            id uuid NOT NULL,
            user_id uuid NOT NULL,
            sub_hash text NOT NULL,
            missing jsonb NOT NULL,
            receipt jsonb NOT NULL,
            started_at timestamptz NOT NULL,
            finished_at timestamptz,
            CONSTRAINT pk_erasures PRIMARY KEY (id),
            -- A user is erased once.
            CONSTRAINT uq_erasures_user_id UNIQUE (user_id),
            CONSTRAINT ck_erasures_finished CHECK ((missing = '[]') = (finished_at IS NOT NULL))
        )""")
    op.execute("CREATE INDEX ix_erasures_sub_hash ON users.erasures (sub_hash)")
    op.execute("""
        CREATE TABLE users.erased_subs (
            sub_hash text NOT NULL,
            erased_at timestamptz NOT NULL,
            retained_until timestamptz NOT NULL,
            CONSTRAINT pk_erased_subs PRIMARY KEY (sub_hash)
        )""")
    op.execute("""
        CREATE TABLE users.exports (
            id uuid NOT NULL,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            services jsonb NOT NULL,
            missing jsonb NOT NULL,
            requested_at timestamptz NOT NULL,
            finished_at timestamptz,
            CONSTRAINT pk_exports PRIMARY KEY (id),
            CONSTRAINT ck_exports_finished CHECK ((missing = '[]') = (finished_at IS NOT NULL))
        )""")
    op.execute("CREATE INDEX ix_exports_user_id ON users.exports (user_id)")
    # A user has at most one unfinished export.
    op.execute("CREATE UNIQUE INDEX ux_exports_open ON users.exports (user_id) WHERE finished_at IS NULL")


def _grants() -> None:
    op.execute("GRANT USAGE ON SCHEMA users TO coursebus_users")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA users TO coursebus_users")
    # For the tables of later steps.
    op.execute("""
        ALTER DEFAULT PRIVILEGES IN SCHEMA users
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO coursebus_users""")
