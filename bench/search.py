"""Measure searches of 100,000 generated courses without the cache: ``python -m bench.search``.

The tasks are called as a worker calls them, on a separate database. HTTP and the queue are measured by bench.reads and
bench.end_to_end. The output has the wall-clock time and the CPU time of this process and of the database server; the
CPU time is the wall-clock time of an idle machine.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ops.dev.ports import free_base

# Set before the first import that reads the settings.
BASE = free_base()
STATE_DIR = Path(tempfile.mkdtemp(prefix="coursebus-bench-"))
STATE_DIR.chmod(0o711)
os.environ.update(PORT_BASE=str(BASE), STATE_DIR=str(STATE_DIR))

from sqlalchemy import text  # noqa: E402

from core.db import session_factory  # noqa: E402
from migrations.__main__ import main as migrate  # noqa: E402
from models.commands.courses import CatalogueFilters  # noqa: E402
from ops.dev.stack import Stack  # noqa: E402
from workers.courses.catalogue import list_courses  # noqa: E402

WANTED_MS = 60
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]
CATEGORIES = [f"category-{number}" for number in range(30)]

_COURSES = text("""
    INSERT INTO courses.courses (id, version, slug, instructor_id, status, title, summary, description, category, level,
        language, tags, price_minor, currency, sequential, published_version, published_at, created_at)
    SELECT id, 2, 'course-' || n, gen_random_uuid(), 'published', title, summary, '', category, 'beginner', 'en', '{}',
        n % 9000, 'USD', false, 1, now() - n * interval '1 minute', now()
    FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS int[]), CAST(:titles AS text[]), CAST(:summaries AS text[]),
        CAST(:categories AS text[])) AS made (id, n, title, summary, category)""")
_VERSIONS = text("""
    INSERT INTO courses.course_versions (course_id, course_version, title, summary, description, category, level,
        language, tags, prerequisites, sequential, lessons_total, duration_seconds, sections, published_at)
    SELECT course.id, 1, title, summary, made.description, category, level, language, tags, '{}', false, 20, 3600,
        CAST(made.sections AS jsonb), published_at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:descriptions AS text[]), CAST(:sections AS text[]))
        AS made (id, description, sections) JOIN courses.courses course ON course.id = made.id""")
_CATALOGUE = text("""
    INSERT INTO courses.catalogue (course_id, slug, title, summary, category, level, language, tags, price_minor,
        currency, instructor_id, lessons_total, duration_seconds, learners, published_at, names)
    SELECT id, slug, title, summary, category, level, language, tags, price_minor, currency, instructor_id, 10, 3600,
        price_minor * 7 % 1000, published_at, lower(title) FROM courses.courses""")
_VOCABULARY = text("""
    INSERT INTO courses.vocabulary
    SELECT DISTINCT word FROM courses.catalogue, regexp_split_to_table(names, ' ') AS word""")


def fill(courses: int, words: list[str], generator: random.Random) -> None:
    """Publish ``courses`` courses whose titles and summaries are random ``words``; the first words are frequent."""
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    texts = [generator.choices(words, weights, k=24) for _ in range(courses)]
    made = {
        "ids": [f"00000000-0000-7000-8000-{number:012x}" for number in range(courses)],
        "numbers": list(range(courses)),
        "titles": [" ".join(each[:4]).capitalize() for each in texts],
        "summaries": [" ".join(each[4:]) for each in texts],
        "categories": generator.choices(CATEGORIES, k=courses),
    }
    with session_factory("courses").begin() as session:
        session.execute(_COURSES, made)
        session.execute(_VERSIONS, _contents(made["ids"], words, generator))
        session.execute(_CATALOGUE)
        session.execute(_VOCABULARY)
    with session_factory("courses")() as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        # Do what autovacuum does within a minute. PostgreSQL only warns if the role does not own the table, so reset
        # it.
        for statement in ("SET ROLE NONE", "VACUUM ANALYZE courses.catalogue", "RESET ROLE"):
            session.execute(text(statement))


def _contents(ids: list[str], words: list[str], generator: random.Random) -> dict[str, list[str]]:
    """Return descriptions of 100 words, and outlines with 20 lessons, of words that are all as frequent."""
    texts = [generator.choices(words, k=160) for _ in ids]
    lessons = [[{"title": " ".join(each[100 + 3 * n : 103 + 3 * n])} for n in range(20)] for each in texts]
    outlines = [json.dumps([{"title": "Section", "lessons": listed}]) for listed in lessons]
    return {"ids": ids, "descriptions": [" ".join(each[:100]) for each in texts], "sections": outlines}


Duration = tuple[float, float]  # wall-clock ms, CPU ms


def search(filters: CatalogueFilters, **options: Any) -> Duration:
    """Return how long a search takes, including its transaction."""
    with session_factory("courses").begin() as session:
        server = session.scalars(text("SELECT pg_backend_pid()")).one()
        # The CPU time of parallel workers would not be measured.
        session.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
        started, cpu_before = time.perf_counter(), _cpu_ms(server)
        page = {"sort": None, "after": None, "limit": 20, "facets": False, "total": False, **options}
        list_courses(session, filters=filters, **page)
        return (time.perf_counter() - started) * 1000, _cpu_ms(server) - cpu_before


def _cpu_ms(pid: int) -> float:
    """Return the CPU time of this thread and of the server process ``pid`` so far, in ms."""
    server_ns = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return (time.thread_time_ns() + server_ns) / 1e6


def misspelled(word: str, generator: random.Random) -> str:
    position = generator.randrange(1, len(word) - 1)
    return word[:position] + generator.choice("aeiou") + word[position + 1 :]


def _cuts(durations: Sequence[float]) -> tuple[float, float]:
    return statistics.median(durations), sorted(durations)[int(len(durations) * 0.95)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--courses", type=int, default=100_000)
    arguments.add_argument("--searches", type=int, default=300)
    args = arguments.parse_args()
    generator = random.Random(7)
    words = list({"".join(generator.choices(SYLLABLES, k=generator.randint(3, 5))) for _ in range(5000)})
    counted = {"facets": True, "total": True}
    subjects: dict[str, Callable[[], Duration]] = {
        "one word": lambda: search(CatalogueFilters(q=generator.choice(words))),
        "two words": lambda: search(CatalogueFilters(q=" ".join(generator.choices(words[:200], k=2)))),
        "a word of most of the courses": lambda: search(CatalogueFilters(q=generator.choice(words[:5]))),
        "a misspelled word": lambda: search(CatalogueFilters(q=misspelled(generator.choice(words), generator))),
        "a category, newest first": lambda: search(CatalogueFilters(category=generator.choice(CATEGORIES))),
        "the most popular": lambda: search(CatalogueFilters(), sort="popular"),
        "one word, with facets and total": lambda: search(CatalogueFilters(q=generator.choice(words)), **counted),
        "a word of most, with facets": lambda: search(CatalogueFilters(q=generator.choice(words[:5])), **counted),
        "a category, with facets": lambda: search(CatalogueFilters(category=generator.choice(CATEGORIES)), **counted),
        "everything, with facets": lambda: search(CatalogueFilters(), **counted),
    }
    stack = Stack(STATE_DIR, BASE, only=["postgres"], environ=os.environ)
    try:
        stack.start()
        migrate("upgrade")
        fill(args.courses, words, generator)
        print(f"{args.courses:,} courses, {len(words):,} words, {args.searches} searches of each kind")
        for name, run in subjects.items():
            run()
            durations = list(zip(*(run() for _ in range(args.searches)), strict=True))
            clock, processors = ("p50 {:6.1f} ms  p95 {:6.1f} ms".format(*_cuts(each)) for each in durations)
            print(f"{name:32} clock {clock} (wanted {WANTED_MS})   processors {processors}", flush=True)
    finally:
        stack.reset()


if __name__ == "__main__":
    main()
