"""Create the feed note of a notice and a delivery for each other channel.

Writes to MongoDB are not part of the PostgreSQL transaction. Each document has an id that is derived from the event, so
a handler that is rolled back and retried finds its earlier documents and adds no second ones. A document written before
a rollback is still correct: the event has happened.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from models.feed import announce
from models.notifications import EMAIL, IN_APP, PUSH, Contact, Device, Notice, next_position
from workers import _delivery
from workers.resources import RESOURCES, Poke, resource

from .history import History
from .preferences import Choices
from .wording import words


@resource
def desk(delivery: _delivery.Delivery) -> Iterator["Desk"]:
    """Provide the sender of notices. Raises Unavailable if MongoDB does not respond."""
    with (
        RESOURCES["history"](delivery) as history,
        RESOURCES["choices"](delivery) as choices,
        RESOURCES["poke"](delivery) as poke,
    ):
        yield Desk(history, choices, poke, lambda user_id: delivery.after_reply.append(partial(announce, user_id)))


@dataclass(frozen=True)
class Desk:
    """Sends notices to users by the channels of their rule."""

    history: History
    choices: Choices
    poke: Poke
    announce: Callable[[UUID], None]  # runs after the commit

    def send_out(self, session: Session, notice: Notice, contact: Contact, channels: Collection[str]) -> None:
        """Send ``notice`` to ``contact`` by each of ``channels``. The contact's row must be locked."""
        if IN_APP in channels:
            self._put_into_feed(session, notice, contact)
        if EMAIL in channels:
            self.poke("notifications.deliver_email", delivery_id=self.history.add_delivery(notice, EMAIL))
        if PUSH in channels and Device.of(session, notice.user_id):
            self.poke("notifications.deliver_push", delivery_id=self.history.add_delivery(notice, PUSH))

    def _put_into_feed(self, session: Session, notice: Notice, contact: Contact) -> None:
        if notice.mandatory or self.choices.of(notice.user_id).allow(notice.category, IN_APP):
            said = words(notice.template, contact, notice.data)
            self.history.add_note(notice, said, position=next_position(session))
            self.announce(notice.user_id)
        else:
            self.history.add_skipped(notice, IN_APP, "preference")
