"""Catalogue: a read model with one row per course on sale, for listing, filtering, facets and search."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec
from msgspec import structs
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Computed,
    Select,
    Subquery,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import TSVECTOR, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from models.commands.courses import CatalogueCursor, CatalogueFilters
from models.errors import CursorInvalid

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
    """A course on sale. ``names`` is the title and the tags in Latin letters, for the full-text index."""

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
    # Set by a trigger: the words of ``words``, of the description and of the titles of sections and lessons.
    all_words: Mapped[str | None] = mapped_column(TSVECTOR, deferred=True)

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
        """Update the price, the slug and the owner from the course."""
        offer = {"slug": course.slug, "price_minor": course.price_minor, "currency": course.currency}
        offer["instructor_id"] = course.instructor_id
        session.execute(update(cls).where(cls.course_id == course.id).values(**offer))

    @classmethod
    def remove(cls, session: Session, course: Course) -> None:
        """Delete the entry of a course."""
        session.execute(delete(cls).where(cls.course_id == course.id))

    @classmethod
    def increment_learners(cls, session: Session, course_id: UUID) -> None:
        session.connection().execute(_INCREMENT_LEARNERS, {"course": course_id})

    @classmethod
    def decrement_learners(cls, session: Session, course_ids: Collection[UUID]) -> None:
        """Count one learner less in each of the courses."""
        theirs = cls.course_id.in_(course_ids) & (cls.learners > 0)
        locked = select(cls.course_id).where(theirs).order_by(cls.course_id).with_for_update(key_share=True)
        session.execute(locked)  # in one order: concurrent erasures cannot deadlock
        session.execute(update(cls).where(theirs).values(learners=cls.learners - 1))

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
    """Return the conditions of all filters except ``q``. The gateway takes bounds of prices with a currency only."""
    entry = CatalogueEntry
    equal = ("category", "level", "language", "currency")
    conditions = [getattr(entry, name) == given for name in equal if (given := getattr(filters, name)) is not None]
    if (instructor := filters.instructor_id) is not None:
        edited = select(Course.id).where(Course.editor_ids.contains([instructor]))
        conditions.append(or_(entry.instructor_id == instructor, entry.course_id.in_(edited)))
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
_MAX_TEXT_RANK = 9_999  # below the rank of any match in a title, a tag or a summary
MAX_COUNTED = 5000  # upper bound of the entries that are counted for a search

# Weights as in the migration's index: A is the title, B is title and tags in Latin letters.
_TITLE_WORDS = func.ts_filter(CatalogueEntry.words, literal_column("'{a,b}'"))

# The columns of each sort order, and whether it is descending. The course id breaks ties.
_PRICE = (CatalogueEntry.currency, CatalogueEntry.price_minor)  # amounts of two currencies are not compared
# In the migration: as if each rated course had ten more ratings of 3.5, so that a single 5 does not lead the list.
_WEIGHTED_RATING = func.courses.weighted_rating(
    CatalogueEntry.ratings, CatalogueEntry.rating_hundredths, type_=BigInteger
)
_SORTS: dict[str, tuple[tuple[Any, ...], bool]] = {
    "newest": ((CatalogueEntry.published_at,), True),
    "popular": ((CatalogueEntry.learners,), True),
    "rating": ((_WEIGHTED_RATING,), True),
    "price": (_PRICE, False),
    "-price": (_PRICE, True),
}

# The filters that each facet is counted without: a visitor sees what the other choices would find.
_FACET_FILTERS: dict[str, tuple[str, ...]] = {
    "category": ("category",),
    "level": ("level",),
    "language": ("language",),
    "price": ("free", "price_min", "price_max"),
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
            keys, descending = (ranked.c.key,), True
            statement = select(CatalogueEntry, *keys).join(ranked, ranked.c.course_id == CatalogueEntry.course_id)
        else:
            keys, descending = _SORTS[self.sort]
            statement = self._filtered(select(CatalogueEntry, *keys), self.filters)
        columns = (*keys, CatalogueEntry.course_id)
        if after:
            row, cursor = tuple_(*columns), _values_of(after, keys)
            statement = statement.where(row < cursor if descending else row > cursor)
        by = [column.desc() for column in columns] if descending else columns
        rows = session.execute(statement.order_by(*by).limit(limit + 1)).all()
        entries = [row[0] for row in rows[:limit]]
        if len(rows) <= limit:
            return entries, None
        last, *last_keys = rows[limit - 1]
        last_key = last_keys if len(keys) > 1 else last_keys[0]
        return entries, CatalogueCursor(last_key, last.course_id, self.respelled)

    def count(self, session: Session) -> int:
        """Return the number of matching entries, in one statement; with ``q`` at most MAX_COUNTED."""
        counted: int = session.scalars(select(func.count()).select_from(self._counted(self.filters))).one()
        return counted

    def facets(self, session: Session) -> tuple[dict[str, list[dict[str, Any]]], int]:
        """Return the counts per category, level, language and price (free or paid), and the total, in one statement.

        Each facet is counted without its own filter. With ``q`` only the MAX_COUNTED most popular matches are counted.
        """
        counters: dict[str, Counter[str]] = {name: Counter() for name in _FACET_FILTERS}
        others = {name: structs.replace(self.filters, **dict.fromkeys(own)) for name, own in _FACET_FILTERS.items()}
        unfiltered = {name: filters for name, filters in others.items() if filters != self.filters}
        total = 0
        counted = [self._grouped(self.filters), *(self._grouped(each, name) for name, each in unfiltered.items())]
        for facet, *values, count in session.execute(union_all(*counted)):
            total += 0 if facet else count
            for name, value in zip(counters, values, strict=True):
                if name == facet or (facet is None and name not in unfiltered):
                    counters[name][value] += count
        return {name: _most_frequent_first(counter) for name, counter in counters.items()}, total

    def _grouped(self, filters: CatalogueFilters, facet: str | None = None) -> Select[Any]:
        """Select the numbers of courses by the values of a facet, or of all facets: (facet, value of each, count)."""
        counted = self._counted(filters).c
        values = [counted[name] if facet in {None, name} else null() for name in _FACET_FILTERS]
        columns = [column.label(name) for name, column in zip(_FACET_FILTERS, values, strict=True)]
        by = [counted[name] for name in _FACET_FILTERS if facet in {None, name}]
        return select(literal(facet, Text()).label("facet"), *columns, func.count().label("courses")).group_by(*by)

    def _counted(self, filters: CatalogueFilters) -> Subquery:
        entry = CatalogueEntry
        price = case((entry.price_minor == 0, "free"), else_="paid").label("price")
        columns: tuple[Any, ...] = (entry.category, entry.level, entry.language, price)
        found: Select[Any] = self._filtered(select(*columns), filters)
        return (found if self.filters.q is None else _most_popular(found, MAX_COUNTED)).subquery()

    def _ranked(self) -> Select[Any]:
        """Select course and rank of the MAX_RANKED most popular courses that match ``q`` in title or tags.

        If there are fewer, up to MAX_RANKED other matches are ranked too. Ranking every match of a frequent word would
        be slow.
        """
        entry = CatalogueEntry
        fits = _conditions(self.filters)
        by_title = _TITLE_WORDS.bool_op("@@")(self._query)
        columns: tuple[Any, ...] = (entry.course_id, entry.words, entry.learners)
        fitting = select(*columns).where(*fits)
        titled = _most_popular(fitting.where(by_title), MAX_RANKED).cte("titled")
        too_few = select(func.count()).select_from(titled).scalar_subquery() < MAX_RANKED
        others = fitting.where(self._matches, ~by_title, too_few)
        ranked = union_all(select(titled), select(_most_popular(others, MAX_RANKED).subquery())).subquery().c
        # Rank in millionths: a float would not survive the round trip through a cursor unchanged. Matches of the texts
        # only are ranked below all others, by popularity: to read the texts of each would be slow.
        rank = cast(func.ts_rank(ranked.words, self._query) * 1_000_000, BigInteger)
        return select(ranked.course_id, func.greatest(rank, func.least(ranked.learners, _MAX_TEXT_RANK)).label("key"))

    def _filtered(self, statement: Select[Any], filters: CatalogueFilters) -> Select[Any]:
        statement = statement.where(*_conditions(filters))
        return statement if self.filters.q is None else statement.where(self._matches)

    @property
    def _matches(self) -> ColumnElement[bool]:
        # Phrases are found in ``words`` only: the other column has no positions. It has all words, so that one index
        # is enough for a query of words.
        if not self.respelled and "".join((self.filters.q or "").split()).isalnum():
            return CatalogueEntry.all_words.bool_op("@@")(self._query)
        return or_(*(column.bool_op("@@")(self._query) for column in (CatalogueEntry.words, CatalogueEntry.all_words)))

    @cached_property
    def _query(self) -> ColumnElement[Any]:
        if self.respelled:
            # A CTE, so that the function is evaluated once and not for every use or row.
            corrected = select(func.courses.correct_spelling(transliterate(self.filters.q or "")).label("words"))
            return select(corrected.cte("meant").c.words).scalar_subquery()
        return func.websearch_to_tsquery(literal_column("'russian'::regconfig"), self.filters.q)


def _values_of(after: CatalogueCursor, keys: tuple[Any, ...]) -> Any:
    """Return the values of the sort columns of a cursor. Raises CursorInvalid for those of an older version."""
    values = after.key if len(keys) > 1 else [after.key]
    try:
        typed = [msgspec.convert(value, key.type.python_type) for value, key in zip(values, keys, strict=True)]
    except (TypeError, ValueError):
        raise CursorInvalid from None
    columns = [literal(value, key.type) for value, key in zip(typed, keys, strict=True)]
    return tuple_(*columns, literal(after.course_id, Uuid()))


def _most_popular(found: Select[Any], limit: int) -> Select[Any]:
    return found.order_by(CatalogueEntry.learners.desc(), CatalogueEntry.course_id.desc()).limit(limit)


def _most_frequent_first(counter: Counter[str]) -> list[dict[str, Any]]:
    ordered = sorted(counter.items(), key=lambda counted: (-counted[1], counted[0]))
    return [{"value": value, "count": count} for value, count in ordered]
