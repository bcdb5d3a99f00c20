"""Projections: each equals the fold of its events."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from tests.chaos.checker import ClientRecord, Row, SystemSnapshot, check


@check
def projections_are_the_fold_of_events(snapshot: SystemSnapshot, _records: Collection[ClientRecord]) -> Iterator[str]:
    for name, (fold, columns) in _PROJECTIONS.items():
        shown = {tuple(row[column] for column in columns) for row in snapshot.table(name)}
        folded = set(fold(_by_type(snapshot.outbox)))
        yield from (f"{name} has {row}, but the events do not" for row in sorted(shown - folded, key=str))
        yield from (f"{name} lacks {row}" for row in sorted(folded - shown, key=str))


Events = Mapping[str, list[Row]]  # the payloads by type, in order of version


def _contacts(events: Events) -> Iterator[tuple[Any, ...]]:
    contacts: dict[str, tuple[int, Row]] = {}
    for payload in events["USER_CREATED"]:
        contacts[payload["user_id"]] = (1, payload["pii"])
    for payload in events["USER_UPDATED"]:
        contacts[payload["user_id"]] = (payload["version"], payload["pii"])
    for user_id, (version, pii) in contacts.items():
        yield (user_id, version, pii["email"], pii["name"], pii["locale"], pii["timezone"])


def _profiles(events: Events) -> Iterator[tuple[Any, ...]]:
    updated = {payload["user_id"]: payload for payload in events["USER_UPDATED"]}
    for user_id, payload in updated.items():
        yield (user_id, payload["pii"]["email"], payload["pii"]["name"])


def _progress(events: Events) -> Iterator[tuple[Any, ...]]:
    done = Counter((payload["user_id"], payload["course_id"]) for payload in events["LESSON_COMPLETED"])
    for payload in events["COURSE_STARTED"]:
        learner = (payload["user_id"], payload["course_id"])
        yield (*learner, done[learner], payload["lessons_total"])


def _completed(events: Events) -> Iterator[tuple[Any, ...]]:
    for payload in events["LESSON_COMPLETED"]:
        yield (payload["user_id"], payload["course_id"], payload["lesson_id"])


def _enrollments(events: Events) -> Iterator[tuple[Any, ...]]:
    done = Counter((payload["user_id"], payload["course_id"]) for payload in events["LESSON_COMPLETED"])
    for payload in events["ENROLLMENT_CREATED"]:
        learner = (payload["user_id"], payload["course_id"])
        yield (payload["enrollment_id"], *learner, done[learner])


def _grants(events: Events) -> Iterator[tuple[Any, ...]]:
    for payload in events["ENROLLMENT_CREATED"]:
        yield (payload["user_id"], payload["course_id"], payload["source"], payload["source_id"])


def _outlines(events: Events) -> Iterator[tuple[Any, ...]]:
    for payload in events["COURSE_PUBLISHED"]:
        yield (payload["course_id"], payload["course_version"], payload["title"])


def _by_type(outbox: Iterable[Row]) -> Events:
    events: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(outbox, key=lambda row: row["aggregate_version"]):
        events[row["type"]].append(row["payload"])
    return events


_PROJECTIONS: dict[str, tuple[Callable[[Events], Iterator[tuple[Any, ...]]], tuple[str, ...]]] = {
    "notifications.contacts": (_contacts, ("user_id", "version", "email", "name", "locale", "timezone")),
    "users.users": (_profiles, ("id", "email", "name")),
    "progress.course_progress": (_progress, ("user_id", "course_id", "lessons_completed", "lessons_total")),
    "progress.completed_lessons": (_completed, ("user_id", "course_id", "lesson_id")),
    "progress.outlines": (_outlines, ("course_id", "course_version", "title")),
    "courses.enrollments": (_enrollments, ("id", "user_id", "course_id", "lessons_completed")),
    "courses.grants": (_grants, ("user_id", "course_id", "source", "source_id")),
}
