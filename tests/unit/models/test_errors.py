"""Errors survive the JSON encoding between worker and gateway."""

from http import HTTPStatus

import msgspec
import pytest
from flask import Flask

from api import rpc
from models.errors import DomainError
from workers.runtime.execution import failure

ALL_ERRORS = sorted(DomainError.by_name.values(), key=lambda cls: cls.__name__)


def placeholder_count(cls: type[DomainError]) -> int:
    """Return the number of placeholders in the message of ``cls``."""
    for count in range(5):
        try:
            cls.message.format(*map(str, range(count)))
        except IndexError:
            continue
        return count
    raise AssertionError(cls.message)


@pytest.mark.parametrize("cls", ALL_ERRORS, ids=lambda cls: cls.__name__)
def test_error_roundtrips_through_queue(cls):
    raised = cls(*(f"arg {number}" for number in range(placeholder_count(cls))))
    reply = msgspec.json.decode(msgspec.json.encode(failure(raised)))
    rebuilt = DomainError.from_wire(reply["error"])
    assert (type(rebuilt), rebuilt.args, str(rebuilt)) == (cls, raised.args, str(raised))


@pytest.mark.parametrize("cls", ALL_ERRORS, ids=lambda cls: cls.__name__)
def test_error_defines_no_init_or_str(cls):
    assert "__init__" not in vars(cls)
    assert "__str__" not in vars(cls)


def test_error_codes_are_unique():
    # These two codes are shared deliberately: the errors mean the same for a client.
    codes = [cls.code for cls in ALL_ERRORS]
    assert {code for code in codes if codes.count(code) > 1} <= {"not_enrolled", "lesson_locked"}


@pytest.mark.parametrize("cls", ALL_ERRORS, ids=lambda cls: cls.__name__)
def test_error_status_is_a_valid_http_status(cls):
    assert HTTPStatus(cls.status) >= HTTPStatus.BAD_REQUEST


FROM_A_NEWER_WORKER = {
    "name": "CardTokenExpired",
    "args": ["4242"],
    "status": 402,
    "code": "card_token_expired",
    "detail": "The card of {0} has expired.",
    "retry_after_seconds": None,
    "transient": False,
}


def test_error_of_unknown_class_keeps_status_code_and_text():
    rebuilt = DomainError.from_wire(FROM_A_NEWER_WORKER)

    assert (rebuilt.status, rebuilt.code, str(rebuilt)) == (402, "card_token_expired", "The card of {0} has expired.")
    assert not rebuilt.transient


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "CardTokenExpired", "args": ["4242"]},
        {"name": ["a", "list"], "args": 7, "status": "402", "code": None, "detail": {}, "transient": "no"},
        {"name": "CardTokenExpired", "status": 200},
        {"name": "CardTokenExpired", "status": 499},
    ],
    ids=["empty", "older sender", "wrong types", "no error", "unknown status"],
)
def test_malformed_error_becomes_transient_internal_error(fields):
    rebuilt = DomainError.from_wire(fields)

    assert (rebuilt.status, rebuilt.code, rebuilt.transient) == (500, "internal_error", True)
    assert str(rebuilt)


def test_known_error_with_other_args_keeps_its_text():
    """The class of the sender has one arg, the class of the receiver has two."""
    sent = {**DomainError.by_name["RefundTooLarge"]("5").to_wire(), "detail": "At most 5.00 USD can be refunded."}

    rebuilt = DomainError.from_wire(sent)

    assert (rebuilt.status, rebuilt.code, str(rebuilt)) == (422, "refund_too_large", sent["detail"])


@pytest.mark.parametrize("cls", ALL_ERRORS, ids=lambda cls: cls.__name__)
def test_error_of_an_older_worker_is_rebuilt_from_name_and_args(cls):
    args = [f"arg {number}" for number in range(placeholder_count(cls))]

    assert type(DomainError.from_wire({"name": cls.__name__, "args": args})) is cls


def test_waiting_errors_are_transient():
    assert {cls.__name__ for cls in ALL_ERRORS if cls("a", "b", "c").transient} >= {"Unavailable", "ProjectionNotReady"}
    assert not DomainError.by_name["NotFound"]("a", "b").transient


def test_gateway_raises_the_workers_error(monkeypatch):
    with Flask(__name__).app_context(), pytest.raises(DomainError.by_name["LessonLocked"]) as raised:
        rpc.unwrap_reply({"error": {"name": "LessonLocked", "args": ["x"]}})
    assert raised.value.args == ("x",)
