"""Bundles: several courses sold together at one price."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, new_id
from core.revision import Revised
from models.errors import NotFound

from .offers import Offer
from .quote import PurchaseQuote


class Bundle(Revised, Base):
    __tablename__ = "bundles"
    __table_args__ = ({"schema": "payments"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str]
    amount_minor: Mapped[int]
    currency: Mapped[str]
    course_ids: Mapped[list[str]]
    on_sale: Mapped[bool]
    created_at: Mapped[datetime]

    @classmethod
    def create(cls, fields: dict[str, Any], *, at: datetime) -> Self:
        """Create a bundle that is on sale. ``fields``: title, amount_minor, currency, course_ids."""
        return cls(id=new_id(), on_sale=True, created_at=at, revision=1, **fields)

    @classmethod
    def get(cls, session: Session, bundle_id: UUID, *, for_update: bool = False) -> Self:
        """Return a bundle, on sale or not; locked if ``for_update``. Raises NotFound."""
        bundle = session.get(cls, bundle_id, with_for_update=for_update)
        if bundle is None:
            raise NotFound("bundle", str(bundle_id))
        return bundle

    @classmethod
    def list_page(cls, session: Session, *, limit: int, after: UUID | None) -> list[Self]:
        """List the bundles on sale, newest first. ``after`` is the last id of the previous page."""
        bundles = select(cls).where(cls.on_sale).order_by(cls.id.desc()).limit(limit)
        return list(session.scalars(bundles.where(cls.id < after) if after else bundles))

    def quote(self, session: Session) -> PurchaseQuote:
        """Return its quote at the current price. Raises NotFound if it or one of its courses is not on sale."""
        if not self.on_sale:
            raise NotFound("bundle on sale", str(self.id))
        offers = [Offer.get(session, UUID(course_id)) for course_id in self.course_ids]
        return PurchaseQuote(
            title=self.title,
            amount_minor=self.amount_minor,
            currency=self.currency,
            courses={offer.course_id: offer.title for offer in offers},
            bundle_id=self.id,
        )

    def to_response(self) -> dict[str, Any]:
        """Return the representation as an item of GET /v1/bundles."""
        return {
            "id": self.id,
            "title": self.title,
            "price": {"amount_minor": self.amount_minor, "currency": self.currency},
            "course_ids": self.course_ids,
            "on_sale": self.on_sale,
            "version": self.revision,
        }
