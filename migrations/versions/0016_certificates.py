"""Templates of certificates by course, and revoked certificates."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE progress.certificate_templates (
            course_id uuid NOT NULL,
            version bigint NOT NULL,
            title text,
            signatory_name text,
            signatory_title text,
            accent_color text,
            valid_days bigint,
            revoke_on_refund boolean,
            changed_at timestamptz NOT NULL,
            CONSTRAINT pk_certificate_templates PRIMARY KEY (course_id, version),
            CONSTRAINT ck_certificate_templates_valid_days CHECK (valid_days > 0)
        )""")
    op.execute("""
        CREATE TABLE progress.certificate_revocations (
            code text NOT NULL,
            user_id uuid NOT NULL,
            cause text NOT NULL,
            reason text NOT NULL,
            revoked_at timestamptz NOT NULL,
            CONSTRAINT pk_certificate_revocations PRIMARY KEY (code),
            CONSTRAINT ck_certificate_revocations_cause CHECK (cause IN ('staff', 'refund'))
        )""")
    op.execute("CREATE INDEX ix_certificate_revocations_user_id ON progress.certificate_revocations (user_id)")


def downgrade() -> None:
    op.execute("DROP TABLE progress.certificate_revocations")
    op.execute("DROP TABLE progress.certificate_templates")
