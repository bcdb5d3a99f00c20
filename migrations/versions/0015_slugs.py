"""All slugs that a course ever had, so that old addresses keep leading to it."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_table

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    if not has_table("courses.slugs"):
        _change_tables()
    with op.get_context().autocommit_block():  # CONCURRENTLY: courses are published in the meantime
        create_index_concurrently(
            "courses.ix_course_versions_prerequisites", "courses.course_versions USING gin (prerequisites)"
        )


def _change_tables() -> None:
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


def downgrade() -> None:
    op.execute("DROP INDEX courses.ix_course_versions_prerequisites")
    op.execute("DROP TRIGGER keep_slug ON courses.courses")
    op.execute("DROP FUNCTION courses.keep_slug")
    op.execute("DROP TABLE courses.slugs")
