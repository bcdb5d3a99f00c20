"""The names on certificates."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE users.certificate_holders (
            code text NOT NULL,
            user_id uuid NOT NULL,
            name text NOT NULL,
            recorded_at timestamptz NOT NULL,
            CONSTRAINT pk_certificate_holders PRIMARY KEY (code)
        )""")
    op.execute("CREATE INDEX ix_certificate_holders_user_id ON users.certificate_holders (user_id)")


def downgrade() -> None:
    op.execute("DROP TABLE users.certificate_holders")
