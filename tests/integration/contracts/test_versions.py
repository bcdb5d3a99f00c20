"""Processes of two versions run side by side during an upgrade and must read each other's messages."""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from flask import Flask
from sqlalchemy.orm import Session

import celery_app
from api import rpc
from core.bus.idempotency import IdempotencyClaim, claim_from
from core.messaging import task_queue
from core.messaging.task_queue import Envelope
from core.redis import queue_redis
from models.errors import DomainError
from tests.integration.contracts import freeze
from tests.support.gateway import running_worker
from tests.support.polling import eventually
from tests.support.tasks import Notes, registered, write_note
from workers.runtime.execution import failure
from workers.runtime.tasks import TASKS

celery_app.celery_app.loader.import_default_modules()

MESSAGES: dict[str, dict[str, Any]] = json.loads(freeze.MESSAGES.read_text())
ENVELOPE: dict[str, Any] = json.loads(freeze.ENVELOPE.read_text())
REPLIES: dict[str, dict[str, Any]] = json.loads(Path(freeze.MESSAGES.parent, "replies.json").read_text())


def with_new_fields(value: Any) -> Any:
    """Return ``value`` with one more field in each object, as a newer version sends it. Maps are frozen as empty."""
    if isinstance(value, dict) and value:
        return {**{name: with_new_fields(each) for name, each in value.items()}, "from_a_newer_version": {"a": 1}}
    return [with_new_fields(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("task", "message"), MESSAGES.items(), ids=MESSAGES)
def test_message_of_the_last_version_is_read(task: str, message: dict[str, Any]):
    assert task in TASKS, f"A gateway of the last version still sends {task}: keep it for one version."
    call = TASKS[task]

    typed = call.convert(message)

    # Raises TypeError if a required field is missing from messages of the last version: such a field needs a default.
    inspect.signature(call.fn).bind(*call.dependencies, **typed)


@pytest.mark.parametrize(("task", "message"), MESSAGES.items(), ids=MESSAGES)
def test_message_with_new_fields_is_read(task: str, message: dict[str, Any]):
    typed = TASKS[task].convert(with_new_fields(message))

    assert set(typed) == set(message)


def test_envelope_of_the_last_version_is_read():
    envelope = msgspec.convert(ENVELOPE, Envelope)

    assert claim_from(envelope.idempotency_claim) == IdempotencyClaim(**ENVELOPE["idempotency_claim"])
    assert envelope.event_headers == ENVELOPE["event_headers"]


def test_envelope_with_new_fields_is_read():
    sent = ENVELOPE | {"tenant": "a", "idempotency_claim": ENVELOPE["idempotency_claim"] | {"realm": 7}}

    envelope = msgspec.convert(sent, Envelope)

    assert claim_from(envelope.idempotency_claim) == IdempotencyClaim(**ENVELOPE["idempotency_claim"])


@dataclass(frozen=True, kw_only=True)
class EnvelopeOfAnOlderWorker:
    """The first envelope that ignores unknown fields."""

    expires_at: float | None = None
    reply_to: str | None = None
    attempt: int = 1


def test_current_envelope_is_read_by_an_older_worker():
    sent = msgspec.to_builtins(Envelope(reply_to="r", expires_at=1.5))

    assert msgspec.convert(sent, EnvelopeOfAnOlderWorker) == EnvelopeOfAnOlderWorker(reply_to="r", expires_at=1.5)


def unwrapped(reply: dict[str, Any]) -> Any:
    """Return what a view of the gateway gets: the result, or status, code and text of the error."""
    with Flask(__name__).app_context():
        try:
            return rpc.unwrap_reply(reply)
        except DomainError as error:
            return error.status, error.code, str(error)
        except rpc.rpc.TaskCrashed:
            return 500


EXPECTED = {
    "result": {"id": 1},
    "replayed result": {"id": 1},
    "error": (409, "lesson_locked", "Complete lesson l-1 first."),
    "replayed error": (402, "payment_refused", "The payment provider refused: card_declined."),
    "crash": 500,
    "poison": 500,
}


@pytest.mark.parametrize(("name", "reply"), REPLIES.items(), ids=REPLIES)
def test_reply_of_the_last_version_is_read(name: str, reply: dict[str, Any]):
    assert unwrapped(reply) == EXPECTED[name]


@pytest.mark.parametrize(("name", "reply"), REPLIES.items(), ids=REPLIES)
def test_reply_with_new_fields_is_read(name: str, reply: dict[str, Any]):
    if "error" in reply:
        reply = {**reply, "error": with_new_fields(reply["error"])}

    assert unwrapped({**reply, "from_a_newer_version": 1}) == EXPECTED[name]


def test_current_reply_is_read_by_an_older_gateway():
    """An older gateway rebuilds an error from its name and args alone."""
    error = failure(DomainError.by_name["LessonLocked"]("l-1"))["error"]

    rebuilt = DomainError.by_name[error["name"]](*error["args"])

    assert str(rebuilt) == "Complete lesson l-1 first."


# Over the queue.


def note(session: Session, *, note: str, amount_minor: int = 7) -> int:
    write_note(session, note)
    return amount_minor


@pytest.fixture
def notes(database) -> Notes:
    return Notes(database)


@pytest.fixture
def reply_to() -> str:
    return f"reply:{uuid4()}"


def reply_in(reply_to: str) -> dict[str, Any]:
    popped = queue_redis().blpop([reply_to], timeout=10)
    assert popped, "no reply"
    return msgspec.json.decode(popped[1])


def test_task_ignores_fields_of_a_newer_gateway(deliver, notes: Notes):
    with registered(note):
        reply = deliver("progress.note", {"note": "it", "currency": "EUR"})

    assert (reply["result"], notes()) == (7, ["it"])


def run_task_raw(envelope: Any) -> None:
    """Execute the task like a worker that received this raw envelope."""
    task = celery_app.celery_app.tasks["progress.note"]
    task.push_request(id="t-1", headers={"envelope": envelope})
    try:
        task.run(note="it")
    finally:
        task.pop_request()


def test_worker_ignores_envelope_fields_of_a_newer_gateway(notes: Notes, reply_to):
    with registered(note):
        run_task_raw({"reply_to": reply_to, "tenant": "a"})

    assert (reply_in(reply_to)["result"], notes()) == (7, ["it"])


def test_malformed_envelope_gets_an_error_reply(notes: Notes, reply_to):
    with registered(note):
        run_task_raw({"reply_to": reply_to, "expires_at": "tomorrow"})

    assert "expires_at" in reply_in(reply_to)["crash"]
    assert notes() == []


def test_unknown_task_of_a_newer_gateway_is_rejected(database, reply_to):
    with running_worker("progress"):
        task_queue.enqueue("progress.share_progress", {"with": "ann"}, Envelope(reply_to=reply_to))
        reply = reply_in(reply_to)

    assert unwrapped(reply)[:2] == (503, "task_unknown")
    assert reply["error"]["transient"]  # transient, so the bridge sends the event again
    eventually(lambda: queue_redis().llen("progress") == 0)


def test_operation_of_an_unknown_command_is_rejected(deliver):
    operation = {"kind": "progress.share_progress", "message": {}, "owner": "auth0|ann", "claim": None}

    reply = deliver("progress.accept_operation", operation)

    assert unwrapped(reply)[:2] == (503, "task_unknown")


def test_operation_of_an_unknown_command_waits_for_its_worker(database, deliver):
    """A newer worker accepted the operation, and an older worker takes it."""
    with registered(note):
        operation = {"kind": "progress.note", "message": {"note": "it"}, "owner": "auth0|ann", "claim": None}
        operation_id = deliver("progress.accept_operation", operation)["result"]["id"].partition("-")[2]

    deliver("progress.run_operation", {"operation_id": operation_id})

    assert database.rows("SELECT status, attempts FROM bus.operations") == [("running", 1)]


def test_operation_row_of_another_version_is_executed(database, deliver, notes: Notes):
    with registered(note):
        operation = {"kind": "progress.note", "message": {"note": "it"}, "owner": "auth0|ann", "claim": None}
        operation_id = deliver("progress.accept_operation", operation)["result"]["id"].partition("-")[2]
        database.execute(
            """UPDATE bus.operations SET headers = headers || '{"tenant": "a"}', claim = claim || '{"realm": 1}'"""
        )
        deliver("progress.run_operation", {"operation_id": operation_id})

    assert notes() == ["it"]


def test_stored_response_of_a_newer_worker_is_replayed(database, deliver, notes: Notes):
    claim = {"scope": "ann POST /v1/notes", "key": "1", "fingerprint": "f"}
    with registered(note):
        deliver("progress.note", {"note": "it"}, claim=claim)
        newer = {
            "error": {"name": "NoteTooLong", "args": [], "status": 422, "code": "note_too_long", "detail": "Long."}
        }
        database.execute("UPDATE bus.idempotency_keys SET response = CAST(:answer AS json)", answer=json.dumps(newer))
        reply = deliver("progress.note", {"note": "it"}, claim=claim)

    assert unwrapped(reply) == (422, "note_too_long", "Long.")
