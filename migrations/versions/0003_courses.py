"""Courses: drafts and published versions, the catalogue with its search, enrolments, reviews and quizzes."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE SCHEMA courses")
    _drafts()
    _published_versions()
    _catalogue()
    _enrollments()
    _learning()
    _functions()
    _grants()


def _drafts() -> None:
    op.execute("""
        CREATE TABLE courses.courses (
            id uuid NOT NULL,
            version bigint NOT NULL,
            slug text NOT NULL,
            instructor_id uuid NOT NULL,
            status text NOT NULL,
            title text NOT NULL,
            summary text NOT NULL,
            description text NOT NULL,
            category text NOT NULL,
            level text NOT NULL,
            language text NOT NULL,
            tags text[] NOT NULL,
            prerequisites uuid[] NOT NULL DEFAULT '{}',
            sequential boolean NOT NULL,
            price_minor bigint NOT NULL,
            currency text NOT NULL,
            published_version bigint,
            published_at timestamptz,
            created_at timestamptz NOT NULL,
            CONSTRAINT pk_courses PRIMARY KEY (id),
            CONSTRAINT uq_courses_slug UNIQUE (slug),
            -- A course on sale has a published version.
            CONSTRAINT ck_courses_published CHECK (status <> 'published' OR published_version IS NOT NULL),
            CONSTRAINT ck_courses_status CHECK (status IN ('draft', 'published', 'archived')),
            CONSTRAINT ck_courses_level CHECK (level IN ('beginner', 'intermediate', 'advanced')),
            CONSTRAINT ck_courses_price_minor CHECK (price_minor >= 0),
            CONSTRAINT ck_courses_currency CHECK (currency ~ '^[A-Z]{3}$'),
            CONSTRAINT ck_courses_published_at CHECK ((published_version IS NULL) = (published_at IS NULL))
        )""")
    op.execute("CREATE INDEX ix_courses_instructor_id ON courses.courses (instructor_id, created_at, id)")
    op.execute("""
        CREATE TABLE courses.sections (
            id uuid NOT NULL,
            course_id uuid NOT NULL,
            title text NOT NULL,
            position bigint NOT NULL,
            CONSTRAINT pk_sections PRIMARY KEY (id),
            CONSTRAINT fk_sections_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id)
        )""")
    op.execute("CREATE INDEX ix_sections_course_id ON courses.sections (course_id)")
    op.execute("""
        CREATE TABLE courses.lessons (
            id uuid NOT NULL,
            section_id uuid NOT NULL,
            title text NOT NULL,
            position bigint NOT NULL,
            kind text NOT NULL,
            content jsonb NOT NULL,
            duration_seconds bigint,
            free_preview boolean NOT NULL,
            completion jsonb NOT NULL,
            unlock jsonb,
            CONSTRAINT pk_lessons PRIMARY KEY (id),
            CONSTRAINT fk_lessons_section_id FOREIGN KEY (section_id) REFERENCES courses.sections (id),
            CONSTRAINT ck_lessons_kind CHECK (kind IN ('video', 'text', 'quiz')),
            CONSTRAINT ck_lessons_duration_seconds CHECK (duration_seconds > 0)
        )""")
    op.execute("CREATE INDEX ix_lessons_section_id ON courses.lessons (section_id)")


def _published_versions() -> None:
    op.execute("""
        CREATE TABLE courses.course_versions (
            course_id uuid NOT NULL,
            course_version bigint NOT NULL,
            title text NOT NULL,
            summary text NOT NULL,
            description text NOT NULL,
            category text NOT NULL,
            level text NOT NULL,
            language text NOT NULL,
            tags text[] NOT NULL,
            prerequisites uuid[] NOT NULL DEFAULT '{}',
            sequential boolean NOT NULL,
            lessons_total bigint NOT NULL,
            duration_seconds bigint NOT NULL,
            sections jsonb NOT NULL,
            published_at timestamptz NOT NULL,
            CONSTRAINT pk_course_versions PRIMARY KEY (course_id, course_version),
            CONSTRAINT fk_course_versions_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id),
            CONSTRAINT ck_course_versions_lessons_total CHECK (lessons_total > 0)
        )""")
    op.execute("""
        CREATE TABLE courses.published_lessons (
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            course_version bigint NOT NULL,
            lesson jsonb NOT NULL,
            CONSTRAINT pk_published_lessons PRIMARY KEY (course_id, lesson_id, course_version),
            CONSTRAINT fk_published_lessons_course_id_course_version FOREIGN KEY (course_id, course_version)
                REFERENCES courses.course_versions (course_id, course_version)
        )""")


def _catalogue() -> None:
    op.execute("""
        CREATE TABLE courses.catalogue (
            course_id uuid NOT NULL,
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
            ratings bigint NOT NULL DEFAULT 0,
            rating_hundredths bigint NOT NULL DEFAULT 0,
            published_at timestamptz NOT NULL,
            -- Title and tags in Latin script: pg_trgm ignores other scripts under the locale C.
            names text NOT NULL,
            -- The Russian configuration stems Cyrillic words as Russian and Latin words as English.
            words tsvector NOT NULL GENERATED ALWAYS AS (
                setweight(to_tsvector('russian', title), 'A') || setweight(to_tsvector('russian', names), 'B')
                || setweight(to_tsvector('russian', summary), 'C')
            ) STORED,
            CONSTRAINT pk_catalogue PRIMARY KEY (course_id),
            CONSTRAINT fk_catalogue_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id)
        )""")
    op.execute("CREATE INDEX ix_catalogue_category ON courses.catalogue (category, published_at, course_id)")
    # Facets are counted by an index-only scan.
    op.execute("CREATE INDEX ix_catalogue_facets ON courses.catalogue (category, level, language, price_minor)")
    op.execute("CREATE INDEX ix_catalogue_instructor_id ON courses.catalogue (instructor_id)")
    op.execute("CREATE INDEX ix_catalogue_learners ON courses.catalogue (learners, course_id)")
    op.execute("CREATE INDEX ix_catalogue_price_minor ON courses.catalogue (price_minor, course_id)")
    op.execute("CREATE INDEX ix_catalogue_published_at ON courses.catalogue (published_at, course_id)")
    op.execute("CREATE INDEX ix_catalogue_rating ON courses.catalogue (rating_hundredths, course_id)")
    op.execute("CREATE INDEX ix_catalogue_tags ON courses.catalogue USING gin (tags)")
    # Weight A is the title, weight B title and tags in Latin script: matches in them rank above matches in summaries.
    op.execute("CREATE INDEX ix_catalogue_title_words ON courses.catalogue USING gin (ts_filter(words, '{a,b}'))")
    op.execute("CREATE INDEX ix_catalogue_words ON courses.catalogue USING gin (words)")
    op.execute("""
        CREATE TABLE courses.vocabulary (
            word text NOT NULL,
            CONSTRAINT pk_vocabulary PRIMARY KEY (word)
        )""")
    op.execute("CREATE INDEX ix_vocabulary_word ON courses.vocabulary USING gin (word gin_trgm_ops)")


def _enrollments() -> None:
    op.execute("""
        CREATE TABLE courses.enrollments (
            id uuid NOT NULL,
            version bigint NOT NULL,
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            enrolled_at timestamptz NOT NULL,
            lessons_completed bigint NOT NULL,
            progress_percent bigint NOT NULL,
            progress_version bigint NOT NULL DEFAULT 0,
            CONSTRAINT pk_enrollments PRIMARY KEY (id),
            CONSTRAINT uq_enrollments_user_id_course_id UNIQUE (user_id, course_id),
            CONSTRAINT fk_enrollments_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id),
            CONSTRAINT ck_enrollments_progress_percent CHECK (progress_percent BETWEEN 0 AND 100)
        )""")
    op.execute("CREATE INDEX ix_enrollments_course_id ON courses.enrollments (course_id)")
    op.execute("CREATE INDEX ix_enrollments_enrolled_at ON courses.enrollments (user_id, enrolled_at, id)")
    op.execute("""
        CREATE TABLE courses.grants (
            id uuid NOT NULL,
            user_id uuid NOT NULL,
            course_id uuid NOT NULL,
            source text NOT NULL,
            source_id text NOT NULL,
            status text NOT NULL,
            starts_at timestamptz NOT NULL,
            ends_at timestamptz,
            reason text,
            CONSTRAINT pk_grants PRIMARY KEY (id),
            -- An order or subscription grants a course once, however often its event is delivered.
            CONSTRAINT uq_grants_source_source_id_user_id_course_id UNIQUE (source, source_id, user_id, course_id),
            CONSTRAINT fk_grants_user_id_course_id FOREIGN KEY (user_id, course_id)
                REFERENCES courses.enrollments (user_id, course_id),
            CONSTRAINT ck_grants_status CHECK (status IN ('active', 'suspended', 'revoked')),
            CONSTRAINT ck_grants_period CHECK (ends_at > starts_at)
        )""")
    op.execute("CREATE INDEX ix_grants_user_id ON courses.grants (user_id, course_id)")
    op.execute("""
        CREATE TABLE courses.access_sources (
            source text NOT NULL,
            source_id text NOT NULL,
            user_id uuid NOT NULL,
            status text NOT NULL,
            reason text,
            version bigint NOT NULL,
            changed_at timestamptz NOT NULL,
            CONSTRAINT pk_access_sources PRIMARY KEY (source, source_id),
            CONSTRAINT ck_access_sources_source CHECK (source IN ('order', 'subscription')),
            CONSTRAINT ck_access_sources_status CHECK (status IN ('active', 'suspended', 'revoked'))
        )""")
    op.execute("CREATE INDEX ix_access_sources_user_id ON courses.access_sources (user_id)")


def _learning() -> None:
    op.execute("""
        CREATE TABLE courses.reviews (
            id uuid NOT NULL,
            course_id uuid NOT NULL,
            user_id uuid NOT NULL,
            rating bigint NOT NULL,
            text text NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT pk_reviews PRIMARY KEY (id),
            CONSTRAINT uq_reviews_course_id_user_id UNIQUE (course_id, user_id),
            CONSTRAINT fk_reviews_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id),
            CONSTRAINT ck_reviews_rating CHECK (rating BETWEEN 1 AND 5)
        )""")
    op.execute("CREATE INDEX ix_reviews_created_at ON courses.reviews (course_id, created_at, id)")
    op.execute("CREATE INDEX ix_reviews_user_id ON courses.reviews (user_id)")
    op.execute("""
        CREATE TABLE courses.quiz_attempts (
            user_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            attempt bigint NOT NULL,
            course_id uuid NOT NULL,
            answers jsonb NOT NULL,
            score_percent bigint NOT NULL,
            passed boolean NOT NULL,
            attempted_at timestamptz NOT NULL,
            CONSTRAINT pk_quiz_attempts PRIMARY KEY (user_id, lesson_id, attempt),
            CONSTRAINT fk_quiz_attempts_course_id FOREIGN KEY (course_id) REFERENCES courses.courses (id),
            CONSTRAINT ck_quiz_attempts_score_percent CHECK (score_percent BETWEEN 0 AND 100)
        )""")


def _functions() -> None:
    # A search without results is repeated with each word replaced by the most similar word of a title or tag.
    op.execute("""
        CREATE FUNCTION courses.correct_spelling(query text) RETURNS tsquery LANGUAGE sql STABLE AS $$
            SELECT plainto_tsquery('russian', string_agg(coalesce(nearest.word, given.word), ' '))
            FROM regexp_split_to_table(query, ' ') AS given (word)
            LEFT JOIN LATERAL (
                SELECT vocabulary.word FROM courses.vocabulary WHERE vocabulary.word % given.word
                ORDER BY similarity(vocabulary.word, given.word) DESC, vocabulary.word LIMIT 1
            ) AS nearest ON true
        $$""")


def _grants() -> None:
    op.execute("GRANT USAGE ON SCHEMA courses TO coursebus_courses")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA courses TO coursebus_courses")
    # For the tables of later steps.
    op.execute("""
        ALTER DEFAULT PRIVILEGES IN SCHEMA courses
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO coursebus_courses""")
    # A published version is immutable.
    op.execute("REVOKE UPDATE, DELETE ON courses.course_versions, courses.published_lessons FROM coursebus_courses")
