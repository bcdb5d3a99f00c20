"""Announcements to the learners of a course."""

import time
from pathlib import Path
from typing import Annotated

import typer

from coursebus import models

from ._output import Column
from ._state import state_of

announcements = typer.Typer(no_args_is_help=True, help="Send announcements to the learners of a course.")

_COLUMNS: list[Column] = [
    ("sent", lambda each: each.created_at),
    ("subject", lambda each: each.subject),
    ("status", lambda each: each.status),
    ("learners", lambda each: f"{each.recipients_done}/{each.recipients_total}"),
]


@announcements.command("list")
def list_announcements(context: typer.Context, course: str) -> None:
    """List the announcements of a course."""
    state = state_of(context)
    state.output.items(state.client.list_announcements(state.course_id(course), limit=100), _COLUMNS)


@announcements.command()
def send(
    context: typer.Context,
    course: str,
    subject: Annotated[str, typer.Option(help="Subject of the mail.")],
    text: Annotated[Path, typer.Option(help="A file with the text; each line is a paragraph.", exists=True)],
    wait: Annotated[bool, typer.Option("--wait", help="Until every learner is notified.")] = False,
) -> None:
    """Send an announcement to the learners of a course."""
    state = state_of(context)
    course_id = state.course_id(course)
    sent = state.client.create_announcement(
        course_id, models.AnnouncementFields(subject=subject, body=text.read_text())
    )
    while wait and sent.status == "sending":
        time.sleep(1)
        sent = state.client.get_announcement(course_id, sent.id)
    shown = {"id": sent.id, "status": sent.status, "learners": f"{sent.recipients_done}/{sent.recipients_total}"}
    state.output.item(sent, shown)
