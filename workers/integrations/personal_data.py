"""Export and erasure of personal data: the feed contains events of a user only by a pseudonymous user id."""

from sqlalchemy.orm import Session

from models.events import UserDeleted, UserExportRequested
from models.integrations import EventLogEntry
from models.integrations.facts import Fact
from models.integrations.statistics import StatisticsCursor
from models.personal_data import erase_personal_data, store_export_part
from workers import task


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Export the feed's events of a user."""
    events = [logged.cloud_event() for logged in EventLogEntry.list_for_user(session, event.user_id)]
    store_export_part(session, "integrations", event, {"events": events})


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase a user's personal data from the event bus, and the facts that count in statistics.

    The cursor is locked first: a page that is being counted is committed before its facts are looked for, and the next
    one sees that the user is erased.
    """
    StatisticsCursor.get_for_update(session)
    erase_personal_data(session, "integrations", event, rows=Fact.erase(session, event.user_id), retained=[])
