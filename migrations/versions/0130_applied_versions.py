"""Versions that projections reflect, so that old events cannot turn state back."""

from alembic import op

revision = "0130"
down_revision = "0110"

SERVICES = ("users", "courses", "payments", "progress", "notifications", "integrations")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE bus.applied_versions (
            projection text NOT NULL,
            key text NOT NULL,
            version bigint NOT NULL,
            PRIMARY KEY (projection, key)
        )""")
    for service in SERVICES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON bus.applied_versions TO coursebus_{service}")
    op.execute("""
        CREATE TABLE courses.access_sources (
            source text NOT NULL CHECK (source IN ('order', 'subscription')),
            source_id text NOT NULL,
            user_id uuid NOT NULL,
            status text NOT NULL CHECK (status IN ('active', 'suspended', 'revoked')),
            reason text,
            version bigint NOT NULL,
            changed_at timestamptz NOT NULL,
            PRIMARY KEY (source, source_id)
        )""")
    op.execute("CREATE INDEX ix_access_sources_user_id ON courses.access_sources (user_id)")
    op.execute("""
        INSERT INTO courses.access_sources (source, source_id, user_id, status, reason, version, changed_at)
        SELECT DISTINCT ON (source, source_id)
            source, source_id, user_id, status, reason, source_version, coalesce(ends_at, starts_at)
        FROM courses.grants WHERE source_version > 0
        ORDER BY source, source_id, source_version DESC""")
    op.execute("ALTER TABLE courses.grants DROP COLUMN source_version")
    op.execute("ALTER TABLE courses.enrollments ADD COLUMN progress_version bigint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE progress.course_progress ADD COLUMN enrollment_version bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("ALTER TABLE progress.course_progress DROP COLUMN enrollment_version")
    op.execute("ALTER TABLE courses.enrollments DROP COLUMN progress_version")
    op.execute("ALTER TABLE courses.grants ADD COLUMN source_version bigint NOT NULL DEFAULT 0")
    op.execute("""
        UPDATE courses.grants SET source_version = sources.version FROM courses.access_sources sources
        WHERE sources.source = grants.source AND sources.source_id = grants.source_id""")
    op.execute("DROP TABLE courses.access_sources, bus.applied_versions")
