"""Statistics of courses and of the shop: facts from events, and their sums by day."""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE integrations.statistics_cursor (
            id bigint NOT NULL,
            position bigint NOT NULL,
            CONSTRAINT pk_statistics_cursor PRIMARY KEY (id),
            CONSTRAINT ck_statistics_cursor_id CHECK (id = 1)
        )""")
    op.execute("""
        CREATE TABLE integrations.facts (
            kind text NOT NULL,
            key text NOT NULL,
            source text NOT NULL,
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            user_id uuid,
            day date NOT NULL,
            value bigint,
            currency text NOT NULL,
            version bigint NOT NULL,
            counts boolean NOT NULL,
            CONSTRAINT pk_facts PRIMARY KEY (kind, key)
        )""")
    op.execute("CREATE INDEX ix_facts_source ON integrations.facts (source)")
    op.execute("CREATE INDEX ix_facts_user_id ON integrations.facts (user_id, course_id)")
    op.execute("""
        CREATE TABLE integrations.statistics (
            course_id uuid NOT NULL,
            lesson_id uuid NOT NULL,
            metric text NOT NULL,
            currency text NOT NULL,
            day date NOT NULL,
            value bigint NOT NULL,
            CONSTRAINT pk_statistics PRIMARY KEY (course_id, lesson_id, metric, currency, day)
        )""")
    # The sums follow the facts in the same transaction, of the job, of a rebuild and of an erasure. Each
    # fact counts on its day and, at the day -infinity, in total; facts without a course count for the whole shop.
    op.execute("""
        CREATE FUNCTION integrations.count_fact(fact integrations.facts, sign int) RETURNS void LANGUAGE sql AS $$
            INSERT INTO integrations.statistics AS stored (course_id, lesson_id, metric, currency, day, value)
            SELECT fact.course_id, fact.lesson_id, metric, fact.currency, counted_day, sign * amount
            FROM (VALUES (fact.kind, 1::bigint), (fact.kind || '_value', fact.value)) AS counted (metric, amount),
                (VALUES (fact.day), ('-infinity'::date)) AS days (counted_day)
            WHERE amount IS NOT NULL
            ORDER BY metric, counted_day
            ON CONFLICT (course_id, lesson_id, metric, currency, day)
            DO UPDATE SET value = stored.value + excluded.value
        $$""")
    op.execute("""
        CREATE FUNCTION integrations.count_facts() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' AND OLD.counts THEN
                PERFORM integrations.count_fact(OLD, -1);
            END IF;
            IF TG_OP <> 'DELETE' AND NEW.counts THEN
                PERFORM integrations.count_fact(NEW, 1);
            END IF;
            RETURN NULL;
        END
        $$""")
    op.execute("""
        CREATE TRIGGER count_facts AFTER INSERT OR UPDATE OR DELETE ON integrations.facts
        FOR EACH ROW EXECUTE FUNCTION integrations.count_facts()""")


def downgrade() -> None:
    op.execute("DROP TRIGGER count_facts ON integrations.facts")
    op.execute("DROP FUNCTION integrations.count_facts()")
    op.execute("DROP FUNCTION integrations.count_fact(integrations.facts, int)")
    op.execute("DROP TABLE integrations.facts")
    op.execute("DROP TABLE integrations.statistics")
    op.execute("DROP TABLE integrations.statistics_cursor")
