"""Users: a row for each ``sub`` that Auth0 vouches for."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE users.users (
            id uuid PRIMARY KEY,
            -- Two first requests of one person meet here.
            sub text NOT NULL UNIQUE,
            version bigint NOT NULL,
            email text,
            name text,
            locale text NOT NULL,
            timezone text NOT NULL,
            avatar_url text,
            roles jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            filled_at timestamptz,
            CONSTRAINT ck_users_roles CHECK (jsonb_typeof(roles) = 'array')
        )""")


def downgrade() -> None:
    op.execute("DROP TABLE users.users")
