"""What the sending of a delivery depends on, read by one statement."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from .contacts import Contact
from .deliveries import Delivery, DeliveryResult

_CONTACT_COLUMNS = [column.key for column in Contact.__table__.columns]
_RESULT_COLUMNS = ("state", "reason", "ended_at")
# By the driver, because SQLAlchemy need not compile it. The ORM takes several times as long for the two rows.
_READ = f"""
    SELECT {", ".join(f"result.{name}" for name in _RESULT_COLUMNS)},
        {", ".join(f"contact.{name}" for name in _CONTACT_COLUMNS)}
    FROM (VALUES (CAST(%(user)s AS uuid), CAST(%(delivery)s AS uuid))) AS wanted (user_id, delivery_id)
    LEFT JOIN notifications.delivery_results AS result ON result.delivery_id = wanted.delivery_id
    LEFT JOIN notifications.contacts AS contact ON contact.user_id = wanted.user_id
"""  # noqa: S608 constants only


class Recipient(NamedTuple):
    """The published result of a delivery and the contact of its user, each None if there is none.

    Both are objects outside of the session.
    """

    result: DeliveryResult | None
    contact: Contact | None

    @classmethod
    def read(cls, session: Session, delivery: Delivery) -> "Recipient":
        """Return the recipient of ``delivery``, without a lock."""
        parameters = {"user": str(delivery.user_id), "delivery": str(delivery.id)}
        row = session.connection().exec_driver_sql(_READ, parameters).one()
        state, reason, ended_at = row[: len(_RESULT_COLUMNS)]
        contact = dict(zip(_CONTACT_COLUMNS, row[len(_RESULT_COLUMNS) :], strict=True))
        is_known = contact.pop("user_id") is not None
        return cls(
            DeliveryResult(delivery_id=delivery.id, state=state, reason=reason, ended_at=ended_at) if state else None,
            Contact(user_id=delivery.user_id, **contact) if is_known else None,
        )
