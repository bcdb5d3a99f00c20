"""Log lines: an event name and fields, as ECS JSON; request, trace, task and queue are bound for you.

``log = get_logger(__name__)``, then ``log.info("payment captured", payment_id=…, amount_minor=…)``.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TextIO, cast
from uuid import uuid4

import ecs_logging
import structlog
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.typing import EventDict, WrappedLogger

import settings

_SECRET_NAMES = re.compile(r"(?i)authorization|secret|password|token|api_key|cookie")
_SECRET_VALUES = re.compile(
    r"\b(?:sk|rk|pk|whsec|live|test)_[A-Za-z0-9_-]{6,}"  # keys of Stripe, secrets of webhooks, keys of YooKassa
    r"|\b[a-z]{2,6}_\w+_secret_\w+"  # client secrets of Stripe's objects
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*"  # JSON web tokens
    r"|\b(?i:basic|bearer) [\w.~+/=-]{6,}"
    r"|(?<=://)[^\s/@]+@"  # user and password of a URL
    r"|/unsubscribe/[\w-]+"
    r"|[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+\.[\w.-]+"  # e-mail addresses, letters of every script included
)

REASON_MAX_LENGTH = 1000  # 2 KB of Cyrillic
# Behind these words a database error of an older worker shows the row, the statement and its parameters.
_OF_ROWS = re.compile(r"\s*(?:\\n|\n)?(?:DETAIL:|\[SQL:|\[parameters:)")

# What ECS has a name for; all other fields stand below "coursebus", where no name of theirs can mean two things.
_ECS_NAMES = {"event": "event", "exception": "exception", "request_id": "http.request.id", "user_id": "user.id"}


class _Patient:
    """A stream that nobody may read any more: whoever goes on without its supervisor does its work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def get_logger(name: str) -> Any:
    """A logger named ``name``; its methods take an event name and keyword fields."""
    return structlog.get_logger(name)


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(process: str) -> None:
    """Send every line of this process, the libraries' too, to standard error as ECS JSON."""
    service = f"coursebus-{process}"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            mask,
            _Line(service),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.LOG_LEVEL]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LibraryLine(service))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class LibraryLine(ecs_logging.StdlibFormatter):
    """A line of a library that logs by ``logging``, masked as ours are."""

    def __init__(self, service: str) -> None:
        super().__init__(exclude_fields=["log.original", "process"])  # the message again, and the same in every line
        self._service = service

    def format_to_ecs(self, record: logging.LogRecord) -> dict[str, Any]:
        line = super().format_to_ecs(record)
        return {name: _masked(name, value) for name, value in line.items()} | {"service": {"name": self._service}}


class _Line:
    """A line of ours; its trace is that of the request that all began with."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._formatter = ecs_logging.StructlogFormatter()

    def __call__(self, logger: WrappedLogger, method: str, fields: EventDict) -> str:
        line = {"service.name": self._service}
        if traceparent := fields.pop("traceparent", None):
            _version, line["trace.id"], line["span.id"], _flags = traceparent.split("-")
        for name, value in fields.items():
            line[_ecs_name(name)] = value
        return self._formatter(logger, method, line)


@cache
def _ecs_name(name: str) -> str:
    return _ECS_NAMES.get(name) or (name if "." in name else f"coursebus.{name}")


def mask(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace what must never be read in a log: secrets, tokens, e-mail addresses."""
    return {name: _masked(name, value) for name, value in line.items()}


def _masked(name: str, value: Any) -> Any:
    if _is_secret(name):
        return "***"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _masked(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(name, each) for each in value]
    return _SECRET_VALUES.sub("***", str(value))


@cache
def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAMES.search(name))


def described(error: BaseException) -> str:
    """Return what may be stored of an error: no e-mail addresses or secrets, and nothing of a row of the database.

    The text of a database error holds the statement's parameters and the values of the row, so only names are taken.
    """
    cause = getattr(error, "orig", None) or error
    if not hasattr(cause, "pgcode"):
        return scrubbed(repr(error))
    diagnostics = getattr(cause, "diag", None)
    names = (getattr(diagnostics, name, None) for name in ("table_name", "column_name", "constraint_name"))
    known = ", ".join(str(name) for name in (cause.pgcode, *names) if name)
    return f"{type(error).__name__}({type(cause).__name__}: {known})"


def scrubbed(text: str) -> str:
    """Cut ``text`` to REASON_MAX_LENGTH characters, and mask what must never be read."""
    text = _OF_ROWS.split(text, maxsplit=1)[0]
    text = _SECRET_VALUES.sub("***", text)
    return text if len(text) <= REASON_MAX_LENGTH else f"{text[: REASON_MAX_LENGTH - 1]}…"


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Put ``fields`` on every line, and on every event recorded, within the block."""
    with bound_contextvars(**{name: value for name, value in fields.items() if value is not None}):
        yield


def bound_cause() -> dict[str, str]:
    """Return what an event, or a task that is started from here, inherits: ids of the request, the trace, the cause."""
    bound = get_contextvars()
    return {name: bound[name] for name in ("request_id", "traceparent", "causation_id") if name in bound}


def bound_actor() -> dict[str, str]:
    """Return who sent the command, where it was staff or a program."""
    actor = get_contextvars().get("actor")
    return {"actor": actor} if actor else {}


def new_traceparent() -> str:
    """Begin a trace, in the form of W3C Trace Context."""
    return f"00-{uuid4().hex}-{uuid4().hex[:16]}-01"


def bound_fields() -> dict[str, Any]:
    """What is bound here: ``request_id``, ``traceparent``, ``causation_id`` …"""
    return get_contextvars()
