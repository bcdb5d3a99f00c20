"""Structured logging: an event name and fields, written as ECS JSON.

The ids of the request and the trace, the task and the queue are added from the context.

``log = get_logger(__name__)``, then ``log.info("payment captured", payment_id=…, amount_minor=…)``.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, TextIO, cast
from uuid import uuid4

import ecs_logging
import msgspec

if "rich" not in sys.modules:
    # structlog imports rich if it is installed, which takes 4 MiB of every process. Only development tools need it.
    sys.modules["rich"] = None  # type: ignore[assignment]  # makes the import fail
    import structlog

    del sys.modules["rich"]
import structlog
from ecs_logging._meta import ECS_VERSION
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.typing import EventDict, WrappedLogger

import settings

_SECRET_NAMES = re.compile(r"(?i)authorization|secret|password|token|api_key|cookie")
_SECRETS = re.compile(
    r"\b(?:sk|rk|pk|whsec|live|test)_[A-Za-z0-9_-]{6,}"  # keys of Stripe, secrets of webhooks, keys of YooKassa
    r"|\b[a-z]{2,6}_\w+_secret_\w+"  # client secrets of Stripe's objects
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*"  # JSON web tokens
    r"|\b(?i:basic|bearer) [\w.~+/=-]{6,}"
    r"|/unsubscribe/[\w-]+"
)
_ADDRESSES = re.compile(
    r"(?<=://)[^\s/@]+@"  # user and password of a URL
    r"|[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+\.[\w.-]+"  # e-mail addresses in any script
)

REASON_MAX_LENGTH = 1000  # 2 KB of Cyrillic
# After these markers, a database error of an older worker contains the row, the statement and its parameters.
_ROW_DATA = re.compile(r"\s*(?:\\n|\n)?(?:DETAIL:|\[SQL:|\[parameters:)")

# Fields that ECS defines. All others get the prefix "coursebus.", so that they cannot collide with fields of ECS.
_ECS_NAMES = {"exception": "error.stack_trace", "request_id": "http.request.id", "user_id": "user.id"}


class _BestEffortStream:
    """A stream that ignores write errors: a process must not fail because the reader of its log has exited."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def get_logger(name: str) -> Any:
    """Return a logger named ``name``; its methods take an event name and keyword fields."""
    return structlog.get_logger(name)


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(process: str) -> None:
    """Write all log lines of this process, also those of libraries, to standard error as ECS JSON."""
    service = f"coursebus-{process}"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            redact,
            _EcsRenderer(service),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.LOG_LEVEL]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _BestEffortStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EcsLibraryFormatter(service))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class EcsLibraryFormatter(ecs_logging.StdlibFormatter):
    """Formats and masks the records of libraries that log by ``logging``."""

    def __init__(self, service: str) -> None:
        super().__init__(exclude_fields=["log.original", "process"])  # redundant
        self._service = {"name": service, "version": settings.COURSEBUS_VERSION}

    def format_to_ecs(self, record: logging.LogRecord) -> dict[str, Any]:
        line = super().format_to_ecs(record)
        return {name: _redacted(name, value) for name, value in line.items()} | {"service": self._service}


class _EcsRenderer:
    """Renders a structlog event as ECS; the trace is that of the request that started the work.

    ``ecs_logging.StructlogFormatter`` does the same in several times as long, and each task writes a line.
    """

    def __init__(self, service: str) -> None:
        self._service = {"name": service, "version": settings.COURSEBUS_VERSION}

    def __call__(self, _logger: WrappedLogger, method: str, fields: EventDict) -> str:
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"@timestamp": at, "log.level": method, "message": fields.pop("event")}
        line |= {"service": self._service, "ecs.version": ECS_VERSION}
        if traceparent := fields.pop("traceparent", None):
            _version, trace, span, _flags = traceparent.split("-")
            line |= {"trace": {"id": trace}, "span": {"id": span}}
        for name, value in fields.items():
            *parents, last = _ecs_path(name)
            place = line
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return _encode(line)


def _encode(line: dict[str, Any]) -> str:
    """Return ``line`` as JSON in ASCII, so that the encoding of the stream does not matter."""
    with suppress(UnicodeEncodeError):  # a lone surrogate
        if (encoded := msgspec.json.encode(line)).isascii():
            return encoded.decode()
    return json.dumps(line, separators=(",", ":"))


@cache
def _ecs_path(name: str) -> list[str]:
    return (_ECS_NAMES.get(name) or (name if "." in name else f"coursebus.{name}")).split(".")


def redact(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace secrets, tokens and e-mail addresses by ``***``. A structlog processor."""
    return {name: _redacted(name, value) for name, value in line.items()}


def _redacted(name: str, value: Any) -> Any:
    if _is_secret(name):
        return "***"
    if isinstance(value, str):
        return _masked(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _redacted(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(name, each) for each in value]
    return _masked(str(value))


def _masked(text: str) -> str:
    if "@" in text:
        text = _ADDRESSES.sub("***", text)
    # Each alternative of _SECRETS contains one of these. Most texts are ids, which contain none.
    if "_" in text or " " in text or "eyJ" in text or "/unsubscribe/" in text:
        text = _SECRETS.sub("***", text)
    return text


@cache
def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAMES.search(name))


def describe_error(error: BaseException) -> str:
    """Return a description of an error that may be stored: without e-mail addresses, secrets and row data.

    The text of a database error contains the parameters of the statement and the values of the row. Only the SQLSTATE
    and the names of table, column and constraint are used.
    """
    cause = getattr(error, "orig", None) or error
    if not hasattr(cause, "pgcode"):
        return scrub(repr(error))
    diagnostics = getattr(cause, "diag", None)
    names = (getattr(diagnostics, name, None) for name in ("table_name", "column_name", "constraint_name"))
    known = ", ".join(str(name) for name in (cause.pgcode, *names) if name)
    return f"{type(error).__name__}({type(cause).__name__}: {known})"


def scrub(text: str) -> str:
    """Remove row data, secrets and e-mail addresses from ``text``, and cut it to REASON_MAX_LENGTH characters."""
    text = _ROW_DATA.split(text, maxsplit=1)[0]
    text = _masked(text)
    return text if len(text) <= REASON_MAX_LENGTH else f"{text[: REASON_MAX_LENGTH - 1]}…"


@contextmanager
def bind_context(**fields: Any) -> Iterator[None]:
    """Add ``fields`` to every log line, and to the headers of every event recorded, within the block."""
    with bound_contextvars(**{name: value for name, value in fields.items() if value is not None}):
        yield


CORRELATION_IDS = ("request_id", "traceparent", "causation_id")


def correlation_ids() -> dict[str, str]:
    """Return the ids of the request, the trace and the cause, which events and tasks started here inherit."""
    bound = get_contextvars()
    return {name: bound[name] for name in CORRELATION_IDS if name in bound}


def current_actor() -> dict[str, str]:
    """Return the actor of the command, if it is a staff member or a machine client."""
    actor = get_contextvars().get("actor")
    return {"actor": actor} if actor else {}


def current_task() -> dict[str, Any]:
    """Return the task that runs, and when its message was sent (Unix time)."""
    bound = get_contextvars()
    return {name: bound[name] for name in ("task", "sent_at") if name in bound}


def new_traceparent() -> str:
    """Return the ``traceparent`` of a new trace. https://www.w3.org/TR/trace-context"""
    return f"00-{uuid4().hex}-{uuid4().hex[:16]}-01"


def context_fields() -> dict[str, Any]:
    """Return the fields of the current context: ``request_id``, ``traceparent``, ``causation_id`` …"""
    return get_contextvars()
