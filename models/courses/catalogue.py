"""Catalogue: a read model with one row per course on sale, for listing, filtering, facets and search."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Computed,
    Select,
    Subquery,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import TSVECTOR, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.commands.courses import CatalogueCursor, CatalogueFilters

from .course import Course, HasDescription
from .reviews import Rating
from .transliteration import transliterate
from .versions import CourseVersion


class VocabularyWord(Base):
    """A word of a title or tag in Latin letters, for the correction of misspelled searches."""

    __tablename__ = "vocabulary"
    __table_args__ = ({"schema": "courses"},)

    word: Mapped[str] = mapped_column(primary_key=True)


class CatalogueEntry(HasDescription, Base):
    """A course on sale. ``names`` is the title and the tags in Latin letters, ``words`` the full-text index."""

    __tablename__ = "catalogue"
    __table_args__ = ({"schema": "courses"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str]
    price_minor: Mapped[int]
    currency: Mapped[str]
    instructor_id: Mapped[UUID]
    lessons_total: Mapped[int]
    duration_seconds: Mapped[int]
    learners: Mapped[int]
    ratings: Mapped[int]
    rating_hundredths: Mapped[int]  # average rating times 100: 450 is 4.5; 0 without ratings
    published_at: Mapped[datetime]  # of the first version, so that a new version does not list as a new course
    names: Mapped[str] = mapped_column(deferred=True)
    words: Mapped[str] = mapped_column(TSVECTOR, Computed("…"), deferred=True)  # the expression is in the migration

    @classmethod
    def upsert(cls, session: Session, course: Course, version: CourseVersion, *, learners: int, rating: Rating) -> None:
        """Insert or update the entry of a course from its newest version."""
        entry = {
            **version.description_fields(),
            "slug": course.slug,
            "price_minor": course.price_minor,
            "currency": course.currency,
            "instructor_id": course.instructor_id,
            "lessons_total": version.lessons_total,
            "duration_seconds": version.duration_seconds,
            "published_at": course.published_at,
            "names": transliterate(" ".join((version.title, *version.tags))),
        }
        counted = {"learners": learners, "ratings": rating.count, "rating_hundredths": rating.hundredths}
        row = insert(cls).values(course_id=course.id, **counted, **entry)
        session.execute(row.on_conflict_do_update(index_elements=[cls.course_id], set_=entry))
        # Sorted, so that two concurrent publishes lock the rows of their words in the same order and cannot deadlock.
        words = [{"word": word} for word in sorted(set(entry["names"].split()))]
        if words:
            session.execute(insert(VocabularyWord).values(words).on_conflict_do_nothing())

    @classmethod
    def update_offer(cls, session: Session, course: Course) -> None:
        """Update the price and the slug from the course."""
        offer = {"slug": course.slug, "price_minor": course.price_minor, "currency": course.currency}
        session.execute(update(cls).where(cls.course_id == course.id).values(**offer))

    @classmethod
    def remove(cls, session: Session, course: Course) -> None:
        """Delete the entry of a course."""
        session.execute(delete(cls).where(cls.course_id == course.id))

    @classmethod
    def increment_learners(cls, session: Session, course_id: UUID) -> None:
        session.connection().execute(_INCREMENT_LEARNERS, {"course": course_id})

    @classmethod
    def recalculate_rating(cls, session: Session, course_id: UUID) -> None:
        """Recalculate the rating of a course from its reviews.

        The row lock makes a concurrent recalculation wait for this transaction, so that it includes its review.
        """
        session.execute(select(cls.course_id).where(cls.course_id == course_id).with_for_update(key_share=True))
        rating = Rating.calculate(session, course_id)
        rated = {"ratings": rating.count, "rating_hundredths": rating.hundredths}
        session.execute(update(cls).where(cls.course_id == course_id).values(**rated))

    def to_response(self) -> dict[str, Any]:
        """Return an item of GET /v1/courses."""
        return {
            "id": self.course_id,
            "slug": self.slug,
            **self.description_fields(),
            "price": {"amount_minor": self.price_minor, "currency": self.currency},
            "instructor_id": self.instructor_id,
            "lessons_total": self.lessons_total,
            "duration_seconds": self.duration_seconds,
            "learners": self.learners,
            "rating": {"average": self.rating_hundredths / 100 if self.ratings else None, "count": self.ratings},
            "published_at": self.published_at,
        }


# Built once: building a statement takes longer than executing it.
_INCREMENT_LEARNERS = (
    update(CatalogueEntry)
    .where(CatalogueEntry.course_id == bindparam("course"))
    .values(learners=CatalogueEntry.learners + 1)
)


def _conditions(filters: CatalogueFilters) -> list[ColumnElement[bool]]:
    """Return the conditions of all filters except ``q``."""
    entry = CatalogueEntry
    equal = ("category", "level", "language", "instructor_id", "currency")
    conditions = [getattr(entry, name) == given for name in equal if (given := getattr(filters, name)) is not None]
    if filters.tag is not None:
        conditions.append(entry.tags.contains([filters.tag]))
    if filters.free is not None:
        conditions.append(entry.price_minor == 0 if filters.free else entry.price_minor > 0)
    if filters.price_min is not None:
        conditions.append(entry.price_minor >= filters.price_min)
    if filters.price_max is not None:
        conditions.append(entry.price_minor <= filters.price_max)
    return conditions


CataloguePage = tuple[list[CatalogueEntry], CatalogueCursor | None]

MAX_RANKED = 500  # entries that are ranked by relevance: 25 pages of twenty
MAX_COUNTED = 5000  # upper bound of the entries that are counted for a search

# Weights as in the migration's index: A is the title, B is title and tags in Latin letters.
_TITLE_WORDS = func.ts_filter(CatalogueEntry.words, literal_column("'{a,b}'"))

# The column of each sort order, and whether it is descending. The course id breaks ties.
_SORTS: dict[str, tuple[Any, bool]] = {
    "newest": (CatalogueEntry.published_at, True),
    "popular": (CatalogueEntry.learners, True),
    "rating": (CatalogueEntry.rating_hundredths, True),
    "price": (CatalogueEntry.price_minor, False),
    "-price": (CatalogueEntry.price_minor, True),
}


@dataclass(frozen=True)
class Search:
    """A catalogue query. With ``respelled`` each word of ``q`` is replaced by the most similar known word."""

    filters: CatalogueFilters
    sort: str  # newest, popular, rating, price, -price; relevance only with ``q``
    respelled: bool = False

    def list_page(self, session: Session, after: CatalogueCursor | None, limit: int) -> CataloguePage:
        """Return up to ``limit`` entries after a cursor, and the next cursor if there are more."""
        if self.sort == "relevance":
            ranked = self._ranked().subquery()
            key, descending = ranked.c.key, True
            statement = select(CatalogueEntry, key).join(ranked, ranked.c.course_id == CatalogueEntry.course_id)
        else:
            key, descending = _SORTS[self.sort]
            statement = self._filtered(select(CatalogueEntry, key))
        if after:
            row = tuple_(key, CatalogueEntry.course_id)
            last_key_value = literal(msgspec.convert(after.key, key.type.python_type), key.type)
            cursor = tuple_(last_key_value, literal(after.course_id, Uuid()))
            statement = statement.where(row < cursor if descending else row > cursor)
        by = (key.desc(), CatalogueEntry.course_id.desc()) if descending else (key, CatalogueEntry.course_id)
        rows = session.execute(statement.order_by(*by).limit(limit + 1)).all()
        if len(rows) <= limit:
            return [entry for entry, _ in rows], None
        last, last_key = rows[limit - 1]
        return [entry for entry, _ in rows[:limit]], CatalogueCursor(last_key, last.course_id, self.respelled)

    def count(self, session: Session) -> int:
        """Return the number of matching entries, in one statement; with ``q`` at most MAX_COUNTED."""
        counted: int = session.scalars(select(func.count()).select_from(self._counted())).one()
        return counted

    def facets(self, session: Session) -> tuple[dict[str, list[dict[str, Any]]], int]:
        """Return the counts per category, level, language and price (free or paid), and the total, in one statement.

        With ``q`` only the MAX_COUNTED most popular matches are counted.
        """
        counted = self._counted().c
        columns = {"category": counted.category, "level": counted.level, "language": counted.language}
        grouped = select(*columns.values(), counted.free, func.count()).group_by(*columns.values(), counted.free)
        counters: dict[str, Counter[str]] = {name: Counter() for name in (*columns, "price")}
        total = 0
        for *values, free, count in session.execute(grouped):
            total += count
            for counter, value in zip(counters.values(), (*values, "free" if free else "paid"), strict=True):
                counter[value] += count
        return {name: _most_frequent_first(counter) for name, counter in counters.items()}, total

    def _counted(self) -> Subquery:
        entry = CatalogueEntry
        columns: tuple[Any, ...] = (entry.category, entry.level, entry.language, (entry.price_minor == 0).label("free"))
        found: Select[Any] = self._filtered(select(*columns))
        return (found if self.filters.q is None else _most_popular(found, MAX_COUNTED)).subquery()

    def _ranked(self) -> Select[Any]:
        """Select course and rank of the MAX_RANKED most popular courses that match ``q`` in title or tags.

        If there are fewer, up to MAX_RANKED other matches are ranked too. Ranking every match of a frequent word would
        be slow.
        """
        entry = CatalogueEntry
        columns: tuple[Any, ...] = (entry.course_id, entry.words)
        fitting = select(*columns).where(*_conditions(self.filters))
        by_title = _TITLE_WORDS.bool_op("@@")(self._query)
        titled = _most_popular(fitting.where(by_title), MAX_RANKED).cte("titled")
        too_few = select(func.count()).select_from(titled).scalar_subquery() < MAX_RANKED
        others = fitting.where(entry.words.bool_op("@@")(self._query), ~by_title, too_few)
        ranked = union_all(select(titled), select(_most_popular(others, MAX_RANKED).subquery())).subquery().c
        # Rank in millionths: a float would not survive the round trip through a cursor unchanged.
        return select(
            ranked.course_id, cast(func.ts_rank(ranked.words, self._query) * 1_000_000, BigInteger).label("key")
        )

    def _filtered(self, statement: Select[Any]) -> Select[Any]:
        statement = statement.where(*_conditions(self.filters))
        return statement if self.filters.q is None else statement.where(CatalogueEntry.words.bool_op("@@")(self._query))

    @cached_property
    def _query(self) -> ColumnElement[Any]:
        if self.respelled:
            # A CTE, so that the function is evaluated once and not for every use or row.
            corrected = select(func.courses.correct_spelling(transliterate(self.filters.q or "")).label("words"))
            return select(corrected.cte("meant").c.words).scalar_subquery()
        return func.websearch_to_tsquery(literal_column("'russian'::regconfig"), self.filters.q)


def _most_popular(found: Select[Any], limit: int) -> Select[Any]:
    return found.order_by(CatalogueEntry.learners.desc(), CatalogueEntry.course_id.desc()).limit(limit)


def _most_frequent_first(counter: Counter[str]) -> list[dict[str, Any]]:
    ordered = sorted(counter.items(), key=lambda counted: (-counted[1], counted[0]))
    return [{"value": value, "count": count} for value, count in ordered]
