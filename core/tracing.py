"""Spans for OpenTelemetry, which a process sends to a collector if OTEL_EXPORTER_OTLP_ENDPOINT is set.

The trace context travels without this module: ``traceparent`` is bound to the log lines of the work and copied into
envelopes, the outbox and the headers of Kafka. A span binds its own ``traceparent`` while it runs, so that spans, log
lines, events and tasks that begin within it are its children. The packages of requirements-tracing.txt are imported
only if traces are on (docs/decisions/0174).
"""

import threading
from collections.abc import Mapping
from contextvars import Token
from functools import cache
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import unquote

from structlog.contextvars import bind_contextvars, reset_contextvars

import settings
from core.log import context_fields, describe_error

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

Kind = Literal["server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | None]

_CURRENT = "current"  # the parent is the span, or the request, in whose context the new span begins

_creation = threading.Lock()
_process = ""  # "": this process sends no traces


def configure(process: str) -> None:
    """Send the spans of this process as those of ``coursebus-<process>``. Raises SystemExit without the packages."""
    global _process  # noqa: PLW0603 one per process, like the configuration of the log
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    if not _is_installed():
        raise SystemExit("OTEL_EXPORTER_OTLP_ENDPOINT is set, but requirements-tracing.txt is not installed")
    _process = process


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


def is_on() -> bool:
    """Return whether this process sends spans."""
    return bool(_process)


def span(
    name: str, kind: Kind, *, parent: str | None = _CURRENT, attributes: Attributes = MappingProxyType({})
) -> "Span | NoSpan":
    """Return a span that lasts while its ``with`` block runs; an exception marks it as failed.

    ``parent`` is a traceparent, or None for the first span of a trace.
    """
    return Span(name, kind, parent, attributes) if _process else _NO_SPAN


class NoSpan:
    """Stands for a span while traces are off."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fail(self, reason: str) -> None:
        """Do nothing."""

    def set(self, name: str, value: str | int) -> None:
        """Do nothing."""


_NO_SPAN = NoSpan()


class Span:
    """A span that has begun. As a context manager it binds its ``traceparent``; otherwise call ``end``."""

    def __init__(self, name: str, kind: Kind, parent: str | None, attributes: Attributes) -> None:
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 an optional package

        self._span = _tracer().start_span(
            name,
            context=_context_of(context_fields().get("traceparent") if parent == _CURRENT else parent),
            kind=SpanKind[kind.upper()],
            attributes={key: value for key, value in attributes.items() if value is not None},
        )
        self._tokens: Mapping[str, Token[Any]] = {}

    @property
    def traceparent(self) -> str:
        """Return the context for its children. https://www.w3.org/TR/trace-context"""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def __enter__(self) -> Self:
        self._tokens = bind_contextvars(traceparent=self.traceparent)
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        reset_contextvars(**self._tokens)
        if error is not None:
            self.fail(describe_error(error))
        self.end()

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""
        from opentelemetry.trace import StatusCode  # noqa: PLC0415

        self._span.set_status(StatusCode.ERROR, reason)

    def set(self, name: str, value: str | int) -> None:
        """Set an attribute that was not known at the beginning."""
        self._span.set_attribute(name, value)

    def end(self) -> None:
        """End the span. Further calls have no effect."""
        if self._span.is_recording():
            self._span.end()


def _tracer() -> "Tracer":
    with _creation:
        return _create_tracer()


@cache  # created with the first span, so after a fork
def _create_tracer() -> "Tracer":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.TRACES_SAMPLED_PERCENT / 100),
        resource=Resource.create({"service.name": f"coursebus-{_process}"}),
    )
    endpoint = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
    # In a thread of its own, with a bounded queue: without the collector spans are lost, and no work waits.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, headers=_headers())))
    return provider.get_tracer("coursebus")


def _headers() -> dict[str, str]:
    """Return the headers in OTEL_EXPORTER_OTLP_HEADERS: key=value pairs with commas between them, percent-encoded."""
    pairs = (pair.partition("=") for pair in settings.OTEL_EXPORTER_OTLP_HEADERS.split(",") if pair.strip())
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def _context_of(traceparent: str | None) -> "Context":
    """Return the context of OpenTelemetry with the span that ``traceparent`` names as parent."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context  # noqa: PLC0415

    if traceparent is None:
        return Context()
    _version, trace, parent, flags = traceparent.split("-")
    context = SpanContext(int(trace, 16), int(parent, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(context), Context())
