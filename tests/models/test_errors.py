"""An error that a worker raised reaches the client as it was, by way of JSON."""

from http import HTTPStatus

import msgspec
import pytest
from flask import Flask

from api import queue
from models.errors import DomainError
from workers._delivery import failure

EVERY = sorted(DomainError.by_name.values(), key=lambda cls: cls.__name__)


def holes(cls: type[DomainError]) -> int:
    """How many args the message of ``cls`` speaks of."""
    for count in range(5):
        try:
            cls.message.format(*map(str, range(count)))
        except IndexError:
            continue
        return count
    raise AssertionError(cls.message)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_queue(cls):
    raised = cls(*(f"arg {number}" for number in range(holes(cls))))
    reply = msgspec.json.decode(msgspec.json.encode(failure(raised)))
    rebuilt = DomainError.by_name[reply["error"]["name"]](*reply["error"]["args"])
    assert (type(rebuilt), rebuilt.args, str(rebuilt)) == (cls, raised.args, str(raised))


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_an_error_is_made_of_its_class_and_args_alone(cls):
    assert "__init__" not in vars(cls)
    assert "__str__" not in vars(cls)


def test_no_two_errors_are_told_by_one_code():
    # The one exception is meant: for a client it is the same.
    codes = [cls.code for cls in EVERY]
    assert {code for code in codes if codes.count(code) > 1} <= {"not_enrolled", "lesson_locked"}


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_a_status_is_one_of_http(cls):
    assert HTTPStatus(cls.status) >= HTTPStatus.BAD_REQUEST


def test_the_gateway_raises_what_the_worker_raised(monkeypatch):
    with Flask(__name__).app_context(), pytest.raises(DomainError.by_name["LessonLocked"]) as raised:
        queue.opened({"error": {"name": "LessonLocked", "args": ["x"]}})
    assert raised.value.args == ("x",)
