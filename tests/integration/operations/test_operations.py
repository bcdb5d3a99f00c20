"""Asynchronous commands: persisted when accepted and executed once, even if processes crash."""

import json
from uuid import UUID

import pytest

from core.bus.operations import MAX_ATTEMPTS, Operation
from core.db import session_factory, utc_now
from core.redis import queue_redis
from tests.integration.operations.commands import accept, cancel, claim, course_message, expire_leases, run, show
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.polling import run_concurrently


def outcome(operation_id: UUID) -> tuple[str, str | None]:
    """Return the status and the name of the error."""
    shown = show(operation_id)["result"]
    return shown["status"], shown["error"] and shown["error"]["name"]


def queued_tasks() -> list[str]:
    """Return the names of the tasks in the queue of courses."""
    return [json.loads(message)["headers"]["task"] for message in queue_redis().lrange("courses", 0, -1)]


def test_accepted_operation_is_persisted_and_enqueued(database: Database):
    operation_id = accept()

    assert database.value("SELECT status FROM bus.operations WHERE id = :id", id=operation_id) == "pending"
    assert database.count("courses.courses") == 0
    assert queued_tasks() == ["courses.run_operation"]


def test_run_commits_command_and_result_together(database: Database):
    operation_id = accept(message=course_message(title="Sailing"))

    run(operation_id)

    shown = show(operation_id)["result"]
    assert (shown["status"], shown["result"]["title"], shown["error"]) == ("succeeded", "Sailing", None)
    # Rows of one transaction have the same xmin. The rows of the command itself belong to a savepoint and have another.
    [[of_claim, of_operation]] = database.rows("""
        SELECT claim.xmin::text, operation.xmin::text FROM bus.idempotency_keys claim, bus.operations operation""")
    assert of_claim == of_operation


def test_concurrent_and_repeated_runs_execute_once(database: Database):
    operation_id = accept()

    run_concurrently(*[lambda: run(operation_id)] * 4)
    expire_leases(database)
    run(operation_id)

    assert database.count("courses.courses") == 1


def test_crash_after_commit_does_not_repeat_command(database: Database):
    operation_id = accept()
    run(operation_id)
    # Restore the state of a command with several transactions whose worker was killed before it stored the outcome.
    database.execute("UPDATE bus.operations SET status = 'running', reply = NULL, finished_at = NULL")

    run(operation_id)

    assert outcome(operation_id) == ("succeeded", None)
    assert database.count("courses.courses") == 1


def test_sweeper_resumes_operation_after_lost_hint(database: Database):
    operation_id = accept()
    queue_redis().flushdb()
    expire_leases(database)

    deliver("courses.sweep_operations")

    assert queued_tasks() == ["courses.run_operation"]
    run(operation_id)
    assert outcome(operation_id) == ("succeeded", None)


def test_sweeper_skips_running_operations(database: Database):
    operation_id = accept()
    with session_factory("courses").begin() as session:
        Operation.start_attempt(session, operation_id, at=utc_now())
    queue_redis().flushdb()

    deliver("courses.sweep_operations")

    assert queued_tasks() == []
    run(operation_id)
    assert database.count("courses.courses") == 0


def test_command_killing_its_worker_fails_after_five_attempts(database: Database):
    operation_id = accept()
    for _ in range(MAX_ATTEMPTS):
        with session_factory("courses").begin() as session:
            # The attempt never ends, as after a crash.
            assert Operation.start_attempt(session, operation_id, at=utc_now())
        expire_leases(database)

    run(operation_id)

    assert outcome(operation_id) == ("failed", "CommandCrashed")
    assert database.count("courses.courses") == 0


def test_crashing_command_fails_after_five_attempts(database: Database):
    operation_id = accept(message={"instructor_id": "no UUID", "fields": {}})

    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert outcome(operation_id)[0] == ("pending" if attempt == 1 else "running")
        run(operation_id)

    assert outcome(operation_id) == ("failed", "CommandCrashed")


def test_domain_error_ends_operation_without_retry(database: Database):
    operation_id = accept("courses.enroll", message={"user_id": UUID(int=1), "course_id": UUID(int=2)})

    run(operation_id)

    assert outcome(operation_id) == ("failed", "NotFound")


@pytest.mark.parametrize("operation_first", [True, False])
def test_idempotency_key_is_shared_by_sync_and_async(database: Database, operation_first: bool):  # noqa: FBT001
    message = course_message()
    operation_id = accept(message=message, claim=claim())
    calls = [lambda: run(operation_id), lambda: deliver("courses.create_course", message, claim=claim())]

    for call in calls if operation_first else reversed(calls):
        call()

    assert database.count("courses.courses") == 1
    [[course_id]] = database.rows("SELECT id FROM courses.courses")
    assert show(operation_id)["result"]["result"]["id"] == str(course_id)


def test_operation_of_another_caller_is_not_found(database: Database):
    operation_id = accept()

    for task in (show, cancel):
        assert task(operation_id, owner="auth0|bob")["error"]["name"] == "NotFound"


def test_canceled_pending_operation_never_runs(database: Database):
    operation_id = accept()

    cancel(operation_id)
    again = cancel(operation_id)
    run(operation_id)

    assert "error" not in again
    assert outcome(operation_id) == ("failed", "OperationCanceled")
    assert database.count("courses.courses") == 0


def test_started_operation_cannot_be_canceled(database: Database):
    operation_id = accept()
    run(operation_id)

    assert cancel(operation_id)["error"]["name"] == "OperationAlreadyStarted"
    assert outcome(operation_id) == ("succeeded", None)
