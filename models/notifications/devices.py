"""Devices for push messages: apps with their FCM tokens, browsers with their Web Push subscriptions."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Uuid, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import PRIVATE, Base, new_id, utc_now

FCM, WEB_PUSH = "fcm", "web_push"


class Device(Base):
    """An app or browser of a user. Its address is unique: it belongs to the user who registered it last."""

    __tablename__ = "devices"
    __table_args__ = ({"schema": "notifications"},)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    kind: Mapped[str]  # FCM or WEB_PUSH
    address: Mapped[str] = mapped_column(unique=True, info=PRIVATE)  # the token, or the endpoint of the subscription
    keys: Mapped[dict[str, Any]] = mapped_column(info=PRIVATE)  # of a subscription: p256dh and auth
    created_at: Mapped[datetime]

    @classmethod
    def upsert(cls, session: Session, user_id: UUID, *, kind: str, address: str, keys: dict[str, str]) -> Self:
        """Register the device at ``address`` for the user, also if another user had it before."""
        row = {"user_id": user_id, "kind": kind, "address": address, "keys": keys}
        upsert = insert(cls).values(id=new_id(), created_at=utc_now(), **row)
        upsert = upsert.on_conflict_do_update(index_elements=["address"], set_=row)
        found = session.scalars(upsert.returning(cls), execution_options={"populate_existing": True})
        return found.one()

    @classmethod
    def list_for_user(cls, session: Session, user_id: UUID) -> list[Self]:
        """Return the devices of a user, oldest first."""
        return list(session.scalars(select(cls).where(cls.user_id == user_id).order_by(cls.id)))

    @classmethod
    def find_owners(cls, session: Session, user_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the users who have a device."""
        return set(session.connection().scalars(_OWNERS, {"users": list(user_ids)}))

    @classmethod
    def delete(cls, session: Session, *ids: UUID) -> None:
        session.execute(delete(cls).where(cls.id.in_(ids)))

    @classmethod
    def erase(cls, session: Session, user_id: UUID) -> int:
        """Delete the devices of a user; return their number."""
        deleted = session.scalars(delete(cls).where(cls.user_id == user_id).returning(cls.id))
        return len(deleted.all())


# Built once: building a statement takes longer than executing it.
_OWNERS = select(Device.user_id).distinct().where(Device.user_id == func.any(bindparam("users", type_=ARRAY(Uuid))))
