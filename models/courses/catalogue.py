"""What is on sale: one row a course, shaped for being listed, filtered, counted and found."""

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

from models.base import Base

from .course import Course, Described
from .reviews import Rating
from .spelling import romanised
from .versions import CourseVersion


class Word(Base):
    """A word that some title or tag has had, in Latin letters."""

    __tablename__ = "vocabulary"
    __table_args__ = ({"schema": "courses"},)

    word: Mapped[str] = mapped_column(primary_key=True)


class CatalogueEntry(Described, Base):
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
    rating_hundredths: Mapped[int]  # their average, 450 for 4.5; 0 without any
    published_at: Mapped[datetime]  # for the first time, so that a new version is not a new course
    names: Mapped[str] = mapped_column(deferred=True)
    words: Mapped[str] = mapped_column(TSVECTOR, Computed("…"), deferred=True)  # the migration says of what

    @classmethod
    def offer(cls, session: Session, course: Course, version: CourseVersion, *, learners: int, rating: Rating) -> None:
        """Put a course's newest version on sale."""
        entry = {
            **version.description_of(),
            "slug": course.slug,
            "price_minor": course.price_minor,
            "currency": course.currency,
            "instructor_id": course.instructor_id,
            "lessons_total": version.lessons_total,
            "duration_seconds": version.duration_seconds,
            "published_at": course.published_at,
            "names": romanised(" ".join((version.title, *version.tags))),
        }
        counted = {"learners": learners, "ratings": rating.count, "rating_hundredths": rating.hundredths}
        row = insert(cls).values(course_id=course.id, **counted, **entry)
        session.execute(row.on_conflict_do_update(index_elements=[cls.course_id], set_=entry))
        # Sorted, so that two publishes take the rows of their new words in one order.
        words = [{"word": word} for word in sorted(set(entry["names"].split()))]
        if words:
            session.execute(insert(Word).values(words).on_conflict_do_nothing())

    @classmethod
    def reprice(cls, session: Session, course: Course) -> None:
        """Sell a course at its price of now."""
        price = {"price_minor": course.price_minor, "currency": course.currency}
        session.execute(update(cls).where(cls.course_id == course.id).values(**price))

    @classmethod
    def withdraw(cls, session: Session, course: Course) -> None:
        """Take a course from sale."""
        session.execute(delete(cls).where(cls.course_id == course.id))

    @classmethod
    def count_learner(cls, session: Session, course_id: UUID) -> None:
        session.execute(update(cls).where(cls.course_id == course_id).values(learners=cls.learners + 1))

    @classmethod
    def rate(cls, session: Session, course_id: UUID) -> None:
        """Count the reviews of a course anew. Who counts at the same time waits for us, and counts ours."""
        session.execute(select(cls.course_id).where(cls.course_id == course_id).with_for_update(key_share=True))
        rating = Rating.of(session, course_id)
        told = {"ratings": rating.count, "rating_hundredths": rating.hundredths}
        session.execute(update(cls).where(cls.course_id == course_id).values(**told))

    def view(self) -> dict[str, Any]:
        """As an item of GET /v1/courses."""
        return {
            "id": self.course_id,
            "slug": self.slug,
            **self.description_of(),
            "price": {"amount_minor": self.price_minor, "currency": self.currency},
            "instructor_id": self.instructor_id,
            "lessons_total": self.lessons_total,
            "duration_seconds": self.duration_seconds,
            "learners": self.learners,
            "rating": {"average": self.rating_hundredths / 100 if self.ratings else None, "count": self.ratings},
            "published_at": self.published_at,
        }


class Filters(msgspec.Struct, kw_only=True, frozen=True):
    """What a reader of the catalogue wants to see; None where it does not matter. Prices are in minor units."""

    q: str | None = None
    category: str | None = None
    level: str | None = None
    language: str | None = None
    tag: str | None = None
    instructor_id: UUID | None = None
    free: bool | None = None
    currency: str | None = None
    price_min: int | None = None
    price_max: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """All but ``q``."""
        entry = CatalogueEntry
        equal = ("category", "level", "language", "instructor_id", "currency")
        conditions = [getattr(entry, name) == given for name in equal if (given := getattr(self, name)) is not None]
        if self.tag is not None:
            conditions.append(entry.tags.contains([self.tag]))
        if self.free is not None:
            conditions.append(entry.price_minor == 0 if self.free else entry.price_minor > 0)
        if self.price_min is not None:
            conditions.append(entry.price_minor >= self.price_min)
        if self.price_max is not None:
            conditions.append(entry.price_minor <= self.price_max)
        return conditions


class Position(msgspec.Struct, array_like=True):
    """The last item of a page: what the next one begins after."""

    key: Any
    course_id: UUID
    respelled: bool


Page = tuple[list[CatalogueEntry], Position | None]

RANKED = 500  # entries whose rank is worked out: 25 pages of twenty, which nobody reads to the end
COUNTED = 5000  # entries that are counted of those that fit a question

# As the index of the migration has it: weight A is the title, B title and tags in Latin letters.
_TITLE_WORDS = func.ts_filter(CatalogueEntry.words, literal_column("'{a,b}'"))

# The column that a sort goes by, and whether it falls. The course's id settles what is equal.
_SORTS: dict[str, tuple[Any, bool]] = {
    "newest": (CatalogueEntry.published_at, True),
    "popular": (CatalogueEntry.learners, True),
    "rating": (CatalogueEntry.rating_hundredths, True),
    "price": (CatalogueEntry.price_minor, False),
    "-price": (CatalogueEntry.price_minor, True),
}


@dataclass(frozen=True)
class Search:
    """A question to the catalogue; ``respelled`` takes each word of ``q`` for the known word that it resembles most."""

    filters: Filters
    sort: str  # newest, popular, rating, price, -price; relevance where there is a q
    respelled: bool = False

    def page(self, session: Session, after: Position | None, limit: int) -> Page:
        """The next ``limit`` entries after a position, and the position of the last one where more follow."""
        if self.sort == "relevance":
            ranked = self._ranked().subquery()
            key, falling = ranked.c.key, True
            statement = select(CatalogueEntry, key).join(ranked, ranked.c.course_id == CatalogueEntry.course_id)
        else:
            key, falling = _SORTS[self.sort]
            statement = self._found(select(CatalogueEntry, key))
        if after:
            place = tuple_(key, CatalogueEntry.course_id)
            reached_key = literal(msgspec.convert(after.key, key.type.python_type), key.type)
            reached = tuple_(reached_key, literal(after.course_id, Uuid()))
            statement = statement.where(place < reached if falling else place > reached)
        by = (key.desc(), CatalogueEntry.course_id.desc()) if falling else (key, CatalogueEntry.course_id)
        rows = session.execute(statement.order_by(*by).limit(limit + 1)).all()
        if len(rows) <= limit:
            return [entry for entry, _ in rows], None
        last, last_key = rows[limit - 1]
        return [entry for entry, _ in rows[:limit]], Position(last_key, last.course_id, self.respelled)

    def count(self, session: Session) -> int:
        """How many entries there are; to a question COUNTED at most. One statement."""
        counted: int = session.scalars(select(func.count()).select_from(self._counted())).one()
        return counted

    def facets(self, session: Session) -> tuple[dict[str, list[dict[str, Any]]], int]:
        """How many entries there are of each category, level, language, free or paid; and of all. One statement.

        To a question the COUNTED most popular that fit it are counted.
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
        found: Select[Any] = self._found(select(*columns))
        return (found if self.filters.q is None else _most_popular(found, COUNTED)).subquery()

    def _ranked(self) -> Select[Any]:
        """Course and rank of what fits a question: of the RANKED most popular that say it in title or tags.

        Where those are fewer, as many others are ranked too. Ranking all would take as long as a word is frequent.
        """
        entry = CatalogueEntry
        columns: tuple[Any, ...] = (entry.course_id, entry.words)
        fitting = select(*columns).where(*self.filters.conditions())
        by_title = _TITLE_WORDS.bool_op("@@")(self._query)
        titled = _most_popular(fitting.where(by_title), RANKED).cte("titled")
        too_few = select(func.count()).select_from(titled).scalar_subquery() < RANKED
        others = fitting.where(entry.words.bool_op("@@")(self._query), ~by_title, too_few)
        ranked = union_all(select(titled), select(_most_popular(others, RANKED).subquery())).subquery().c
        # Millionths: a float would come back from a cursor as a slightly different one.
        return select(
            ranked.course_id, cast(func.ts_rank(ranked.words, self._query) * 1_000_000, BigInteger).label("key")
        )

    def _found(self, statement: Select[Any]) -> Select[Any]:
        statement = statement.where(*self.filters.conditions())
        return statement if self.filters.q is None else statement.where(CatalogueEntry.words.bool_op("@@")(self._query))

    @cached_property
    def _query(self) -> ColumnElement[Any]:
        if self.respelled:
            # Evaluated once, not for every place that asks for it, let alone every row.
            meant = select(func.courses.respelled(romanised(self.filters.q or "")).label("words"))
            return select(meant.cte("meant").c.words).scalar_subquery()
        return func.websearch_to_tsquery(literal_column("'russian'::regconfig"), self.filters.q)


def _most_popular(found: Select[Any], limit: int) -> Select[Any]:
    return found.order_by(CatalogueEntry.learners.desc(), CatalogueEntry.course_id.desc()).limit(limit)


def _most_frequent_first(counter: Counter[str]) -> list[dict[str, Any]]:
    ordered = sorted(counter.items(), key=lambda counted: (-counted[1], counted[0]))
    return [{"value": value, "count": count} for value, count in ordered]
