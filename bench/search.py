"""How long a search of 100,000 generated courses takes, nothing from the cache: ``python -m bench.search``.

The tasks are called as a worker calls them, on a database of its own; HTTP and the queue come on top (bench.reads,
bench.end_to_end). Beside the time on the clock stands the processors' own, ours and the database's: what is left of the
clock on a machine that has nothing else to do.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ops.dev.ports import free_base

# Before anything reads the settings.
BASE = free_base()
STATE_DIR = Path(tempfile.mkdtemp(prefix="coursebus-bench-"))
STATE_DIR.chmod(0o711)
os.environ.update(PORT_BASE=str(BASE), STATE_DIR=str(STATE_DIR))

from sqlalchemy import text  # noqa: E402

from core.db import session_factory  # noqa: E402
from migrations.__main__ import main as migrate  # noqa: E402
from models.courses.catalogue import Filters  # noqa: E402
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
_CATALOGUE = text("""
    INSERT INTO courses.catalogue (course_id, slug, title, summary, category, level, language, tags, price_minor,
        currency, instructor_id, lessons_total, duration_seconds, learners, published_at, names)
    SELECT id, slug, title, summary, category, level, language, tags, price_minor, currency, instructor_id, 10, 3600,
        price_minor * 7 % 1000, published_at, lower(title) FROM courses.courses""")
_VOCABULARY = text("""
    INSERT INTO courses.vocabulary
    SELECT DISTINCT word FROM courses.catalogue, regexp_split_to_table(names, ' ') AS word""")


def fill(courses: int, words: list[str], chance: random.Random) -> None:
    """Put ``courses`` on sale, their titles and summaries made of ``words``, of which some are frequent."""
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    texts = [chance.choices(words, weights, k=24) for _ in range(courses)]
    made = {
        "ids": [f"00000000-0000-7000-8000-{number:012x}" for number in range(courses)],
        "numbers": list(range(courses)),
        "titles": [" ".join(each[:4]).capitalize() for each in texts],
        "summaries": [" ".join(each[4:]) for each in texts],
        "categories": chance.choices(CATEGORIES, k=courses),
    }
    with session_factory("courses").begin() as session:
        for statement, values in ((_COURSES, made), (_CATALOGUE, {}), (_VOCABULARY, {})):
            session.execute(statement, values)
    with session_factory("courses")() as session:
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        # As autovacuum would within a minute; only who owns a table may, and others are told so by a warning.
        for statement in ("SET ROLE NONE", "VACUUM ANALYZE courses.catalogue", "RESET ROLE"):
            session.execute(text(statement))


Took = tuple[float, float]  # ms on the clock, and ms of processors


def search(filters: Filters, **options: Any) -> Took:
    """How long it takes, its transaction included."""
    with session_factory("courses").begin() as session:
        server = session.scalars(text("SELECT pg_backend_pid()")).one()
        # What further processes take would not be seen.
        session.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
        began, worked = time.perf_counter(), _worked(server)
        page = {"sort": None, "after": None, "limit": 20, "facets": False, "total": False, **options}
        list_courses(session, filters=filters, **page)
        return (time.perf_counter() - began) * 1000, _worked(server) - worked


def _worked(pid: int) -> float:
    """Processor time of this thread and of the server process ``pid`` so far, in ms."""
    theirs = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return (time.thread_time_ns() + theirs) / 1e6


def misspelled(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word) - 1)
    return word[:place] + chance.choice("aeiou") + word[place + 1 :]


def _cuts(taken: Sequence[float]) -> tuple[float, float]:
    return statistics.median(taken), sorted(taken)[int(len(taken) * 0.95)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--courses", type=int, default=100_000)
    arguments.add_argument("--searches", type=int, default=300)
    args = arguments.parse_args()
    chance = random.Random(7)
    words = list({"".join(chance.choices(SYLLABLES, k=chance.randint(3, 5))) for _ in range(5000)})
    counted = {"facets": True, "total": True}
    subjects: dict[str, Callable[[], Took]] = {
        "one word": lambda: search(Filters(q=chance.choice(words))),
        "two words": lambda: search(Filters(q=" ".join(chance.choices(words[:200], k=2)))),
        "a word of most of the courses": lambda: search(Filters(q=chance.choice(words[:5]))),
        "a misspelled word": lambda: search(Filters(q=misspelled(chance.choice(words), chance))),
        "a category, newest first": lambda: search(Filters(category=chance.choice(CATEGORIES))),
        "the most popular": lambda: search(Filters(), sort="popular"),
        "one word, with facets and total": lambda: search(Filters(q=chance.choice(words)), **counted),
        "a word of most, with facets": lambda: search(Filters(q=chance.choice(words[:5])), **counted),
        "a category, with facets": lambda: search(Filters(category=chance.choice(CATEGORIES)), **counted),
        "everything, with facets": lambda: search(Filters(), **counted),
    }
    stack = Stack(STATE_DIR, BASE, only=["postgres"], environ=os.environ)
    try:
        stack.start()
        migrate("upgrade")
        fill(args.courses, words, chance)
        print(f"{args.courses:,} courses, {len(words):,} words, {args.searches} searches of each kind")
        for name, look in subjects.items():
            look()
            taken = list(zip(*(look() for _ in range(args.searches)), strict=True))
            clock, processors = ("p50 {:6.1f} ms  p95 {:6.1f} ms".format(*_cuts(each)) for each in taken)
            print(f"{name:32} clock {clock} (wanted {WANTED_MS})   processors {processors}", flush=True)
    finally:
        stack.reset()


if __name__ == "__main__":
    main()
