"""The directory of users: searched by any part of name or e-mail, synchronised with Auth0 in both directions."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")  # a database of this service's own may not have it
    op.execute("""
        ALTER TABLE users.users
        ADD COLUMN search text NOT NULL DEFAULT '',
        ADD COLUMN identity_name text,
        ADD COLUMN identity_at timestamptz,
        ADD COLUMN erased_at timestamptz""")
    # Accents and other scripts come in with a user's next change: only the service spells them.
    op.execute("""
        UPDATE users.users
        SET search = lower(concat_ws(' ', coalesce(email, ''), coalesce(name, ''))), identity_name = name""")
    op.execute("""
        ALTER TABLE users.users ADD CONSTRAINT ck_users_erased CHECK (
            erased_at IS NULL
            OR (email IS NULL AND name IS NULL AND avatar_url IS NULL AND identity_name IS NULL AND search = ''))""")
    op.execute("CREATE INDEX ix_users_search ON users.users USING gin (search gin_trgm_ops)")
    op.execute("CREATE INDEX ix_users_roles ON users.users USING gin (roles jsonb_path_ops)")
    op.execute("""
        CREATE TABLE users.identity_changes (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            kind text NOT NULL CHECK (kind IN ('roles', 'erase')),
            sub text NOT NULL,
            roles jsonb NOT NULL,
            attempts bigint NOT NULL,
            due_at timestamptz NOT NULL,
            last_error text,
            -- Only the newest wish counts.
            UNIQUE (user_id, kind)
        )""")
    op.execute("CREATE INDEX ix_identity_changes_due_at ON users.identity_changes (due_at)")


def downgrade() -> None:
    op.execute("DROP TABLE users.identity_changes")
    op.execute("DROP INDEX users.ix_users_roles")
    op.execute("DROP INDEX users.ix_users_search")
    op.execute("ALTER TABLE users.users DROP CONSTRAINT ck_users_erased")
    op.execute("""
        ALTER TABLE users.users
        DROP COLUMN search, DROP COLUMN identity_name, DROP COLUMN identity_at, DROP COLUMN erased_at""")
