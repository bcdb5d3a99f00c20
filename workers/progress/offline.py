"""Offline progress: events of a device are applied by their own times, in any order and however often they are sent."""

from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.bus.outbox import record
from core.cache import invalidation_marker, progress_version_key
from core.db import utc_now
from models.commands.progress import OfflineEvent
from models.errors import DomainError, LessonLocked, NotEnrolled
from models.events import Event
from models.progress import CompletedLesson, CourseProgress
from models.progress.waiting_events import Action, WaitingEvent, by_lesson
from workers import task
from workers.runtime.dependencies import CacheAfterCommit

from .positions import store_position

Results = dict[int, dict[str, Any]]  # by identity: ``OfflineEvent.id`` is unique per device only


@task
def sync_offline_progress(
    session: Session,
    cache_after_commit: CacheAfterCommit,
    *,
    user_id: UUID,
    events: list[OfflineEvent],
    without_access: list[UUID] | None = None,
) -> dict[str, Any]:
    """Apply offline actions; return {"results": [{"id", "merged", "code", "detail"}]} in the order of ``events``.

    The same events lead to the same progress in any order and however often they are sent. An event that is refused
    does not affect the others. Raises NotEnrolled for a course that is not started, unless it is in ``without_access``:
    the sender asks the courses service and repeats the batch. Does not raise if ``without_access`` is None.
    """
    by_course = groupby(sorted(events, key=attrgetter("course_id", "at")), key=attrgetter("course_id"))
    results: Results = {}
    for course_id, done in by_course:  # sorted, so that two batches of a learner cannot deadlock
        batch = list(done)
        try:
            progress = CourseProgress.get_for_update(session, user_id, course_id)
            progress.require_prerequisites(session)
        except DomainError as refusal:
            if isinstance(refusal, NotEnrolled) and without_access is not None and course_id not in without_access:
                raise
            results |= {id(event): _result(event, refusal) for event in batch}
        else:
            results |= _apply_to_course(session, progress, batch)
    cache_after_commit(progress_version_key(user_id), invalidation_marker)
    return {"results": [results[id(event)] for event in events]}


def _apply_to_course(session: Session, progress: CourseProgress, events: list[OfflineEvent]) -> Results:
    """Apply the events of one course; return the result of each."""
    refusals: dict[int, DomainError] = {}
    actions: dict[int, Action] = {}
    now = utc_now()
    for event in events:
        action = _to_action(progress, event, now=now)
        try:
            progress.require_scheduled_lesson(action.lesson_id, at=action.at)
            if event.kind == "completed":
                progress.require_completable(session, action.lesson_id)
            actions[id(event)] = action
        except DomainError as refusal:
            refusals[id(event)] = refusal
    if progress.outline.sequential:
        waiting = _apply_in_order(session, progress, set(actions.values()))
        for key, action in actions.items():
            if action in waiting and not CompletedLesson.exists(
                session, progress.user_id, progress.course_id, action.lesson_id
            ):
                refusals[key] = LessonLocked(str(progress.next_lesson_id))
    else:
        _apply_all(session, progress, sorted(set(actions.values())))
    progress.recalculate_completed_at(session)
    return {id(event): _result(event, refusals.get(id(event))) for event in events}


def _apply_in_order(session: Session, progress: CourseProgress, new: set[Action]) -> set[Action]:
    """Apply the actions in a sequential course; return those that wait.

    A lesson is open from the time at which the lessons before it were completed. Because earlier events of those
    lessons may still arrive, actions before that time wait and are tried again by the next batch.
    """
    key = (progress.user_id, progress.course_id)
    before = WaitingEvent.list_for_course(session, *key)
    todo, waiting = by_lesson(before | new), set[Action]()
    completed = CompletedLesson.list_times(session, *key)
    opened_at: datetime | None = progress.started_at
    for lesson in progress.outline.lessons:
        lesson_id = UUID(lesson["id"])
        actions = todo.get(lesson_id, [])
        is_open = [opened_at is not None and each.at >= opened_at for each in actions]
        waiting |= {each for each, applies in zip(actions, is_open, strict=True) if not applies}
        if open_actions := [each for each, applies in zip(actions, is_open, strict=True) if applies]:
            _apply_all(session, progress, open_actions)
            completed = CompletedLesson.list_times(session, *key)
        completed_at = completed.get(lesson_id)
        opened_at = max(opened_at, completed_at) if opened_at and completed_at else None
    WaitingEvent.replace(session, *key, before=before, after=waiting)
    return waiting


def _apply_all(session: Session, progress: CourseProgress, actions: list[Action]) -> None:
    """Apply actions whose lessons are open, in their order, and record the events."""
    events: list[Event] = []
    for action in actions:
        progress.note_activity(action.lesson_id, at=action.at)
        if action.kind == "position":
            _view, completions = store_position(
                session, progress, action.lesson_id, action.position_seconds, action.from_seconds, at=action.at
            )
            events += completions
        else:
            events += progress.complete_open_lesson(session, action.lesson_id, at=action.at)
    record(session, progress, *events)


def _to_action(progress: CourseProgress, event: OfflineEvent, *, now: datetime) -> Action:
    """Return the action at its time, limited to the time between the start of the course and now."""
    at = max(progress.started_at, min(event.at, now))  # the clock of the device may be wrong
    if event.kind == "completed":
        return Action(at, event.lesson_id, event.kind)
    position, begin = progress.watched_part(event.lesson_id, event.position_seconds or 0, event.from_seconds)
    return Action(at, event.lesson_id, event.kind, position, begin)


def _result(event: OfflineEvent, refusal: DomainError | None) -> dict[str, Any]:
    return {
        "id": event.id,
        "merged": refusal is None,
        "code": refusal and refusal.code,
        "detail": refusal and str(refusal),
    }
