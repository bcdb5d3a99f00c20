"""Enroll and unenroll people by a list of addresses, which the server executes row by row."""

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from coursebus import models

from ._failures import CommandFailed, ExitCode
from ._output import columns_of
from ._people import end_of
from ._state import state_of

_FAILED: tuple[models.EnrollmentResult, ...] = ("email_invalid", "end_in_past", "access_purchased")

Csv = Annotated[
    Path, typer.Option("--csv", help="A file with the column email, or with the addresses in the first one.")
]


def enroll(
    context: typer.Context,
    course: str,
    csv: Csv,
    until: Annotated[str, typer.Option(help="When access ends (2030-01-31 or with a time, UTC); else never.")] = "",
) -> None:
    """Enroll the people of a CSV file; addresses that no user has verified are invited."""
    _execute(context, course, models.EnrollmentBatchFields(csv=_text(csv), ends_at=end_of(until)))


def unenroll(context: typer.Context, course: str, csv: Csv) -> None:
    """End the access of the people of a CSV file, if it was not bought, and withdraw their invitations."""
    _execute(context, course, models.EnrollmentBatchFields(csv=_text(csv), action="unenroll"))


def _execute(context: typer.Context, course: str, fields: models.EnrollmentBatchFields) -> None:
    state = state_of(context)
    course_id = state.course_id(course)
    batch_id = state.client.create_enrollment_batch(course_id, fields).id.partition("-")[2]
    batch = state.client.get_enrollment_batch(course_id, batch_id)
    with state.output.progress("Rows", batch.rows_total) as advance:
        advance(batch.rows_done)
        while not batch.finished_at:
            time.sleep(0.5)
            before, batch = batch.rows_done, state.client.get_enrollment_batch(course_id, batch_id)
            advance(batch.rows_done - before)
    failed = [
        row
        for result in _FAILED
        if result in batch.counts
        for row in state.client.list_enrollment_batch_rows(course_id, batch_id, result=result, limit=100)
    ]
    if state.output.as_json:
        state.output.item(msgspec.to_builtins(batch) | {"failed": failed}, {})
    else:
        state.output.item(batch, batch.counts)
    if failed:
        if not state.output.as_json:
            state.output.items(failed, columns_of("line", "email", "result"), title="\nFailed")
        raise typer.Exit(ExitCode.FAILED)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        exit_code = ExitCode.USAGE
        raise CommandFailed(str(error), "Give a file in UTF-8.", code="file_invalid", exit_code=exit_code) from error
