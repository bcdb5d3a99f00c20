"""Courses: what authors write, what was published of it, what is on sale, and who may learn it."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    _authored()
    _published()
    _on_sale()
    _learners()


def _authored() -> None:
    op.execute("""
        CREATE TABLE courses.courses (
            id uuid PRIMARY KEY,
            version bigint NOT NULL,
            slug text NOT NULL UNIQUE,
            instructor_id uuid NOT NULL,
            status text NOT NULL CHECK (status IN ('draft', 'published', 'archived')),
            title text NOT NULL,
            summary text NOT NULL,
            description text NOT NULL,
            category text NOT NULL,
            level text NOT NULL CHECK (level IN ('beginner', 'intermediate', 'advanced')),
            language text NOT NULL,
            tags text[] NOT NULL,
            price_minor bigint NOT NULL CHECK (price_minor >= 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            sequential boolean NOT NULL,
            published_version bigint,
            published_at timestamptz,
            created_at timestamptz NOT NULL,
            -- What is on sale has a snapshot to sell.
            CONSTRAINT ck_courses_published CHECK (status <> 'published' OR published_version IS NOT NULL),
            CONSTRAINT ck_courses_published_at CHECK ((published_version IS NULL) = (published_at IS NULL))
        )""")
    op.execute("CREATE INDEX ix_courses_instructor_id ON courses.courses (instructor_id, created_at, id)")
    op.execute("""
        CREATE TABLE courses.sections (
            id uuid PRIMARY KEY,
            course_id uuid NOT NULL REFERENCES courses.courses (id),
            title text NOT NULL,
            position bigint NOT NULL
        )""")
    op.execute("CREATE INDEX ix_sections_course_id ON courses.sections (course_id)")
    op.execute("""
        CREATE TABLE courses.lessons (
            id uuid PRIMARY KEY,
            section_id uuid NOT NULL REFERENCES courses.sections (id),
            title text NOT NULL,
            position bigint NOT NULL,
            kind text NOT NULL CHECK (kind IN ('video', 'text', 'quiz')),
            content jsonb NOT NULL,
            duration_seconds bigint CHECK (duration_seconds > 0),
            free_preview boolean NOT NULL,
            completion jsonb NOT NULL,
            unlock jsonb
        )""")
    op.execute("CREATE INDEX ix_lessons_section_id ON courses.lessons (section_id)")


def _published() -> None:
    op.execute("""
        CREATE TABLE courses.course_versions (
            course_id uuid NOT NULL REFERENCES courses.courses (id),
            course_version bigint NOT NULL,
            title text NOT NULL,
            summary text NOT NULL,
            description text NOT NULL,
            category text NOT NULL,
            level text NOT NULL,
            language text NOT NULL,
            tags text[] NOT NULL,
            sequential boolean NOT NULL,
            lessons_total bigint NOT NULL CHECK (lessons_total > 0),
            duration_seconds bigint NOT NULL,
            sections jsonb NOT NULL,
            published_at timestamptz NOT NULL,
            PRIMARY KEY (course_id, course_version)
        )""")
    op.execute("""
        CREATE TABLE courses.published_lessons (
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            course_version bigint NOT NULL,
            lesson jsonb NOT NULL,
            PRIMARY KEY (course_id, lesson_id, course_version),
            FOREIGN KEY (course_id, course_version) REFERENCES courses.course_versions (course_id, course_version)
        )""")
    # A published version never changes: the service could not if it wanted to.
    op.execute("REVOKE UPDATE, DELETE ON courses.course_versions, courses.published_lessons FROM coursebus_courses")


def _on_sale() -> None:
    op.execute("""
        CREATE TABLE courses.catalogue (
            course_id uuid PRIMARY KEY REFERENCES courses.courses (id),
            slug text NOT NULL,
            title text NOT NULL,
            summary text NOT NULL,
            category text NOT NULL,
            level text NOT NULL,
            language text NOT NULL,
            tags text[] NOT NULL,
            price_minor bigint NOT NULL,
            currency text NOT NULL,
            instructor_id uuid NOT NULL,
            lessons_total bigint NOT NULL,
            duration_seconds bigint NOT NULL,
            learners bigint NOT NULL,
            published_at timestamptz NOT NULL,
            -- Title and tags in Latin letters: pg_trgm knows no others under the locale C.
            names text NOT NULL,
            -- The Russian configuration stems Cyrillic words as Russian and Latin ones as English.
            words tsvector NOT NULL GENERATED ALWAYS AS (
                setweight(to_tsvector('russian', title), 'A') || setweight(to_tsvector('russian', names), 'B')
                || setweight(to_tsvector('russian', summary), 'C')
            ) STORED
        )""")
    for order in ("published_at", "learners", "price_minor"):
        op.execute(f"CREATE INDEX ix_catalogue_{order} ON courses.catalogue ({order}, course_id)")
    op.execute("CREATE INDEX ix_catalogue_category ON courses.catalogue (category, published_at, course_id)")
    op.execute("CREATE INDEX ix_catalogue_instructor_id ON courses.catalogue (instructor_id)")
    op.execute("CREATE INDEX ix_catalogue_tags ON courses.catalogue USING gin (tags)")
    op.execute("CREATE INDEX ix_catalogue_words ON courses.catalogue USING gin (words)")
    # Every word that a title or a tag ever had, in Latin letters: what a misspelled one may have meant.
    op.execute("CREATE TABLE courses.vocabulary (word text PRIMARY KEY)")
    op.execute("CREATE INDEX ix_vocabulary_word ON courses.vocabulary USING gin (word gin_trgm_ops)")
    op.execute("""
        CREATE FUNCTION courses.respelled(query text) RETURNS tsquery LANGUAGE sql STABLE AS $$
            SELECT plainto_tsquery('russian', string_agg(coalesce(nearest.word, given.word), ' '))
            FROM regexp_split_to_table(query, ' ') AS given (word)
            LEFT JOIN LATERAL (
                SELECT vocabulary.word FROM courses.vocabulary WHERE vocabulary.word % given.word
                ORDER BY similarity(vocabulary.word, given.word) DESC, vocabulary.word LIMIT 1
            ) AS nearest ON true
        $$""")


def _learners() -> None:
    op.execute("""
        CREATE TABLE courses.enrollments (
            id uuid PRIMARY KEY,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            course_id uuid NOT NULL REFERENCES courses.courses (id),
            enrolled_at timestamptz NOT NULL,
            lessons_completed bigint NOT NULL,
            progress_percent bigint NOT NULL CHECK (progress_percent BETWEEN 0 AND 100),
            UNIQUE (user_id, course_id)
        )""")
    op.execute("CREATE INDEX ix_enrollments_course_id ON courses.enrollments (course_id)")
    op.execute("CREATE INDEX ix_enrollments_enrolled_at ON courses.enrollments (user_id, enrolled_at, id)")
    op.execute("""
        CREATE TABLE courses.grants (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            source text NOT NULL,
            source_id text NOT NULL,
            status text NOT NULL CHECK (status IN ('active', 'suspended', 'revoked')),
            starts_at timestamptz NOT NULL,
            ends_at timestamptz CHECK (ends_at > starts_at),
            reason text,
            -- An order grants a course once, however often it is told.
            UNIQUE (source, source_id, user_id, course_id),
            FOREIGN KEY (user_id, course_id) REFERENCES courses.enrollments (user_id, course_id)
        )""")
    op.execute("CREATE INDEX ix_grants_user_id ON courses.grants (user_id, course_id)")


def downgrade() -> None:
    op.execute("DROP TABLE courses.grants, courses.enrollments")
    op.execute("DROP FUNCTION courses.respelled")
    op.execute("DROP TABLE courses.vocabulary, courses.catalogue, courses.published_lessons, courses.course_versions")
    op.execute("DROP TABLE courses.lessons, courses.sections, courses.courses")
    op.execute("DROP EXTENSION pg_trgm")
