"""Export and erasure of personal data: the feed contains events of a user only by a pseudonymous user id."""

from sqlalchemy.orm import Session

from models.events import UserDeleted, UserExportRequested
from models.integrations import LoggedEvent
from models.personal import forget, lay_out
from workers import task


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Export the feed's events of a user."""
    events = [logged.cloud_event() for logged in LoggedEvent.of_user(session, event.user_id)]
    lay_out(session, "integrations", event, {"events": events})


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Erase a user's personal data from the event bus. The feed itself contains none."""
    forget(session, "integrations", event, rows=0, kept=[])
