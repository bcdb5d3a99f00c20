"""Log lines: an event name and fields, as ECS JSON; request, trace, task and queue are bound for you.

``log = get_logger(__name__)``, then ``log.info("payment captured", payment_id=…, amount_minor=…)``.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ecs_logging
import structlog
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.typing import EventDict, WrappedLogger

_SECRET_NAMES = re.compile(r"(?i)authorization|secret|password|token|api_key|cookie")
_FORMATTER = ecs_logging.StructlogFormatter()
_SECRET_VALUES = re.compile(r"\b(?:sk|rk|whsec)_[A-Za-z0-9_]+|eyJ[\w-]+\.[\w-]+\.[\w-]*|[\w.+-]+@[\w-]+\.[\w.-]+")


def get_logger(name: str) -> Any:
    """A logger named ``name``; its methods take an event name and keyword fields."""
    return structlog.get_logger(name)


def configure(process: str) -> None:
    """Send every line of this process, the libraries' too, to standard error as ECS JSON."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            mask,
            _ecs,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**{"service.name": f"coursebus-{process}"})
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ecs_logging.StdlibFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _ecs(logger: WrappedLogger, method: str, line: EventDict) -> str:
    return _FORMATTER(logger, method, dict(line))


def mask(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace what must never be read in a log: secrets, tokens, e-mail addresses."""
    for name, value in line.items():
        if _SECRET_NAMES.search(name):
            line[name] = "***"
        elif isinstance(value, str):
            line[name] = _SECRET_VALUES.sub("***", value)
    return line


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Put ``fields`` on every line, and on every event recorded, within the block."""
    with bound_contextvars(**{name: value for name, value in fields.items() if value is not None}):
        yield


def bound_fields() -> dict[str, Any]:
    """What is bound here: ``request_id``, ``traceparent``, ``causation_id`` …"""
    return get_contextvars()
