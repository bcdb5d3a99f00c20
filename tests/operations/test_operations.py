"""Commands that nobody waits for: promised by a row, done once, whatever dies meanwhile."""

import json
from uuid import UUID

import pytest

from models.base import now, sessions
from models.operations import MAX_ATTEMPTS, Operation
from models.redis import queue_redis
from tests.operations.commands import accept, cancel, claim, creation, let_time_pass, run, show
from tests.support.databases import Database
from tests.support.deliveries import deliver
from tests.support.waiting import at_once


def outcome(operation_id: UUID) -> tuple[str, str | None]:
    """The status, and the name of the error."""
    shown = show(operation_id)["result"]
    return shown["status"], shown["error"] and shown["error"]["name"]


def waiting() -> list[str]:
    """The tasks that wait in the queue of courses."""
    return [json.loads(message)["headers"]["task"] for message in queue_redis().lrange("courses", 0, -1)]


def test_a_command_is_a_row_before_anybody_hears_of_it(database: Database):
    operation_id = accept()

    assert database.value("SELECT status FROM bus.operations WHERE id = :id", id=operation_id) == "pending"
    assert database.count("courses.courses") == 0
    assert waiting() == ["courses.run_operation"]


def test_a_run_does_the_command_and_keeps_its_answer_with_the_same_commit(database: Database):
    operation_id = accept(message=creation(title="Sailing"))

    run(operation_id)

    shown = show(operation_id)["result"]
    assert (shown["status"], shown["result"]["title"], shown["error"]) == ("succeeded", "Sailing", None)
    # Rows of one transaction have one xmin; the command's own rows stand in a savepoint of it.
    [[of_claim, of_operation]] = database.rows("""
        SELECT claim.xmin::text, operation.xmin::text FROM bus.idempotency_keys claim, bus.operations operation""")
    assert of_claim == of_operation


def test_a_command_is_done_once_however_often_it_is_run(database: Database):
    operation_id = accept()

    at_once(*[lambda: run(operation_id)] * 4)
    let_time_pass(database)
    run(operation_id)

    assert database.count("courses.courses") == 1


def test_a_worker_that_dies_after_the_commit_leaves_nothing_to_repeat(database: Database):
    operation_id = accept()
    run(operation_id)
    # As the row stood for a command of several transactions that was killed before it could tell how it ended.
    database.execute("UPDATE bus.operations SET status = 'running', answer = NULL, finished_at = NULL")

    run(operation_id)

    assert outcome(operation_id) == ("succeeded", None)
    assert database.count("courses.courses") == 1


def test_a_lost_poke_is_made_good_by_the_sweeper(database: Database):
    operation_id = accept()
    queue_redis().flushdb()
    let_time_pass(database)

    deliver("courses.sweep_operations")

    assert waiting() == ["courses.run_operation"]
    run(operation_id)
    assert outcome(operation_id) == ("succeeded", None)


def test_the_sweeper_leaves_alone_what_is_under_way(database: Database):
    operation_id = accept()
    with sessions("courses").begin() as session:
        Operation.begin(session, operation_id, at=now())
    queue_redis().flushdb()

    deliver("courses.sweep_operations")

    assert waiting() == []
    run(operation_id)
    assert database.count("courses.courses") == 0


def test_a_command_that_kills_its_worker_is_given_up_after_five_attempts(database: Database):
    operation_id = accept()
    for _ in range(MAX_ATTEMPTS):
        with sessions("courses").begin() as session:
            assert Operation.begin(session, operation_id, at=now())  # and then the process is gone
        let_time_pass(database)

    run(operation_id)

    assert outcome(operation_id) == ("failed", "CommandCrashed")
    assert database.count("courses.courses") == 0


def test_a_command_that_crashes_is_tried_five_times_and_reads_as_an_internal_error(database: Database):
    operation_id = accept(message={"instructor_id": "nobody", "fields": {}})

    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert outcome(operation_id)[0] == ("pending" if attempt == 1 else "running")
        run(operation_id)

    assert outcome(operation_id) == ("failed", "CommandCrashed")


def test_a_refusal_is_the_outcome_at_once(database: Database):
    operation_id = accept("courses.enroll", message={"user_id": UUID(int=1), "course_id": UUID(int=2)})

    run(operation_id)

    assert outcome(operation_id) == ("failed", "NotFound")


def test_a_repeat_with_the_same_key_is_the_same_operation(database: Database):
    asked = {"kind": "courses.create_course", "message": creation(), "owner": "auth0|ann", "claim": claim()}
    of_operation = claim() | {"scope": "respond-async"}

    first = deliver("courses.accept_operation", asked, claim=of_operation)
    second = deliver("courses.accept_operation", asked, claim=of_operation)

    assert second["result"] == first["result"]
    assert second["replayed"]
    assert database.count("bus.operations") == 1


@pytest.mark.parametrize("operation_first", [True, False])
def test_a_key_is_spent_once_with_the_preference_and_without(database: Database, operation_first: bool):  # noqa: FBT001
    message = creation()
    operation_id = accept(message=message, claim=claim())
    acts = [lambda: run(operation_id), lambda: deliver("courses.create_course", message, claim=claim())]

    for act in acts if operation_first else reversed(acts):
        act()

    assert database.count("courses.courses") == 1
    [[course_id]] = database.rows("SELECT id FROM courses.courses")
    assert show(operation_id)["result"]["result"]["id"] == str(course_id)


def test_another_caller_finds_no_such_operation(database: Database):
    operation_id = accept()

    for look in (show, cancel):
        assert look(operation_id, owner="auth0|bob")["error"]["name"] == "NotFound"


def test_a_pending_operation_is_canceled_and_never_runs(database: Database):
    operation_id = accept()

    cancel(operation_id)
    again = cancel(operation_id)
    run(operation_id)

    assert "error" not in again
    assert outcome(operation_id) == ("failed", "OperationCanceled")
    assert database.count("courses.courses") == 0


def test_an_operation_that_has_begun_is_not_canceled(database: Database):
    operation_id = accept()
    run(operation_id)

    assert cancel(operation_id)["error"]["name"] == "OperationBegun"
    assert outcome(operation_id) == ("succeeded", None)
