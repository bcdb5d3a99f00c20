"""Courses sorted by a weighted rating, in which few ratings count little."""

from alembic import op

from migrations.repeatable import create_index_concurrently

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.execute("""
        CREATE OR REPLACE FUNCTION courses.weighted_rating(ratings bigint, rating_hundredths bigint) RETURNS bigint
        LANGUAGE sql IMMUTABLE AS $$
            -- Bayesian: as if each rated course had ten more ratings of 3.5. In ten-thousandths.
            SELECT CASE WHEN ratings = 0 THEN 0
                ELSE 100 * (ratings * rating_hundredths + 10 * 350) / (ratings + 10) END
        $$""")
    with op.get_context().autocommit_block():  # CONCURRENTLY: courses are rated and bought in the meantime
        create_index_concurrently(
            "courses.ix_catalogue_weighted_rating",
            "courses.catalogue (courses.weighted_rating(ratings, rating_hundredths), course_id)",
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS courses.ix_catalogue_rating")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        create_index_concurrently("courses.ix_catalogue_rating", "courses.catalogue (rating_hundredths, course_id)")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS courses.ix_catalogue_weighted_rating")
    op.execute("DROP FUNCTION courses.weighted_rating")
