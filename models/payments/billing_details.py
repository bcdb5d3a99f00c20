"""What a buyer wants on invoices beside the name of the profile: name, company, address, tax id."""

from typing import Self
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base, PrivateText
from models.commands.payments import BuyerDetails
from models.errors import PreconditionFailed


class BillingDetails(Base):
    """The details of one buyer. They are copied to invoices that are issued from then on."""

    __tablename__ = "billing_details"
    __table_args__ = ({"schema": "payments"},)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]  # 1 before the first change
    name: Mapped[PrivateText | None]
    company: Mapped[PrivateText | None]
    address: Mapped[PrivateText | None]
    tax_id: Mapped[PrivateText | None]

    @classmethod
    def get(cls, session: Session, user_id: UUID) -> Self:
        """Return a buyer's details; empty ones of version 1 if none were stored."""
        return session.get(cls, user_id) or cls(user_id=user_id, version=1)

    @classmethod
    def replace(cls, session: Session, user_id: UUID, details: BuyerDetails, *, expected_version: int) -> Self:
        """Replace a buyer's details. Raises PreconditionFailed if they changed since ``expected_version``."""
        stored = session.get(cls, user_id, with_for_update=True)
        present = stored or cls(user_id=user_id, version=1)
        if present.version != expected_version:
            raise PreconditionFailed("billing details", str(present.version))
        present.version += 1
        for name in BuyerDetails.__struct_fields__:
            setattr(present, name, getattr(details, name))
        if stored is None:
            session.add(present)
        session.flush()
        return present

    @classmethod
    def delete(cls, session: Session, user_id: UUID) -> int:
        """Delete a buyer's details; return the number of rows."""
        return len(session.execute(delete(cls).where(cls.user_id == user_id).returning(cls.user_id)).all())

    @property
    def details(self) -> BuyerDetails:
        return BuyerDetails(name=self.name, company=self.company, address=self.address, tax_id=self.tax_id)
