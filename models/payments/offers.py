"""Offers: prices of courses, a projection of the events of the courses service."""

from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.bus.applied_versions import AppliedVersion
from core.db import Base
from models.errors import NotFound
from models.events import CoursePublished, CourseUpdated

from .quote import PurchaseQuote

OFFERS = "payments.offers"  # the name of the projection


class Offer(Base):
    __tablename__ = "offers"
    __table_args__ = ({"schema": "payments"},)

    course_id: Mapped[UUID] = mapped_column(primary_key=True)
    course_version: Mapped[int]
    title: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    on_sale: Mapped[bool]
    published_at: Mapped[datetime]

    @classmethod
    def upsert(cls, session: Session, event: CoursePublished) -> None:
        """Upsert the published course, unless the same or a later version is stored."""
        row = {
            "course_id": event.course_id,
            "course_version": event.course_version,
            "title": event.title,
            "amount_minor": event.price_minor,
            "currency": event.currency,
            "on_sale": True,
            "published_at": event.published_at,
        }
        # A replay may deliver older versions while a newer one is on sale.
        upsert = insert(cls).values(row)
        session.execute(
            upsert.on_conflict_do_update(
                index_elements=[cls.course_id],
                set_={name: upsert.excluded[name] for name in row},
                where=cls.course_version < upsert.excluded.course_version,
            )
        )

    @classmethod
    def apply_update(cls, session: Session, event: CourseUpdated) -> None:
        """Store a changed price or title, or the end of the sale."""
        changed = {
            "title": event.title,
            "amount_minor": event.price_minor,
            "currency": event.currency,
            "on_sale": event.on_sale,
        }
        # The update may arrive before its publication. It is the newer state, so the row is created from it.
        row = insert(cls).values(course_id=event.course_id, course_version=0, published_at=event.updated_at, **changed)
        session.execute(row.on_conflict_do_update(index_elements=[cls.course_id], set_=changed))

    @classmethod
    def withdraw(cls, session: Session, course_id: UUID) -> None:
        """End the sale of a course."""
        session.execute(update(cls).where(cls.course_id == course_id).values(on_sale=False))

    @classmethod
    def delete(cls, session: Session, course_id: str) -> None:
        """Delete the offer of a course, so that the projection can be rebuilt."""
        session.execute(delete(cls).where(cls.course_id == UUID(course_id)))
        AppliedVersion.clear(session, OFFERS, course_id)

    @classmethod
    def get(cls, session: Session, course_id: UUID) -> Self:
        """Return the offer of a course. Raises NotFound if it is not on sale."""
        offer = session.get(cls, course_id)
        if offer is None or not offer.on_sale:
            raise NotFound("course on sale", str(course_id))
        return offer

    @property
    def quote(self) -> PurchaseQuote:
        return PurchaseQuote(
            title=self.title,
            amount_minor=self.amount_minor,
            currency=self.currency,
            courses={self.course_id: self.title},
        )
