"""Lists of addresses to enroll, invitations, and the addresses of users."""

from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE courses.addresses (
            user_id uuid NOT NULL,
            version bigint NOT NULL,
            email text,
            verified boolean NOT NULL,
            CONSTRAINT pk_addresses PRIMARY KEY (user_id)
        )""")
    op.execute("CREATE INDEX ix_addresses_verified ON courses.addresses (email) WHERE verified")
    op.execute("""
        CREATE TABLE courses.invitations (
            email text NOT NULL,
            course_id uuid NOT NULL,
            invited_by uuid NOT NULL,
            ends_at timestamptz,
            created_at timestamptz NOT NULL,
            CONSTRAINT pk_invitations PRIMARY KEY (email, course_id)
        )""")
    op.execute("""
        CREATE TABLE courses.enrollment_batches (
            id uuid NOT NULL,
            course_id uuid NOT NULL,
            author_id uuid NOT NULL,
            owner text NOT NULL,
            action text NOT NULL,
            ends_at timestamptz,
            rows_total bigint NOT NULL,
            counts jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            finished_at timestamptz,
            CONSTRAINT pk_enrollment_batches PRIMARY KEY (id)
        )""")
    op.execute("CREATE INDEX ix_enrollment_batches_course_id ON courses.enrollment_batches (course_id, id)")
    op.execute("""
        CREATE INDEX ix_enrollment_batches_unfinished ON courses.enrollment_batches (created_at)
        WHERE finished_at IS NULL""")
    op.execute("""
        CREATE TABLE courses.enrollment_batch_rows (
            batch_id uuid NOT NULL,
            line bigint NOT NULL,
            email text,
            result text NOT NULL,
            CONSTRAINT pk_enrollment_batch_rows PRIMARY KEY (batch_id, line),
            CONSTRAINT fk_enrollment_batch_rows_batch_id FOREIGN KEY (batch_id)
                REFERENCES courses.enrollment_batches (id) ON DELETE CASCADE
        )""")
    op.execute("CREATE INDEX ix_enrollment_batch_rows_email ON courses.enrollment_batch_rows (email)")
    op.execute("""
        CREATE INDEX ix_enrollment_batch_rows_result ON courses.enrollment_batch_rows (batch_id, result, line)""")


def downgrade() -> None:
    for table in ("enrollment_batch_rows", "enrollment_batches", "invitations", "addresses"):
        op.execute(f"DROP TABLE courses.{table}")
