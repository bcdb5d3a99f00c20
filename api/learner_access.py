"""Access of learners that exists already, although its events have not arrived everywhere: read your own writes.

The courses service decides about access, and the progress service learns of it by ENROLLMENT_CREATED. The payments
service decides about purchases, and the courses service learns of them by COURSE_PURCHASED.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from core.commands import Command
from models.commands import ListAccessSources, ShowAccess, ShowActiveEnrollment, StartEnrolledCourse
from models.errors import NotEnrolled, ProgressNotFound, ProjectionNotReady

from .fanout import Call, gather
from .rpc import call, call_without_idempotency_key

Send = Callable[[Command], Any]

_PURCHASE_CHECK_SECONDS = 1.0  # without an answer of the payments service, the refusal stands


def call_as_learner(command: Command, *, user_id: UUID, course_id: UUID, send: Send = call) -> Any:
    """Send a command to the progress service by ``send``, for a learner who may have enrolled just now.

    If the enrollment has not arrived there, the course is started first. Raises ProjectionNotReady if that is not
    possible yet.
    """
    try:
        return send(command)
    except (NotEnrolled, ProgressNotFound):
        if not start_if_enrolled(user_id, course_id):
            raise
    return send(command)


def start_if_enrolled(user_id: UUID, course_id: UUID) -> bool:
    """Start the course in the progress service if the courses service gives access; return whether it does.

    Raises ProjectionNotReady if the progress service does not know the course yet, or as ``require_no_purchase`` does.
    """
    try:
        enrollment = call_without_idempotency_key(ShowActiveEnrollment(user_id=user_id, course_id=course_id))
    except NotEnrolled:
        require_no_purchase(user_id, course_id)
        return False
    call_without_idempotency_key(msgspec.convert(enrollment, StartEnrolledCourse))
    return True


def call_with_access(command: Command, *, user_id: UUID, course_id: UUID, send: Send = call) -> Any:
    """Send a command to the courses service by ``send``.

    Raises ProjectionNotReady instead of NotEnrolled if the user has bought the course.
    """
    try:
        return send(command)
    except NotEnrolled:
        require_no_purchase(user_id, course_id)
        raise


def require_no_purchase(user_id: UUID, course_id: UUID) -> None:
    """Raise ProjectionNotReady if the user has paid for access that the courses service has not granted yet."""
    found, _failures = gather(
        {
            "access": Call(ShowAccess(user_id=user_id, course_id=course_id)),
            "paid": Call(ListAccessSources(user_id=user_id, course_id=course_id)),
        },
        timeout_seconds=_PURCHASE_CHECK_SECONDS,
    )
    if len(found) < 2:  # noqa: PLR2004 the number of queries
        return
    granted = {(grant["source"], grant["source_id"]) for grant in found["access"]["grants"]}
    if any((kind, source_id) not in granted for kind, source_id in found["paid"]["items"]):
        raise ProjectionNotReady("access to course", str(course_id))
