"""Search in descriptions and in titles of sections and lessons; prices are ordered within a currency."""

from uuid import UUID

import sqlalchemy as sa
from alembic import op

from migrations.repeatable import create_index_concurrently, has_column

revision = "0017"
down_revision = "0016"

_FILL_PAGE = sa.text("""
    WITH page AS (
        SELECT course_id FROM courses.catalogue WHERE course_id > :after ORDER BY course_id LIMIT 500
    ), filled AS (
        UPDATE courses.catalogue SET title = title FROM page WHERE catalogue.course_id = page.course_id
    )
    SELECT course_id FROM page ORDER BY course_id DESC LIMIT 1""")


def upgrade() -> None:
    if not has_column("courses.catalogue", "all_words"):
        _change_tables()
    with op.get_context().autocommit_block():  # by pages: courses are published and bought in the meantime
        after = UUID(int=0)
        while last := op.get_bind().scalar(_FILL_PAGE, {"after": after}):
            after = last
        create_index_concurrently("courses.ix_catalogue_all_words", "courses.catalogue USING gin (all_words)")
        create_index_concurrently("courses.ix_catalogue_price", "courses.catalogue (currency, price_minor, course_id)")


def _change_tables() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # No generated column: it would rewrite the table under an exclusive lock, and cannot read the texts of the version.
    op.execute("ALTER TABLE courses.catalogue ADD COLUMN all_words tsvector")
    op.execute("""
        CREATE FUNCTION courses.set_all_words() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            texts text;
        BEGIN
            SELECT concat_ws(' ', version.description,
                (SELECT string_agg(title #>> '{}', ' ') FROM jsonb_path_query(version.sections, '$[*].title') title),
                (SELECT string_agg(title #>> '{}', ' ')
                    FROM jsonb_path_query(version.sections, '$[*].lessons[*].title') title))
            INTO texts FROM courses.course_versions version WHERE version.course_id = NEW.course_id
            ORDER BY version.course_version DESC LIMIT 1;
            -- A tsvector has up to 1 MB. Without positions it is half as long, and searches read it for many courses;
            -- phrases are found by the column "words".
            NEW.all_words := strip(to_tsvector('russian',
                left(concat_ws(' ', NEW.title, NEW.names, NEW.summary, texts), 200000)));
            RETURN NEW;
        END $$""")
    # Not for updates of counts, which are frequent.
    op.execute("""
        CREATE TRIGGER set_all_words BEFORE INSERT OR UPDATE OF title, names, summary ON courses.catalogue
        FOR EACH ROW EXECUTE FUNCTION courses.set_all_words()""")


def downgrade() -> None:
    op.execute("DROP TRIGGER set_all_words ON courses.catalogue")
    op.execute("DROP FUNCTION courses.set_all_words")
    op.execute("DROP INDEX courses.ix_catalogue_price")
    op.execute("ALTER TABLE courses.catalogue DROP COLUMN all_words")
