"""All slugs that a course ever had, so that old addresses keep leading to it."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE courses.slugs (
            slug text NOT NULL,
            course_id uuid NOT NULL,
            CONSTRAINT pk_slugs PRIMARY KEY (slug),
            CONSTRAINT fk_slugs_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id)
        )""")
    # A trigger, so that processes of the version before this migration store slugs too.
    op.execute("""
        CREATE FUNCTION courses.keep_slug() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO courses.slugs (slug, course_id) VALUES (NEW.slug, NEW.id) ON CONFLICT (slug) DO NOTHING;
            IF (SELECT course_id FROM courses.slugs WHERE slug = NEW.slug) <> NEW.id THEN
                RAISE unique_violation USING
                    MESSAGE = 'the slug was used by another course', CONSTRAINT = 'uq_courses_slug';
            END IF;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER keep_slug AFTER INSERT OR UPDATE OF slug ON courses.courses
        FOR EACH ROW EXECUTE FUNCTION courses.keep_slug()""")
    op.execute("INSERT INTO courses.slugs (slug, course_id) SELECT slug, id FROM courses.courses")
    op.execute("CREATE INDEX ix_slugs_course_id ON courses.slugs (course_id)")
    # A slug that was published once is never given to another course.
    op.execute("REVOKE UPDATE, DELETE ON courses.slugs FROM coursebus_courses")
    with op.get_context().autocommit_block():  # CONCURRENTLY: courses are published in the meantime
        op.execute("""
            CREATE INDEX CONCURRENTLY ix_course_versions_prerequisites
            ON courses.course_versions USING gin (prerequisites)""")


def downgrade() -> None:
    op.execute("DROP INDEX courses.ix_course_versions_prerequisites")
    op.execute("DROP TRIGGER keep_slug ON courses.courses")
    op.execute("DROP FUNCTION courses.keep_slug")
    op.execute("DROP TABLE courses.slugs")
