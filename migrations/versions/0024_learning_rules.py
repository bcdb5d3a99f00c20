"""Courses: reviews, quizzes that are graded, and courses to complete first."""

from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE courses.reviews (
            id uuid PRIMARY KEY,
            course_id uuid NOT NULL REFERENCES courses.courses (id),
            user_id uuid NOT NULL,
            rating bigint NOT NULL CHECK (rating BETWEEN 1 AND 5),
            text text NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            UNIQUE (course_id, user_id)
        )""")
    op.execute("CREATE INDEX ix_reviews_created_at ON courses.reviews (course_id, created_at, id)")
    op.execute("CREATE INDEX ix_reviews_user_id ON courses.reviews (user_id)")
    op.execute("""
        CREATE TABLE courses.attempts (
            user_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            attempt bigint NOT NULL,
            course_id uuid NOT NULL REFERENCES courses.courses (id),
            answers jsonb NOT NULL,
            score_percent bigint NOT NULL CHECK (score_percent BETWEEN 0 AND 100),
            passed boolean NOT NULL,
            attempted_at timestamptz NOT NULL,
            PRIMARY KEY (user_id, lesson_id, attempt)
        )""")
    op.execute("""
        ALTER TABLE courses.catalogue
            ADD COLUMN ratings bigint NOT NULL DEFAULT 0,
            ADD COLUMN rating_hundredths bigint NOT NULL DEFAULT 0""")
    op.execute("CREATE INDEX ix_catalogue_rating ON courses.catalogue (rating_hundredths, course_id)")
    for table in ("courses.courses", "courses.course_versions", "progress.outlines"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN prerequisites uuid[] NOT NULL DEFAULT '{{}}'")


def downgrade() -> None:
    for table in ("courses.courses", "courses.course_versions", "progress.outlines"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN prerequisites")
    op.execute("ALTER TABLE courses.catalogue DROP COLUMN rating_hundredths, DROP COLUMN ratings")
    op.execute("DROP TABLE courses.attempts, courses.reviews")
