"""Files of courses: covers, attachments, captions and videos."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE courses.files (
            id uuid NOT NULL,
            course_id uuid NOT NULL,
            owner_id uuid NOT NULL,
            kind text NOT NULL,
            name text NOT NULL,
            content_type text NOT NULL,
            size_bytes bigint NOT NULL,
            status text NOT NULL,
            created_at timestamptz NOT NULL,
            kept_at timestamptz,
            CONSTRAINT pk_files PRIMARY KEY (id),
            CONSTRAINT fk_files_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id),
            CONSTRAINT ck_files_kind CHECK (kind IN ('cover', 'attachment', 'captions', 'video')),
            CONSTRAINT ck_files_status CHECK (status IN ('pending', 'ready', 'deleting')),
            CONSTRAINT ck_files_size_bytes CHECK (size_bytes > 0)
        )""")
    op.execute("CREATE INDEX ix_files_course_id ON courses.files (course_id, created_at, id)")
    # The files that the job which deletes unused ones looks at.
    op.execute("CREATE INDEX ix_files_created_at ON courses.files (created_at) WHERE kept_at IS NULL")
    # A default that is no expression is stored in the catalogue: existing rows are not rewritten.
    op.execute("ALTER TABLE courses.lessons ADD COLUMN files jsonb NOT NULL DEFAULT '[]'")


def downgrade() -> None:
    op.execute("ALTER TABLE courses.lessons DROP COLUMN files")
    op.execute("DROP TABLE courses.files")
