"""Processes of two versions share queue and broker: the running platform reads messages of a newer version."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.polling import eventually

from .chaos_platform import ChaosPlatform, Learner

QUEUE, COMMAND = "progress", "progress.complete_lesson"
NEW_FIELD = {"from_a_newer_version": {"a": 1}}
BLOCKING_READ_SECONDS = 1.5  # the last blocking read of a paused worker ends within a second and may take a message


@pytest.fixture
def learner(chaos_platform: ChaosPlatform) -> Learner:
    """Return an enrolled learner of a free, non-sequential course."""
    learner = Learner(chaos_platform).register()
    learner.enrol(
        next(each["id"] for each in chaos_platform.free_courses if not learner.course(each["id"])["sequential"])
    )
    chaos_platform.wait_until_idle([learner.user_id])
    return learner


def take_command(chaos_platform: ChaosPlatform) -> dict[str, Any]:
    """Take the first command from the queue of its service, like a worker."""

    def command() -> dict[str, Any] | None:
        for raw in chaos_platform.platform.queues.lrange(QUEUE, 0, -1):
            message: dict[str, Any] = json.loads(raw)
            if message["headers"]["task"] == COMMAND and chaos_platform.platform.queues.lrem(QUEUE, 1, raw):
                return message
        return None

    return eventually(command, "a command in the queue") or {}


def with_newer_fields(message: dict[str, Any]) -> bytes:
    """Return the message with a new field in its envelope and in its body."""
    arguments, fields, callbacks = json.loads(base64.b64decode(message["body"]))
    body = json.dumps([arguments, fields | NEW_FIELD, callbacks]).encode()
    envelope = message["headers"]["envelope"] | NEW_FIELD
    headers = message["headers"] | {"envelope": envelope}
    return json.dumps({**message, "headers": headers, "body": base64.b64encode(body).decode()}).encode()


def test_reply_and_message_of_a_newer_version_are_read(chaos_platform: ChaosPlatform, learner: Learner) -> None:
    lessons = learner.lessons(learner.course_id)
    paths = [f"/v1/courses/{learner.course_id}/lessons/{lesson_id}/completion" for lesson_id in lessons]
    error = {"name": "LessonWithdrawn", "args": [], "status": 422, "code": "lesson_withdrawn", "detail": "Withdrawn."}
    queues = chaos_platform.platform.queues

    with ThreadPoolExecutor(1) as pool:
        with chaos_platform.paused("worker-progress"):
            time.sleep(BLOCKING_READ_SECONDS)
            refused = pool.submit(learner.visitor.person.put, paths[0])
            asked = take_command(chaos_platform)["headers"]["envelope"]
            queues.rpush(asked["reply_to"], json.dumps({"task_id": "t", "error": error | NEW_FIELD, **NEW_FIELD}))
            answer = refused.result()
            completed = pool.submit(learner.visitor.person.put, paths[1])
            queues.lpush(QUEUE, with_newer_fields(take_command(chaos_platform)))
        assert completed.result().status_code == 200

    assert (answer.status_code, answer.json()["code"]) == (422, "lesson_withdrawn")
    chaos_platform.wait_until_idle([learner.user_id])
    assert chaos_platform.findings(learner.records, users=[learner.user_id]) == []


def test_event_with_new_fields_is_handled_after_unknown_type(chaos_platform: ChaosPlatform, learner: Learner) -> None:
    database, course_id = chaos_platform.platform.database, learner.course_id
    about = {"user": learner.user_id, "course": course_id}

    database.execute(
        """WITH raised AS (
            UPDATE progress.course_progress SET version = version + 1
            WHERE user_id = CAST(:user AS uuid) AND course_id = CAST(:course AS uuid) RETURNING version
        )
        INSERT INTO bus.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
        SELECT uuidv7(), 'progress', :user || ':' || :course, version, 'LESSON_SKIPPED',
            jsonb_build_object('user_id', CAST(:user AS text)), '{}', now() FROM raised""",
        **about,
    )
    with chaos_platform.paused("bridge"):
        learner.complete(course_id, learner.lessons(course_id)[0])
        database.execute(
            """UPDATE bus.outbox SET payload = payload || CAST(:new AS jsonb)
            WHERE type = 'LESSON_COMPLETED' AND payload ->> 'user_id' = :user""",
            new=json.dumps(NEW_FIELD),
            user=learner.user_id,
        )

    chaos_platform.wait_until_idle([learner.user_id])
    assert chaos_platform.findings(learner.records, users=[learner.user_id]) == []
