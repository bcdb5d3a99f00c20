"""What this service knows of a person: what happened to them, under an id that only we can resolve."""

from sqlalchemy.orm import Session

from models.events import UserDeleted, UserExportRequested
from models.integrations import LoggedEvent
from models.personal import forget, lay_out
from workers import task


@task
def export_data(session: Session, *, event: UserExportRequested) -> None:
    """Lay out the events that tell of a person."""
    events = [logged.cloud_event() for logged in LoggedEvent.of_user(session, event.user_id)]
    lay_out(session, "integrations", event, {"events": events})


@task
def erase_data(session: Session, *, event: UserDeleted) -> None:
    """Clear the bus; in the feed nobody was ever named."""
    forget(session, "integrations", event, rows=0, kept=[])
